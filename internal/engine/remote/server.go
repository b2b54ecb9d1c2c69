package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"landward/internal/build"
	"landward/internal/engine"
	"landward/internal/landward"
)

// Services are what Handler serves.
type Services struct {
	Engine  engine.Engine
	Runner  engine.Runner
	Images  engine.Images
	Builder build.Builder // nil: builds are refused
}

// Handler serves s to clients of this package. What goes wrong inside is
// logged here, for its details do not travel.
func Handler(s Services, log *slog.Logger) http.Handler {
	h := &handler{s: s, log: log}
	mux := http.NewServeMux()
	for path, fn := range map[string]http.HandlerFunc{
		"/v1/apply": call(h, s.Engine.Apply),
		"/v1/remove": call(h, func(ctx context.Context, q removeRequest) (none, error) {
			return none{}, s.Engine.Remove(ctx, q.ID, q.Grace)
		}),
		"/v1/list": call(h, func(ctx context.Context, q appRequest) (listAnswer, error) {
			list, err := s.Engine.List(ctx, q.AppID)
			return listAnswer{list}, err
		}),
		"/v1/inspect": call(h, func(ctx context.Context, q idRequest) (engine.Container, error) {
			return s.Engine.Inspect(ctx, q.ID)
		}),
		"/v1/remove-app": call(h, func(ctx context.Context, q appRequest) (none, error) {
			return none{}, s.Engine.RemoveApp(ctx, q.AppID, q.Volumes)
		}),
		"/v1/info": call(h, func(ctx context.Context, _ none) (engine.Info, error) { return s.Engine.Info(ctx) }),
		"/v1/image": call(h, func(ctx context.Context, q refRequest) (landward.Image, error) {
			return s.Images.Image(ctx, q.Ref)
		}),
		"/v1/keep": call(h, func(ctx context.Context, q keepRequest) (none, error) {
			return none{}, s.Images.Keep(ctx, q.ID, q.AppID, q.App, q.Version, q.Service)
		}),
		"/v1/collect": call(h, func(ctx context.Context, q collectRequest) (collectAnswer, error) {
			freed, err := s.Images.Collect(ctx, q.AppID, q.Keep)
			return collectAnswer{freed}, err
		}),
		"/v1/watch":  h.watch,
		"/v1/logs":   h.logs,
		"/v1/pull":   h.pull,
		"/v1/load":   h.load,
		"/v1/build":  h.build,
		"/v1/attach": h.attach,
	} {
		mux.HandleFunc("POST "+path, fn)
	}
	return mux
}

type handler struct {
	s   Services
	log *slog.Logger
}

// call serves one question with one answer.
func call[Q, A any](h *handler, fn func(context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decode(http.MaxBytesReader(w, r.Body, maxRequest), &q); err != nil {
			h.fail(w, r, err)
			return
		}
		a, err := fn(r.Context(), q)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // a client that is gone needs no answer
	}
}

// fail answers with an error. The status only says that it is one.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.note(r, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(toWire(err))
}

// note logs what the client will not be told.
func (h *handler) note(r *http.Request, err error) {
	var known *landward.Error
	if errors.As(err, &known) && known.Code != landward.CodeInternal || r.Context().Err() != nil {
		return
	}
	h.log.Error("engine call failed", "call", r.URL.Path, "err", err)
}

// sender writes the items of one stream.
type sender struct {
	h   *handler
	w   http.ResponseWriter
	r   *http.Request
	mu  sync.Mutex
	enc *json.Encoder
}

func (h *handler) stream(w http.ResponseWriter, r *http.Request) *sender {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &sender{h: h, w: w, r: r, enc: json.NewEncoder(w)}
}

// send writes one item at once.
func (s *sender) send(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enc.Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}

// end closes the stream with the image that was made, if any, or err.
func (s *sender) end(img *landward.Image, err error) {
	last := item[none]{End: true, Image: img}
	if err != nil {
		s.h.note(s.r, err)
		last = item[none]{Error: toWire(err)}
	}
	_ = s.send(last)
}

