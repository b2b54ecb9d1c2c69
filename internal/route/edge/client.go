package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/route"
)

// Client is control's side of the edge's unix socket. It is safe for
// concurrent use, and needs the edge only while a call lasts.
type Client struct {
	http *http.Client
}

// NewClient makes a Client of the edge at that socket. It connects on first use.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:    4,
		IdleConnTimeout: 30 * time.Second,
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// PutTable puts the table of a text (route.Table.Text) into use. When it returns nil, every new request
// follows it and a restarted edge will. The error says what is wrong with the
// table (CodeInvalid, CodeConflict for an older generation), that the edge
// cannot be reached (CodeUnavailable), or that the table is in use but could
// not be written to disk (CodeInternal): put it again.
func (c *Client) PutTable(ctx context.Context, text []byte) error {
	resp, err := c.send(ctx, http.MethodPut, "/v1/table", bytes.NewReader(text))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Drain waits until the requests on targets that have left the table have
// ended, at most for limit; what is left then is closed or cut.
func (c *Client) Drain(ctx context.Context, ids []string, limit time.Duration) (route.DrainReport, error) {
	var r route.DrainReport
	err := c.call(ctx, http.MethodPost, "/v1/drain", drainRequest{IDs: ids, LimitMS: limit.Milliseconds()}, &r)
	return r, err
}

// Status returns the edge's counters.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Certs returns how the hosts' certificates stand.
func (c *Client) Certs(ctx context.Context) ([]cert.Status, error) {
	var list []cert.Status
	err := c.call(ctx, http.MethodGet, "/v1/certs", nil, &list)
	return list, err
}

// PutPair gives a host a key pair of its owner's.
func (c *Client) PutPair(ctx context.Context, host string, p Pair) (cert.Status, error) {
	var s cert.Status
	err := c.call(ctx, http.MethodPut, "/v1/certs/"+url.PathEscape(host), p, &s)
	return s, err
}

// RemovePair takes it away again.
func (c *Client) RemovePair(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodDelete, "/v1/certs/"+url.PathEscape(host), nil, nil)
}

// Root returns the certificate of the local authority, PEM; empty without one.
func (c *Client) Root(ctx context.Context) (string, error) {
	var a struct {
		Root string `json:"root"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/root", nil, &a)
	return a.Root, err
}

// Events hands each event to fn until ctx ends or the edge goes. ready is
// called once the edge tells events.
func (c *Client) Events(ctx context.Context, ready func(), fn func(Event)) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(resp.Body)
	for first := true; ; first = false {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("read events of edge: %w", err)
		}
		if first {
			ready()
		}
		if e.Kind != eventBeat {
			fn(e)
		}
	}
}

// Metrics returns the counters in the Prometheus text format.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	resp, err := c.do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read answer of edge: %w", err)
	}
	return nil
}

// do sends a value as JSON, or nothing.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request to edge: %w", err)
		}
		body = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, body)
}

// send returns an answer of status 200, or the error that it says.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request to edge: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, landward.Errorf(landward.CodeUnavailable, "the edge is not answering").
			WithHint("see whether `landward edge` runs; traffic goes on by the last table it had").Wrap(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f); err != nil || f.Code == "" {
		return nil, fmt.Errorf("edge answers %s", resp.Status)
	}
	return nil, &landward.Error{Code: f.Code, Message: f.Message, Cause: f.Cause, Hint: f.Hint, Field: f.Field}
}
