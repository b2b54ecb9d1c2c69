package reconcile

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"landward/internal/landward"
)

// ProbeResult is the answer to one health probe.
type ProbeResult struct {
	Healthy   bool
	Connected bool   // the TCP connection came about
	Asked     string // "GET /up" or "a TCP connection to port 5000"
	Got       string // "200 in 3 ms", "connection refused"
	Status    int
	Location  string
}

// String is the probe as people read it: "GET /up → 200 in 3 ms".
func (p ProbeResult) String() string {
	if p.Asked == "" {
		return "not asked yet"
	}
	return p.Asked + " → " + p.Got
}

// hint says what to do about an answer that is not healthy.
func (p ProbeResult) hint() string {
	switch {
	case p.Status == http.StatusNotFound:
		return "is the health path right? Set it in landward.yaml (services.web.health.path) or with `landward health set web path=/…`"
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		return "the health path must answer without a login"
	case p.Status >= 500:
		return "the app answers its health path with an error of its own; its last lines are above"
	}
	return "the health path must answer 2xx or 3xx within the rule's timeout"
}

// Probe asks addr once, as the rule says: a GET whose answer must be 2xx or
// 3xx, in the protocol that the app speaks, or just a connection. Redirects are an answer and are not followed.
func Probe(ctx context.Context, addr netip.AddrPort, host string, rule landward.Health, proto landward.Protocol) ProbeResult {
	ctx, cancel := context.WithTimeout(ctx, rule.Timeout)
	defer cancel()
	begin := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	r := ProbeResult{Asked: fmt.Sprintf("connect to port %d", addr.Port())}
	if rule.Path != "" {
		r.Asked = "GET " + rule.Path
	}
	if err != nil {
		r.Got = reason(err, rule)
		return r
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	r.Connected = true
	if rule.Path == "" {
		r.Healthy, r.Got = true, "ok in "+took(begin)
		return r
	}
	resp, err := get(ctx, conn, addr, host, rule.Path, proto)
	if err != nil {
		r.Got = reason(err, rule)
		return r
	}
	r.Status, r.Location = resp.StatusCode, resp.Header.Get("Location")
	r.Healthy = r.Status >= 200 && r.Status < 400
	r.Got = fmt.Sprintf("%d in %s", r.Status, took(begin))
	if r.Location != "" {
		r.Got += " (to " + landward.Printable(r.Location) + ")"
	}
	return r
}

func get(ctx context.Context, conn net.Conn, addr netip.AddrPort, host, path string, proto landward.Protocol) (*http.Response, error) {
	scheme := "http"
	if proto == landward.ProtocolHTTPS || proto == landward.ProtocolH2 {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr.String(), nil)
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = path // as the user wrote it
	req.Host = host
	req.Close = true
	req.Header.Set("User-Agent", landward.HealthAgent)
	req.Header.Set("X-Forwarded-Proto", "https") // an app that redirects to HTTPS shall not redirect this
	transport := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// It is the app's own network: its certificate proves nothing.
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	switch proto {
	case landward.ProtocolH2C:
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	case landward.ProtocolH2:
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	return resp, resp.Body.Close()
}

func reason(err error, rule landward.Health) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer within " + rule.Timeout.String()
	case strings.Contains(err.Error(), "connection refused"):
		return "connection refused"
	case errors.Is(err, io.EOF), strings.Contains(err.Error(), "reset by peer"):
		return "the connection was closed without an answer"
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "an answer that is not HTTP"
	case errors.As(err, new(tls.RecordHeaderError)), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return "an answer that is not TLS"
	}
	return "no answer"
}

func took(begin time.Time) string {
	d := time.Since(begin)
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
