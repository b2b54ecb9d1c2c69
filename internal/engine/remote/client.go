package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"landward/internal/build"
	"landward/internal/engine"
	"landward/internal/landward"
)

// Client is an engine, a runner, images and a builder that live behind a unix
// socket. It is safe for concurrent use. Every method fails with
// CodeUnavailable while the engine process does not answer.
type Client struct {
	path string
	http *http.Client
}

var (
	_ engine.Engine = (*Client)(nil)
	_ engine.Runner = (*Client)(nil)
	_ engine.Images = (*Client)(nil)
	_ build.Builder = (*Client)(nil)
)

// New makes a client of the engine that listens at path. It does not connect.
func New(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}
	return c
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, "unix", c.path)
}

// post sends body and returns the answer, or the error that it carries.
func (c *Client) post(ctx context.Context, call string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/v1/"+call, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var w wireError
	if err := json.NewDecoder(io.LimitReader(res.Body, maxRequest)).Decode(&w); err != nil || w.Code == "" {
		return nil, lost(fmt.Errorf("status %s", res.Status))
	}
	return nil, w.err()
}

// failure says what a broken call means: that its context ended, or that the
// engine is away.
func (c *Client) failure(ctx context.Context, err error) error {
	switch ctx.Err() {
	case nil:
		return lost(err)
	case context.DeadlineExceeded:
		return landward.Errorf(landward.CodeTimeout, "the engine did not answer in time").Wrap(ctx.Err())
	}
	return landward.Errorf(landward.CodeCancelled, "cancelled").Wrap(ctx.Err())
}

// ask sends one question and reads one answer.
func ask[A any](ctx context.Context, c *Client, call string, q any) (A, error) {
	var a A
	body, err := json.Marshal(q)
	if err != nil {
		return a, fmt.Errorf("write request: %w", err)
	}
	res, err := c.post(ctx, call, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return a, c.failure(ctx, err)
	}
	return a, nil
}

// receive reads a stream's items until its end and returns the image in it. An
// error of fn ends it.
func receive[T any](ctx context.Context, c *Client, r io.Reader, fn func(T) error) (landward.Image, error) {
	dec := json.NewDecoder(r)
	for {
		var i item[T]
		if err := dec.Decode(&i); err != nil {
			return landward.Image{}, c.failure(ctx, err)
		}
		switch {
		case i.Error != nil:
			if ctx.Err() != nil { // the engine's word for the same
				return landward.Image{}, c.failure(ctx, ctx.Err())
			}
			return landward.Image{}, i.Error.err()
		case i.End && i.Image != nil:
			return *i.Image, nil
		case i.End:
			return landward.Image{}, nil
		case i.Item != nil:
			if err := fn(*i.Item); err != nil {
				return landward.Image{}, err
			}
		}
	}
}

// Apply implements engine.Engine.
func (c *Client) Apply(ctx context.Context, u engine.Unit) (engine.Container, error) {
	return ask[engine.Container](ctx, c, "apply", u)
}

// Remove implements engine.Engine.
func (c *Client) Remove(ctx context.Context, id string, grace time.Duration) error {
	_, err := ask[none](ctx, c, "remove", removeRequest{ID: id, Grace: grace})
	return err
}

// List implements engine.Engine.
func (c *Client) List(ctx context.Context, appID int64) ([]engine.Container, error) {
	a, err := ask[listAnswer](ctx, c, "list", appRequest{AppID: appID})
	return a.Containers, err
}

// Inspect implements engine.Engine.
func (c *Client) Inspect(ctx context.Context, id string) (engine.Container, error) {
	return ask[engine.Container](ctx, c, "inspect", idRequest{ID: id})
}

// RemoveApp implements engine.Engine.
func (c *Client) RemoveApp(ctx context.Context, appID int64, volumes bool) error {
	_, err := ask[none](ctx, c, "remove-app", appRequest{AppID: appID, Volumes: volumes})
	return err
}

