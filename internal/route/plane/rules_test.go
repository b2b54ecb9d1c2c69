package plane_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/crypto/bcrypt"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
)

// ask sends a request and returns the answer, redirects not followed.
func (r *rig) ask(t testing.TB, method, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	c := r.client(t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRules: what a route demands is asked in front of the app, in the order
// that its author expects.
func TestRules(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("open"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	reached := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "app %s %s", r.URL.Path, r.Header.Get("Authorization"))
	})
	basic := landward.Auth{Basic: []landward.BasicUser{{Name: "alice", Hash: string(hash)}}, Realm: "Staff"}
	for name, tc := range map[string]struct {
		change func(r *route.Route)
		path   string
		header []string
		status int
		want   string // of the body's beginning, or of Location
	}{
		"nothing":      {func(*route.Route) {}, "/a", nil, 200, "app /a"},
		"address in":   {func(r *route.Route) { r.Auth.Allow = []string{"127.0.0.0/8"} }, "/", nil, 200, "app"},
		"address out":  {func(r *route.Route) { r.Auth.Allow = []string{"10.0.0.0/8"} }, "/", nil, 403, "forbidden|"},
		"denied":       {func(r *route.Route) { r.Auth.Deny = []string{"127.0.0.1"} }, "/", nil, 403, "forbidden|"},
		"no password":  {func(r *route.Route) { r.Auth = basic }, "/", nil, 401, "unauthorized|"},
		"password":     {func(r *route.Route) { r.Auth = basic }, "/x", []string{"Authorization", "Basic YWxpY2U6b3Blbg=="}, 200, "app /x "},
		"bad password": {func(r *route.Route) { r.Auth = basic }, "/x", []string{"Authorization", "Basic YWxpY2U6eA=="}, 401, "unauthorized|"},
		"maintenance":  {func(r *route.Route) { r.Maintenance = &route.Maintenance{Message: "back at nine"} }, "/", nil, 503, "maintenance||shop|back at nine"},
		"redirected": {func(r *route.Route) {
			r.Redirects = []landward.Redirect{{Path: "/old/*", To: "https://new.test/*", Code: 301}}
		}, "/old/a?b", nil, 301, "https://new.test/a?b"},
		"redirected before the password": {func(r *route.Route) {
			r.Auth = basic
			r.Redirects = []landward.Redirect{{Path: "/old", To: "/new"}}
		}, "/old", nil, 302, "/new"},
		"asked for HTTPS": {func(r *route.Route) { r.HTTPS = landward.HTTPSRedirect }, "/a?b=c", nil, 308, "https://shop.test/a?b=c"},
	} {
		t.Run(name, func(t *testing.T) {
			rt := app("shop", reached)
			tc.change(&rt)
			r := newRig(t, plane.Limits{}, rt)
			resp := r.ask(t, "GET", "http://shop.test"+tc.path, tc.header...)
			got := resp.Header.Get("Location")
			if got == "" {
				got = text(t, resp)
			}
			if resp.StatusCode != tc.status || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tc.status, tc.want)
			}
			if resp.StatusCode == 401 && resp.Header.Get("WWW-Authenticate") != `Basic realm="Staff", charset="UTF-8"` {
				t.Errorf("challenge: %q", resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	rt := app("shop", serve(t, func(http.ResponseWriter, *http.Request) {}))
	rt.Rate = landward.Rate{Requests: 1, Per: time.Hour, Burst: 3}
	r := newRig(t, plane.Limits{}, rt)
	for i := range 5 {
		// A table that changes something else must not hand out new buckets.
		r.apply(t, int64(i+2), func() route.Route { n := rt; n.Release = i + 2; return n }())
		resp := r.ask(t, "GET", "http://shop.test/")
		if want := 200; i < 3 && resp.StatusCode != want || i >= 3 && resp.StatusCode != 429 {
			t.Errorf("request %d: %d", i, resp.StatusCode)
		}
		if s, _ := strconv.Atoi(resp.Header.Get("Retry-After")); i >= 3 && s < 60 {
			t.Errorf("retry after %d s", s)
		}
	}
}

// TestHosts: exact names win over wildcards, wildcards stand for one label, and
// paths lead to their own targets.
func TestHostsAndPaths(t *testing.T) {
	say := func(word string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, word, " ", r.URL.EscapedPath(), " ", r.Header.Get("X-Forwarded-Prefix"))
		})
	}
	web, api := app("shop", say("web")), app("shop", say("api"))
	api.Prefix, api.Strip = "/api", true
	wild := app("wild", say("wild"))
	wild.Hosts, wild.AppID = []string{"*.shop.test"}, 8
	r := newRig(t, plane.Limits{}, web, api, wild)
	for _, tc := range []struct{ host, path, want string }{
		{"shop.test", "/", "web / "},
		{"shop.test", "/apix", "web /apix "},
		{"shop.test", "/api", "api / /api"},
		{"SHOP.test.", "/api/a%20b?c", "api /a%20b /api"},
		{"a.shop.test", "/api", "wild /api "},
		{"a.b.shop.test", "/", "unknown_host|"},
		{"other.test", "/", "unknown_host|"},
		{"shop.test", "/api/../x", "bad_request|"},
		{"shop.test", "/%2e%2e/api", "bad_request|"},
		{"shop.test", "/x/..%2fapi/y", "bad_request|"},
		{"shop.test", "//api/x", "bad_request|"},
	} {
		c := r.dial(t)
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tc.path, tc.host)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, resp); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s%s: %q, want %q", tc.host, tc.path, got, tc.want)
		}
	}
}

