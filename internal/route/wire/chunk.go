package wire

// Limits of a chunked body beside its data.
const (
	maxChunkExt   = 256     // bytes of one chunk's extension
	maxExtTotal   = 4 << 10 // bytes of all extensions of a body
	maxTrailer    = 8 << 10 // bytes of the trailer section
	maxSizeDigits = 15
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

// Chunks decodes a chunked body piece by piece (RFC 9112 section 7.1). The
// zero value is ready; Reset makes it so again.
type Chunks struct {
	// Drop says of more trailers, by name, that they are not passed on; nil: of
	// none. Reset forgets it.
	Drop func(name []byte) bool

	state    chunkState
	digits   int
	left     int64 // of this chunk's size or data
	ext      int
	extTotal int
	seen     int    // of trailer that HeadEnd has looked at
	trailer  []byte // raw lines, with the empty line at the end
}

// Reset makes c ready for another body.
func (c *Chunks) Reset() { *c = Chunks{trailer: c.trailer[:0]} }

// Done reports whether the body has ended.
func (c *Chunks) Done() bool { return c.state == chunkDone }

// Next takes as much from src as makes one piece of data: data points into
// src, n is how many bytes were used. Call it until Done, or until it has used
// all of src. Errors are of type *Error.
func (c *Chunks) Next(src []byte) (data []byte, n int, err error) {
	for n < len(src) && c.state != chunkDone {
		if c.state == chunkData {
			take := min(c.left, int64(len(src)-n))
			data = src[n : n+int(take)]
			c.left -= take
			if c.left == 0 {
				c.state = chunkDataCR
			}
			return data, n + int(take), nil
		}
		if c.state == chunkTrailer {
			used, err := c.readTrailer(src[n:])
			return nil, n + used, err
		}
		if err := c.step(src[n]); err != nil {
			return nil, n, err
		}
		n++
	}
	return nil, n, nil
}

// step takes one byte of framing.
func (c *Chunks) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.sizeByte(b)
	case chunkExt:
		switch {
		case b == '\r':
			c.state = chunkSizeLF
		case classes[b]&classValue == 0:
			return ErrChunkExt
		default:
			c.ext++
			c.extTotal++
			if c.ext > maxChunkExt || c.extTotal > maxExtTotal {
				return ErrChunkExt
			}
		}
	case chunkSizeLF:
		if b != '\n' {
			return ErrChunkSize
		}
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkTrailer
		}
		c.digits, c.ext = 0, 0
	case chunkDataCR:
		if b != '\r' {
			return ErrChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return ErrChunkEnd
		}
		c.state = chunkSize
	}
	return nil
}

func (c *Chunks) sizeByte(b byte) error {
	if d := unhex(b); d <= 15 {
		if c.digits++; c.digits > maxSizeDigits {
			return ErrChunkSize
		}
		c.left = c.left<<4 | int64(d)
		return nil
	}
	if c.digits == 0 {
		return ErrChunkSize
	}
	switch b {
	case '\r':
		c.state = chunkSizeLF
	case ';':
		c.state = chunkExt
	default:
		return ErrChunkSize
	}
	return nil
}

// readTrailer collects the trailer section up to its empty line.
func (c *Chunks) readTrailer(src []byte) (int, error) {
	before := len(c.trailer)
	c.trailer = append(c.trailer, src[:min(len(src), maxTrailer+4-before)]...)
	if len(c.trailer) < 2 {
		return len(src), nil
	}
	if c.trailer[0] == '\r' && c.trailer[1] == '\n' { // the usual case: no trailer
		c.trailer = c.trailer[:0]
		c.state = chunkDone
		return 2 - before, nil
	}
	end, err := HeadEnd(c.trailer, c.seen)
	if err != nil {
		return 0, ErrTrailer // as it is where the whole trailer is here at once
	}
	if end == 0 {
		if c.seen = len(c.trailer); c.seen > maxTrailer {
			return 0, ErrTrailer
		}
		return len(c.trailer) - before, nil
	}
	c.trailer = c.trailer[:end]
	c.state = chunkDone
	return end - before, nil
}

// AppendTrailer appends to dst the trailer lines that may be passed on: none
// that would frame, route or identify, and none that is hop by hop (RFC 9110
// section 6.5.1). Some servers take trailers for headers.
func (c *Chunks) AppendTrailer(dst []byte) ([]byte, error) {
	if len(c.trailer) == 0 {
		return dst, nil
	}
	for rest, count := c.trailer, 0; len(rest) > 2; count++ {
		var fd Field
		n, err := fd.parse(rest)
		if err != nil || count == MaxFields {
			return dst, ErrTrailer
		}
		if fd.Kind == Other && !onlyHead(fd.Name) && (c.Drop == nil || !c.Drop(fd.Name)) {
			dst = append(dst, fd.Line...)
		}
		rest = rest[n:]
	}
	return dst, nil
}

// onlyHead reports whether a header says something that must be known before
// the body: who sends it, or what the body is.
func onlyHead(name []byte) bool {
	switch len(name) {
	case 6:
		return sameName(name, "cookie")
	case 10:
		return sameName(name, "set-cookie")
	case 12:
		return sameName(name, "content-type")
	case 13:
		return sameName(name, "authorization") || sameName(name, "content-range")
	case 16:
		return sameName(name, "www-authenticate")
	}
	return false
}

// AppendChunk appends data as one chunk. Empty data appends nothing, for an
// empty chunk would be the last.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendSize(dst, len(data))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendSize appends a chunk's size line.
func AppendSize(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return append(dst, '\r', '\n')
}
