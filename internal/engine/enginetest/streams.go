package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

func logs(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "says", "say", "out:one", "err:two", `out:10%\r20%`, "out:caf\u00e9")
	s.apply(t, u)
	s.untilState(t, u.ID, engine.Exited)
	want := []string{"one", "20%", "caf\u00e9", "two"}
	var got []string
	var last time.Time
	for _, l := range s.logs(t, u.ID, engine.LogOptions{}) {
		if l.Stderr != (l.Text == "two") {
			t.Errorf("line %q has stderr %v", l.Text, l.Stderr)
		}
		if l.At.IsZero() || l.At.Before(last.Add(-time.Second)) {
			t.Errorf("line %q is from %v, after %v", l.Text, l.At, last)
		}
		last = l.At
		if l.Stderr {
			continue
		}
		got = append(got, l.Text)
	}
	if strings.Join(append(got, "two"), "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	if tail := s.logs(t, u.ID, engine.LogOptions{Tail: 1}); len(tail) != 1 {
		t.Errorf("tail 1 has %d lines", len(tail))
	}
	if since := s.logs(t, u.ID, engine.LogOptions{Since: last.Add(time.Minute)}); len(since) != 0 {
		t.Errorf("since later has %d lines", len(since))
	}
	long := s.unit(u.AppID, "long", "long", "20000")
	s.apply(t, long)
	s.untilState(t, long.ID, engine.Exited)
	total := 0
	for _, l := range s.logs(t, long.ID, engine.LogOptions{}) {
		if len(l.Text) > 16<<10 || strings.Trim(l.Text, "x") != "" {
			t.Errorf("a line of %d bytes: %.60q", len(l.Text), l.Text)
		}
		total += len(l.Text)
	}
	if total != 20000 && total != 16<<10 {
		t.Errorf("the long line came as %d bytes", total)
	}
	err := s.Engine.Logs(ctx(t), "nothing", engine.LogOptions{}, func(engine.LogLine) error { return nil })
	wantCode(t, err, landward.CodeNotFound)
}

func logsFollow(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "followed")
	s.apply(t, u)
	lines := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		done <- s.Engine.Logs(ctx(t), u.ID, engine.LogOptions{Follow: true}, func(l engine.LogLine) error {
			lines <- l.Text
			return nil
		})
	}()
	if got := <-lines; got != "ready" {
		t.Errorf("first line %q", got)
	}
	c, cancel := context.WithCancel(ctx(t))
	other := make(chan error, 1)
	go func() {
		other <- s.Engine.Logs(c, u.ID, engine.LogOptions{Follow: true}, func(engine.LogLine) error {
			cancel()
			return nil
		})
	}()
	if err := <-other; !errors.Is(err, context.Canceled) {
		t.Errorf("a follow whose context ended returned %v", err)
	}
	if err := s.Engine.Remove(ctx(t), u.ID, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("follow ended with %v", err)
	}
	if got := <-lines; got != "bye" {
		t.Errorf("last line %q", got)
	}
}

func logsStop(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "stops", "say", "out:one", "out:two")
	s.apply(t, u)
	s.untilState(t, u.ID, engine.Exited)
	enough := errors.New("enough")
	n := 0
	err := s.Engine.Logs(ctx(t), u.ID, engine.LogOptions{}, func(engine.LogLine) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("got %v after %d lines", err, n)
	}
}

func run(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "once", "say", "out:to out", "err:to err")
	u.Kind, u.Env = engine.KindRun, map[string]string{"NAME": "va l$ue"}
	var out, errs bytes.Buffer
	code, err := s.Runner.Run(ctx(t), u, engine.Streams{Stdout: &out, Stderr: &errs})
	if err != nil || code != 0 || out.String() != "to out\n" || errs.String() != "to err\n" {
		t.Errorf("exit %d, %v, stdout %q, stderr %q", code, err, out.String(), errs.String())
	}
	u.Command = []string{"/probe", "exit", "42"}
	if code, _ := s.run(t, u); code != 42 {
		t.Errorf("exit %d, want 42", code)
	}
	u.Command = []string{"/probe", "env", "NAME"}
	if _, out := s.run(t, u); out != "va l$ue\n" {
		t.Errorf("variable came as %q", out)
	}
	if list, err := s.Engine.List(ctx(t), u.AppID); err != nil || len(list) != 0 {
		t.Errorf("%d containers are left, %v", len(list), err)
	}
	u.Resources.Memory = 0
	_, err = s.Runner.Run(ctx(t), u, engine.Streams{})
	wantCode(t, err, landward.CodePolicy)
}

