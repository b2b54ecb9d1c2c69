package logs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/logs"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func line(i int, source, text string) logs.Line {
	return logs.Line{At: noon.Add(time.Duration(i) * time.Second), Kind: logs.KindApp, Source: source, Text: text}
}

// texts reads what a query gives, without following.
func texts(t *testing.T, s *logs.Store, q logs.Query) []string {
	t.Helper()
	var out []string
	err := s.App(t.Context(), 7, q, func(l logs.Line) error { out = append(out, l.Text); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestQuery(t *testing.T) {
	dir := t.TempDir()
	s := logs.New(dir, 1<<20)
	defer s.Close()
	for i, l := range []logs.Line{line(0, "web.1", "one"), line(2, "web.2", "Two"), line(4, "worker.1", "three two"), line(6, "web.1", "four")} {
		l.Unit = fmt.Sprint("u", i)
		if err := s.AppendApp(7, l); err != nil {
			t.Fatal(err)
		}
	}
	access := `{"at":"2026-01-01T12:00:03Z","app_id":7,"method":"GET","path":"/a b","status":503,"unit":"web.1","out":12,"connect_ms":0.4,"service_ms":7.6,"id":"r1","ip":"::1","host":"blog.localhost","code":"refused"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "7", "router.log"), []byte(access), 0o600); err != nil {
		t.Fatal(err)
	}
	router := `at=error code=refused method=GET path="/a b" host=blog.localhost request_id=r1 fwd="::1" unit=web.1 connect=0ms service=8ms status=503 bytes=12`
	tests := []struct {
		name string
		q    logs.Query
		want []string
	}{
		{"all", logs.Query{}, []string{"one", "Two", "three two", "four"}},
		{"with the router's, by time", logs.Query{Router: true}, []string{"one", "Two", router, "three two", "four"}},
		{"tail", logs.Query{Tail: 2}, []string{"three two", "four"}},
		{"tail of what matches", logs.Query{Tail: 1, Grep: "TWO"}, []string{"three two"}},
		{"process", logs.Query{Process: "web"}, []string{"one", "Two", "four"}},
		{"one unit", logs.Query{Process: "web.2"}, []string{"Two"}},
		{"since", logs.Query{Since: noon.Add(3 * time.Second)}, []string{"three two", "four"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := texts(t, s, tt.q); !slices.Equal(got, tt.want) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
	seen, err := s.LastSeen(7)
	if err != nil || !seen["u3"].Equal(noon.Add(6*time.Second)) {
		t.Errorf("last seen %v, %v", seen, err)
	}
}

func TestBounded(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 << 10
	s := logs.New(dir, limit)
	defer s.Close()
	for i := range 5000 {
		if err := s.AppendApp(7, line(i, "web.1", strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
	}
	var total int64
	entries, err := os.ReadDir(filepath.Join(dir, "7"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > limit || total < limit/4 {
		t.Errorf("%d bytes are kept of a limit of %d", total, limit)
	}
	if n := len(texts(t, s, logs.Query{})); n < 100 {
		t.Errorf("only %d lines are left", n)
	}
}

// TestFollow follows through several rotations and must see every line once.
func TestFollow(t *testing.T) {
	s := logs.New(t.TempDir(), 32<<10)
	defer s.Close()
	const n = 2000
	if err := s.AppendApp(7, line(0, "web.1", "0")); err != nil {
		t.Fatal(err)
	}
	started, got := make(chan struct{}), make(chan string, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	var seen atomic.Int64
	go func() {
		first := true
		ended <- s.App(ctx, 7, logs.Query{Follow: true}, func(l logs.Line) error {
			if first {
				close(started)
				first = false
			}
			got <- l.Text
			return nil
		})
	}()
	<-started
	go func() {
		for i := 1; i < n; i++ {
			if err := s.AppendApp(7, line(i, "web.1", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
			// The follower keeps up with what it must: no more than one
			// rotation may pass it by.
			if i%100 == 0 {
				for seen.Load() < int64(i) {
					select {
					case <-ctx.Done():
						return
					case <-time.After(time.Millisecond):
					}
				}
			}
		}
	}()
	for i := range n {
		select {
		case text := <-got:
			if text != fmt.Sprint(i) {
				t.Fatalf("line %d is %q", i, text)
			}
			seen.Add(1)
		case <-time.After(30 * time.Second):
			t.Fatalf("line %d never came", i)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestFollowDeployment ends with the last line of a deployment, or, where its
// writer died, soon after everybody says that it has ended.
func TestFollowDeployment(t *testing.T) {
	want := []string{"-----> Building app", "       half", "       way", " !     it broke\uFFFD[31m", " !     | last words", " !     mend it"}
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprint(whole), func(t *testing.T) {
			s := logs.New(t.TempDir(), 1<<20)
			defer s.Close()
			var done atomic.Bool
			out := s.Output(7, 3, func() time.Time { return noon }, slog.New(slog.DiscardHandler))
			out.Step("Building app")
			follow := func() (got []string) {
				err := s.Deploy(t.Context(), 7, 3, logs.Query{Follow: true, Done: done.Load}, func(l logs.Line) error {
					if got = append(got, l.Text); len(got) == 1 && !done.Swap(!whole) {
						out.Info("half\nway")
						out.Fail(&landward.Failure{Message: "it broke\x1b[31m", Cause: "| last words", Hint: "mend it"})
						if whole {
							out.End()
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				return got
			}
			if got := follow(); !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
			done.Store(true)
			if got := follow(); !slices.Equal(got, want) {
				t.Errorf("afterwards: got %q\nwant %q", got, want)
			}
		})
	}
}

func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	s := logs.New(dir, 1<<20)
	if err := s.AppendApp(7, line(0, "web.1", "whole")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := filepath.Join(dir, "7", "app.log")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"at":"2026-01-01T12:00:00Z","kind":"app","te`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendApp(7, line(1, "web.1", "after")); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := texts(t, s, logs.Query{}); !slices.Equal(got, []string{"whole", "after"}) {
		t.Errorf("got %q", got)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s := logs.New(dir, 1<<20)
	defer s.Close()
	if err := s.AppendApp(7, line(0, "web.1", "x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(7); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "7")); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := s.AppendApp(7, line(0, "web.1", "again")); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, s, logs.Query{}); !slices.Equal(got, []string{"again"}) {
		t.Errorf("got %q", got)
	}
}
