package edge_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"landward/internal/route"
	"landward/internal/route/edge"
)

// TestAppsAreNoProxies: an app of the host is not taken for a front proxy because
// its address is in a wider network that is trusted.
func TestAppsAreNoProxies(t *testing.T) {
	r := launch(t, t.TempDir(), edge.Options{
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Apps: netip.MustParsePrefix("127.9.0.0/16"),
	})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = fmt.Fprint(w, q.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(app.Close)
	r.put(t, 1, &route.Route{App: "shop", AppID: 7, Hosts: []string{"shop.test"}, State: route.StateUp,
		Targets: []route.Target{{Addr: netip.MustParseAddrPort(app.Listener.Addr().String()), Unit: "web.1", ID: "shop"}}})
	for from, want := range map[string]string{"127.8.0.1": "203.0.113.7", "127.9.0.1": "127.9.0.1"} {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addr().String()+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.test"
		req.Header.Set("X-Forwarded-For", "203.0.113.7")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(b) != want {
			t.Errorf("from %s the app is told of %q, not %q (%v)", from, b, want, err)
		}
	}
}
