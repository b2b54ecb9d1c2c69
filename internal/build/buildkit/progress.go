package buildkit

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	bk "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"landward/internal/build"
	"landward/internal/landward"
)

// Limits on what of a build's output is passed on.
const (
	maxLine   = 16 << 10 // bytes of a line
	maxOutput = 1 << 20  // bytes of all lines of a build
	tailLines = 20       // lines of a step that its failure shows
)

// escapes are the terminal's control sequences: colours, cursor moves, titles.
var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])`)

// progress turns BuildKit's status into lines. One goroutine uses it, but for
// failed, which is asked when that has ended.
type progress struct {
	out   func(build.Line)
	steps map[digest.Digest]*step
	order []*step
	sent  int
	cut   bool
}

// step is one vertex of the build.
type step struct {
	name    string
	shown   bool
	err     string
	partial bytes.Buffer // a line that has not ended
	skip    bool         // the line is too long; drop what is left of it
	tail    []string
}

func newProgress(out func(build.Line)) *progress {
	return &progress{out: out, steps: map[digest.Digest]*step{}}
}

// show takes one status message.
func (p *progress) show(s *bk.SolveStatus) {
	for _, v := range s.Vertexes {
		st := p.step(v.Digest)
		st.name = v.Name
		if v.Started != nil && !st.shown && !strings.HasPrefix(v.Name, "[internal]") {
			st.shown = true
			head := stepName(v.Name)
			if v.Cached {
				head += " (cached)"
			}
			p.send(build.Line{Headline: true, Text: head})
		}
		if v.Error != "" {
			st.err = v.Error
		}
		if v.Completed != nil {
			p.flush(st)
		}
	}
	for _, l := range s.Logs {
		p.log(p.step(l.Vertex), l.Data)
	}
	for _, w := range s.Warnings {
		p.send(build.Line{Text: "warning: " + cleanLine(w.Short)})
	}
}

func (p *progress) step(d digest.Digest) *step {
	st, ok := p.steps[d]
	if !ok {
		st = &step{}
		p.steps[d] = st
		p.order = append(p.order, st)
	}
	return st
}

// log cuts a step's output into lines.
func (p *progress) log(st *step, data []byte) {
	for len(data) > 0 {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		if room := maxLine - st.partial.Len(); len(line) > room && !st.skip {
			st.partial.Write(line[:room])
			p.line(st, " … line cut")
			st.skip = true
		} else if !st.skip {
			st.partial.Write(line)
		}
		if ended && !st.skip {
			p.line(st, "")
		}
		if ended {
			st.skip = false
		}
		data = rest
	}
}

// flush sends a step's last line if no newline ended it.
func (p *progress) flush(st *step) {
	if st.partial.Len() > 0 {
		p.line(st, "")
	}
}

// finish sends what is left when the build has ended.
func (p *progress) finish() {
	for _, st := range p.order {
		p.flush(st)
	}
}

func (p *progress) line(st *step, mark string) {
	text := cleanLine(st.partial.Bytes()) + mark
	st.partial.Reset()
	if len(st.tail) == tailLines {
		st.tail = append(st.tail[:0], st.tail[1:]...)
	}
	st.tail = append(st.tail, text)
	p.send(build.Line{Text: text})
}

// send passes a line on unless there were too many. Headlines are few and
// always pass.
func (p *progress) send(l build.Line) {
	if !l.Headline {
		if p.cut {
			return
		}
		if p.sent += len(l.Text) + 1; p.sent > maxOutput {
			p.cut = true
			l.Text = fmt.Sprintf("… output cut after %d MiB", maxOutput>>20)
		}
	}
	p.out(l)
}

// failed returns the step that broke the build, nil if none did. Steps that
// were only stopped because of it do not count.
func (p *progress) failed() *step {
	var found *step
	for _, st := range p.order {
		if st.err == "" || strings.Contains(st.err, "context canceled") {
			continue
		}
		if found == nil || len(st.tail) > 0 && len(found.tail) == 0 {
			found = st
		}
	}
	return found
}

// stepName shortens a step's name to one line.
func stepName(name string) string {
	if i := strings.IndexByte(name, '\n'); i >= 0 {
		name = name[:i] + " …"
	}
	return landward.Printable(name)
}

// cleanLine makes a line of output safe to show: what a carriage return has
// overwritten goes, and so does everything that a terminal would act on.
func cleanLine(data []byte) string {
	data = bytes.TrimRight(data, "\r")
	if i := bytes.LastIndexByte(data, '\r'); i >= 0 {
		data = data[i+1:]
	}
	return landward.CleanLine(strings.ToValidUTF8(string(escapes.ReplaceAll(data, nil)), "\uFFFD"))
}
