package remote

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Frames carry an attached command in both directions: one byte of kind, four
// of length, the payload.
const (
	frameRequest  = 'q' // client: attachRequest
	frameStdin    = 'i' // client: input
	frameStdinEnd = 'e' // client: no more input
	frameResize   = 's' // client: width and height, two bytes each
	frameStdout   = 'o' // server
	frameStderr   = 'r' // server
	frameCredit   = 'c' // server: one frame of input was taken
	frameExit     = 'x' // server: exitAnswer; the last frame
)

const (
	frameHeader = 5
	// chunk is the most of a stream that goes into one frame.
	chunk = 32 << 10
	// window is how many frames of input may be on their way. The server holds
	// as many, so that input which nobody reads never keeps it from seeing the
	// frames behind.
	window = 8
)

// frameWriter writes frames from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) write(kind byte, payload []byte) error {
	buf := make([]byte, frameHeader+len(payload))
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(payload)))
	copy(buf[frameHeader:], payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(buf)
	return err
}

// readFrame reads one frame of at most limit bytes.
func readFrame(r io.Reader, limit int) (kind byte, payload []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if int64(n) > int64(limit) {
		return 0, nil, fmt.Errorf("a frame of %d bytes, above %d", n, limit)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[0], payload, nil
}

// streamWriter sends what is written to it as frames of one kind.
type streamWriter struct {
	kind byte
	out  *frameWriter
}

func (s streamWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		part := p[:min(len(p), chunk)]
		if err := s.out.write(s.kind, part); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}
