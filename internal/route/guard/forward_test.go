package guard_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

// dialAny lets tests use an auth server on loopback.
var dialAny = guard.ForwardOptions{Dial: (&net.Dialer{}).DialContext}

func newForward(t *testing.T, o guard.ForwardOptions, url string, names ...string) *guard.Forward {
	t.Helper()
	f, err := guard.NewForward(landward.ForwardAuth{URL: url, Copy: names}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// authServer starts an auth server.
func authServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

var question = guard.Question{
	Method: []byte("POST"), Scheme: "https", Host: []byte("app.example.com"), Target: []byte("/a%2Fb?c=d"),
	Client: netip.MustParseAddr("192.0.2.7"), Cookies: [][]byte{[]byte("a=b"), []byte("c=d")},
	Authorization: []byte("Bearer x"), Accept: []byte("text/html"), ID: []byte("id-1"),
}

func TestForwardPasses(t *testing.T) {
	var got http.Header
	var line string
	url := authServer(t, func(w http.ResponseWriter, r *http.Request) {
		got, line = r.Header, r.Method+" "+r.URL.String()
		w.Header().Set("Remote-User", "ada")
		w.Header().Add("Remote-Groups", "a")
		w.Header().Add("Remote-Groups", "b")
		w.Header().Set("X-Other", "not copied")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "body that nobody wants")
	})
	f := newForward(t, dialAny, url+"/verify?x=1", "remote-user", "Remote-Groups", "Remote-Email")
	v := f.Ask(t.Context(), question)
	if !v.Pass || v.Err != nil || string(v.Lines) != "Remote-User: ada\r\nRemote-Groups: a\r\nRemote-Groups: b\r\n" {
		t.Fatalf("the verdict is %+v", v)
	}
	if line != "GET /verify?x=1" {
		t.Errorf("the request is %s", line)
	}
	for name, want := range map[string]string{
		"X-Forwarded-Method": "POST", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com",
		"X-Forwarded-Uri": "/a%2Fb?c=d", "X-Forwarded-For": "192.0.2.7", "Authorization": "Bearer x", "Accept": "text/html",
		"X-Request-Id": "id-1", "User-Agent": "landward", "Cookie": "a=b|c=d", "Accept-Encoding": "",
	} {
		if have := strings.Join(got[name], "|"); have != want {
			t.Errorf("the auth server gets %s: %q, want %q", name, have, want)
		}
	}
}

func TestForwardWithoutCredentials(t *testing.T) {
	var got http.Header
	f := newForward(t, dialAny, authServer(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	if v := f.Ask(t.Context(), guard.Question{Method: []byte("GET"), Scheme: "http"}); !v.Pass || len(v.Lines) > 0 {
		t.Fatalf("the verdict is %+v", v)
	}
	for _, name := range []string{"Authorization", "Cookie", "Accept"} {
		if _, there := got[name]; there {
			t.Errorf("the auth server gets %s", name)
		}
	}
	if got.Get("X-Forwarded-For") != "unknown" {
		t.Errorf("a client without address is %q", got.Get("X-Forwarded-For"))
	}
}

func TestForwardRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		header http.Header
		lines  string
	}{
		"page":     {401, http.Header{"Content-Type": {"text/html"}, "X-Secret": {"x"}}, "Content-Type: text/html\r\n"},
		"redirect": {302, http.Header{"Location": {"https://login.example/?a=b"}, "Set-Cookie": {"a=b", "c=d"}, "Content-Type": {"text/plain"}}, "Location: https://login.example/?a=b\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Type: text/plain\r\n"},
		"basic":    {401, http.Header{"Www-Authenticate": {"Basic", "Bearer"}, "Content-Type": {"a/b"}}, "Www-Authenticate: Basic\r\nWww-Authenticate: Bearer\r\nContent-Type: a/b\r\n"},
		"error":    {500, http.Header{"Content-Type": {"a/b"}}, "Content-Type: a/b\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			f := newForward(t, dialAny, authServer(t, func(w http.ResponseWriter, _ *http.Request) {
				asked++
				for n, v := range tc.header {
					w.Header()[n] = v
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, "no")
			}), "X-User")
			v := f.Ask(t.Context(), question)
			if v.Pass || v.Err != nil || v.Status != tc.status || string(v.Body) != "no" || string(v.Lines) != tc.lines {
				t.Errorf("the verdict is %+v with %q and %q", v, v.Lines, v.Body)
			}
			if asked != 1 {
				t.Errorf("the server was asked %d times", asked)
			}
		})
	}
}