func runInput(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "input", "cat")
	u.Kind = engine.KindRun
	text := strings.Repeat("line of input\n", 50_000)
	var out bytes.Buffer
	code, err := s.Runner.Run(ctx(t), u, engine.Streams{Stdin: strings.NewReader(text), Stdout: &out})
	if err != nil || code != 0 || out.String() != text {
		t.Errorf("exit %d, %v, %d bytes of %d came back", code, err, out.Len(), len(text))
	}
	// Without input there is an end of file at once.
	if code, out := s.run(t, u); code != 0 || out != "" {
		t.Errorf("without input: exit %d, %q", code, out)
	}
}

// signalWriter closes ready once something was written.
type signalWriter struct {
	io.Writer
	ready chan struct{}
	told  bool
}

func (w *signalWriter) Write(p []byte) (int, error) {
	if !w.told {
		w.told = true
		close(w.ready)
	}
	return w.Writer.Write(p)
}

func runCancelled(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "cancelled", "serve")
	u.Kind, u.StopTimeout = engine.KindRun, 5*time.Second
	c, cancel := context.WithCancel(ctx(t))
	w := &signalWriter{Writer: io.Discard, ready: make(chan struct{})}
	go func() {
		<-w.ready
		cancel()
	}()
	_, err := s.Runner.Run(c, u, engine.Streams{Stdout: w})
	wantCode(t, err, landward.CodeCancelled)
	if list, err := s.Engine.List(ctx(t), u.AppID); err != nil || len(list) != 0 {
		t.Errorf("%d containers are left, %v", len(list), err)
	}
	// A removal from outside ends it too.
	w = &signalWriter{Writer: io.Discard, ready: make(chan struct{})}
	go func() {
		<-w.ready
		_ = s.Engine.Remove(ctx(t), u.ID, time.Second)
	}()
	if code, err := s.Runner.Run(ctx(t), u, engine.Streams{Stdout: w}); err != nil || code != 0 {
		t.Errorf("removed one: exit %d, %v; the probe ends with 0 at a stop", code, err)
	}
}

func runTerminal(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "terminal", "size")
	u.Kind = engine.KindRun
	var out bytes.Buffer
	w := &signalWriter{Writer: &out, ready: make(chan struct{})}
	sizes := make(chan engine.Size)
	go func() {
		<-w.ready
		sizes <- engine.Size{Width: 123, Height: 45}
	}()
	code, err := s.Runner.Run(ctx(t), u, engine.Streams{Stdout: w, TTY: true, Resize: sizes})
	if err != nil || code != 0 || !strings.Contains(out.String(), "123x45\r\n") {
		t.Errorf("exit %d, %v, output %q", code, err, out.String())
	}
}

func exec(t *testing.T, s *suite) {
	u := s.unit(s.app(t), "execd")
	u.Env = map[string]string{"NAME": "inside"}
	s.apply(t, u)
	run := func(in io.Reader, argv ...string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		code, err := s.Runner.Exec(ctx(t), u.ID, append([]string{"/probe"}, argv...), engine.Streams{Stdin: in, Stdout: &out, Stderr: &errs})
		if err != nil {
			t.Fatalf("exec %v: %v", argv, err)
		}
		return code, out.String(), errs.String()
	}
	if code, out, errs := run(nil, "say", "out:a", "err:b"); code != 0 || out != "a\n" || errs != "b\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if code, out, _ := run(nil, "env", "NAME"); code != 0 || out != "inside\n" {
		t.Errorf("env: exit %d, %q", code, out)
	}
	if code, _, _ := run(nil, "exit", "9"); code != 9 {
		t.Errorf("exit %d, want 9", code)
	}
	if code, out, _ := run(strings.NewReader("typed"), "cat"); code != 0 || out != "typed" {
		t.Errorf("input: exit %d, %q", code, out)
	}
	var out bytes.Buffer
	w := &signalWriter{Writer: &out, ready: make(chan struct{})}
	sizes := make(chan engine.Size)
	go func() {
		<-w.ready
		sizes <- engine.Size{Width: 99, Height: 33}
	}()
	code, err := s.Runner.Exec(ctx(t), u.ID, []string{"/probe", "size"}, engine.Streams{Stdout: w, TTY: true, Resize: sizes})
	if err != nil || code != 0 || !strings.Contains(out.String(), "99x33") {
		t.Errorf("terminal: exit %d, %v, %q", code, err, out.String())
	}
	_, err = s.Runner.Exec(ctx(t), "nothing", []string{"/probe"}, engine.Streams{})
	wantCode(t, err, landward.CodeNotFound)
	held := s.unit(u.AppID, "held")
	held.Hold = true
	s.apply(t, held)
	_, err = s.Runner.Exec(ctx(t), held.ID, []string{"/probe"}, engine.Streams{})
	wantCode(t, err, landward.CodeConflict)
}
