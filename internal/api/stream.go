package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"landward/client"
	"landward/internal/landward"
)

// streamType is the media type of a stream of items.
const streamType = "application/x-ndjson"

const (
	// beatEvery is how often an idle stream sends an empty line, so that
	// proxies keep it and a caller that is gone is noticed.
	beatEvery = 15 * time.Second
	// recheckEvery is how often a long stream or command asks whether its
	// caller still may.
	recheckEvery = time.Minute
	// writeWithin is how long a caller may take to read what was sent.
	writeWithin = 30 * time.Second
)

// streamed is the output of an operation that streams items.
type streamed struct {
	Body func(huma.Context)
}

// stream returns an output that sends what produce sends. What produce fails
// with becomes the last item. With live, every item is sent at once, and the
// caller's rights are looked at again and again.
func (a *API) stream(live bool, produce func(ctx context.Context, send func(client.StreamItem) error) error) *streamed {
	return &streamed{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		c := callOf(r.Context())
		w.Header().Set("Content-Type", streamType)
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		out := &itemWriter{w: w, control: http.NewResponseController(w), live: live}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		if live {
			out.flush()
			stop := a.keep(ctx, c, cancel, out.beat)
			defer stop()
		}
		err := produce(ctx, out.send)
		if err == nil {
			return
		}
		if cause := context.Cause(ctx); cause != nil {
			err = interrupted(cause)
		}
		_ = out.send(client.StreamItem{Error: c.problem(err).wire}) // the caller may be gone
	}}
}

// interrupted says why a stream or a command ended before its time.
func interrupted(cause error) error {
	if cause == context.Canceled { // itself: an error that wraps it says more
		return landward.Errorf(landward.CodeUnavailable, "the connection is closing").
			WithHint("Landward may be about to stop; try again in a moment").Wrap(cause)
	}
	return cause
}

// keep calls beat every beatEvery and looks at the caller's rights every
// recheckEvery until ctx ends or stop is called, which waits for the end. It
// cancels ctx when beat fails or the rights are gone.
func (a *API) keep(ctx context.Context, c *call, cancel context.CancelCauseFunc, beat func(context.Context) error) (stop func()) {
	ctx, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		beats, checks := time.NewTicker(beatEvery), time.NewTicker(recheckEvery)
		defer beats.Stop()
		defer checks.Stop()
		for {
			var err error
			select {
			case <-ctx.Done():
				return
			case <-beats.C:
				err = beat(ctx)
			case <-checks.C:
				err = a.recheck(ctx, c)
			}
			if err != nil && ctx.Err() == nil {
				cancel(err)
				return
			}
		}
	})
	return func() { done(); wg.Wait() }
}

// itemWriter writes items, a line each. It is safe for concurrent use.
type itemWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	live    bool
}

func (o *itemWriter) send(item client.StreamItem) error {
	var line bytes.Buffer
	if err := json.NewEncoder(&line).Encode(item); err != nil {
		return err
	}
	return o.write(line.Bytes())
}

// beat sends an empty line.
func (o *itemWriter) beat(context.Context) error { return o.write([]byte{'\n'}) }

func (o *itemWriter) write(line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	// Not every writer has deadlines; those of a real connection do.
	_ = o.control.SetWriteDeadline(time.Now().Add(writeWithin))
	defer func() { _ = o.control.SetWriteDeadline(time.Time{}) }() // the connection outlives the stream
	if _, err := o.w.Write(line); err != nil {
		return err
	}
	if o.live {
		return o.control.Flush()
	}
	return nil
}

func (o *itemWriter) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.control.Flush() // what is wrong with the connection shows at the first write
}
