package access_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

	"go.uber.org/goleak"

	"landward/internal/logs/accesslog"
	"landward/internal/route"
	"landward/internal/route/access"
	"landward/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample() *route.Entry {
	return &route.Entry{
		At: time.Date(2026, 11, 21, 10, 11, 12, 13_456_789, time.FixedZone("x", 3600)), AppID: 7, Unit: "web.1",
		Method: []byte("GET"), Path: []byte(`/a"b\c` + "\xc3\xa4\x1b["), Host: []byte("shop.test"), ID: []byte("0123abcd"),
		IP: netip.MustParseAddr("::1"), Minor: 1, Status: 502, Code: route.CodeRefused, In: 5, Out: 1234,
		Total: 1234567 * time.Nanosecond, Connect: 40 * time.Microsecond, Service: 2 * time.Second,
	}
}

// start runs a log and returns what stops it.
func start(t *testing.T, l *access.Log) (stop func()) {
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

// add logs a request for a path that is its number.
func add(l *access.Log, app int64, n int) {
	e := sample()
	e.At, e.AppID, e.Path = time.Now(), app, fmt.Appendf(nil, "/%d", n)
	l.Access(e)
}

// numbers reads back what add has logged.
func numbers(t *testing.T, dir string, app int64) (out []int) {
	t.Helper()
	err := accesslog.Read(context.Background(), filepath.Join(dir, fmt.Sprint(app)), accesslog.Query{},
		func(raw []byte, e *accesslog.Entry) error {
			var n int
			if _, err := fmt.Sscanf(e.Path, "/%d", &n); err != nil || e.AppID != app {
				t.Errorf("%s", raw)
			}
			out = append(out, n)
			return nil
		})
	if err != nil {
		t.Error(err)
	}
	return out
}

// inOrder checks that numbers follow each other without a gap.
func inOrder(t *testing.T, list []int) {
	t.Helper()
	for i, n := range list {
		if n != list[0]+i {
			t.Fatalf("place %d has %d; the list begins with %d", i, n, list[0])
		}
	}
}

func names(t *testing.T, dir string, app int64) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, fmt.Sprint(app)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestLine(t *testing.T) {
	base := map[string]any{
		"at": "2026-11-21T09:11:12.013Z", "app_id": 7.0, "method": "GET", "path": `/a"b\c%C3%A4%1B[`, "host": "shop.test",
		"status": 502.0, "code": "refused", "unit": "web.1", "in": 5.0, "out": 1234.0, "ms": 1.234, "connect_ms": 0.04,
		"service_ms": 2000.0, "id": "0123abcd", "ip": "::1", "proto": "HTTP/1.1", "scheme": "http",
	}
	tests := map[string]struct {
		change func(*route.Entry)
		want   map[string]any // beside base; nil: not there
	}{
		"as it is": {func(*route.Entry) {}, nil},
		"HTTP/1.0": {func(e *route.Entry) { e.Minor = 0 }, map[string]any{"proto": "HTTP/1.0"}},
		"HTTP/3 over TLS": {func(e *route.Entry) { e.Proto, e.TLS = "HTTP/3.0", true },
			map[string]any{"proto": "HTTP/3.0", "scheme": "https"}},
		"agent": {func(e *route.Entry) { e.Agent = []byte(`curl "8" \` + "\n") }, map[string]any{"user_agent": `curl "8" \%0A`}},
		"long agent": {func(e *route.Entry) { e.Agent = bytes.Repeat([]byte("a"), 10000) },
			map[string]any{"user_agent": strings.Repeat("a", 256)}},
		"referer": {func(e *route.Entry) { e.Referer = []byte("https://x.test/a?token=1#x") },
			map[string]any{"referer": "https://x.test/a"}},
		"long referer": {func(e *route.Entry) { e.Referer = bytes.Repeat([]byte("a"), 10000) },
			map[string]any{"referer": strings.Repeat("a", 512)}},
		"referer of a query only": {func(e *route.Entry) { e.Referer = []byte("?x") }, nil},
		"answered by an app": {func(e *route.Entry) { e.Code, e.Status = "", 200 },
			map[string]any{"code": nil, "status": 200.0}},
		"address with a zone": {func(e *route.Entry) { e.IP = netip.MustParseAddr("::1").WithZone(`"x`) }, nil},
		"no address":          {func(e *route.Entry) { e.IP = netip.Addr{} }, map[string]any{"ip": ""}},
		"strange id":          {func(e *route.Entry) { e.ID = []byte("a\"\n") }, map[string]any{"id": `a"%0A`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := newLog(dir, access.Options{})
			e := sample()
			tt.change(e)
			l.Access(e)
			start(t, l)()
			b, err := os.ReadFile(filepath.Join(dir, "7", "router.log"))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{}
			for k, v := range base {
				want[k] = v
			}
			for k, v := range tt.want {
				if want[k] = v; v == nil {
					delete(want, k)
				}
			}
			var got map[string]any
			if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\ngot  %v\nwant %v", err, got, want)
			}
		})
	}
}

// TestFollow holds that a reader of the plain file sees lines soon, whole, and
// in order.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{Every: 5 * time.Millisecond})
	start(t, l)
	for i := range 5 {
		add(l, 7, i)
		waittest.Eventually(t, fmt.Sprint("line ", i), func() bool {
			b, _ := os.ReadFile(filepath.Join(dir, "7", "router.log"))
			return bytes.Count(b, []byte("\n")) == i+1 && bytes.HasSuffix(b, []byte("\n")) &&
				strings.Contains(string(b), fmt.Sprintf(`"path":"/%d"`, i))
		})
	}
}

// TestFull holds that entries without room are counted and dropped.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{MaxHeld: 1000})
	for range 100 {
		l.Access(sample())
	}
	kept := 100 - int(l.Dropped())
	start(t, l)()
	b, err := os.ReadFile(filepath.Join(dir, "7", "router.log"))
	if err != nil || bytes.Count(b, []byte("\n")) != kept || kept < 2 || kept > 10 {
		t.Errorf("%d kept, %d lines, %v", kept, bytes.Count(b, []byte("\n")), err)
	}
}

// TestDiskFull holds that lines that the disk does not take are counted, that
// it is said once, and that all is well as soon as there is room.
func TestDiskFull(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"no space":   func(path string) error { return os.Symlink("/dev/full", path) },
		"not a file": func(path string) error { return os.Mkdir(path, 0o700) },
		"not a log dir": func(path string) error {
			return errors.Join(os.Remove(filepath.Dir(path)), os.WriteFile(filepath.Dir(path), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "7", "router.log")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), spoil(path)); err != nil {
				t.Fatal(err)
			}
			var said safeBuffer
			l := access.New(access.Options{Dir: dir, Every: time.Millisecond, Log: slog.New(slog.NewTextHandler(&said, nil))})
			stop := start(t, l)
			for i := range 3 {
				add(l, 7, i)
				add(l, 8, i) // another app, on which nothing is wrong
				waittest.Eventually(t, "counted", func() bool { return l.Dropped() == uint64(i)+1 })
			}
			if n := strings.Count(said.String(), `msg="write access log"`); n != 1 {
				t.Errorf("said %d times:\n%s", n, said.String())
			}
			if os.Remove(path) != nil && os.Remove(filepath.Dir(path)) != nil {
				t.Fatal("what is in the way stays")
			}
			add(l, 7, 3)
			waittest.Eventually(t, "recovered", func() bool { return strings.Contains(said.String(), "written again") })
			stop()
			if got := numbers(t, dir, 7); !reflect.DeepEqual(got, []int{3}) {
				t.Errorf("app 7: %v", got)
			}
			if got := numbers(t, dir, 8); !reflect.DeepEqual(got, []int{0, 1, 2}) {
				t.Errorf("app 8: %v", got)
			}
			if !strings.Contains(said.String(), "lost=3") || strings.Count(said.String(), "written again") != 1 {
				t.Error(said.String())
			}
		})
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestBurst holds that much at once does not wait for the tick: with a tick
// that never comes, nothing may be dropped as long as the disk keeps up.
func TestBurst(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{Every: time.Hour, MaxHeld: 64 << 10})
	stop := start(t, l)
	const n = 1000
	for i := range n {
		add(l, 7, i)
		if i%50 == 49 {
			waittest.Eventually(t, "some room", func() bool {
				b, _ := os.ReadFile(filepath.Join(dir, "7", "router.log"))
				return bytes.Count(b, []byte("\n")) >= i-120 // half of what is held, and a little
			})
		}
	}
	stop()
	if got := numbers(t, dir, 7); len(got) != n || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", len(got), l.Dropped())
	}
}