func TestAnswerHeaders(t *testing.T) {
	rt := app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "secret")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		w.Header().Set("X-Robots-Tag", "all")
	}))
	rt.Headers = landward.Headers{Set: []landward.Header{{Name: "X-Robots-Tag", Value: "noindex"}}, Remove: []string{"Server"}}
	r := newRig(t, plane.Limits{}, rt)
	h := r.ask(t, "GET", "http://shop.test/").Header
	for name, want := range map[string]string{
		"Server": "", "X-Robots-Tag": "noindex", "X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "strict-origin-when-cross-origin", "Strict-Transport-Security": "",
	} {
		if got := strings.Join(h[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestCompression(t *testing.T) {
	long := strings.Repeat("all work and no play makes a dull text. ", 4000)
	next := make(chan struct{})
	rt := app("shop", serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("ETag", `"v1"`)
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long)
		case "/chunks":
			_, _ = io.WriteString(w, long)
		case "/short":
			_, _ = io.WriteString(w, "short")
		case "/coded":
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, long)
		case "/stream":
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-next
			_, _ = io.WriteString(w, "second")
		case "/torn":
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long[:len(long)/2])
			panic(http.ErrAbortHandler)
		}
	}))
	r := newRig(t, plane.Limits{}, rt)
	for path, want := range map[string]string{"/length": "gzip", "/chunks": "gzip", "/short": "", "/coded": "br"} {
		resp := r.ask(t, "GET", "http://shop.test"+path, "Accept-Encoding", "gzip")
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: coding %q, want %q", path, got, want)
		}
		if want != "gzip" {
			continue
		}
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil || string(b) != long {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if resp.Header.Get("ETag") != `W/"v1"` || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	if e := r.ask(t, "GET", "http://shop.test/length").Header.Get("Content-Encoding"); e != "" {
		t.Errorf("coding %q for who asked for none", e)
	}
	resp := r.ask(t, "GET", "http://shop.test/stream", "Accept-Encoding", "gzip")
	resp.Body.Close() //nolint:errcheck // too short to be coded once its length is known; here it is not
	close(next)
	resp = r.ask(t, "GET", "http://shop.test/torn", "Accept-Encoding", "gzip")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a torn answer ended well")
	}
}

