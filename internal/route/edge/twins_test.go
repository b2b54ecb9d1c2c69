package edge_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/edge"
)

// withHTTP3 is a change of besieged.
func withHTTP3(o *edge.Options) { o.HTTP3 = true }

// each calls fn with a client of every protocol that connects with that server
// name, whatever host it asks for.
func (r *running) each(t *testing.T, server string, fn func(t *testing.T, proto string, c *http.Client)) {
	t.Helper()
	secure := &tls.Config{ServerName: server, RootCAs: r.localRoots(t), MinVersion: tls.VersionTLS12}
	for _, h2 := range []bool{false, true} {
		c := r.browser(t, h2, nil)
		tr, ok := c.Transport.(*http.Transport)
		if !ok {
			t.Fatalf("%T", c.Transport)
		}
		tr.TLSClientConfig = secure.Clone()
		name := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]
		t.Run(name, func(t *testing.T) { fn(t, name, c) })
	}
	tr := &http3.Transport{TLSClientConfig: secure.Clone(), Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
		c.ServerName = server // not the host of the request
		return quic.DialAddr(ctx, r.SecureAddr().String(), c, q)
	}}
	t.Cleanup(func() { _ = tr.Close() })
	c := &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Run("HTTP/3.0", func(t *testing.T) { fn(t, "HTTP/3.0", c) })
}

// send sends a request to a host and a path as they are, and returns the status
// and the body of the answer.
func send(t *testing.T, c *http.Client, method, host, path string, header http.Header, body io.Reader) (status int, text string, err error) {
	t.Helper()
	req, err := http.NewRequest(method, "https://"+host+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.URL = &url.URL{Scheme: "https", Host: host, Opaque: path}
	for name, values := range header {
		req.Header[name] = values // as it is written, not made canonical
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), nil
}

// ours are the headers by which an app knows its client.
var ours = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
	"X-Forwarded", "X-Real-Ip", "Forwarded", "X-Request-Id", "Traceparent", "Tracestate", "Proxy", "Proxy-Authorization"}

// spellings of a header name: canonical, in small letters, in capitals, and all
// with one or all dashes made underscores.
func spellings(name string) []string {
	all := []string{name, strings.ToLower(name), strings.ToUpper(name)}
	for _, n := range slices.Clone(all) {
		all = append(all, strings.ReplaceAll(n, "-", "_"), strings.Replace(n, "-", "_", 1))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// wantHonest checks that an app was told the truth about its client, once.
func wantHonest(t *testing.T, s sight, scheme string) {
	t.Helper()
	for name, values := range s.Header {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s: %q has reached the app", name, values)
		}
		if strings.Contains(name, "_") {
			t.Errorf("%s has reached the app", name)
		}
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": scheme, "X-Forwarded-Host": s.Host,
		"Forwarded": "for=127.0.0.1;proto=" + scheme + `;host="` + s.Host + `"`,
	} {
		if got := s.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want once %q", name, got, want)
		}
	}
	for _, name := range []string{"X-Request-Id", "Traceparent", "X-Forwarded-Port"} {
		if got := s.Header.Values(name); len(got) != 1 || got[0] == "" {
			t.Errorf("%s: %q, want one", name, got)
		}
	}
	for _, name := range []string{"Tracestate", "Proxy", "X-Forwarded-Prefix", "X-Forwarded-Server", "Proxy-Authorization"} {
		if got := s.Header.Values(name); got != nil {
			t.Errorf("%s: %q, want none", name, got)
		}
	}
}