// Info implements engine.Engine.
func (c *Client) Info(ctx context.Context) (engine.Info, error) {
	return ask[engine.Info](ctx, c, "info", none{})
}

// Watch implements engine.Engine.
func (c *Client) Watch(ctx context.Context) (<-chan engine.Event, error) {
	res, err := c.post(ctx, "watch", bytes.NewReader([]byte("{}")))
	if err != nil {
		return nil, err
	}
	out := make(chan engine.Event, 256)
	go func() {
		defer close(out)
		defer res.Body.Close()
		_, _ = receive(ctx, c, res.Body, func(e engine.Event) error { // how it ended does not matter
			select {
			case out <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return out, nil
}

// Logs implements engine.Engine.
func (c *Client) Logs(ctx context.Context, id string, o engine.LogOptions, fn func(engine.LogLine) error) error {
	body, err := json.Marshal(logsRequest{ID: id, Follow: o.Follow, Since: o.Since, Tail: o.Tail})
	if err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	res, err := c.post(ctx, "logs", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = receive(ctx, c, res.Body, fn)
	return err
}

// Pull implements engine.Images.
func (c *Client) Pull(ctx context.Context, ref string, out func(line string)) (landward.Image, error) {
	body, err := json.Marshal(refRequest{Ref: ref})
	if err != nil {
		return landward.Image{}, fmt.Errorf("write request: %w", err)
	}
	res, err := c.post(ctx, "pull", bytes.NewReader(body))
	if err != nil {
		return landward.Image{}, err
	}
	defer res.Body.Close()
	return receive(ctx, c, res.Body, func(line string) error {
		if out != nil {
			out(line)
		}
		return nil
	})
}

// Load implements engine.Images.
func (c *Client) Load(ctx context.Context, r io.Reader) (landward.Image, error) {
	return upload(ctx, c, "load", r, func(none) {})
}

// Image implements engine.Images.
func (c *Client) Image(ctx context.Context, ref string) (landward.Image, error) {
	return ask[landward.Image](ctx, c, "image", refRequest{Ref: ref})
}

// Keep implements engine.Images.
func (c *Client) Keep(ctx context.Context, id string, appID int64, app string, version int, service string) error {
	_, err := ask[none](ctx, c, "keep", keepRequest{ID: id, AppID: appID, App: app, Version: version, Service: service})
	return err
}

// Collect implements engine.Images.
func (c *Client) Collect(ctx context.Context, appID int64, keep []int) (int64, error) {
	a, err := ask[collectAnswer](ctx, c, "collect", collectRequest{AppID: appID, Keep: keep})
	return a.Freed, err
}

// Build implements build.Builder.
func (c *Client) Build(ctx context.Context, req build.Request, source io.Reader, out func(build.Line)) (landward.Image, error) {
	head, err := json.Marshal(req)
	if err != nil {
		return landward.Image{}, fmt.Errorf("write request: %w", err)
	}
	body := io.MultiReader(bytes.NewReader(append(head, '\n')), source)
	return upload(ctx, c, "build", body, out)
}

// upload sends body while it reads the items of the answer. The body is not
// read any more once it returns, but for a Read that is under way.
func upload[T any](ctx context.Context, c *Client, call string, body io.Reader, fn func(T)) (landward.Image, error) {
	src := &source{r: body}
	res, err := c.post(ctx, call, src)
	if e := src.failed(); e != nil && ctx.Err() == nil {
		if err == nil {
			res.Body.Close()
		}
		return landward.Image{}, e
	}
	if err != nil {
		return landward.Image{}, err
	}
	defer res.Body.Close()
	img, err := receive(ctx, c, res.Body, func(i T) error {
		fn(i)
		return nil
	})
	src.stop()
	if e := src.failed(); e != nil && err != nil && ctx.Err() == nil {
		return landward.Image{}, e
	}
	if err == nil && img.ID == "" {
		return img, lost(errors.New("no image in the answer"))
	}
	return img, err
}
