package buildkit

import (
	"strings"
	"testing"
	"time"

	bk "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"landward/internal/build"
)

// shown runs status messages through a progress and returns its lines.
func shown(statuses ...*bk.SolveStatus) (*progress, []string) {
	var lines []string
	p := newProgress(func(l build.Line) { lines = append(lines, l.Text) })
	for _, s := range statuses {
		p.show(s)
	}
	p.finish()
	return p, lines
}

func logs(vertex, data string) *bk.SolveStatus {
	return &bk.SolveStatus{Logs: []*bk.VertexLog{{Vertex: digest.Digest(vertex), Data: []byte(data)}}}
}

func vertex(id, name, failure string, cached bool) *bk.SolveStatus {
	now := time.Unix(1, 0)
	return &bk.SolveStatus{Vertexes: []*bk.Vertex{{Digest: digest.Digest(id), Name: name, Started: &now, Cached: cached, Error: failure}}}
}

func TestProgressLines(t *testing.T) {
	long := strings.Repeat("y", maxLine+5)
	tests := []struct {
		name     string
		statuses []*bk.SolveStatus
		want     []string
	}{
		{"pieces of a line", []*bk.SolveStatus{logs("a", "one "), logs("b", "other\n"), logs("a", "line\ntwo")}, []string{"other", "one line", "two"}},
		{"blank lines", []*bk.SolveStatus{logs("a", "\n\nx\n")}, []string{"", "", "x"}},
		{"long line", []*bk.SolveStatus{logs("a", long), logs("a", "more\nnext\n")}, []string{long[:maxLine] + " … line cut", "next"}},
		{"bytes that are not text", []*bk.SolveStatus{logs("a", "a\xff\xfeb\n")}, []string{"a\uFFFDb"}},
		{"a letter in two pieces", []*bk.SolveStatus{logs("a", "caf\xc3"), logs("a", "\xa9\n")}, []string{"café"}},
		{"a cached step", []*bk.SolveStatus{vertex("a", "[1/2] RUN x", "", true), vertex("a", "[1/2] RUN x", "", true)}, []string{"[1/2] RUN x (cached)"}},
		{"what is BuildKit's own", []*bk.SolveStatus{vertex("a", "[internal] load metadata", "", false)}, nil},
		{"a step of several lines", []*bk.SolveStatus{vertex("a", "RUN a\nb\x1b[2J", "", false)}, []string{"RUN a …"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := shown(tt.statuses...)
			if strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Errorf("lines = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProgressIsBounded(t *testing.T) {
	flood := strings.Repeat("landward\n", maxOutput/4)
	p, lines := shown(logs("a", flood), vertex("b", "[2/2] RUN y", "exit code: 1", false), logs("b", "the reason\n"))
	size := 0
	for _, l := range lines {
		size += len(l) + 1
	}
	if size > maxOutput+200 {
		t.Errorf("%d bytes were passed on", size)
	}
	if got := lines[len(lines)-2:]; got[0] != "… output cut after 1 MiB" || got[1] != "[2/2] RUN y" {
		t.Errorf("last lines = %q", got)
	}
	if tail := p.failed().tail; len(tail) != 1 || tail[0] != "the reason" {
		t.Errorf("tail = %q", tail)
	}
}

func TestProgressFindsTheFailedStep(t *testing.T) {
	p, _ := shown(
		vertex("a", "[1/3] RUN stopped", "executor failed: context canceled", false),
		vertex("b", "[2/3] RUN guilty", "exit code: 2", false), logs("b", "why\n"),
		vertex("c", "[3/3] RUN fine", "", false),
	)
	if st := p.failed(); st == nil || st.name != "[2/3] RUN guilty" {
		t.Errorf("failed = %+v", st)
	}
	if p, _ := shown(vertex("a", "fine", "", false)); p.failed() != nil {
		t.Error("a step failed that did not")
	}
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte("plain\n"), []byte("\x1b[31mred\r\n"))
	f.Add([]byte("\x1b]0;t"), []byte("\x07\xc2"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		_, lines := shown(logs("a", string(a)), logs("a", string(b)))
		for _, l := range lines {
			if strings.ContainsAny(l, "\n\r\x1b\x07\x00") || len(l) > 4*maxLine {
				t.Errorf("line %q", l)
			}
		}
	})
}
