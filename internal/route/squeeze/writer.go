package squeeze

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// The levels. A writer at these holds at most WriterMemory bytes, and lets
// through about 100 MB a second (brotli: 50).
const (
	gzipLevel     = 4
	brotliQuality = 3
	brotliWindow  = 16 // 64 KiB
	zstdLevel     = zstd.SpeedDefault
	// zstdWindow is far below the 8 MiB that browsers take (RFC 9659).
	zstdWindow = 128 << 10
)

// WriterMemory is what one writer holds at most, in bytes, about.
const WriterMemory = 2<<20 + 512<<10

// DefaultActive is how many writers of a Pool may be in use at once, where its
// maker does not say: 160 MiB if all are of the dearest kind.
const DefaultActive = 64

// encoder is what the three compressors have in common.
type encoder interface {
	io.Writer
	Flush() error
	Close() error
	Reset(dst io.Writer)
}

// Pool keeps writers for the next answer and bounds how many are in use. It is
// safe for concurrent use. Unused writers go with the garbage.
type Pool struct {
	max    int64
	active atomic.Int64
	free   [codings]sync.Pool
}

// NewPool makes a pool of which at most active writers are in use at once; 0
// means DefaultActive.
func NewPool(active int) *Pool {
	if active <= 0 {
		active = DefaultActive
	}
	return &Pool{max: int64(active)}
}

// Active is how many writers are in use.
func (p *Pool) Active() int { return int(p.active.Load()) }

// Get returns a writer that compresses to dst, or nil where all are in use:
// send the answer plain then. It is nil for Identity, too. Give it back by
// Release whatever happens.
func (p *Pool) Get(c Coding, dst io.Writer) *Writer {
	if c == Identity || c >= codings {
		return nil
	}
	if p.active.Add(1) > p.max {
		p.active.Add(-1)
		return nil
	}
	w, _ := p.free[c].Get().(*Writer)
	if w == nil {
		enc, err := newEncoder(c)
		if err != nil { // a level that the library does not know
			p.active.Add(-1)
			return nil
		}
		w = &Writer{pool: p, coding: c, enc: enc}
	}
	w.Reset(dst)
	return w
}

func newEncoder(c Coding) (encoder, error) {
	switch c {
	case Gzip:
		return gzip.NewWriterLevel(nil, gzipLevel)
	case Brotli:
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: brotliQuality, LGWin: brotliWindow}), nil
	default:
		// With a concurrency of one it works in the caller's goroutine and
		// starts none.
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstdLevel),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	}
}

// Writer compresses one answer. It must not be used by two goroutines at once.
type Writer struct {
	pool   *Pool
	coding Coding
	enc    encoder
	in     int64
}

// Coding is what the writer makes.
func (w *Writer) Coding() Coding { return w.coding }

// In is how many bytes have been written to w since its last Reset.
func (w *Writer) In() int64 { return w.in }

// Reset makes w ready for another answer, to dst. What was not flushed is
// dropped.
func (w *Writer) Reset(dst io.Writer) {
	w.in = 0
	w.enc.Reset(dst)
}

// Write compresses b. It may hold back what comes out of it.
func (w *Writer) Write(b []byte) (int, error) {
	n, err := w.enc.Write(b)
	w.in += int64(n)
	if err != nil {
		return n, fmt.Errorf("compress: %w", err)
	}
	return n, nil
}

// Flush sends everything so far in a form that the client can read at once.
// Call it whenever the app pauses: a piece of a streamed answer must arrive
// when it is sent.
func (w *Writer) Flush() error {
	if err := w.enc.Flush(); err != nil {
		return fmt.Errorf("flush compressed answer: %w", err)
	}
	return nil
}

// Close ends the compressed answer. Do not call it for an answer that was cut
// off: the missing end is how the client sees that.
func (w *Writer) Close() error {
	if err := w.enc.Close(); err != nil {
		return fmt.Errorf("end compressed answer: %w", err)
	}
	return nil
}

// Release gives w back. It must not be used after that.
func (w *Writer) Release() {
	p := w.pool
	w.enc.Reset(nil) // forgets dst and whatever is left of the answer
	p.free[w.coding].Put(w)
	p.active.Add(-1)
}