func TestForwardCutsTheBody(t *testing.T) {
	f := newForward(t, dialAny, authServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
	}))
	if v := f.Ask(t.Context(), question); v.Status != 403 || len(v.Body) != 64<<10 || v.Err != nil {
		t.Errorf("the body has %d bytes, status %d, %v", len(v.Body), v.Status, v.Err)
	}
}

// rawServer answers every connection with answer, byte for byte, and leaves it
// open until the client closes.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, answer)
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	return "http://" + l.Addr().String()
}

// TestForwardFailsClosed asks servers that are no auth servers.
func TestForwardFailsClosed(t *testing.T) {
	closed := rawServer(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	_ = l.Close()
	for name, url := range map[string]string{
		"nobody there":     gone,
		"no HTTP":          rawServer(t, "SSH-2.0-x\r\n\r\n"),
		"not modified":     rawServer(t, "HTTP/1.1 304 Not Modified\r\n\r\n"),
		"switching":        rawServer(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
		"high status":      rawServer(t, "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
		"low status":       rawServer(t, "HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n"),
		"two lengths":      rawServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"),
		"large head":       rawServer(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"),
		"large copy":       rawServer(t, "HTTP/1.1 200 OK\r\nX-User: "+strings.Repeat("x", 20<<10)+"\r\nContent-Length: 0\r\n\r\n"),
		"control in copy":  rawServer(t, "HTTP/1.1 200 OK\r\nX-User: a\x01b\r\nContent-Length: 0\r\n\r\n"),
		"control in reply": rawServer(t, "HTTP/1.1 401 No\r\nContent-Type: a\x01b\r\nContent-Length: 0\r\n\r\n"),
		"half a body":      rawServer(t, "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
		"another TLS":      strings.Replace(closed, "http:", "https:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			v := newForward(t, dialAny, url, "X-User").Ask(ctx, question)
			if v.Pass || v.Err == nil || v.Status != 502 || len(v.Lines) > 0 || len(v.Body) > 0 {
				t.Errorf("the verdict is %+v", v)
			}
		})
	}
}

// TestForwardIsPatientForALittle asks a server that takes the connection and
// says nothing.
func TestForwardIsPatientForALittle(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "half a head": "HTTP/1.1 200 OK\r\nX: ", "half a body": "HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				o := guard.ForwardOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					wg.Go(func() {
						if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
							_, _ = io.WriteString(far, answer)
						}
						_, _ = io.Copy(io.Discard, far)
						_ = far.Close()
					})
					return near, nil
				}}
				f := newForward(t, o, "http://auth.example/")
				v := f.Ask(t.Context(), question)
				if v.Pass || v.Err == nil || v.Status != 502 {
					t.Errorf("the verdict is %+v", v)
				}
				f.Close()
				wg.Wait()
			})
		})
	}
}

func TestForwardEndsWithTheRequest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	o := guard.ForwardOptions{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	f := newForward(t, o, "http://auth.example/")
	go func() { <-asked; cancel() }()
	if v := f.Ask(ctx, question); v.Pass || v.Err == nil {
		t.Errorf("the verdict is %+v", v)
	}
}

func TestForwardAsksNoLocalService(t *testing.T) {
	reached := false
	url := authServer(t, func(http.ResponseWriter, *http.Request) { reached = true })
	port := url[strings.LastIndex(url, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "169.254.169.254", "224.0.0.1", "[fe80::1]"} {
		f := newForward(t, guard.ForwardOptions{}, "http://"+host+port)
		if v := f.Ask(t.Context(), question); v.Pass || v.Status != 502 || v.Err == nil {
			t.Errorf("%s: the verdict is %+v", host, v)
		}
	}
	if reached {
		t.Error("a service of the host was asked")
	}
}

func TestForwardDoesNotAskItself(t *testing.T) {
	dialled := 0
	o := guard.ForwardOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
		dialled++
		return nil, fmt.Errorf("dialled")
	}}
	for _, tc := range []struct {
		url, host string
		itself    bool
	}{
		{"https://app.example.com/auth", "app.example.com", true},
		{"https://APP.example.com./auth", "App.Example.com:443", true},
		{"http://app.example.com:80/auth", "app.example.com.", true},
		{"http://app.example.com:8443/auth", "app.example.com:8443", true},
		{"http://app.example.com:9000/auth", "app.example.com", false},
		{"http://[2001:db8::1]/", "[2001:db8::1]", true},
		{"http://auth.example.com/", "app.example.com", false},
	} {
		before := dialled
		q := question
		q.Host = []byte(tc.host)
		if v := newForward(t, o, tc.url).Ask(t.Context(), q); v.Pass || v.Status != 502 || (dialled == before) != tc.itself {
			t.Errorf("%s guards %s: dialled %d times, %+v", tc.url, tc.host, dialled-before, v)
		}
	}
}

