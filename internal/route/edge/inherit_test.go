package edge_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	miekg "github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/cert"
	"landward/internal/dns"
	"landward/internal/route/edge"
	"landward/internal/route/h3"
)

// stock is what another process has opened.
type stock struct {
	t     *testing.T
	files map[string]*os.File
	asked []string
}

func newStock(t *testing.T) *stock { return &stock{t: t, files: map[string]*os.File{}} }

func (s *stock) put(name string, f *os.File, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.files[name] = f
	s.t.Cleanup(func() { _ = f.Close() })
}

// give is Options.Inherit.
func (s *stock) give(name string) (*os.File, error) {
	f := s.files[name]
	delete(s.files, name)
	if f != nil {
		s.asked = append(s.asked, name)
	}
	return f, nil
}

func inheriting(t *testing.T, s *stock) edge.Options {
	dir := t.TempDir()
	return edge.Options{
		HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", HTTP3: true, Socket: filepath.Join(dir, "edge.sock"),
		RoutesFile: filepath.Join(dir, "routes.json"), LogDir: filepath.Join(dir, "logs"), Log: slog.New(slog.DiscardHandler),
		Certs:   cert.Options{Dir: filepath.Join(dir, "certs"), Local: []string{"localhost"}},
		DNSAddr: "127.0.0.1:0", DNS: dns.Options{Zone: "localhost", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		Inherit: s.give,
	}
}

// TestInherit: an edge serves on the sockets that it was handed.
func TestInherit(t *testing.T) {
	s := newStock(t)
	addrs := map[string]string{}
	for _, name := range []string{edge.NameHTTP, edge.NameHTTPS} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		addrs[name] = l.Addr().String()
		f, err := l.(*net.TCPListener).File()
		s.put(name, f, err)
	}
	socks, err := h3.ListenSlots("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range socks {
		defer func() { _ = c.Close() }()
	}
	if err := h3.Steer(socks[0], 6, 1<<6); err != nil {
		t.Fatal(err)
	}
	f, err := socks[6].File()
	s.put(edge.NameSlot(6), f, err)
	secret, err := os.CreateTemp(t.TempDir(), "")
	s.put(edge.NameSecret, secret, err)
	if _, err := secret.Write(make([]byte, edge.SecretSize)); err != nil {
		t.Fatal(err)
	}
	list, err := dns.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list[0].Close() }()
	udp, tcp := edge.NameDNS(0)
	f, err = list[0].UDP.File()
	s.put(udp, f, err)
	f, err = list[0].TCP.File()
	s.put(tcp, f, err)

	e, err := edge.New(inheriting(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	if len(s.files) > 0 {
		t.Errorf("not taken: %v", s.files)
	}
	if e.Addr().String() != addrs[edge.NameHTTP] || e.SecureAddr().String() != addrs[edge.NameHTTPS] {
		t.Errorf("serves at %s and %s, handed %v", e.Addr(), e.SecureAddr(), addrs)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a test's own server
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, socks[0].LocalAddr().String(), c, q)
		}}
	defer func() { _ = tr.Close() }()
	if resp, _ := fetch(t, &http.Client{Transport: tr, Timeout: patience}, "https://nobody.localhost/"); resp.ProtoMajor != 3 {
		t.Error(resp.Proto)
	}
	c := &miekg.Client{Timeout: patience}
	if r, _, err := c.Exchange(new(miekg.Msg).SetQuestion("localhost.", miekg.TypeA), list[0].UDP.LocalAddr().String()); err != nil || len(r.Answer) != 1 {
		t.Errorf("%v %v", r, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestInheritWrong: a socket of the wrong kind is an error at once, and nothing
// stays open.
func TestInheritWrong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	udp, tcp := edge.NameDNS(0)
	for _, name := range []string{edge.NameSlot(0), udp} {
		s := newStock(t)
		f, err := l.(*net.TCPListener).File()
		s.put(name, f, err)
		o := inheriting(t, s)
		e, err := edge.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Listen(); err == nil {
			t.Errorf("%s: a listener in place of a UDP socket is no error", name)
		}
		if _, err := os.Stat(o.Socket); err == nil {
			t.Errorf("%s: the socket is left", name)
		}
	}
	// One of a pair is not enough.
	s := newStock(t)
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	f, err := c.File()
	s.put(udp, f, err)
	e, err := edge.New(inheriting(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err == nil || slices.Contains(s.asked, tcp) {
		t.Errorf("DNS over UDP without TCP: %v, %v", err, s.asked)
	}
}
