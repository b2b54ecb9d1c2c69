package h2

import "encoding/binary"

// The types of frames (RFC 9113 section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9
)

// The flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// code is why a stream or a connection ends (RFC 9113 section 7).
type code uint32

const (
	codeNo           code = 0
	codeProtocol     code = 1
	codeInternal     code = 2
	codeFlowControl  code = 3
	codeStreamClosed code = 5
	codeFrameSize    code = 6
	codeRefused      code = 7
	codeCompression  code = 9
	codeEnhanceCalm  code = 11
)

// The settings (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1).
const (
	setTableSize     = 1
	setPush          = 2
	setStreams       = 3
	setWindow        = 4
	setFrameSize     = 5
	setHeaderList    = 6
	setConnect       = 8
	setNoPriorities  = 9
	defaultWindow    = 65535
	maxWindow        = 1<<31 - 1
	frameSize        = 16384 // of a payload: ours and the least that a peer takes
	frameHead        = 9
	preface          = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	defaultTableSize = 4096
)

// frame is a frame's head.
type frame struct {
	length int
	kind   uint8
	flags  uint8
	id     uint32
}

// parseFrame reads a frame's head from the first frameHead bytes of b.
func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3],
		flags:  b[4],
		id:     binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1),
	}
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

// appendFrame appends a frame's head.
func appendFrame(dst []byte, length int, kind, flags uint8, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), kind, flags, //nolint:gosec // length fits 24 bits
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id)) //nolint:gosec // as meant
}

func appendReset(dst []byte, id uint32, c code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, frameReset, 0, id), uint32(c))
}

func appendWindow(dst []byte, id uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, frameWindow, 0, id), uint32(n)) //nolint:gosec // at most maxWindow
}

func appendGoAway(dst []byte, last uint32, c code, reason string) []byte {
	dst = appendFrame(dst, 8+len(reason), frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c))
	return append(dst, reason...)
}

func appendSetting(dst []byte, id uint16, v int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), uint32(v)) //nolint:gosec // ours are small
}

// unpad takes the padding off a payload (RFC 9113 section 6.1). It reports
// false where the padding is as long as the payload or longer.
func unpad(f frame, p []byte) ([]byte, bool) {
	if !f.has(flagPadded) {
		return p, true
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}
