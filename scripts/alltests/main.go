// Command alltests runs every Go test of the repository and ends with one line,
// "N passed, N failed". It owns the order of the test packages and how their
// results are shown, and must never know what any of them tests.
//
// Its arguments are handed to go test: alltests -short, alltests -run TestPush.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, " !     %v\n", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs all tests and prints the closing line. It reports whether there was
// something to test and all of it passed.
func run(ctx context.Context, args []string, out io.Writer) (bool, error) {
	packages, err := list(ctx)
	if err != nil {
		return false, err
	}
	var own, whole []string
	for _, p := range packages {
		if strings.Contains(p, "/test/") {
			whole = append(whole, p)
		} else {
			own = append(own, p)
		}
	}

	var t tally
	fmt.Fprintf(out, "-----> Testing %d packages\n", len(own))
	if err := goTest(ctx, out, &t, append([]string{"-p", "2"}, args...), own); err != nil {
		return false, err
	}
	// These have the whole machine in view, dockerd above all: one at a time,
	// and never from the cache.
	fmt.Fprintf(out, "-----> Testing the whole: %d packages, one after the other\n", len(whole))
	t.each = true
	if err := goTest(ctx, out, &t, append([]string{"-p", "1", "-count=1"}, args...), whole); err != nil {
		return false, err
	}
	t.close(out)
	return t.failed == 0 && t.passed > 0, nil
}

// list returns the packages of the module that have tests.
func list(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f",
		"{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// goTest runs go test on packages and adds what it reports to t. A failed test
// is no error: it is in t.
func goTest(ctx context.Context, out io.Writer, t *tally, flags, packages []string) error {
	if len(packages) == 0 {
		return nil
	}
	args := append([]string{"test", "-json", "-timeout", "30m"}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read from go test: %w", err)
	}
	before := t.failed
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	readErr := t.read(events, out)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted")
	case readErr != nil:
		return fmt.Errorf("read what go test reports: %w", readErr)
	case err != nil && t.failed == before: // it failed, and no test of ours did
		return fmt.Errorf("run go test: %w", err)
	}
	return nil
}
