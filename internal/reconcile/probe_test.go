package reconcile_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/reconcile"
)

// TestProbeProtocols: an app is asked in the protocol that it speaks, and over
// TLS for its own host: many answer no other.
func TestProbeProtocols(t *testing.T) {
	up := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" || r.Host != "shop.test" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	serve := func(begin func(*httptest.Server)) netip.AddrPort {
		s := httptest.NewUnstartedServer(up)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		begin(s)
		t.Cleanup(s.Close)
		return netip.MustParseAddrPort(s.Listener.Addr().String())
	}
	strict := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != "shop.test" {
			return nil, errors.New("none of our hosts")
		}
		return nil, nil
	}}
	plain := serve((*httptest.Server).Start)
	secure := serve(func(s *httptest.Server) { s.TLS = strict.Clone(); s.StartTLS() })
	two := serve(func(s *httptest.Server) { s.TLS, s.EnableHTTP2 = strict.Clone(), true; s.StartTLS() })
	clear2 := serve(func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	})
	rule := landward.Health{Path: "/up", Timeout: 20 * time.Second}
	for _, tc := range []struct {
		name  string
		addr  netip.AddrPort
		proto landward.Protocol
		got   string // how it begins
	}{
		{"http", plain, "", "200 in"}, {"https", secure, landward.ProtocolHTTPS, "200 in"}, {"h2c", clear2, landward.ProtocolH2C, "200 in"},
		{"h2", two, landward.ProtocolH2, "200 in"}, {"https of an app without TLS", plain, landward.ProtocolHTTPS, "an answer that is not TLS"},
		{"h2 of an app without TLS", plain, landward.ProtocolH2, "an answer that is not TLS"}, {"h2 of an app without HTTP/2", secure, landward.ProtocolH2, "no answer"},
	} {
		r := reconcile.Probe(t.Context(), tc.addr, "shop.test", rule, tc.proto)
		if !strings.HasPrefix(r.Got, tc.got) || r.Healthy != strings.HasPrefix(tc.got, "200") || !r.Connected {
			t.Errorf("%s: %+v, want %q", tc.name, r, tc.got)
		}
	}
}