// TestCompressionStreams: what an app sends piece by piece arrives so.
func TestCompressionStreams(t *testing.T) {
	next := make(chan struct{})
	rt := app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "second")
	}))
	r := newRig(t, plane.Limits{}, rt)
	resp := r.ask(t, "GET", "http://shop.test/", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("coding %q", resp.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(z, b); err != nil || string(b) != "first" {
		t.Fatalf("%q, %v", b, err)
	}
	close(next)
	if rest, err := io.ReadAll(z); err != nil || string(rest) != "second" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestStaticSite(t *testing.T) {
	dir := t.TempDir()
	big := string(pattern(3 << 20))
	for name, body := range map[string]string{"index.html": "<h1>home</h1>", "about.html": "about", "app.3f2a9c1b.js": "x", "big.bin": big, "404.html": "lost"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rt := route.Route{App: "site", AppID: 7, Hosts: []string{"site.test"}, State: route.StateUp, Static: &route.Static{Dir: dir}}
	r := newRig(t, plane.Limits{}, rt)
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/": {200, "<h1>home</h1>"}, "/about": {200, "about"}, "/big.bin": {200, big}, "/none": {404, "lost"}} {
		resp := r.ask(t, "GET", "http://site.test"+path)
		if got := text(t, resp); resp.StatusCode != want.status || got != want.body {
			t.Errorf("%s: %d, %d bytes", path, resp.StatusCode, len(got))
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	resp := r.ask(t, "GET", "http://site.test/big.bin", "Range", "bytes=10-19")
	if got := text(t, resp); resp.StatusCode != 206 || got != big[10:20] {
		t.Errorf("range: %d %q", resp.StatusCode, got)
	}
	first := r.ask(t, "GET", "http://site.test/")
	if resp := r.ask(t, "GET", "http://site.test/", "If-None-Match", first.Header.Get("ETag")); resp.StatusCode != 304 {
		t.Errorf("unmodified: %d", resp.StatusCode)
	}
	if got := r.ask(t, "GET", "http://site.test/app.3f2a9c1b.js").Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("cache control %q", got)
	}
	if resp := r.ask(t, "POST", "http://site.test/"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	eventually(t, "the refusal is in the log", func() bool {
		return slices.ContainsFunc(r.sink.all(), func(e entry) bool { return e.AppID == 7 && e.Status == 405 })
	})
}

// TestOwnPages: an app's pages take the place of ours, and of its own errors
// where it wants that.
func TestOwnPages(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{"5xx.html": "sorry {{status}}", "404.html": "nothing here", "maintenance.html": "closed: {{message}}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		http.Error(w, "the app's words", 404)
	})
	rt := app("shop", addr)
	rt.Pages = route.Pages{Dir: dir}
	r := newRig(t, plane.Limits{}, rt)
	page := func(accept string) (int, string, http.Header) {
		resp := r.ask(t, "GET", "http://shop.test/", "Accept", accept)
		return resp.StatusCode, text(t, resp), resp.Header
	}
	if code, got, _ := page("text/html"); code != 404 || got != "the app's words\n" {
		t.Errorf("%d %q", code, got)
	}
	rt.Pages.Replace = true
	r.apply(t, 2, rt)
	if code, got, h := page("text/html"); code != 404 || got != "nothing here" || h.Get("Set-Cookie") != "a=b" {
		t.Errorf("%d %q %v", code, got, h)
	}
	if code, got, _ := page("application/json"); code != 404 || got != "the app's words\n" {
		t.Errorf("%d %q", code, got)
	}
	rt.Targets, rt.State = nil, route.StateDown
	r.apply(t, 3, rt)
	if code, got, _ := page("text/html"); code != 503 || got != "sorry 503" {
		t.Errorf("%d %q", code, got)
	}
	rt.Maintenance = &route.Maintenance{Message: "<soon>"}
	r.apply(t, 4, rt)
	if code, got, _ := page("text/html"); code != 503 || got != "closed: &lt;soon&gt;" {
		t.Errorf("%d %q", code, got)
	}
}

func TestSticky(t *testing.T) {
	var addrs []string
	for i := range 3 {
		addrs = append(addrs, serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
	}
	rt := app("shop", addrs...)
	rt.Sticky = true
	r := newRig(t, plane.Limits{}, rt)
	first := r.ask(t, "GET", "http://shop.test/")
	want, cookie := text(t, first), first.Header.Get("Set-Cookie")
	if cookie == "" {
		t.Fatal("no cookie")
	}
	cookie, _, _ = strings.Cut(cookie, ";")
	for range 6 {
		resp := r.ask(t, "GET", "http://shop.test/", "Cookie", "a=b; "+cookie)
		if got := text(t, resp); got != want || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("got %s with %q, want %s and no cookie", got, resp.Header.Get("Set-Cookie"), want)
		}
	}
}

func TestCanary(t *testing.T) {
	old := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "old") })
	fresh := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "new", 500) })
	rt := app("shop", old)
	rt.Canary = &route.Canary{Release: 2, Percent: 30, Cookie: "beta",
		Targets: []route.Target{{Addr: netip.MustParseAddrPort(fresh), Unit: "web.1", ID: "new"}}}
	r := newRig(t, plane.Limits{}, rt)
	c := r.client(t)
	counts := map[string]int{}
	for range 400 {
		_, body := get(t, c, "http://shop.test/")
		counts[strings.TrimSpace(body)]++
	}
	// Further off than one time in a million.
	if n := counts["new"]; n < 70 || n > 175 {
		t.Errorf("the canary got %d of 400", n)
	}
	for range 5 {
		if got := text(t, r.ask(t, "GET", "http://shop.test/", "Cookie", "beta=1")); got != "new\n" {
			t.Errorf("with the cookie: %q", got)
		}
	}
	eventually(t, "the canary is counted", func() bool {
		list := r.Snapshot().Canaries
		if len(list) != 1 {
			return false
		}
		canary, stable := list[0].Canary.Counts(), list[0].Stable.Counts()
		return canary.Answers == uint64(counts["new"]+5) && canary.Errors == canary.Answers &&
			stable.Answers == uint64(counts["old"]) && stable.Errors == 0 && stable.P95 > 0
	})
}

