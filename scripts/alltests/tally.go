package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output, instead of Package
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// tally counts results and shows them: a line for each package, and the output
// of what failed.
type tally struct {
	each            bool // show each top-level test as it ends
	passed, failed  int
	skipped         []string
	output          map[string]*bytes.Buffer // package and test, or build → what it said
	failedInPackage map[string]int
	failures        []string
}

// outputLimit bounds what is kept of one test's output.
const outputLimit = 1 << 20

// read takes events until the stream ends.
func (t *tally) read(events io.Reader, out io.Writer) error {
	t.output = map[string]*bytes.Buffer{}
	t.failedInPackage = map[string]int{}
	d := json.NewDecoder(events)
	for {
		var e event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		t.add(e, out)
	}
}

func (t *tally) add(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		t.keep(e.ImportPath, e.Output)
	case "output":
		t.keep(key, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e, out)
		} else {
			t.endTest(e, out)
		}
		delete(t.output, key)
	}
}

func (t *tally) keep(key, text string) {
	b := t.output[key]
	if b == nil {
		b = &bytes.Buffer{}
		t.output[key] = b
	}
	if b.Len() < outputLimit {
		b.WriteString(text)
	}
}

func (t *tally) endTest(e event, out io.Writer) {
	name := strings.TrimPrefix(e.Package, "landward/") + " " + e.Test
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped = append(t.skipped, name)
	case "fail":
		t.failed++
		t.failedInPackage[e.Package]++
		t.failures = append(t.failures, name)
		t.show(e.Package+" "+e.Test, out)
	}
	if t.each && e.Action != "fail" && !strings.Contains(e.Test, "/") {
		fmt.Fprintf(out, "       %s %s (%s)\n", e.Action, name, seconds(e.Elapsed))
	}
}

func (t *tally) endPackage(e event, out io.Writer) {
	mark := "ok    "
	if e.Action == "fail" {
		mark = "FAIL  "
		// A package can fail without a test of its own that did: it does not
		// compile, it panics, its time is up.
		if t.failedInPackage[e.Package] == 0 {
			t.failed++
			t.failures = append(t.failures, strings.TrimPrefix(e.Package, "landward/"))
			if e.FailedBuild != "" {
				t.show(e.FailedBuild, out)
			}
			t.showAll(e.Package, out)
		}
	}
	fmt.Fprintf(out, "%s %s (%s)\n", mark, e.Package, seconds(e.Elapsed))
}

func (t *tally) show(key string, out io.Writer) {
	if b := t.output[key]; b != nil {
		// Nothing helps where the terminal is gone.
		_, _ = b.WriteTo(out)
	}
}

// showAll shows what is left of a package's output: its own, and that of tests
// that never ended.
func (t *tally) showAll(pkg string, out io.Writer) {
	for key := range t.output {
		if strings.HasPrefix(key, pkg+" ") {
			t.show(key, out)
		}
	}
}

// close shows what was skipped and what failed, and the closing line.
func (t *tally) close(out io.Writer) {
	for _, name := range t.skipped {
		fmt.Fprintf(out, "skipped %s\n", name)
	}
	for _, name := range t.failures {
		fmt.Fprintf(out, "failed  %s\n", name)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", t.passed, t.failed)
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond)
}
