// Package client holds the wire types of Landward's public API and an HTTP
// client for it. It is what the command line and the tests speak, and what
// clients in other languages are generated from. It must never know how the
// server does its work: it imports the standard library and a WebSocket library.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// callTimeout bounds a call that neither streams nor uploads.
const callTimeout = 60 * time.Second

// Client calls one Landward server. It is safe for concurrent use, and never
// tries a call twice.
type Client struct {
	base      string // scheme://host[:port], without a final slash
	token     string
	userAgent string
	http      *http.Client
}

// Options change how a client calls. The zero value is right for most.
type Options struct {
	UserAgent string            // "" : landward-client
	Transport http.RoundTripper // nil: a transport of its own, with time limits on connecting
}

// New returns a client of the server at baseURL ("https://landward.example.com")
// that presents token, which may be empty for the calls that need none.
func New(baseURL, token string, o Options) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("parse server address: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%q is not a server address: it looks like https://landward.example.com", baseURL)
	}
	if o.Transport == nil {
		o.Transport = newTransport(dialTCP)
	}
	base := u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/")
	return newClient(base, token, o), nil
}

// NewUnix returns a client of the server that listens on a unix socket of this
// machine, which knows the caller by its user id.
func NewUnix(socketPath string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socketPath)
	}
	return newClient("http://landward.localhost", "", Options{Transport: newTransport(dial)})
}

func newClient(base, token string, o Options) *Client {
	if o.UserAgent == "" {
		o.UserAgent = "landward-client"
	}
	return &Client{base: base, token: token, userAgent: o.UserAgent, http: &http.Client{
		Transport: o.Transport,
		// A redirect would carry the token elsewhere; the API has none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func newTransport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
	}
}

// dialTCP connects to addr. Names under localhost are this machine's loopback
// (RFC 6761 section 6.3), which not every resolver knows.
func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(strings.TrimSuffix(host, "."), ".localhost") {
		addr = net.JoinHostPort("localhost", port)
	}
	return d.DialContext(ctx, network, addr)
}

// BaseURL returns the address that the client was made with.
func (c *Client) BaseURL() string { return c.base }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// path joins segments under /api/v1, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// withQuery adds q to p where there is any.
func withQuery(p string, q url.Values) string {
	if len(q) == 0 {
		return p
	}
	return p + "?" + q.Encode()
}

// call sends in as JSON (nil: no body) and decodes the answer into out (nil:
// none is wanted).
func (c *Client) call(ctx context.Context, method, p string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	contentType := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	resp, err := c.send(ctx, method, p, contentType, body)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

// upload streams body and decodes the answer into out. It has no time limit but ctx's.
func (c *Client) upload(ctx context.Context, p, contentType string, body io.Reader, out any) error {
	resp, err := c.send(ctx, http.MethodPost, p, contentType, body)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

// send makes a request and turns every answer but 2xx into an *Error.
func (c *Client) send(ctx context.Context, method, p, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+p, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	c.setHeader(req.Header)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(c.base, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close() //nolint:errcheck // it was only read
		return nil, readError(resp)
	}
	return resp, nil
}

func (c *Client) setHeader(h http.Header) {
	h.Set("User-Agent", c.userAgent)
	h.Set("Accept", "application/json, application/x-ndjson, application/problem+json")
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
}

func decode(resp *http.Response, out any) error {
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}
