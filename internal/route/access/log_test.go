package access_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/access"
)

func sample() *route.Entry {
	return &route.Entry{
		At: time.Date(2026, 11, 21, 10, 11, 12, 13_456_789, time.FixedZone("x", 3600)), AppID: 7, Unit: "web.1",
		Method: []byte("GET"), Path: []byte(`/a"b\c` + "\xc3\xa4\x1b["), Host: []byte("shop.test"), ID: []byte("0123abcd"),
		IP: netip.MustParseAddr("::1"), Minor: 1, Status: 502, Code: route.CodeRefused, In: 5, Out: 1234,
		Total: 1234567 * time.Nanosecond, Connect: 40 * time.Microsecond, Service: 2 * time.Second,
	}
}

// run starts a log and returns what stops it.
func run(t *testing.T, l *access.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func newLog(dir string, o access.Options) *access.Log {
	o.Dir, o.Log = dir, slog.New(slog.DiscardHandler)
	return access.New(o)
}

func TestLine(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{})
	l.Access(sample())
	run(t, l)()
	b, err := os.ReadFile(filepath.Join(dir, "7", "router.log"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	want := map[string]any{
		"at": "2026-11-21T09:11:12.013Z", "app_id": 7.0, "method": "GET", "path": `/a"b\c%C3%A4%1B[`, "host": "shop.test",
		"status": 502.0, "code": "refused", "unit": "web.1", "in": 5.0, "out": 1234.0, "ms": 1.234, "connect_ms": 0.04,
		"service_ms": 2000.0, "id": "0123abcd", "ip": "::1", "proto": "HTTP/1.1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// TestFollow holds that a reader sees lines soon, whole, and in order.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{Every: 5 * time.Millisecond})
	run(t, l)
	path := filepath.Join(dir, "7", "router.log")
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range 5 {
		e := sample()
		e.Path = fmt.Appendf(nil, "/%d", i)
		l.Access(e)
		for end := time.Now().Add(20 * time.Second); ; <-tick.C {
			b, _ := os.ReadFile(path)
			if bytes.Count(b, []byte("\n")) == i+1 && bytes.HasSuffix(b, []byte("\n")) &&
				strings.Contains(string(b), fmt.Sprintf(`"path":"/%d"`, i)) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("line %d never came: %q", i, b)
			}
		}
	}
}

// TestRotates holds that a file is bounded, lines stay whole, and apps apart.
func TestRotates(t *testing.T) {
	dir := t.TempDir()
	const limit = 4096
	l := newLog(dir, access.Options{MaxSize: limit, Every: time.Millisecond})
	stop := run(t, l)
	const n = 200
	for i := range n {
		for app := range int64(2) {
			e := sample()
			e.AppID = app
			e.Path = fmt.Appendf(nil, "/%d", i)
			l.Access(e)
		}
		if i%5 == 4 {
			tick := time.NewTimer(3 * time.Millisecond)
			<-tick.C
		}
	}
	stop()
	for app := range 2 {
		last := -1
		for _, name := range []string{"router.log.1", "router.log"} {
			path := filepath.Join(dir, fmt.Sprint(app), name)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := f.Stat(); err != nil || st.Size() > 3*limit {
				t.Errorf("%s has %d bytes", path, st.Size())
			}
			s := bufio.NewScanner(f)
			for s.Scan() {
				var line struct {
					App  int    `json:"app_id"`
					Path string `json:"path"`
				}
				var i int
				if err := json.Unmarshal(s.Bytes(), &line); err != nil {
					t.Fatalf("%v: %s", err, s.Text())
				}
				if _, err := fmt.Sscanf(line.Path, "/%d", &i); err != nil || line.App != app || last >= 0 && i != last+1 {
					t.Fatalf("after %d: %s", last, s.Text())
				}
				last = i
			}
			_ = f.Close()
		}
		if last != n-1 {
			t.Errorf("app %d: last line is %d", app, last)
		}
	}
	if l.Dropped() != 0 {
		t.Errorf("%d dropped", l.Dropped())
	}
}

// TestFull holds that entries without room are counted and dropped, and that a
// folder that cannot be written harms nothing.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{MaxHeld: 1000})
	for range 100 {
		l.Access(sample())
	}
	kept := 100 - int(l.Dropped())
	run(t, l)()
	b, err := os.ReadFile(filepath.Join(dir, "7", "router.log"))
	if err != nil || bytes.Count(b, []byte("\n")) != kept || kept < 2 || kept > 10 {
		t.Errorf("%d kept, %d lines, %v", kept, bytes.Count(b, []byte("\n")), err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l = newLog(file, access.Options{})
	l.Access(sample())
	run(t, l)()
	if l.Dropped() == 0 {
		t.Error("nothing dropped though nothing could be written")
	}
}

// TestAllocates holds that an entry costs no allocation.
func TestAllocates(t *testing.T) {
	l := newLog(t.TempDir(), access.Options{MaxHeld: 1 << 20})
	e := sample()
	for range 4000 {
		l.Access(e) // until it is full: the buffer has grown for good
	}
	if n := testing.AllocsPerRun(100, func() { l.Access(e) }); n != 0 {
		t.Errorf("%v allocations when full", n)
	}
	run(t, l)()
	l2 := newLog(t.TempDir(), access.Options{MaxHeld: 1 << 20})
	for range 1000 {
		l2.Access(e)
	}
	if n := testing.AllocsPerRun(100, func() { l2.Access(e) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAccess(b *testing.B) {
	l := access.New(access.Options{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler), MaxHeld: 1 << 30})
	e := sample()
	b.ReportAllocs()
	for b.Loop() {
		l.Access(e)
	}
}
