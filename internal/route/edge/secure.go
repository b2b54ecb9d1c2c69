package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/route/door"
	"landward/internal/route/h2"
	"landward/internal/route/h3"
)

// handshakeWithin is how long a client may take to agree on keys where nothing
// else is said. A first certificate that is ordered meanwhile has its own limit,
// which is shorter.
const handshakeWithin = 30 * time.Second

// secureWith makes what HTTPS needs.
func (e *Edge) secureWith(o Options) error {
	if o.HTTPS == "" {
		return nil
	}
	c := o.Certs
	c.OnDemand = e.mayOrder
	if o.ByDNS && e.dns != nil {
		c.DNS = map[string]cert.DNSProvider{o.DNS.Zone: e.dns.Provider()}
	}
	var err error
	if e.certs, err = cert.New(c); err != nil {
		return err
	}
	l := o.Limits
	e.h2 = h2.New(h2.Options{Log: o.Log, Hand: e.hand, Refused: e.refused("HTTP/2.0"), Limits: h2.Limits{
		Header: l.Header, HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout, WriteTimeout: l.WriteTimeout,
	}})
	return nil
}

// hand serves an inner HTTP/1.1 connection of HTTP/2 or HTTP/3.
func (e *Edge) hand(conn net.Conn) { e.plane.ServeConn(conn, "https") }

// refused notes requests that a door has answered itself.
func (e *Edge) refused(proto string) func(int, net.Addr) {
	return func(status int, client net.Addr) { e.plane.Refused(status, client, proto) }
}

// mayOrder allows certificates for hosts that the table has.
func (e *Edge) mayOrder(_ context.Context, host string) error {
	if !e.plane.Knows(host) {
		return landward.Errorf(landward.CodeNotFound, "no app has the host %s", landward.Printable(host))
	}
	return nil
}

// hasCertificate reports whether HTTPS works for a host.
func (e *Edge) hasCertificate(host []byte) bool { return e.certs != nil && e.certs.Ready(string(host)) }

// covers reports whether the certificate for one host is good for another.
func (e *Edge) covers(server, host string) bool { return e.certs.Covers(server, host) }

func (e *Edge) challenge(host, path string) (string, bool) {
	if e.certs == nil {
		return "", false
	}
	return e.certs.HTTPChallenge(host, path)
}

// isLocal reports whether the local authority signs for a host.
func (e *Edge) isLocal(host string) bool {
	for _, d := range e.o.Certs.Local {
		if host == d || strings.HasSuffix(host, "."+d) {
			return true
		}
	}
	return false
}

// serveTLS agrees on keys with a client and serves what it chose to speak.
func (e *Edge) serveTLS(conn net.Conn) {
	secure := tls.Server(conn, e.certs.TLSConfig())
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(e.o.Handshake, handshakeWithin))
	err := secure.HandshakeContext(ctx)
	cancel()
	if err != nil {
		e.log.Debug("TLS handshake", "client", conn.RemoteAddr().String(), "err", err)
		_ = conn.Close()
		return
	}
	switch secure.ConnectionState().NegotiatedProtocol {
	case "h2":
		e.h2.ServeConn(secure)
	case "acme-tls/1":
		_ = secure.Close() // the handshake was the answer
	default:
		e.plane.ServeConn(secure, "https")
	}
}

// proxied lets trusted front proxies say who the client is.
func (e *Edge) proxied(l net.Listener) net.Listener {
	if !e.o.ProxyProtocol || len(e.o.Trusted) == 0 {
		return l
	}
	return door.Listen(l, door.Options{Trusted: e.o.Trusted, Required: true, Timeout: e.o.Limits.HeaderTimeout})
}

// A socket that another process still holds is tried again. Nobody hands it
// over then: it is free when that process ends.
const bindAgain = 100 * time.Millisecond

// serveQUIC serves HTTP/3 until ctx ends, and lets requests end until late does.
func (e *Edge) serveQUIC(ctx, late context.Context) error {
	h := e.quic
	if h.conn == nil {
		err := e.bind(ctx, "HTTP/3", func() (err error) {
			h.conn, err = net.ListenPacket("udp", e.secure.Addr().String())
			return err
		})
		if err != nil || h.conn == nil {
			return err
		}
	}
	defer h.conn.Close() //nolint:errcheck // at the end
	l := e.o.Limits
	s := h3.New(h3.Options{TLS: e.certs.TLSConfig(), Hand: e.hand, Refused: e.refused("HTTP/3.0"), Log: e.log, Slot: h.slot, Secret: h.secret, Limits: h3.Limits{
		Header: l.Header, HandshakeTimeout: e.o.Handshake, HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout,
	}})
	e.plane.SetAltSvc(s.AltSvc(portOf(e.secure.Addr().String())))
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(late, e.o.Grace)
		defer cancel()
		s.Shutdown(grace)
	}()
	err := s.Serve(h.conn)
	if ctx.Err() != nil {
		<-done
		return nil
	}
	return err
}

// serveDNS answers DNS until ctx ends.
func (e *Edge) serveDNS(ctx context.Context) error {
	if !e.named {
		err := e.bind(ctx, "DNS", func() error { return e.dns.Listen(e.o.DNSAddr) })
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return e.dns.Run(ctx)
}

// bind opens a socket as soon as it is free, or gives up when ctx ends.
func (e *Edge) bind(ctx context.Context, what string, open func() error) error {
	tick := time.NewTicker(bindAgain)
	defer tick.Stop()
	for said := false; ; {
		err := open()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		if !said {
			said = true
			e.log.Warn("address in use, waiting for it", "for", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}