// TestForgedIdentity (Traefik CVE-2024-45410, 2026-29054, 2026-54763): no
// spelling of the headers by which an app knows its client gets through, and no
// Connection header takes ours away.
func TestForgedIdentity(t *testing.T) {
	r := besieged(t, withHTTP3)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for _, server := range []string{"", "shop.test"} {
		scheme := map[string]string{"": "http", "shop.test": "https"}[server]
		for _, connection := range []string{"", "keep-alive", strings.ToLower(strings.Join(ours, ", ")), strings.ToUpper(strings.Join(ours, ",")),
			strings.ReplaceAll(strings.Join(ours, ","), "-", "_"), "host, content-length, X-FORWARDED-FOR,,x-real-ip,"} {
			var head strings.Builder
			head.WriteString("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n")
			forged := 0
			for _, name := range ours {
				for _, s := range spellings(name) {
					if forged++; forged < 100 {
						head.WriteString(s + ": evil\r\n")
					}
				}
			}
			if connection != "" {
				head.WriteString("Connection: " + connection + "\r\n")
			}
			resp, _ := r.says(t, server, head.String()+"\r\nhi")
			if resp.StatusCode != 200 {
				t.Fatalf("Connection %q: %s", connection, resp.Status)
			}
			if s := w.last(t); s.String() != "POST /a hi" {
				t.Errorf("the app saw %q", s)
			}
			wantHonest(t, w.last(t), scheme)
		}
	}
	r.each(t, "shop.test", func(t *testing.T, proto string, c *http.Client) {
		for _, name := range ours {
			h := http.Header{}
			for _, s := range spellings(name) {
				if proto != "HTTP/1.1" {
					s = strings.ToLower(s) // or it would be malformed
				}
				h[s] = []string{"evil"}
			}
			before := w.count()
			if status, _, err := send(t, c, http.MethodGet, "shop.test", "/b", h, nil); err != nil || status != 200 {
				t.Fatalf("%s: %d %v", name, status, err)
			}
			if w.count() != before+1 {
				t.Fatalf("%s: the app saw %d requests", name, w.count()-before)
			}
			wantHonest(t, w.last(t), "https")
		}
	})
}

// ownAddress is an address of this host that is not loopback: that is the
// host's own and no auth server's.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this host has no address but loopback")
	return ""
}

// gatekeeper runs an auth server and returns a rule that asks it.
func gatekeeper(t *testing.T, h http.HandlerFunc) landward.ForwardAuth {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ownAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return landward.ForwardAuth{URL: s.URL + "/verify", Copy: []string{"Remote-User", "Remote-Groups"}}
}

