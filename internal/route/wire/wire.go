// Package wire is the grammar of HTTP/1.1 messages (RFC 9112) over byte
// slices: heads, chunked bodies and WebSocket frame borders. It is stricter
// than the RFC where leniency has let two parsers disagree, and it allocates
// nothing. It must never know about connections, routes, clocks or pages.
package wire

import "bytes"

// Error is why a message is refused. Status is what a client is told; for an
// upstream's answer it is 502 whatever the reason.
type Error struct {
	Status int
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

func bad(reason string) *Error { return &Error{Status: 400, Reason: reason} }

// The refusals. They are compared by identity in tests and logs.
var (
	ErrBareLF        = bad("line feed without carriage return")
	ErrBareCR        = bad("carriage return inside a line")
	ErrControl       = bad("control character")
	ErrRequestLine   = bad("malformed request line")
	ErrMethod        = &Error{Status: 405, Reason: "method not allowed here"}
	ErrTarget        = bad("malformed request target")
	ErrVersion       = &Error{Status: 505, Reason: "HTTP version not supported"}
	ErrFieldName     = bad("malformed header name")
	ErrFold          = bad("header line folded")
	ErrFieldCount    = &Error{Status: 431, Reason: "too many header lines"}
	ErrHost          = bad("missing, repeated or malformed Host")
	ErrHostMismatch  = bad("Host differs from the request target")
	ErrLength        = bad("malformed Content-Length")
	ErrLengthTwice   = bad("repeated Content-Length")
	ErrFraming       = bad("both Content-Length and Transfer-Encoding")
	ErrCoding        = &Error{Status: 501, Reason: "transfer coding not supported"}
	ErrCodingVersion = bad("Transfer-Encoding in an HTTP/1.0 message")
	ErrConnection    = bad("malformed Connection")
	ErrExpect        = &Error{Status: 417, Reason: "expectation not supported"}
	ErrStatusLine    = bad("malformed status line")
	ErrChunkSize     = bad("malformed chunk size")
	ErrChunkExt      = bad("malformed or too long chunk extension")
	ErrChunkEnd      = bad("chunk does not end where it says")
	ErrTrailer       = bad("malformed or too long trailer")
	ErrTrailerName   = bad("Trailer announces a header that frames the message")
)

// MaxFields is how many header lines a head may have.
const MaxFields = 128

// HeadEnd finds the end of a head in buf: the number of bytes up to and with
// the empty line, or 0 where it is not there yet. seen is how many bytes an
// earlier call has looked at. A line feed without a carriage return is an
// error at once, so that nobody waits for a head that cannot end.
func HeadEnd(buf []byte, seen int) (int, error) {
	from := max(seen-3, 0)
	if i := bytes.Index(buf[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4, nil
	}
	for i := max(seen-1, 0); ; i++ {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			return 0, nil
		}
		i += j
		if i == 0 || buf[i-1] != '\r' {
			return 0, ErrBareLF
		}
	}
}

// The classes of bytes that the grammar knows, as bits.
const (
	classToken = 1 << iota
	classValue
	classTarget
	classHost
)

// classes says for each byte what it may be part of.
var classes = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
			t[c] = classToken | classHost
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0:
			t[c] = classToken
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[c] |= classValue
		}
		if b > ' ' && b != 0x7f && b != '#' {
			t[c] |= classTarget
		}
		if b == '-' || b == '.' || b == '_' {
			t[c] |= classHost
		}
	}
	return t
}()

func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// EqualFold reports whether b is lower, which must be in lower case, without
// regard to ASCII case.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// parseLength reads a Content-Length: digits only, at most 18 of them.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// nextItem cuts the first member off a comma-separated list.
func nextItem(list []byte) (item, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}
