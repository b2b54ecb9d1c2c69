package githttp

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/landward"
)

// body is a request's body: unpacked, bounded, and with a deadline for each
// read. Close unblocks a Read.
type body struct {
	src  io.Reader
	raw  *patientReader
	left int64

	mu     sync.Mutex
	closed bool
	err    error // why the body was refused
}

func newBody(r *http.Request, ctl *http.ResponseController, limit int64, stall time.Duration) (*body, error) {
	raw := &patientReader{r: r.Body, ctl: ctl, stall: stall}
	b := &body{src: raw, raw: raw, left: limit}
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(b.src)
		if err != nil {
			return nil, landward.Errorf(landward.CodeInvalid, "the body is not gzip").Wrap(err)
		}
		b.src = z
	default:
		return nil, landward.Errorf(landward.CodeInvalid, "the body's encoding is not known here; use gzip or none")
	}
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.isClosed() {
		return 0, io.ErrClosedPipe
	}
	if int64(len(p)) > b.left {
		p = p[:b.left+1] // one more than allowed tells too long from just long enough
	}
	n, err := b.src.Read(p)
	if int64(n) > b.left {
		return 0, b.refuse(landward.Errorf(landward.CodeTooLarge, "the push is too large"))
	}
	b.left -= int64(n)
	return n, err
}

func (b *body) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *body) refuse(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	return err
}

// refused says why the body was not read to its end, or nil.
func (b *body) refused() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Close makes a Read that waits return at once.
func (b *body) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	if b.raw.ended.Load() {
		return nil // a deadline would spoil the connection for the next request
	}
	err := b.raw.ctl.SetReadDeadline(time.Unix(1, 0))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// drain reads what git did not want, so that the client gets to see git's
// answer, and gives the connection up where that takes too long.
func (b *body) drain() {
	if b.raw.ended.Load() {
		return
	}
	_ = b.raw.ctl.SetReadDeadline(time.Now().Add(b.raw.stall)) // not every server has them
	if _, err := io.Copy(io.Discard, b.raw.r); err != nil {
		panic(http.ErrAbortHandler) // the only way to say that the body stays unread
	}
	_ = b.raw.ctl.SetReadDeadline(time.Time{})
}

// patientReader gives the client a new deadline for every piece.
type patientReader struct {
	r     io.Reader
	ctl   *http.ResponseController
	stall time.Duration
	ended atomic.Bool
}

func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.ctl.SetReadDeadline(time.Now().Add(p.stall)) // not every server has them
	n, err := p.r.Read(b)
	if err != nil {
		_ = p.ctl.SetReadDeadline(time.Time{})
		p.ended.Store(true)
	}
	return n, err
}

// answer sends each piece of git's output at once, with a deadline, so that a
// pusher sees the lines as they come and a stopped one holds nothing up.
type answer struct {
	w       http.ResponseWriter
	ctl     *http.ResponseController
	stall   time.Duration
	started bool
}

func (a *answer) Write(p []byte) (int, error) {
	a.started = true
	_ = a.ctl.SetWriteDeadline(time.Now().Add(a.stall)) // not every server has them
	n, err := a.w.Write(p)
	if err == nil {
		err = a.ctl.Flush()
	}
	return n, err
}
