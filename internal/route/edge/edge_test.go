package edge_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/edge"
	"landward/internal/waittest"
)

const patience = 20 * time.Second

// running is an edge with its folder.
type running struct {
	*edge.Edge
	*edge.Client
	dir  string
	log  *waittest.Buffer
	stop func()
}

// start runs an edge in dir.
func start(t *testing.T, dir string) *running {
	t.Helper()
	return launch(t, dir, edge.Options{
		HTTPS: "127.0.0.1:0", HTTP3: true, Certs: cert.Options{Dir: filepath.Join(dir, "certs"), Local: []string{"localhost"}},
	})
}

// launch runs an edge with options, to which it adds where everything is.
func launch(t *testing.T, dir string, o edge.Options) *running {
	t.Helper()
	r := &running{dir: dir, log: &waittest.Buffer{}}
	o.HTTP, o.Grace = "127.0.0.1:0", patience
	o.RoutesFile, o.Socket, o.LogDir = filepath.Join(dir, "routes.jsonl"), filepath.Join(dir, "edge.sock"), filepath.Join(dir, "logs")
	o.Log = slog.New(slog.NewTextHandler(r.log, nil))
	var err error
	if r.Edge, err = edge.New(o); err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.Client = edge.NewClient(o.Socket)
	r.stop = sync.OnceFunc(func() {
		r.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// PutTable hands a table over as its text.
func (r *running) PutTable(ctx context.Context, t route.Table) error {
	return r.Client.PutTable(ctx, t.Text())
}

// get asks for a host and returns status and body.
func (r *running) get(t *testing.T, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.Addr().String()+"/path?secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func backend(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func say(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	return backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func table(generation int64, addr netip.AddrPort) route.Table {
	return route.Table{Generation: generation, MadeAt: time.Unix(5, 0).UTC(), Routes: []*route.Route{{
		App: "shop", AppID: 7, Release: 1, Hosts: []string{"shop.test"}, State: route.StateUp,
		Targets: []route.Target{{Addr: addr, Unit: "web.1", ID: "shop-" + addr.String()}},
	}}}
}

func TestEdge(t *testing.T) {
	r := start(t, t.TempDir())
	if status, _ := r.get(t, "shop.test"); status != 404 {
		t.Errorf("without a table: %d", status)
	}
	if err := r.PutTable(t.Context(), table(1, say(t, "one"))); err != nil {
		t.Fatal(err)
	}
	if status, body := r.get(t, "shop.test"); status != 200 || body != "one" {
		t.Errorf("%d %q", status, body)
	}
	st, err := r.Status(t.Context())
	if err != nil || st.Generation != 1 || len(st.Targets) != 1 || st.Targets[0].Unit != "web.1" || !st.MadeAt.Equal(time.Unix(5, 0)) {
		t.Errorf("status %+v, %v", st, err)
	}
	text, err := r.Metrics(t.Context())
	if err != nil || !strings.Contains(text, "landward_edge_table_generation 1\n") {
		t.Errorf("metrics %q, %v", text, err)
	}
	info, err := os.Stat(filepath.Join(r.dir, "edge.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	r.stop()
	if _, err := os.Stat(filepath.Join(r.dir, "edge.sock")); !os.IsNotExist(err) {
		t.Errorf("socket is left: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, "logs", "7", "router.log"))
	if err != nil || !strings.Contains(string(b), `"path":"/path"`) || strings.Contains(string(b), "secret") {
		t.Errorf("log %q, %v", b, err)
	}
}

// TestRestart holds that a restarted edge serves by the table it had, alone.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	if err := first.PutTable(t.Context(), table(4, say(t, "one"))); err != nil {
		t.Fatal(err)
	}
	first.stop()
	second := start(t, dir)
	if status, body := second.get(t, "shop.test"); status != 200 || body != "one" {
		t.Errorf("%d %q", status, body)
	}
	if err := second.PutTable(t.Context(), table(3, say(t, "old"))); landward.CodeOf(err) != landward.CodeConflict {
		t.Errorf("an older table: %v", err)
	}
	if err := second.PutTable(t.Context(), table(4, say(t, "again"))); err != nil {
		t.Errorf("the same generation again: %v", err)
	}
}

// TestRestartProbes holds that a target that has gone meanwhile is known.
func TestRestartProbes(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := netip.MustParseAddrPort(l.Addr().String())
	_ = l.Close()
	if err := os.WriteFile(filepath.Join(dir, "routes.jsonl"), table(4, gone).Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir)
	if status, body := r.get(t, "shop.test"); status != 502 || !strings.Contains(body, "not answering") {
		t.Errorf("%d %q", status, body)
	}
	if !strings.Contains(r.log.String(), "suspects=1") {
		t.Errorf("log: %s", r.log)
	}
}

// TestBadFile holds that no file can keep the edge from starting.
func TestBadFile(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "half": `{"generation": 3, "rou`, "unknown key": `{"generation": 3, "nonsense": 1}` + "\n",
		"two": `{"generation":1}{"generation":2}` + "\n", "bad route": `{"routes":1}` + "\n" + `{"hosts":["X"],"state":"up"}` + "\n",
		"not JSON": "\x00\x01", "too new": `{"routes":1}` + "\n" + `{"hosts":["x"],"state":"up","canary":5}` + "\n",
		"short": `{"routes":2}` + "\n" + `{"hosts":["x"],"state":"up"}` + "\n", "cut": `{"routes":1}` + "\n" + `{"hosts":["x"],"state":"up"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "routes.jsonl"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := start(t, dir)
			if status, _ := r.get(t, "shop.test"); status != 404 {
				t.Errorf("status %d", status)
			}
			if !strings.Contains(r.log.String(), "start without one") {
				t.Errorf("log: %s", r.log)
			}
			if err := r.PutTable(t.Context(), table(1, say(t, "one"))); err != nil {
				t.Error(err)
			}
			if status, _ := r.get(t, "shop.test"); status != 200 {
				t.Errorf("status %d after a table", status)
			}
		})
	}
}

// TestBadTable holds that a table is refused whole and the one in use stays,
// in memory and on disk.
func TestBadTable(t *testing.T) {
	r := start(t, t.TempDir())
	if err := r.PutTable(t.Context(), table(5, say(t, "one"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.dir, "routes.jsonl")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	twice := table(6, say(t, "two"))
	twice.Routes = append(twice.Routes, &route.Route{App: "b", AppID: 8, Hosts: []string{"shop.test"}, State: route.StateUp})
	err = r.PutTable(t.Context(), twice)
	if e := landward.AsError(err); e == nil || e.Code != landward.CodeInvalid || e.Field != "routes[1].hosts[0]" {
		t.Errorf("got %v", err)
	}
	if err := r.PutTable(t.Context(), table(4, say(t, "old"))); landward.CodeOf(err) != landward.CodeConflict {
		t.Errorf("got %v", err)
	}
	raw := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(r.dir, "edge.sock"))
	}}}
	defer raw.CloseIdleConnections()
	for _, body := range []string{"", "[]", `{"generation":9,"routes":0,"x":1}`, `{"generation":9} trailing`, `{"generation":9,"routes":1}`} {
		req, err := http.NewRequest(http.MethodPut, "http://edge/v1/table", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := raw.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", body, resp.Status)
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file has changed: %s, %v", after, err)
	}
	if status, body := r.get(t, "shop.test"); status != 200 || body != "one" {
		t.Errorf("%d %q", status, body)
	}
	left, err := filepath.Glob(filepath.Join(r.dir, ".routes-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestKeepsNothingItCannotWrite holds that control hears of a disk that is in
// the way.
func TestKeepsNothingItCannotWrite(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "routes.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.PutTable(t.Context(), table(1, say(t, "one"))); landward.CodeOf(err) != landward.CodeInternal {
		t.Errorf("got %v", err)
	}
}

func TestDrain(t *testing.T) {
	r := start(t, t.TempDir())
	begun, release := make(chan struct{}), make(chan struct{})
	old := table(1, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "old")
	}))
	if err := r.PutTable(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	body := make(chan string, 1)
	go func() {
		_, b := r.get(t, "shop.test")
		body <- b
	}()
	<-begun
	if err := r.PutTable(t.Context(), table(2, say(t, "new"))); err != nil {
		t.Fatal(err)
	}
	ids := []string{old.Routes[0].Targets[0].ID}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Drain(short, ids, time.Minute); err == nil {
		t.Error("drained with a request in progress")
	}
	if _, err := r.Drain(t.Context(), ids, -time.Second); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("a negative limit: %v", err)
	}
	close(release)
	rep, err := r.Drain(t.Context(), ids, time.Minute)
	if err != nil || rep.Cut+rep.Closed > 0 {
		t.Errorf("%+v %v", rep, err)
	}
	if b := <-body; b != "old" {
		t.Errorf("got %q", b)
	}
}

// TestNobodyThere holds that a client without an edge says so.
func TestNobodyThere(t *testing.T) {
	c := edge.NewClient(filepath.Join(t.TempDir(), "none.sock"))
	defer c.Close()
	if err := c.PutTable(t.Context(), nil); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

// TestAddressInUse holds that a second edge is told, and harms not the first.
func TestAddressInUse(t *testing.T) {
	r := start(t, t.TempDir())
	other, err := edge.New(edge.Options{HTTP: r.Addr().String(), RoutesFile: filepath.Join(r.dir, "routes.jsonl"),
		Socket: filepath.Join(r.dir, "edge.sock"), LogDir: r.dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil {
		t.Fatal("two edges on one address")
	}
	if _, err := r.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGrace holds that a request in progress finishes after the order to stop.
func TestGrace(t *testing.T) {
	r := start(t, t.TempDir())
	begun, release := make(chan struct{}), make(chan struct{})
	if err := r.PutTable(t.Context(), table(1, backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "done")
	}))); err != nil {
		t.Fatal(err)
	}
	body := make(chan string, 1)
	go func() {
		_, b := r.get(t, "shop.test")
		body <- b
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	// The listener closes first.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(end) {
			t.Fatal("still listens")
		}
	}
	close(release)
	if b := <-body; b != "done" {
		t.Errorf("got %q", b)
	}
	<-stopped
}