// TestForwardedUser (Caddy CVE-2026-30851, 52845): what the auth server is to
// say reaches the app only if it has said it, whatever the client sends, as a
// header or as a trailer.
func TestForwardedUser(t *testing.T) {
	r := besieged(t, withHTTP3)
	w := newWitness(t)
	var says atomic.Bool
	guarded := shop(w.addr)
	guarded.Auth.Forward = gatekeeper(t, func(w http.ResponseWriter, _ *http.Request) {
		if says.Load() {
			w.Header().Set("Remote-User", "alice")
		}
	})
	r.apply(t, guarded)
	check := func(t *testing.T) {
		t.Helper()
		s := w.last(t)
		for _, h := range []http.Header{s.Header, s.Trailer} {
			for name, values := range h {
				if strings.Contains(strings.Join(values, " "), "evil") || strings.Contains(name, "_") {
					t.Errorf("%s: %q has reached the app", name, values)
				}
			}
		}
		want := map[bool]string{true: "alice"}[says.Load()]
		if got := strings.Join(s.Header.Values("Remote-User"), ","); got != want {
			t.Errorf("Remote-User %q, want %q", got, want)
		}
	}
	for _, say := range []bool{false, true} {
		says.Store(say)
		var forged, trailer strings.Builder
		for _, name := range []string{"Remote-User", "Remote-Groups"} {
			for _, s := range spellings(name) {
				forged.WriteString(s + ": evil\r\n")
			}
			trailer.WriteString(name + ": evil\r\n" + strings.ReplaceAll(name, "-", "_") + ": evil\r\n")
		}
		for _, connection := range []string{"", "Connection: remote-user, REMOTE_USER, Remote-Groups\r\n"} {
			resp, _ := r.says(t, "", "POST /a HTTP/1.1\r\nHost: shop.test\r\n"+forged.String()+connection+
				"Transfer-Encoding: chunked\r\nTrailer: Remote-User\r\n\r\n1\r\nx\r\n0\r\n"+trailer.String()+"\r\n")
			if resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			check(t)
		}
		r.each(t, "shop.test", func(t *testing.T, _ string, c *http.Client) {
			h := http.Header{"remote-user": {"evil"}, "remote_user": {"evil"}, "remote-groups": {"evil"}, "remote_groups": {"evil"}}
			if status, _, err := send(t, c, http.MethodGet, "shop.test", "/b", h, nil); err != nil || status != 200 {
				t.Fatalf("%d %v", status, err)
			}
			check(t)
			req, err := http.NewRequest(http.MethodPost, "https://shop.test/c", io.MultiReader(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"Remote-User": {"evil"}, "Authorization": {"evil"}}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if s := w.last(t); s.String() != "POST /c body" {
				t.Errorf("the app saw %q", s)
			}
			check(t)
		})
	}
}

// TestAuthServerMisbehaves (Traefik CVE-2026-26998): an auth server has a limit
// in bytes and in time, and where it goes wrong nobody gets in.
func TestAuthServerMisbehaves(t *testing.T) {
	gone := make(chan struct{})
	defer close(gone)
	flood := []byte(strings.Repeat("x", 64<<10))
	r := besieged(t, nil)
	w := newWitness(t)
	for name, tc := range map[string]struct {
		h      http.HandlerFunc
		status int
		most   int
	}{
		"a page without end": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			for r.Context().Err() == nil {
				if _, err := w.Write(flood); err != nil {
					return
				}
			}
		}, http.StatusForbidden, 64 << 10},
		"a yes without end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(flood); err != nil {
					return
				}
			}
		}, http.StatusOK, 100},
		"headers without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Remote-User", string(flood))
		}, http.StatusBadGateway, 8 << 10},
		"no answer": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-gone:
			}
		}, http.StatusBadGateway, 8 << 10},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n")
				_ = c.Close()
			}
		}, http.StatusBadGateway, 8 << 10},
		"another protocol": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, http.StatusBadGateway, 8 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no answer" && testing.Short() {
				t.Skip("takes as long as an auth server may")
			}
			guarded := shop(w.addr)
			guarded.Auth.Forward = gatekeeper(t, tc.h)
			r.apply(t, guarded)
			before := w.count()
			resp, body := r.says(t, "", "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n")
			if resp.StatusCode != tc.status || len(body) > tc.most {
				t.Errorf("%s with %d bytes, want %d", resp.Status, len(body), tc.status)
			}
			if in := w.count() > before; in != (tc.status == http.StatusOK) {
				t.Errorf("let in: %v", in)
			}
		})
	}
}

// TestErrorPagesAskNobody (Traefik CVE-2026-41181): a page about an error is
// made here. No service gets the client's cookies and credentials for it, and
// they are not in it.
func TestErrorPagesAskNobody(t *testing.T) {
	r := besieged(t, nil)
	w := newWitness(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := shop(netip.MustParseAddrPort(l.Addr().String()))
	_ = l.Close()
	dead.Pages = route.Pages{Dir: t.TempDir(), Replace: true}
	other := shop(w.addr, "other.test")
	other.AppID, other.App = 8, "other"
	r.apply(t, dead, other)
	for _, path := range []string{"/a", "/" + strings.Repeat("a", 5000), "/%zz"} {
		resp, body := r.says(t, "", "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\nCookie: session=xyzzy\r\nAuthorization: Bearer plugh\r\n\r\n")
		if resp.StatusCode < 400 || strings.Contains(body, "xyzzy") || strings.Contains(body, "plugh") || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s %q", resp.Status, body)
		}
	}
	if n := w.count(); n > 0 {
		t.Errorf("another app saw %d requests", n)
	}
	// The app's own error is replaced without asking it again.
	var asked atomic.Int64
	failing := shop(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "trace", http.StatusInternalServerError)
	}))
	failing.Pages = dead.Pages
	r.apply(t, failing)
	if resp, _ := r.says(t, "", "GET /a HTTP/1.1\r\nHost: shop.test\r\nCookie: session=xyzzy\r\n\r\n"); resp.StatusCode != 500 || asked.Load() != 1 {
		t.Errorf("%s, the app was asked %d times", resp.Status, asked.Load())
	}
}
