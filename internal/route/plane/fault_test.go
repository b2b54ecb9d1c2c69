package plane_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// TestSmuggling sends requests that two parsers may read differently, each
// with another request behind it. Nothing may reach the app.
func TestSmuggling(t *testing.T) {
	var seen atomic.Int64
	addr := serve(t, func(http.ResponseWriter, *http.Request) { seen.Add(1) })
	r := newRig(t, plane.Limits{}, app("shop", addr))
	const next = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	for name, send := range map[string]string{
		"CL.TE":            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
		"TE.CL":            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
		"TE.TE":            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
		"TE tab":           "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"TE space colon":   "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n",
		"TE folded":        "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\n0\r\n",
		"TE in 1.0":        "POST / HTTP/1.0\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"CL.CL":            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 8\r\nContent-Length: 7\r\n\r\n12345678",
		"CL list":          "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 8, 8\r\n\r\n12345678",
		"CL signed":        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: +8\r\n\r\n12345678",
		"bare feed":        "GET / HTTP/1.1\nHost: shop.test\n\n",
		"bare return":      "GET / HTTP/1.1\r\nHost: shop.test\r\nA: b\rContent-Length: 9\r\n\r\n",
		"header CR CR LF":  "GET / HTTP/1.1\r\nHost: shop.test\r\r\n\r\n",
		"two hosts":        "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n",
		"other authority":  "GET http://other.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"CONNECT":          "CONNECT shop.test:80 HTTP/1.1\r\nHost: shop.test:80\r\n\r\n",
		"TRACE":            "TRACE / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"NUL":              "GET / HTTP/1.1\r\nHost: shop.test\r\nA: \x00\r\n\r\n",
		"request in line":  "GET / HTTP/1.1 \r\nHost: shop.test\r\n\r\n",
		"h2 preface":       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"garbage":          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
		"leading newlines": "\r\n\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(t, send+next)
			if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 50") {
				t.Errorf("answer %q", got)
			}
			if strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close\r\n") {
				t.Errorf("not refused once and closed: %q", got)
			}
		})
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

// TestSmugglingInBodies sends bodies that are wrong; the app may see the
// request, but never what is behind it, and the client is refused.
func TestSmugglingInBodies(t *testing.T) {
	var smuggled atomic.Int64
	addr := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/smuggled" {
			smuggled.Add(1)
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	const next = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	for name, body := range map[string]string{
		"size 0x":       "0x2\r\nab\r\n0\r\n\r\n",
		"size signed":   "+2\r\nab\r\n0\r\n\r\n",
		"size overflow": "10000000000000002\r\nab\r\n0\r\n\r\n",
		"size space":    "2 \r\nab\r\n0\r\n\r\n",
		"bare feed":     "2\nab\r\n0\r\n\r\n",
		"ext with feed": "2;a\nb\r\nab\r\n0\r\n\r\n",
		"long ext":      "2;" + strings.Repeat("x", 5000) + "\r\nab\r\n0\r\n\r\n",
		"data too long": "2\r\nabc\r\n0\r\n\r\n",
		"bad trailer":   "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(t, "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n"+body+next)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("answer %q", got)
			}
		})
	}
	if smuggled.Load() != 0 {
		t.Error("a smuggled request reached the app")
	}
}

