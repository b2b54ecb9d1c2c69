package h3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"landward/internal/route/h2/lane"
)

// bodyBuffer is how much of a body is read at once.
const bodyBuffer = 32 << 10

var (
	heads  = sync.Pool{New: func() any { return new(lane.Head) }}
	bodies = sync.Pool{New: func() any { b := make([]byte, bodyBuffer); return &b }}
)

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(clientKey{}).(*client)
	if !ok {
		panic(http.ErrAbortHandler) // not one of ours
	}
	c.enter()
	gaveUp := false
	defer func() { c.leave(gaveUp, s.o.Limits.Resets) }()
	first, end, err := s.firstBytes(w, r)
	if err != nil {
		gaveUp = true
		panic(http.ErrAbortHandler)
	}
	h := heads.Get().(*lane.Head)
	defer heads.Put(h)
	h.Limit = s.o.Limits.Header
	h.Reset()
	req, err := translate(h, r, end)
	var refusal lane.Refusal
	switch {
	case errors.As(err, &refusal):
		answer(w, int(refusal))
		s.o.Refused(int(refusal), c.conn.RemoteAddr())
		return
	case err != nil:
		gaveUp = true
		reject(w, r, http3.ErrCodeMessageError)
		return
	}
	const tries = 3
	for try := 1; ; try++ {
		x := newExchange(w)
		switch s.exchange(c, x, &req, r, first, end) {
		case whole:
			return
		case untouched:
			// The near side was ending anyway.
			if end && try < tries && r.Context().Err() == nil {
				continue
			}
			reject(w, r, http3.ErrCodeRequestRejected)
			return
		default:
			gaveUp = r.Context().Err() != nil
			panic(http.ErrAbortHandler) // resets the stream with H3_INTERNAL_ERROR
		}
	}
}

// firstBytes finds out whether a request that does not say so has a body.
// Where a body is usual it is taken for granted, so that neither side waits
// for the other.
func (s *Server) firstBytes(w http.ResponseWriter, r *http.Request) (first []byte, end bool, err error) {
	switch {
	case r.ContentLength == 0:
		return nil, true, nil
	case r.ContentLength > 0:
		return nil, false, nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
	default:
		return nil, false, nil
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(s.o.Limits.HeaderTimeout))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	buf := make([]byte, 512)
	n, err := r.Body.Read(buf)
	switch {
	case n > 0:
		return buf[:n], false, nil
	case errors.Is(err, io.EOF):
		return nil, true, nil
	}
	return nil, false, err
}

// translate makes an HTTP/1.1 request of r. quic-go has checked a part of it;
// everything is checked again, by the same rules as HTTP/2's.
func translate(h *lane.Head, r *http.Request, end bool) (lane.Request, error) {
	h.Field(":method", r.Method)
	extended := r.Method == http.MethodConnect && r.Proto != "HTTP/3.0" // RFC 9220: quic-go has :protocol there
	if extended {
		h.Field(":protocol", r.Proto)
	}
	if extended || r.Method != http.MethodConnect {
		h.Field(":scheme", "https")
		h.Field(":path", r.RequestURI)
	}
	h.Field(":authority", r.Host)
	for key, values := range r.Header {
		name := strings.ToLower(key)
		if name == "host" {
			continue // it says what :authority does
		}
		for _, v := range values {
			h.Field(name, v)
		}
	}
	return h.Finish(end)
}

// answer answers a request that no lane sees.
func answer(w http.ResponseWriter, status int) {
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	w.WriteHeader(status)
}

// reject resets a stream that has not been answered.
func reject(w http.ResponseWriter, r *http.Request, code http3.ErrCode) {
	hs, ok := w.(http3.HTTPStreamer)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	str, err := hs.HTTPStream()
	if err != nil || r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	str.CancelRead(quic.StreamErrorCode(code))
	str.CancelWrite(quic.StreamErrorCode(code))
}

// exchange leads r through a lane. It returns when nobody uses the request or
// its writer any more.
func (s *Server) exchange(c *client, x *exchange, req *lane.Request, r *http.Request, first []byte, end bool) ending {
	l := s.take(c, x, req, end)
	if l == nil {
		return untouched
	}
	l.Kick()
	upload := make(chan struct{})
	if end {
		close(upload)
	} else {
		go func() {
			defer close(upload)
			s.upload(l, x, r, first)
		}()
	}
	how := whole
	select {
	case how = <-x.done:
	case <-r.Context().Done():
		how = broken
	}
	if how == whole && !req.Tunnel {
		// The answer is there; the app may still want the rest of the body. A
		// WebSocket wants nothing once the app has ended its side, and the client
		// sees that end when we return.
		select {
		case <-upload:
		case <-x.gone:
		case <-r.Context().Done():
		}
	}
	select {
	case <-upload: // the lane lives on
	default:
		l.Cut()
		_ = r.Body.Close() // ends the upload
		<-upload
	}
	if how == broken {
		l.Cut()
	}
	x.finish()
	return how
}

// take begins the request on a lane.
func (s *Server) take(c *client, x *exchange, req *lane.Request, end bool) *lane.Lane {
	for {
		l := c.lanes.Take()
		if l == nil {
			return nil
		}
		l.Far().(*stream).begin(x)
		if l.Begin(req, end) {
			return l
		}
	}
}

// upload feeds the lane with the request's body.
func (s *Server) upload(l *lane.Lane, x *exchange, r *http.Request, first []byte) {
	feed := func(p []byte) bool {
		if len(p) == 0 {
			return true
		}
		if !l.Feed(p) {
			return false
		}
		l.Kick()
		for l.Buffered() >= s.o.Limits.StreamWindow {
			select {
			case <-x.room:
			case <-x.gone:
				return false
			case <-r.Context().Done():
				return false
			}
		}
		return true
	}
	if !feed(first) {
		return
	}
	b := bodies.Get().(*[]byte)
	defer bodies.Put(b)
	for {
		n, err := r.Body.Read(*b)
		if !feed((*b)[:n]) {
			return
		}
		if errors.Is(err, io.EOF) {
			trailer, ok := s.trailer(r)
			if !ok {
				l.Cut()
				x.end(broken)
				return
			}
			l.Finish(trailer)
			l.Kick()
			return
		}
		if err != nil {
			// The client has given up, or sends what it has not announced: the
			// app must not take the body for whole.
			l.Cut()
			x.end(broken)
			return
		}
	}
}

// trailer makes lines of the request's trailer.
func (s *Server) trailer(r *http.Request) ([]byte, bool) {
	if len(r.Trailer) == 0 {
		return nil, true
	}
	h := lane.Head{Limit: s.o.Limits.Header}
	h.Reset()
	for key, values := range r.Trailer {
		for _, v := range values {
			h.Trailer(strings.ToLower(key), v)
		}
	}
	lines, err := h.FinishTrailer()
	return lines, err == nil
}

// wireLine takes a line off the front of a checked trailer.
func wireLine(lines []byte) (name, value, rest []byte) {
	line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
	name, value, _ = bytes.Cut(line, []byte(":"))
	return name, bytes.TrimSpace(value), rest
}
