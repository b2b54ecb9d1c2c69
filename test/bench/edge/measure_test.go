package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after == before; {
		if after, err = cpuTime(os.Getpid()); err != nil || after < before {
			t.Fatal(before, after, err)
		}
	}
	if d, err := cpuTime(0); d != 0 || err != nil {
		t.Error(d, err)
	}
}

func TestForeign(t *testing.T) {
	busy, err := parseBusy("cpu  100 1 200 9999 50 3 4 5 6 0\ncpu0 1\n")
	if err != nil || busy != 3130*time.Millisecond {
		t.Error(busy, err)
	}
	for _, s := range []string{"", "cpu 1 2", "cpu a b c d e f g h", "cpu0 1 2 3 4 5 6 7 8"} {
		if _, err := parseBusy(s); err == nil {
			t.Errorf("%q is a time", s)
		}
	}
	now := time.Now()
	second := time.Second * time.Duration(runtime.NumCPU())
	from := clock{at: now, busy: 5 * time.Hour, own: time.Hour}
	to := clock{at: now.Add(time.Second), busy: from.busy + second*3/4, own: from.own + second/4}
	if f := foreign(from, to); f < 0.49 || f > 0.51 {
		t.Error(f)
	}
	to.own = from.own + second // ticks are rounded
	if f := foreign(from, to); f != 0 {
		t.Error(f)
	}
	if c, err := readClock(); err != nil || c.own <= 0 || c.busy < c.own/2 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestResident(t *testing.T) {
	n, err := resident(os.Getpid())
	if err != nil || n < 1<<20 || n > 1<<32 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := parsePss("5581cbf00000-7ffe rollup\nRss:  10 kB\nPss:             1234 kB\nPss_Dirty: 3 kB\n"); n != 1234<<10 || err != nil {
		t.Error(n, err)
	}
	for _, s := range []string{"", "Pss: x kB\n"} {
		if _, err := parsePss(s); err == nil {
			t.Errorf("%q is memory", s)
		}
	}
}

func TestPercentile(t *testing.T) {
	list := []int64{5, 1, 4, 2, 3}
	for p, want := range map[int]int64{0: 1, 1: 1, 20: 1, 21: 2, 50: 3, 80: 4, 99: 5, 100: 5} {
		if got := percentile(list, p); got != want {
			t.Errorf("p%d is %d", p, got)
		}
	}
	if percentile([]time.Duration(nil), 99) != 0 {
		t.Error("nothing has a percentile")
	}
}

func TestRatios(t *testing.T) {
	// A round on a slow machine is slow for both.
	c := comparison{ours: []float64{1, 10, 3}, theirs: []float64{2, 20, 0}}
	if r := c.ratios(); len(r) != 2 || r[0] != 0.5 || r[1] != 0.5 {
		t.Error(r)
	}
}

func TestTable(t *testing.T) {
	var b table
	b.add(row{subject: "s", measure: "m", unit: microseconds, against: "p", bar: 1.1,
		comparison: comparison{ours: []float64{34, 36, 35}, theirs: []float64{40, 40, 140}}})
	b.add(row{subject: "s", measure: "m", unit: perSecond, against: "p", bar: 0.3,
		comparison: comparison{ours: []float64{5}, theirs: []float64{10}}})
	b.add(row{subject: "s", measure: "swap", unit: milliseconds, most: 5, comparison: comparison{ours: []float64{0.25, 7, 12.34}}})
	b.add(row{subject: "s", measure: "m", unit: microseconds, against: "p", bar: 1.1,
		comparison: comparison{ours: []float64{1, 1, 2}, theirs: []float64{1, 1, 1}}})
	b.add(row{subject: "s", measure: "zero", unit: milliseconds, against: "p",
		comparison: comparison{ours: []float64{0}, theirs: []float64{0}}})
	b.missing("s", "Caddy", "not installed")
	b.note("note %d", 1)
	b.note("note %d", 1)
	var text strings.Builder
	if err := b.print(&text); err != nil {
		t.Fatal(err)
	}
	const want = `| case | measured | Landward | against | theirs | ratio | spread | bar |
|---|---|---:|---|---:|---:|---|---|
| s | m | 35.0 µs | p | 40.0 µs | 0.85 | 0.25 to 0.90 | ≤ 1.10 met |
| s | m | 5.00/s | p | 10.0/s | 0.50 | 0.50 to 0.50 | ≤ 0.30 **missed** |
| s | swap | 7.00 ms |  |  |  | 0.250 ms to 12.3 ms | ≤ 5.00 ms **missed**, rounds differ |
| s | m | 1.00 µs | p | 1.00 µs | 1.00 | 1.00 to 2.00 | ≤ 1.10 met, rounds differ |
| s | zero | 0 ms | p | 0 ms |  |  |  |
| s | – |  | Caddy |  |  | not installed |  |

note 1
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]string{
		"nginx version: nginx/1.22.1\n": "1.22.1", "h2load nghttp2/1.52.0": "1.52.0",
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17": "2.6.12", "v2.10 h1:abc": "2.10", "?": "",
	} {
		if got := version(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestParseH2Load(t *testing.T) {
	s, err := parseH2Load(`starting benchmark...
finished in 502.13ms, 24554.50 req/s, 27.10MB/s
requests: 12345 total, 12340 started, 12339 done, 12330 succeeded, 9 failed, 5 errored, 4 timeout
`)
	if err != nil || s.Requests != 12330 || s.Wrong != 9 || s.Elapsed != 502130*time.Microsecond {
		t.Errorf("%+v %v", s, err)
	}
	for _, text := range []string{"", "finished in 1.00s, 0.00 req/s, 0B/s\nrequests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout"} {
		if _, err := parseH2Load(text); err == nil {
			t.Errorf("%q is a measurement", text)
		}
	}
}

func TestSettings(t *testing.T) {
	s, err := parse([]string{"-only", "http1,idle", "-short"})
	if err != nil || !s.wants("http1") || !s.wants("idle") || s.wants("http2") || s.rounds != 2 {
		t.Errorf("%+v %v", s, err)
	}
	if s, err = parse(nil); err != nil || !s.wants("http2") {
		t.Errorf("%+v %v", s, err)
	}
	for _, args := range [][]string{{"-only", "http3"}, {"-rounds", "0"}, {"-window", "1ms"}, {"what"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