func TestFaults(t *testing.T) {
	closed := listen(t)
	nobody := closed.Addr().String()
	_ = closed.Close()
	hangsUp := script(t, func(_ net.Conn, r *bufio.Reader) { _, _ = readHead(r) })
	silent := script(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	state := func(s route.State) route.Route {
		a := app("shop")
		a.State = s
		return a
	}
	small := app("shop", silent)
	small.Limits = route.Limits{MaxBody: 10, AnswerWithin: 50 * time.Millisecond, ReadTimeout: 50 * time.Millisecond}

	for name, tc := range map[string]struct {
		route route.Route
		send  string
		want  string // front of the answer
		body  string
		code  route.Code
	}{
		"unknown host": {app("shop", nobody), "GET / HTTP/1.1\r\nHost: other.test\r\n", "404", "unknown_host||||", route.CodeUnknownHost},
		"address":      {app("shop", nobody), "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", "404", "unknown_host||||", route.CodeUnknownHost},
		"v6 address":   {app("shop", nobody), "GET / HTTP/1.1\r\nHost: [::1]:80\r\n", "404", "unknown_host||||", route.CodeUnknownHost},
		"no host":      {app("shop", nobody), "GET / HTTP/1.0\r\n", "404", "unknown_host||||", route.CodeUnknownHost},
		"bad host":     {app("shop", nobody), "GET / HTTP/1.1\r\nHost: a..b\r\n", "400", "bad_request|||missing, repeated or malformed Host|", route.CodeBadRequest},
		"accept":       {app("shop", nobody), "GET / HTTP/1.1\r\nHost: other.test\r\nAccept: a/b\r\n", "404", "unknown_host||||a/b", route.CodeUnknownHost},
		"starting":     {state(route.StateStarting), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "503", "no_target|starting|shop||", route.CodeNoTarget},
		"stopped":      {state(route.StateStopped), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "503", "no_target|stopped|shop||", route.CodeNoTarget},
		"down":         {state(route.StateDown), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "503", "no_target|down|shop||", route.CodeNoTarget},
		"empty":        {state(route.StateEmpty), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "503", "no_target|empty|shop||", route.CodeNoTarget},
		"refused":      {app("shop", nobody), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "502", "refused||shop||", route.CodeRefused},
		"reset":        {app("shop", hangsUp), "GET / HTTP/1.1\r\nHost: shop.test\r\n", "502", "reset||shop||", route.CodeReset},
		"timeout":      {small, "GET / HTTP/1.1\r\nHost: shop.test\r\n", "504", "timeout||shop||", route.CodeTimeout},
		"large":        {small, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 11\r\n", "413", "too_large||shop|the limit is 10 bytes|", route.CodeTooLarge},
		"large chunks": {small, "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n", "413", "too_large||shop|the limit is 10 bytes|", route.CodeTooLarge},
		"slow body":    {small, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 9\r\n", "408", "slow_client||shop|the request's body took too long|", route.CodeSlow},
		"many headers": {small, "GET / HTTP/1.1\r\nHost: shop.test\r\n" + strings.Repeat("a:b\r\n", 128), "431", "header_large|||too many header lines|", route.CodeHeaderLarge},
		"large header": {small, "GET / HTTP/1.1\r\nHost: shop.test\r\nA: " + strings.Repeat("a", 70000) + "\r\n", "431", "header_large|||request head too large|", route.CodeHeaderLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, plane.Limits{}, tc.route)
			got := r.raw(t, tc.send+"Connection: close\r\n\r\n")
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+tc.want+" ") || body != tc.body {
				t.Fatalf("got %q", got)
			}
			if wants := tc.want == "503"; wants != strings.Contains(head, "Retry-After: ") && tc.code != route.CodeRefused {
				t.Errorf("Retry-After: %q", head)
			}
			e := r.sink.last(t, 1)
			if e.Code != tc.code || !strings.Contains(head, "X-Request-Id: "+e.ID) {
				t.Errorf("entry %+v for %q", e, head)
			}
		})
	}
}

// TestPanic holds that a mistake of ours ends one connection and no more.
func TestPanic(t *testing.T) {
	down := app("shop")
	down.State = route.StateDown
	r := newRig(t, plane.Limits{}, down)
	if got := r.raw(t, "GET / HTTP/1.1\r\nHost: shop.test\r\nAccept: panic\r\n\r\n"); got != "" {
		t.Errorf("got %q", got)
	}
	if got := r.raw(t, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("got %q", got)
	}
	for _, a := range r.Snapshot().Apps {
		if a.InFlight != 0 {
			t.Errorf("%d in flight", a.InFlight)
		}
	}
}

// TestFaultKeepsConnection holds that a fault does not end a connection that
// is in order, even with a body behind the head.
func TestFaultKeepsConnection(t *testing.T) {
	r := newRig(t, plane.Limits{})
	got := r.raw(t, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"+
		"HEAD / HTTP/1.1\r\nHost: b.test\r\n\r\nGET / HTTP/1.1\r\nHost: c.test\r\nConnection: close\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 404 ") != 3 || strings.Count(got, "unknown_host") != 2 {
		t.Fatalf("got %q", got)
	}
}

