package wire

import "encoding/binary"

// Frames follows the borders of WebSocket frames (RFC 6455 section 5.2) in a
// stream, so that a frame of our own can be put between two of them.
type Frames struct {
	head [14]byte
	have int   // bytes of head so far
	left int64 // bytes of payload to come
	// Closed is set once a close frame has begun.
	Closed bool
}

// AtBorder reports whether the next byte begins a frame.
func (f *Frames) AtBorder() bool { return f.have == 0 && f.left == 0 }

// Take moves over b, which is the next piece of the stream.
func (f *Frames) Take(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, int64(len(b)))
			f.left -= n
			b = b[n:]
			continue
		}
		f.head[f.have] = b[0]
		f.have++
		b = b[1:]
		if f.have >= 2 && f.have == f.headLen() {
			f.begin()
		}
	}
}

// Border returns how many bytes of b come before the next border that lies in
// b; len(b) where there is none.
func (f Frames) Border(b []byte) int {
	n := 0
	for n < len(b) && !f.AtBorder() {
		step := 1
		if f.left > 0 {
			step = int(min(f.left, int64(len(b)-n)))
		}
		f.Take(b[n : n+step])
		n += step
	}
	return n
}

func (f *Frames) headLen() int {
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *Frames) begin() {
	f.have = 0
	switch l := f.head[1] & 0x7f; l {
	case 126:
		f.left = int64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		f.left = int64(binary.BigEndian.Uint64(f.head[2:]) & (1<<63 - 1))
	default:
		f.left = int64(l)
	}
	if f.head[0]&0x0f == 8 {
		f.Closed = true
	}
}

// AppendClose appends a close frame with that code and reason. A frame to a
// server must be masked, one to a client must not be (section 5.1); mask says
// which, with a key of zeros, which leaves the payload readable and is valid.
func AppendClose(dst []byte, code uint16, reason string, mask bool) []byte {
	n := byte(2 + len(reason)) //nolint:gosec // reasons are short constants
	if mask {
		n |= 0x80
	}
	dst = append(dst, 0x88, n)
	if mask {
		dst = append(dst, 0, 0, 0, 0)
	}
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}
