package h3_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/route/h3"
	"landward/internal/waittest"
)

// TestSlowReader holds that an app that does not read holds the client back.
func TestSlowReader(t *testing.T) {
	const window = 64 << 10
	r := newRig(t, h3.Limits{StreamWindow: window, ConnWindow: window})
	body := &counter{}
	done := make(chan error)
	go func() {
		resp, err := r.client(t).Post(url("/slow?1"), "x/y", body)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	waittest.Eventually(t, "reading", func() bool { return r.app.Read.Load() > 0 })
	// What the lane, QUIC's two windows and the client's own buffers hold.
	const most = 8 * window
	last, still := int64(-1), 0
	waittest.Eventually(t, "the client stands still", func() bool {
		n := body.read()
		if n != last {
			last, still = n, 0
		}
		still++
		return still > 25
	})
	if n := body.read(); n > most {
		t.Errorf("%d bytes taken from a client whose app does not read", n)
	}
	r.app.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := r.app.Read.Load(); n != counted {
		t.Errorf("%d bytes came, want %d", n, counted)
	}
}

// counted is how long a counter's body is.
const counted = 4 << 20

type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := counted - c.n
	if left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), left)
	c.n += n
	return int(n), nil
}

func (c *counter) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func TestShutdown(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	pr, pw := io.Pipe()
	resp, err := c.Post(url("/echo"), "x/y", pr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Shutdown(context.Background())
	}()
	if _, err := io.WriteString(pw, "still served"); err != nil {
		t.Error(err)
	}
	_ = pw.Close()
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(b) != "still served" {
		t.Errorf("%q %v", b, err)
	}
	<-done
	if n := r.app.Open.Load(); n != 0 {
		t.Errorf("%d lanes left", n)
	}
}

func TestShutdownCuts(t *testing.T) {
	r := newRig(t, h3.Limits{})
	c := r.client(t)
	failed := make(chan error)
	go func() {
		resp, err := c.Get(url("/wait"))
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	waittest.Eventually(t, "request", func() bool { return r.app.Requests.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	r.Shutdown(ctx)
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	if r.app.Open.Load() != 0 {
		t.Error("a lane is left")
	}
}

// TestLimits are those that QUIC does not keep.
func TestLimits(t *testing.T) {
	t.Run("connections of one address", func(t *testing.T) {
		r := newRig(t, h3.Limits{ConnsPerIP: 2})
		get(t, r.client(t), url("/hello"))
		get(t, r.client(t), url("/hello"))
		if _, err := r.client(t).Get(url("/hello")); err == nil {
			t.Error("a third connection is served")
		}
	})
	t.Run("half a head", func(t *testing.T) {
		r := newRig(t, h3.Limits{IdleTimeout: 100 * time.Millisecond})
		conn, err := quic.DialAddr(context.Background(), r.addr, r.quicConfig(), &quic.Config{KeepAlivePeriod: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		str, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := str.Write([]byte{1, 0x40}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-conn.Context().Done():
		case <-time.After(patience):
			t.Error("the connection goes on")
		}
	})
	t.Run("a silent answer", func(t *testing.T) {
		r := newRig(t, h3.Limits{IdleTimeout: 300 * time.Millisecond})
		answered := make(chan error, 1)
		go func() {
			resp, err := r.client(t).Post(url("/slow?4"), "text/plain", strings.NewReader("body"))
			if err == nil {
				err = resp.Body.Close()
			}
			answered <- err
		}()
		waittest.Eventually(t, "the request is at the app", func() bool { return r.app.Requests.Load() == 1 })
		// Another connection, on which there is no request, ends after that time.
		idle, err := quic.DialAddr(context.Background(), r.addr, r.quicConfig(), &quic.Config{KeepAlivePeriod: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-idle.Context().Done():
		case err := <-answered:
			t.Fatalf("the request ended first: %v", err)
		case <-time.After(patience):
			t.Fatal("the idle connection goes on")
		}
		r.app.Release()
		if err := <-answered; err != nil {
			t.Errorf("nobody spoke for the idle limit: %v", err)
		}
	})
	t.Run("head too large", func(t *testing.T) {
		r := newRig(t, h3.Limits{Header: 8 << 10})
		req, _ := http.NewRequest("GET", url("/hello"), nil)
		req.Header.Set("X-Large", strings.Repeat("y", 9000))
		resp, err := r.client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 431 || r.app.Requests.Load() != 0 {
			t.Error(resp.Status)
		}
	})
	t.Run("requests given up", func(t *testing.T) {
		r := newRig(t, h3.Limits{Resets: 20})
		conn, err := quic.DialAddr(context.Background(), r.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil) //nolint:gosec // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		tr := &http3.Transport{}
		cc := tr.NewClientConn(conn)
		sent := int64(0)
		for conn.Context().Err() == nil {
			str, err := cc.OpenRequestStream(context.Background())
			if err != nil {
				break
			}
			req, _ := http.NewRequest("POST", url("/wait"), nil)
			_ = str.SendRequestHeader(req)
			sent++
			waittest.Eventually(t, "request", func() bool { return r.app.Requests.Load() >= sent || conn.Context().Err() != nil })
			str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
			str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		}
		<-conn.Context().Done()
		var ae *quic.ApplicationError
		if err := context.Cause(conn.Context()); !errors.As(err, &ae) || ae.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad) {
			t.Error(err)
		}
		_ = tr.Close()
	})
}

func TestRefusals(t *testing.T) {
	r := newRig(t, h3.Limits{})
	conn, err := quic.DialAddr(context.Background(), r.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil) //nolint:gosec // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	tr := &http3.Transport{}
	defer func() {
		_ = conn.CloseWithError(0, "")
		_ = tr.Close()
	}()
	cc := tr.NewClientConn(conn)
	for _, tt := range []struct {
		method, proto string
		status        int
	}{{"CONNECT", "HTTP/1.1", 405}, {"CONNECT", "webtransport", 501}} {
		req, _ := http.NewRequest(tt.method, url("/"), nil)
		req.Proto = tt.proto
		if tt.status == 405 {
			req.Host = "shop.test:443"
		}
		str, err := cc.OpenRequestStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := str.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		resp, err := str.ReadResponse()
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.proto, err)
			continue
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %s", tt.method, tt.proto, resp.Status)
		}
	}
	if n := r.app.Requests.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

func TestAltSvc(t *testing.T) {
	if got := newRig(t, h3.Limits{}).AltSvc(8443); got != `h3=":8443"; ma=86400` {
		t.Error(got)
	}
}
