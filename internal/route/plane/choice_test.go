package plane_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

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
	waittest.Eventually(t, "the canary is counted", func() bool {
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
	free, err := net.Listen("tcp", net.JoinHostPort(waittest.Loopback(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
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

// TestReady: an app that was woken gets nothing before its health path says so,
// however many wait, and is not asked again after that.
func TestReady(t *testing.T) {
	var ready atomic.Bool
	var asked, early atomic.Int64
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/up" && r.Host == "shop.test":
			asked.Add(1)
			if !ready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case !ready.Load():
			early.Add(1)
		}
		_, _ = fmt.Fprint(w, "good morning")
	})
	asleep, awake := app("shop"), app("shop", addr)
	asleep.State, awake.Ready = route.StateAsleep, "/up"
	r := newRig(t, plane.Limits{}, asleep)
	const clients = 20
	answers := make(chan string, clients)
	for range clients {
		go func() {
			_, body := get(t, r.client(t), "http://shop.test/")
			answers <- body
		}()
	}
	waittest.Eventually(t, "all are held", func() bool { return held(r) == clients })
	r.apply(t, 2, awake)
	waittest.Eventually(t, "it was asked more than once", func() bool { return asked.Load() > 3 })
	if n := early.Load(); n > 0 || len(answers) > 0 {
		t.Errorf("%d requests came before it was ready, %d were answered", n, len(answers))
	}
	ready.Store(true)
	for range clients {
		if a := <-answers; a != "good morning" {
			t.Errorf("answer %q", a)
		}
	}
	was := asked.Load()
	get(t, r.client(t), "http://shop.test/")
	if n := asked.Load(); n != was {
		t.Errorf("it was asked %d times after it was ready", n-was)
	}
	if n := early.Load(); n > 0 {
		t.Errorf("%d requests came before it was ready", n)
	}
}

// held is how many requests are in progress.
func held(r *rig) (n int64) {
	for _, a := range r.Snapshot().Apps {
		n += a.InFlight
	}
	return n
}

// TestNeverReady: who waited for an app that does not become ready is told so; who
// comes later gets what the app says itself.
func TestNeverReady(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = fmt.Fprint(w, "broken")
	})
	asleep, awake := app("shop"), app("shop", addr)
	asleep.State, awake.Ready, awake.Limits.Hold = route.StateAsleep, "/up", 100*time.Millisecond
	r := newRig(t, plane.Limits{}, asleep)
	first := make(chan string, 1)
	go func() {
		code, body := get(t, r.client(t), "http://shop.test/")
		first <- fmt.Sprint(code, " ", body)
	}()
	waittest.Eventually(t, "it is held", func() bool { return held(r) == 1 })
	r.apply(t, 2, awake)
	if got := <-first; !strings.HasPrefix(got, "503 held|up|shop") {
		t.Errorf("who waited got %q", got)
	}
	if code, body := get(t, r.client(t), "http://shop.test/"); code != 200 || body != "broken" {
		t.Errorf("who came later got %d %q", code, body)
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
	if err := p.Apply(route.Table{Generation: 1, Routes: []*route.Route{&rt, &busy}}); err != nil {
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
		if err := r.Apply(route.Table{Generation: 9, Routes: []*route.Route{&bad}}); err == nil {
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
	both := httptest.NewUnstartedServer(hello)
	both.EnableHTTP2 = true
	both.StartTLS()
	t.Cleanup(both.Close)
	for proto, tc := range map[landward.Protocol]struct{ addr, want string }{
		landward.ProtocolHTTPS: {secure.Listener.Addr().String(), "HTTP/1.1 true http"},
		landward.ProtocolH2C:   {two.Listener.Addr().String(), "HTTP/2.0 false http"},
		landward.ProtocolH2:    {both.Listener.Addr().String(), "HTTP/2.0 true http"},
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
