package h2

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"landward/internal/route/wire"
)

// encoder compresses the heads of answers (RFC 7541). A line is only put into
// the table when it, or its name, is seen for the second time, so that what
// differs in every answer does not drive out what does not. Nothing is
// Huffman-coded: it would save little and cost the most.
type encoder struct {
	buf  []byte
	seed maphash.Seed

	table  []entry // oldest first
	size   int     // as RFC 7541 section 4.1 counts
	max    int
	resize bool // the client must be told of max
	empty  bool // max was lower since the last block: the table is begun anew

	seen [256]uint32 // fingerprints of what was seen lately
}

// entry is one line of the table.
type entry struct {
	line, key uint32 // fingerprints of all of it and of the name
	name      string
	value     []byte
}

const (
	entryOverhead = 32
	maxIndexed    = 1024 // bytes of a line that may go into the table
)

func (e *encoder) init() {
	e.seed = maphash.MakeSeed()
	e.max = defaultTableSize
}

// limit takes the client's limit of the table.
func (e *encoder) limit(n uint32) {
	size := int(min(n, defaultTableSize))
	if size == e.max {
		return
	}
	if size > e.max && e.resize {
		// RFC 7541 section 4.2: the client must be told of the lower one too.
		// Emptying the table is lower still, and no decoder gets it wrong.
		e.empty = true
		clear(e.table)
		e.table, e.size = e.table[:0], 0
	}
	e.max, e.resize = size, true
	e.evict(0)
}

// begin begins the block of an answer.
func (e *encoder) begin(status int) []byte {
	b := e.resume()
	switch status {
	case 200:
		return append(b, 0x88)
	case 204:
		return append(b, 0x89)
	case 206:
		return append(b, 0x8a)
	case 304:
		return append(b, 0x8b)
	case 400:
		return append(b, 0x8c)
	case 404:
		return append(b, 0x8d)
	case 500:
		return append(b, 0x8e)
	}
	return strconv.AppendInt(append(b, 0x08, 3), int64(status), 10)
}

// resume begins the block of a trailer.
func (e *encoder) resume() []byte {
	b := e.buf[:0]
	if e.resize {
		if e.empty {
			b = append(b, 0x20)
		}
		b = appendInt(b, 0x20, 5, e.max)
		e.resize, e.empty = false, false
	}
	return b
}

// end ends a block. It is good until the next one begins.
func (e *encoder) end(b []byte) []byte {
	e.buf = b
	if cap(b) > 16<<10 {
		e.buf = nil
	}
	return b
}

// field appends a line.
func (e *encoder) field(b []byte, f *wire.Field) []byte {
	name := staticName(f.Name)
	if never(f.Name) {
		return appendLiteral(b, 0x10, 4, name, f.Name, f.Value)
	}
	nameHash := e.hash(0, f.Name, nil)
	lineHash := e.hash(uint32(len(f.Name)), f.Name, f.Value)
	for i := len(e.table) - 1; i >= 0; i-- {
		t := &e.table[i]
		if t.key != nameHash || !wire.EqualFold(f.Name, t.name) {
			continue
		}
		index := len(static) + len(e.table) - i
		if t.line == lineHash && bytes.Equal(t.value, f.Value) {
			return appendInt(b, 0x80, 7, index)
		}
		if name == 0 {
			name = index
		}
	}
	size := len(f.Name) + len(f.Value) + entryOverhead
	again := e.again(lineHash) || name == 0 && e.again(nameHash)
	if !again || size > maxIndexed || size > e.max {
		return appendLiteral(b, 0x00, 4, name, f.Name, f.Value)
	}
	b = appendLiteral(b, 0x40, 6, name, f.Name, f.Value)
	e.add(f, nameHash, lineHash)
	return b
}

