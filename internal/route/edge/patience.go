package edge

import (
	"io"
	"net/http"
	"time"
)

// patience bounds how long control may take to send a request's next piece, and
// to take an answer's. What is done in between has its own limits.
type patience struct {
	body, answer time.Duration
	next         http.Handler
}

// ServeHTTP serves one request.
func (p *patience) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{}) // the last answer's
	r.Body = timedBody{ReadCloser: r.Body, rc: rc, within: p.body}
	p.next.ServeHTTP(timedAnswer{ResponseWriter: w, rc: rc, within: p.answer}, r)
	// What nobody has read of the body is read after this, and what is buffered
	// goes out.
	_ = rc.SetReadDeadline(time.Now().Add(p.body))
	_ = rc.SetWriteDeadline(time.Now().Add(p.answer))
}

// timedBody is a body whose reads each have a limit.
type timedBody struct {
	io.ReadCloser
	rc     *http.ResponseController
	within time.Duration
}

// Read reads the next piece.
func (b timedBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(b.within))
	n, err := b.ReadCloser.Read(p)
	if err == nil || err == io.EOF { //nolint:errorlint // as a Reader returns it
		// From now on a read only waits to learn that control has gone. After a
		// failure the deadline stays: the server would read on.
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// timedAnswer is an answer whose writes each have a limit.
type timedAnswer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	within time.Duration
}

// Write writes the next piece.
func (a timedAnswer) Write(p []byte) (int, error) {
	_ = a.rc.SetWriteDeadline(time.Now().Add(a.within))
	return a.ResponseWriter.Write(p)
}

// FlushError sends what is buffered.
func (a timedAnswer) FlushError() error {
	_ = a.rc.SetWriteDeadline(time.Now().Add(a.within))
	return a.rc.Flush()
}