// TestHeld: requests for an app that sleeps are held, it is told of, and they
// are answered once it runs, even where it takes a moment to listen.
func TestHeld(t *testing.T) {
	woken := make(chan int64, 100)
	s := &sink{}
	p := plane.New(plane.Options{
		Log: slog.New(slog.DiscardHandler), Access: s, Pages: pages{}, Limits: plane.Limits{Tick: 5 * time.Millisecond},
		Wake: func(app int64) { woken <- app },
	})
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = p.Run(ctx) })
	all.Go(func() { _ = p.Serve(ln, "http") })
	t.Cleanup(func() {
		_ = ln.Close()
		now, stop := context.WithCancel(ctx)
		stop()
		p.Shutdown(now)
		cancel()
		all.Wait()
	})
	r := &rig{Plane: p, addr: ln.Addr().String(), sink: s}
	asleep := app("shop")
	asleep.State = route.StateAsleep
	r.apply(t, 1, asleep)
	answers := make(chan string, 5)
	for range 5 {
		go func() {
			_, body := get(t, r.client(t), "http://shop.test/")
			answers <- body
		}()
	}
	if app := <-woken; app != 7 {
		t.Fatalf("app %d was woken", app)
	}
	// The container has its address before the app in it listens.
	spare := listen(t)
	addr := spare.Addr().String()
	_ = spare.Close()
	r.apply(t, 2, app("shop", addr))
	select {
	case a := <-answers:
		t.Fatalf("answered %q before the app listens", a)
	case <-time.After(50 * time.Millisecond):
	}
	back, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "good morning") })}
	go func() { _ = srv.Serve(back) }()
	t.Cleanup(func() { _ = srv.Close() })
	for range 5 {
		if a := <-answers; a != "good morning" {
			t.Errorf("answer %q", a)
		}
	}
}

func TestHeldForTooLong(t *testing.T) {
	rt := app("shop")
	rt.State, rt.Limits.Hold = route.StatePaused, 20*time.Millisecond
	r := newRig(t, plane.Limits{}, rt)
	if resp := r.ask(t, "GET", "http://shop.test/"); resp.StatusCode != 503 || !strings.HasPrefix(text(t, resp), "held|paused|shop") {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestIdleIsTold(t *testing.T) {
	idle := make(chan int64, 100)
	p := plane.New(plane.Options{
		Log: slog.New(slog.DiscardHandler), Access: &sink{}, Pages: pages{}, Limits: plane.Limits{Tick: 5 * time.Millisecond},
		Idle: func(app int64) { idle <- app },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	rt, busy := app("shop", "127.0.0.1:1"), app("busy", "127.0.0.1:2")
	rt.Idle, busy.AppID = 30*time.Millisecond, 9
	if err := p.Apply(route.Table{Generation: 1, Routes: []route.Route{rt, busy}}); err != nil {
		t.Fatal(err)
	}
	if app := <-idle; app != 7 {
		t.Errorf("app %d is said to be idle", app)
	}
}

// TestTrustedProxy: a front proxy's word about the client counts, nobody
// else's.
func TestTrustedProxy(t *testing.T) {
	rt := app("shop", serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("Forwarded"))
	}))
	for _, tc := range []struct{ trusted, want string }{
		{"127.0.0.0/8", `203.0.113.7 https for=203.0.113.7;proto=https;host="shop.test"`},
		{"10.0.0.0/8", `127.0.0.1 http for=127.0.0.1;proto=http;host="shop.test"`},
	} {
		s := &sink{}
		p := plane.New(plane.Options{Log: slog.New(slog.DiscardHandler), Access: s, Pages: pages{},
			Trusted: []netip.Prefix{netip.MustParsePrefix(tc.trusted)}})
		ln := listen(t)
		var all sync.WaitGroup
		all.Go(func() { _ = p.Serve(ln, "http") })
		r := &rig{Plane: p, addr: ln.Addr().String(), sink: s}
		r.apply(t, 1, rt)
		got := text(t, r.ask(t, "GET", "http://shop.test/", "X-Forwarded-For", "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto", "https"))
		if got != tc.want {
			t.Errorf("trusting %s: %q, want %q", tc.trusted, got, tc.want)
		}
		if e := s.last(t, 1); !strings.HasPrefix(tc.want, e.IP.String()) {
			t.Errorf("logged %s", e.IP)
		}
		_ = ln.Close()
		now, stop := context.WithCancel(context.Background())
		stop()
		p.Shutdown(now)
		all.Wait()
	}
}

// TestBadTableChangesNothing: one wrong rule refuses the whole table.
func TestBadTableChangesNothing(t *testing.T) {
	good := app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "good") }))
	r := newRig(t, plane.Limits{}, good)
	for name, change := range map[string]func(*route.Route){
		"network":  func(r *route.Route) { r.Auth.Allow = []string{"10.0.0.0/99"} },
		"redirect": func(r *route.Route) { r.Redirects = []landward.Redirect{{Path: "/a", To: "javascript:x"}} },
		"header":   func(r *route.Route) { r.Headers.Set = []landward.Header{{Name: "X", Value: "a\r\nb"}} },
		"prefix":   func(r *route.Route) { r.Prefix = "/a/../b" },
		"static":   func(r *route.Route) { r.Static = &route.Static{Dir: "/nonexistent"} },
		"wildcard": func(r *route.Route) { r.Hosts = []string{"*.*.test"} },
	} {
		bad := good
		change(&bad)
		if err := r.Apply(route.Table{Generation: 9, Routes: []route.Route{bad}}); err == nil {
			t.Errorf("%s: the table was taken", name)
		}
		if code, body := get(t, r.client(t), "http://shop.test/"); code != 200 || body != "good" {
			t.Errorf("%s: %d %q", name, code, body)
		}
	}
}