// hash is a fingerprint of a line, or of a name, whose case does not matter.
func (e *encoder) hash(salt uint32, name, value []byte) uint32 {
	var lower [64]byte
	n := copy(lower[:], name)
	for i, c := range lower[:n] {
		if c >= 'A' && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	h := maphash.Bytes(e.seed, lower[:n])
	if len(value) > 0 || salt != 0 {
		h = h*31 + maphash.Bytes(e.seed, value) + uint64(salt)
	}
	return uint32(h ^ h>>32) //nolint:gosec // a fingerprint
}

// again reports whether h was seen lately, and notes it.
func (e *encoder) again(h uint32) bool {
	slot := &e.seen[h%uint32(len(e.seen))]
	if *slot == h {
		return true
	}
	*slot = h
	return false
}

func (e *encoder) add(f *wire.Field, key, line uint32) {
	size := len(f.Name) + len(f.Value) + entryOverhead
	e.evict(size)
	e.table = append(e.table, entry{line: line, key: key,
		name: string(appendLower(nil, f.Name)), value: bytes.Clone(f.Value)})
	e.size += size
}

// evict makes room for n more.
func (e *encoder) evict(n int) {
	drop := 0
	for drop < len(e.table) && e.size+n > e.max {
		e.size -= len(e.table[drop].name) + len(e.table[drop].value) + entryOverhead
		drop++
	}
	if drop > 0 {
		kept := copy(e.table, e.table[drop:])
		clear(e.table[kept:])
		e.table = e.table[:kept]
	}
}

// appendLiteral appends a literal of the kind that first and prefix say.
func appendLiteral(b []byte, first byte, prefix, index int, name, value []byte) []byte {
	b = appendInt(b, first, prefix, index)
	if index == 0 {
		b = appendInt(b, 0, 7, len(name))
		b = appendLower(b, name)
	}
	return append(appendInt(b, 0, 7, len(value)), value...)
}

// appendInt appends an integer (RFC 7541 section 5.1).
func appendInt(b []byte, first byte, prefix, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(b, first|byte(n)) //nolint:gosec // less than 256
	}
	b = append(b, first|byte(most)) //nolint:gosec // likewise
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80) //nolint:gosec // as meant
	}
	return append(b, byte(n)) //nolint:gosec // less than 128
}

func appendLower(b, name []byte) []byte {
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// never reports whether a line is not for any table (RFC 7541 section 7.1.3).
func never(name []byte) bool {
	return wire.EqualFold(name, "set-cookie") || wire.EqualFold(name, "authorization")
}

// cutLine takes a checked line off the front of a trailer.
func cutLine(lines []byte) (f wire.Field, rest []byte) {
	end := bytes.IndexByte(lines, '\n')
	if end < 1 {
		return f, nil
	}
	colon := bytes.IndexByte(lines[:end], ':')
	if colon < 0 {
		return f, lines[end+1:]
	}
	f.Name, f.Value = lines[:colon], bytes.Trim(lines[colon+1:end], " \t\r")
	return f, lines[end+1:]
}

// static is the names of the static table (RFC 7541 appendix A).
var static = [61]string{
	":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme",
	":status", ":status", ":status", ":status", ":status", ":status", ":status",
	"accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept",
	"access-control-allow-origin", "age", "allow", "authorization", "cache-control",
	"content-disposition", "content-encoding", "content-language", "content-length",
	"content-location", "content-range", "content-type", "cookie", "date", "etag", "expect",
	"expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
	"if-unmodified-since", "last-modified", "link", "location", "max-forwards",
	"proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after",
	"server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent",
	"vary", "via", "www-authenticate",
}

// staticByLen is where in static the names of each length are.
var staticByLen = func() (t [32][]uint8) {
	for i, name := range static {
		if name[0] != ':' {
			t[len(name)] = append(t[len(name)], uint8(i))
		}
	}
	return t
}()

// staticName is the index of a name in the static table, or 0.
func staticName(name []byte) int {
	if len(name) >= len(staticByLen) {
		return 0
	}
	for _, i := range staticByLen[len(name)] {
		if wire.EqualFold(name, static[i]) {
			return int(i) + 1
		}
	}
	return 0
}