func TestSlowClients(t *testing.T) {
	const limit = 60 * time.Millisecond
	addr := serve(t, func(http.ResponseWriter, *http.Request) {})
	r := newRig(t, plane.Limits{HeaderTimeout: limit, IdleTimeout: limit, ReadTimeout: limit}, app("shop", addr))
	t.Run("nothing", func(t *testing.T) {
		if got := r.raw(t, ""); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("half a head", func(t *testing.T) {
		if got := r.raw(t, "GET / HTTP/1.1\r\nHo"); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a byte at a time", func(t *testing.T) {
		c := r.dial(t)
		go func() {
			tick := time.NewTicker(limit / 10)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.WriteString(c, "X"); err != nil {
					return
				}
			}
		}()
		got, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(got), "HTTP/1.1 408 ") {
			t.Errorf("got %q", got)
		}
		_ = c.Close()
	})
	t.Run("idle", func(t *testing.T) {
		got := r.raw(t, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("got %q", got)
		}
	})
}

// TestSlowReader holds that a client that does not read is cut off and its
// target freed.
func TestSlowReader(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		b := pattern(1 << 20)
		for range 256 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	r := newRig(t, plane.Limits{WriteTimeout: 50 * time.Millisecond}, app("shop", addr))
	c := r.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if e := r.sink.last(t, 1); e.Code != route.CodeSlow {
		t.Errorf("code %q", e.Code)
	}
	waittest.Eventually(t, "no request in progress", func() bool { return r.Snapshot().Targets[0].InFlight == 0 })
}

// TestClientGone holds that the app hears of it when a client gives up.
func TestClientGone(t *testing.T) {
	left := make(chan struct{})
	begun := make(chan struct{})
	addr := serve(t, func(_ http.ResponseWriter, q *http.Request) {
		close(begun)
		<-q.Context().Done()
		close(left)
	})
	r := newRig(t, plane.Limits{}, app("shop", addr))
	c := r.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	_ = c.Close()
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("the app was never told")
	}
	if e := r.sink.last(t, 1); e.Code != route.CodeClientGone || e.Status != 499 {
		t.Errorf("entry %+v", e)
	}
}

func TestConnectionLimits(t *testing.T) {
	addr := serve(t, func(http.ResponseWriter, *http.Request) {})
	for name, l := range map[string]plane.Limits{"all": {MaxConns: 3}, "one address": {MaxConnsPerIP: 3}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, l, app("shop", addr))
			var open []net.Conn
			for range 3 {
				open = append(open, r.dial(t))
			}
			waittest.Eventually(t, "three connections", func() bool { return r.Snapshot().Connections == 3 })
			if got := r.raw(t, ""); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
				t.Fatalf("got %q", got)
			}
			_ = open[0].Close()
			waittest.Eventually(t, "room", func() bool { return r.Snapshot().Connections == 2 })
			if status, _ := get(t, r.client(t), "http://shop.test/"); status != 200 {
				t.Fatalf("status %d with room", status)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a") })
	r := newRig(t, plane.Limits{})
	r.apply(t, 5, app("shop", a))
	good := app("new", a)
	second := app("other", "127.0.0.1:9")
	second.Hosts = []string{"new.test"}
	upper := app("x", a)
	upper.Hosts = []string{"X.test"}
	for name, tc := range map[string]struct {
		table route.Table
		want  landward.Code
	}{
		"older":     {route.Table{Generation: 4, Routes: []*route.Route{&good}}, landward.CodeConflict},
		"host bad":  {route.Table{Generation: 6, Routes: []*route.Route{&good, &upper}}, landward.CodeInvalid},
		"two hosts": {route.Table{Generation: 6, Routes: []*route.Route{&good, &second}}, landward.CodeInvalid},
	} {
		if err := r.Apply(tc.table); landward.CodeOf(err) != tc.want {
			t.Errorf("%s: got %v", name, err)
		}
		if r.Generation() != 5 {
			t.Errorf("%s: generation %d", name, r.Generation())
		}
		if status, body := get(t, r.client(t), "http://shop.test/"); status != 200 || body != "a" {
			t.Errorf("%s: the running table does not serve: %d %q", name, status, body)
		}
		if status, _ := get(t, r.client(t), "http://new.test/"); status != 404 {
			t.Errorf("%s: half of a refused table serves", name)
		}
	}
}