func TestForwardIsBounded(t *testing.T) {
	release := make(chan struct{})
	o := guard.ForwardOptions{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, fmt.Errorf("released")
	}}
	f := newForward(t, o, "http://auth.example/")
	var wg sync.WaitGroup
	answers := make(chan guard.Verdict, 600)
	for range 600 {
		wg.Go(func() { answers <- f.Ask(t.Context(), question) })
	}
	for range 600 - 512 { // those that there is no room for come back first
		if v := <-answers; v.Status != 503 || v.Pass {
			t.Errorf("the verdict is %+v", v)
		}
	}
	close(release)
	wg.Wait()
	if v := f.Ask(t.Context(), question); v.Status != 502 {
		t.Errorf("afterwards the verdict is %+v", v)
	}
}

func TestForwardRemoves(t *testing.T) {
	f := newForward(t, dialAny, "http://auth.example/", "Remote-User", "X_Groups")
	for name, want := range map[string]bool{
		"Remote-User": true, "remote-user": true, "Remote_User": true, "REMOTE_USER": true, "X-Groups": true, "x_groups": true,
		"Remote-Use": false, "Remote-Users": false, "RemoteUser": false, "": false, "Remote.User": false,
	} {
		if got := f.Removes([]byte(name)); got != want {
			t.Errorf("Removes(%q) is %v", name, got)
		}
	}
	if got := f.Names(); !slices.Equal(got, []string{"remote-user", "x-groups"}) {
		t.Errorf("the names are %q", got)
	}
	name := []byte("Accept-Encoding")
	noAllocs(t, "Removes", func() { f.Removes(name) })
	var none *guard.Forward
	if none.Removes(name) || none.Names() != nil {
		t.Error("without a rule a header is removed")
	}
	none.Close()
}

func TestForwardSame(t *testing.T) {
	rule := landward.ForwardAuth{URL: "http://auth.example/", Copy: []string{"A", "B"}}
	f, err := guard.NewForward(rule, guard.ForwardOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rule.Copy[0] = "C" // what was given stays the caller's
	if f.Same(rule) || !f.Same(landward.ForwardAuth{URL: rule.URL, Copy: []string{"A", "B"}}) || f.Same(landward.ForwardAuth{URL: rule.URL}) ||
		f.Same(landward.ForwardAuth{}) {
		t.Error("Same is wrong")
	}
	none, err := guard.NewForward(landward.ForwardAuth{}, guard.ForwardOptions{})
	if none != nil || err != nil || !none.Same(landward.ForwardAuth{}) || none.Same(rule) {
		t.Errorf("no rule gives %v, %v", none, err)
	}
}

func TestForwardRulesRefuse(t *testing.T) {
	for _, url := range []string{
		"auth.example", "/verify", "ftp://auth.example/", "http:auth.example", "http://", "http:///x", "http://u@auth.example/",
		"http://u:p@auth.example/", "http://auth.example/#x", "http://auth example/", "http://auth.example/%zz", "http://a\r\nb/",
		"http://auth.example:0/", "http://auth.example:99999/", "unix:///run/x", "HTTP", "http://a_b!/", "http://[::1",
	} {
		_, err := guard.NewForward(landward.ForwardAuth{URL: url}, guard.ForwardOptions{})
		if err == nil {
			t.Errorf("%q is accepted", url)
			continue
		}
		wantField(t, err, "routes.auth.forward.url")
	}
	_, err := guard.NewForward(landward.ForwardAuth{Copy: []string{"X"}}, guard.ForwardOptions{})
	wantField(t, err, "routes.auth.forward.url")
	for _, name := range []string{
		"", "X Y", "X:", "Connection", "content-length", "Transfer-Encoding", "Transfer_Encoding", "Host", "Cookie", "Set-Cookie",
		"X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-IP", "X-Request-Id", "remote_user", "Sec-WebSocket-Key", strings.Repeat("x", 65),
	} {
		_, err := guard.NewForward(landward.ForwardAuth{URL: "http://auth.example", Copy: []string{"Remote-User", name}}, guard.ForwardOptions{})
		if err == nil {
			t.Errorf("the copy of %q is accepted", name)
			continue
		}
		wantField(t, err, "routes.auth.forward.copy[1]")
	}
	_, err = guard.NewForward(landward.ForwardAuth{URL: "http://auth.example", Copy: make([]string, 33)}, guard.ForwardOptions{})
	wantField(t, err, "routes.auth.forward.copy")
}