// TestProtocols: apps that speak TLS or HTTP/2 are spoken to so.
func TestProtocols(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %v %s", r.Proto, r.TLS != nil, r.Header.Get("X-Forwarded-Proto"))
	})
	secure := httptest.NewTLSServer(hello)
	t.Cleanup(secure.Close)
	two := httptest.NewUnstartedServer(hello)
	two.Config.Protocols = new(http.Protocols)
	two.Config.Protocols.SetUnencryptedHTTP2(true)
	two.Start()
	t.Cleanup(two.Close)
	for proto, tc := range map[landward.Protocol]struct{ addr, want string }{
		landward.ProtocolHTTPS: {secure.Listener.Addr().String(), "HTTP/1.1 true http"},
		landward.ProtocolH2C:   {two.Listener.Addr().String(), "HTTP/2.0 false http"},
	} {
		rt := app("shop", tc.addr)
		rt.Protocol = proto
		r := newRig(t, plane.Limits{}, rt)
		c := r.client(t)
		for range 3 {
			if code, body := get(t, c, "http://shop.test/"); code != 200 || body != tc.want {
				t.Errorf("%s: %d %q, want %q", proto, code, body, tc.want)
			}
		}
	}
}

// TestChallenges: a certificate authority's questions are answered here, and
// made-up ones end here.
func TestChallenges(t *testing.T) {
	rt := app("shop", serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "app ", r.URL.Path) }))
	for _, ours := range []bool{true, false} {
		o := plane.Options{Log: slog.New(slog.DiscardHandler), Access: &sink{}, Pages: pages{}}
		if ours {
			o.Challenge = func(host, path string) (string, bool) {
				return "key of " + host, path == "/.well-known/acme-challenge/token"
			}
		}
		p := plane.New(o)
		ln := listen(t)
		var all sync.WaitGroup
		all.Go(func() { _ = p.Serve(ln, "http") })
		r := &rig{Plane: p, addr: ln.Addr().String()}
		r.apply(t, 1, rt)
		for path, want := range map[string]string{
			"/.well-known/acme-challenge/token": "key of shop.test", "/.well-known/acme-challenge/made-up": "not_found|",
			"/.well-known/other": "app /.well-known/other",
		} {
			if !ours {
				want = "app " + path
			}
			if got := text(t, r.ask(t, "GET", "http://shop.test"+path)); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		_ = ln.Close()
		now, stop := context.WithCancel(context.Background())
		stop()
		p.Shutdown(now)
		all.Wait()
	}
}
