package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/landward"
	"landward/internal/route"
)

// strictApp is an app over TLS that knows its hosts by name and takes no
// connection for another, as web servers with several certificates do.
type strictApp struct {
	route.Target
	conns atomic.Int64
}

func newStrictApp(t *testing.T, h2 bool, hosts ...string) *strictApp {
	t.Helper()
	a := &strictApp{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != r.Host {
			w.WriteHeader(http.StatusMisdirectedRequest) // RFC 9110 section 15.5.20
			return
		}
		fmt.Fprint(w, r.Proto, " ", r.TLS.ServerName)
	}))
	s.EnableHTTP2 = h2
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			a.conns.Add(1)
		}
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, name := range hosts {
			if name == h.ServerName {
				return nil, nil
			}
		}
		return nil, fmt.Errorf("%q is none of our hosts", h.ServerName)
	}}
	s.Config.ErrorLog = discard()
	s.StartTLS()
	t.Cleanup(s.Close)
	a.Target = route.Target{Addr: netip.MustParseAddrPort(s.Listener.Addr().String()), Unit: "web.1", ID: s.Listener.Addr().String()}
	return a
}

// TestUpstreamName: an app that speaks TLS is told the host that was asked for,
// and each of its connections is for one host only.
func TestUpstreamName(t *testing.T) {
	for proto, version := range map[landward.Protocol]string{landward.ProtocolHTTPS: "HTTP/1.1", landward.ProtocolH2: "HTTP/2.0"} {
		t.Run(string(proto), func(t *testing.T) {
			r := start(t, t.TempDir())
			hosts := []string{"a.localhost", "b.localhost", "x.w.localhost", "y.w.localhost"}
			app := newStrictApp(t, proto == landward.ProtocolH2, hosts...)
			r.put(t, 1, &route.Route{App: "strict", AppID: 3, Hosts: []string{"a.localhost", "b.localhost", "*.w.localhost"},
				State: route.StateUp, Protocol: proto, Targets: []route.Target{app.Target}})
			c := r.browser(t, true, r.localRoots(t))
			for range 5 {
				for _, host := range hosts {
					if resp, body := fetch(t, c, "https://"+host+"/"); resp.StatusCode != 200 || body != version+" "+host {
						t.Fatalf("%s: %d %q", host, resp.StatusCode, body)
					}
				}
			}
			if n := app.conns.Load(); n != int64(len(hosts)) {
				t.Errorf("%d connections for %d hosts", n, len(hosts))
			}
			// Below a wildcard anybody makes up names: the app refuses them, and
			// answers for its own as before.
			if resp, _ := fetch(t, c, "https://made-up.w.localhost/"); resp.StatusCode != http.StatusBadGateway {
				t.Errorf("a name that the app does not know: %d", resp.StatusCode)
			}
			if resp, body := fetch(t, c, "https://a.localhost/"); resp.StatusCode != 200 {
				t.Errorf("afterwards: %d %q", resp.StatusCode, body)
			}
		})
	}
}

// TestUpstreamProtocols: what the client speaks and what the app speaks have
// nothing to do with each other.
func TestUpstreamProtocols(t *testing.T) {
	r := start(t, t.TempDir())
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Proto, " ", r.TLS != nil, " ", r.Header.Get("X-Forwarded-Proto"), " ", n, err)
	})
	serve := func(begin func(*httptest.Server)) []route.Target {
		s := httptest.NewUnstartedServer(hello)
		begin(s)
		t.Cleanup(s.Close)
		return []route.Target{{Addr: netip.MustParseAddrPort(s.Listener.Addr().String()), Unit: "web.1", ID: s.Listener.Addr().String()}}
	}
	apps := map[landward.Protocol]struct {
		want    string
		targets []route.Target
	}{
		landward.ProtocolHTTP:  {"HTTP/1.1 false", serve((*httptest.Server).Start)},
		landward.ProtocolHTTPS: {"HTTP/1.1 true", serve((*httptest.Server).StartTLS)},
		landward.ProtocolH2C: {"HTTP/2.0 false", serve(func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		})},
		landward.ProtocolH2: {"HTTP/2.0 true", serve(func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		})},
	}
	var routes []*route.Route
	for proto, a := range apps {
		routes = append(routes, &route.Route{App: string(proto), AppID: int64(len(routes) + 1), Hosts: []string{string(proto) + ".localhost"},
			State: route.StateUp, Protocol: proto, Targets: a.targets})
	}
	r.put(t, 1, routes...)
	roots := r.localRoots(t)
	clients := map[string]*http.Client{"HTTP/1.1": r.browser(t, false, roots), "HTTP/2.0": r.browser(t, true, roots), "HTTP/3.0": r.quicClient(t, roots)}
	for version, c := range clients {
		for proto, a := range apps {
			for _, size := range []int{0, 1, 100_000} {
				resp, err := c.Post("https://"+string(proto)+".localhost/", "text/plain", strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					t.Fatalf("%s to %s: %v", version, proto, err)
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if want := fmt.Sprint(a.want, " https ", size, error(nil)); err != nil || string(b) != want || resp.Proto != version {
					t.Errorf("%s to %s: %s %q, %v, want %q", version, proto, resp.Proto, b, err, want)
				}
			}
		}
	}
}

// quicClient is a client over HTTP/3.
func (r *running) quicClient(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, r.SecureAddr().String(), c, q)
		}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr, Timeout: patience}
}

// TestUpstreamNames: a target with more names than are kept for it serves all
// of them, also those in progress.
func TestUpstreamNames(t *testing.T) {
	for _, proto := range []landward.Protocol{landward.ProtocolHTTPS, landward.ProtocolH2} {
		r := start(t, t.TempDir())
		const names = 200
		var hosts []string
		for i := range names {
			hosts = append(hosts, fmt.Sprintf("n%d.w.localhost", i))
		}
		app := newStrictApp(t, proto == landward.ProtocolH2, hosts...)
		r.put(t, 1, &route.Route{App: "strict", AppID: 3, Hosts: []string{"*.w.localhost"}, State: route.StateUp, Protocol: proto,
			HTTPS: landward.HTTPSOff, Targets: []route.Target{app.Target}})
		c := r.browser(t, false, nil)
		work := make(chan string)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for host := range work {
					resp, err := c.Get("http://" + host + "/")
					if err != nil {
						t.Error(err)
						continue
					}
					b, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != 200 || !strings.HasSuffix(string(b), " "+host) {
						t.Errorf("%s over %s: %d %q", host, proto, resp.StatusCode, b)
					}
				}
			})
		}
		for range 2 {
			for _, host := range hosts {
				work <- host
			}
		}
		close(work)
		all.Wait()
	}
}