// TestParallel holds that each entry ends up in a file or among the dropped.
func TestParallel(t *testing.T) {
	dir := t.TempDir()
	l := newLog(dir, access.Options{Every: time.Millisecond, MaxHeld: 16 << 10, MaxSize: 64 << 10})
	stop := start(t, l)
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				add(l, int64(i%3), i)
			}
		})
	}
	wg.Wait()
	stop()
	total := int(l.Dropped())
	for app := range int64(3) {
		total += len(numbers(t, dir, app))
	}
	if total != workers*each {
		t.Errorf("%d of %d are accounted for", total, workers*each)
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
	start(t, l)()
	l2 := newLog(t.TempDir(), access.Options{MaxHeld: 1 << 20})
	for range 1000 {
		l2.Access(e)
	}
	if n := testing.AllocsPerRun(100, func() { l2.Access(e) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAccess measures what a request pays, with lines taken away as fast
// as on a disk that costs nothing.
func BenchmarkAccess(b *testing.B) {
	dir := b.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "7"), 0o700), os.Symlink(os.DevNull, filepath.Join(dir, "7", "router.log"))); err != nil {
		b.Fatal(err)
	}
	l := access.New(access.Options{Dir: dir, Log: slog.New(slog.DiscardHandler), MaxSize: 1 << 60, KeepBytes: 1 << 62})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	e := sample()
	e.Path = []byte("/products/4711/reviews")
	e.TLS, e.Proto = true, "HTTP/2.0"
	e.Agent = []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36")
	e.Referer = []byte("https://shop.test/products")
	b.ReportAllocs()
	for b.Loop() {
		l.Access(e)
	}
	cancel()
	running.Wait()
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
