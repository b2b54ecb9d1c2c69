package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// unit says how a figure is written.
type unit string

// The units.
const (
	microseconds unit = "µs"
	milliseconds unit = "ms"
	perSecond    unit = "/s"
	mebibytes    unit = "MiB"
)

// row is one line of the table.
type row struct {
	subject string // what was measured on
	measure string
	unit    unit
	against string
	comparison
	bar    float64 // the most that ours may be of theirs; 0: no bar
	most   float64 // the most that ours may be, in the unit; 0: no bar
	reason string  // why there are no figures
}

// table is what the benchmark prints.
type table struct {
	rows  []row
	notes []string
}

func (t *table) add(r row) { t.rows = append(t.rows, r) }

// missing adds a line that says what could not be measured.
func (t *table) missing(subject, label, why string) {
	t.add(row{subject: subject, against: label, reason: why})
}

// note adds a line below the table. The same line is not added twice.
func (t *table) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(t.notes, s) {
		t.notes = append(t.notes, s)
	}
}

// print writes the table as Markdown.
func (t *table) print(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| case | measured | Landward | against | theirs | ratio | spread | bar |\n")
	b.WriteString("|---|---|---:|---|---:|---:|---|---|\n")
	for _, r := range t.rows {
		b.WriteString(r.line())
	}
	for _, n := range t.notes {
		b.WriteString("\n" + n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line writes a row.
func (r row) line() string {
	cells := []string{r.subject, r.measure, "", r.against, "", "", "", ""}
	if r.reason != "" {
		cells[1], cells[6] = "–", r.reason
	} else {
		cells[2] = r.unit.format(median(r.ours))
		if len(r.theirs) > 0 {
			cells[4] = r.unit.format(median(r.theirs))
		}
		if ratios := r.ratios(); len(ratios) > 0 {
			cells[5] = fmt.Sprintf("%.2f", median(ratios))
			cells[6] = fmt.Sprintf("%.2f to %.2f", slices.Min(ratios), slices.Max(ratios))
		} else if len(r.ours) > 1 {
			cells[6] = r.unit.format(slices.Min(r.ours)) + " to " + r.unit.format(slices.Max(r.ours))
		}
		cells[7] = r.verdict()
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// verdict says what the bar is and whether it is met: by the median, and
// whether all rounds agree with that.
func (r row) verdict() string {
	switch {
	case r.bar > 0:
		return fmt.Sprintf("≤ %.2f %s", r.bar, judge(r.ratios(), r.bar))
	case r.most > 0:
		return fmt.Sprintf("≤ %s %s", r.unit.format(r.most), judge(r.ours, r.most))
	}
	return ""
}

// judge says on which side of a bar the rounds are.
func judge(rounds []float64, bar float64) string {
	if len(rounds) == 0 {
		return "unknown"
	}
	met := median(rounds) <= bar
	verdict := "**missed**"
	if met {
		verdict = "met"
	}
	if (slices.Min(rounds) <= bar) != met || (slices.Max(rounds) <= bar) != met {
		verdict += ", rounds differ"
	}
	return verdict
}

// format writes a figure with as many digits as it is good for.
func (u unit) format(v float64) string {
	digits := 0
	switch {
	case v == 0:
	case v < 1:
		digits = 3
	case v < 10:
		digits = 2
	case v < 100:
		digits = 1
	}
	number := fmt.Sprintf("%.*f", digits, v)
	if u == perSecond {
		return number + string(u)
	}
	return number + " " + string(u)
}

// printHeader says what the figures below were made with.
func (b *bench) printHeader(ctx context.Context, w io.Writer) {
	pinned := "not pinned to cores"
	if b.s.pin {
		pinned = "servers pinned to one core, load and backend to the others"
	}
	_, _ = fmt.Fprintf(w, "%d cores (%s), %s, %d rounds of %s, %s.\n", runtime.NumCPU(), cpuModel(), runtime.Version(),
		b.s.rounds, b.s.window, pinned)
	var versions []string
	for _, p := range []struct{ program, argument string }{
		{b.s.nginx, "-v"}, {b.s.caddy, "version"}, {b.s.haproxy, "-v"}, {b.s.h2load, "--version"},
	} {
		path, err := find(p.program)
		if err != nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, path, p.argument).CombinedOutput(); err == nil {
			versions = append(versions, p.program+" "+version(string(out)))
		}
	}
	_, _ = fmt.Fprintf(w, "Against %s.\n", strings.Join(versions, ", "))
	if len(b.foreign) > 0 {
		_, _ = fmt.Fprintf(w, "Others took %.0f%% of the processors meanwhile (median; %.0f%% in the worst round).\n",
			100*median(b.foreign), 100*slices.Max(b.foreign))
	}
	if b.s.short {
		_, _ = fmt.Fprintln(w, "Run with -short: these figures are worth nothing.")
	}
	_, _ = fmt.Fprintln(w)
}

var versionNumber = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// version finds a program's version in what it says of itself.
func version(text string) string { return versionNumber.FindString(text) }

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