// beat is how long a client of an upload may be gone before it is noticed.
const beat = time.Second

// whileHeard returns a context that ends when the client is gone, and what ends
// the watch for that. The HTTP server looks for the client only once the body
// was read to its end, and who builds may be waiting instead; so empty items
// are sent until one does not arrive.
func (s *sender) whileHeard() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(s.r.Context())
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if s.send(item[none]{}) != nil {
					cancel()
				}
			}
		}
	})
	return ctx, func() {
		cancel()
		beating.Wait()
	}
}

func (h *handler) watch(w http.ResponseWriter, r *http.Request) {
	var q none
	if err := decode(http.MaxBytesReader(w, r.Body, maxRequest), &q); err != nil {
		h.fail(w, r, err)
		return
	}
	events, err := h.s.Engine.Watch(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := h.stream(w, r)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // the client waits for this
	for e := range events {
		if out.send(eventItem{Item: &e}) != nil {
			return
		}
	}
	out.end(nil, nil)
}

func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	var q logsRequest
	if err := decode(http.MaxBytesReader(w, r.Body, maxRequest), &q); err != nil {
		h.fail(w, r, err)
		return
	}
	out := h.stream(w, r)
	err := h.s.Engine.Logs(r.Context(), q.ID, engine.LogOptions{Follow: q.Follow, Since: q.Since, Tail: q.Tail}, func(l engine.LogLine) error {
		return out.send(logItem{Item: &l})
	})
	out.end(nil, err)
}

func (h *handler) pull(w http.ResponseWriter, r *http.Request) {
	var q refRequest
	if err := decode(http.MaxBytesReader(w, r.Body, maxRequest), &q); err != nil {
		h.fail(w, r, err)
		return
	}
	out := h.stream(w, r)
	img, err := h.s.Images.Pull(r.Context(), q.Ref, func(line string) {
		_ = out.send(textItem{Item: &line}) // a client that is gone ends the context
	})
	out.end(&img, err)
}

func (h *handler) load(w http.ResponseWriter, r *http.Request) {
	duplex(w)
	out := h.stream(w, r)
	ctx, stop := out.whileHeard()
	img, err := h.s.Images.Load(ctx, r.Body)
	stop()
	out.end(&img, err)
	drain(r.Body)
}

// build reads the request in the first line of the body and the source after it.
func (h *handler) build(w http.ResponseWriter, r *http.Request) {
	duplex(w)
	out := h.stream(w, r)
	body := bufio.NewReaderSize(r.Body, 64<<10)
	q, err := readHead(body)
	switch {
	case err != nil:
		out.end(nil, err)
	case h.s.Builder == nil:
		out.end(nil, landward.Errorf(landward.CodeUnavailable, "this engine does not build"))
	default:
		ctx, stop := out.whileHeard()
		img, err := h.s.Builder.Build(ctx, q, body, func(l build.Line) {
			_ = out.send(buildItem{Item: &l}) // a client that is gone ends ctx
		})
		stop()
		out.end(&img, err)
	}
	drain(body)
}

// readHead reads the first line, at most maxRequest bytes.
func readHead(r *bufio.Reader) (build.Request, error) {
	var q build.Request
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxRequest {
			return q, landward.Errorf(landward.CodeTooLarge, "the request is larger than %d bytes", maxRequest)
		}
		if err == nil {
			return q, decode(bytes.NewReader(line), &q)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return q, landward.Errorf(landward.CodeInvalid, "the request is cut short").Wrap(err)
		}
	}
}

// duplex lets the answer begin before the request's body has ended.
func duplex(w http.ResponseWriter) {
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/1 on a socket of ours always can
}

// drain reads on until the client stops sending, which it does when it sees the
// end of the answer. Closing at once would make its writes fail, and with them
// the reading of the answer.
func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
