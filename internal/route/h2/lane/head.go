package lane

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 wants it; nothing is kept secret by it
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// Malformed is why a request is refused as a stream error (RFC 9113 section
// 8.1.1, RFC 9114 section 4.1.2).
type Malformed string

// Error returns the reason.
func (m Malformed) Error() string { return string(m) }

// Refusal is a status that a well-formed request is answered with at once.
type Refusal int

// Error returns the status in words.
func (r Refusal) Error() string { return http.StatusText(int(r)) }

// fieldOverhead is what a field counts beside its name and value (RFC 9113
// section 6.5.2).
const fieldOverhead = 32

// Request is a request in HTTP/1.1.
type Request struct {
	Head     []byte // with its empty line; the Head's until its Reset
	Length   int64  // announced by Content-Length; -1: not announced
	Chunked  bool   // the body is in chunks
	HeadOnly bool   // the answer has no body
	Tunnel   bool   // wants to become a tunnel
	Accept   string // the Sec-WebSocket-Accept of a tunnel

	open bool // has become a tunnel
}

// Head makes the head of an HTTP/1.1 request out of the fields of a stream.
// Nothing is written that has not been checked: what HTTP/1.1 would take for
// the end of a line, a name or a request is refused. Use it again and again.
type Head struct {
	// Limit bounds the fields, as RFC 9113 section 6.5.2 counts them.
	Limit int

	buf    []byte
	cookie []byte
	size   int
	err    error // the first fault
	refuse Refusal

	method, scheme, path, authority, protocol string

	pseudo uint8 // which pseudo-headers there were
	lined  bool  // the request line is written
	hosts  bool
	length int64
}

// The pseudo-headers of a request (RFC 9113 section 8.3.1, RFC 8441 section 4).
const (
	hasMethod = 1 << iota
	hasScheme
	hasPath
	hasAuthority
	hasProtocol
)

// Reset makes h ready for another head, or for the trailer of a request.
func (h *Head) Reset() {
	buf, cookie := h.buf[:0], h.cookie[:0]
	if cap(buf) > 16<<10 {
		buf = nil
	}
	if cap(cookie) > 16<<10 {
		cookie = nil
	}
	*h = Head{Limit: h.Limit, buf: buf, cookie: cookie, length: -1}
}

// Field adds a field, in the order in which they came. Pseudo-headers begin
// with a colon, names are in lower case. Faults are told by Finish.
func (h *Head) Field(name, value string) {
	if !h.counts(name, value) {
		return
	}
	if len(name) > 0 && name[0] == ':' {
		h.addPseudo(name, value)
		return
	}
	if !h.lined {
		h.line()
	}
	if h.err == nil {
		h.add(name, value)
	}
}

// counts reports whether a field is to be looked at.
func (h *Head) counts(name, value string) bool {
	h.size += len(name) + len(value) + fieldOverhead
	if h.size > h.Limit && h.err == nil {
		h.err = Refusal(http.StatusRequestHeaderFieldsTooLarge)
	}
	return h.err == nil
}

// Full reports whether the fields so far are over the limit: those to come
// need not be looked at.
func (h *Head) Full() bool { return h.size > h.Limit }

func (h *Head) addPseudo(name, value string) {
	if h.lined {
		h.err = Malformed("pseudo-header after a header")
		return
	}
	var bit uint8
	switch name {
	case ":method":
		bit, h.method = hasMethod, value
	case ":scheme":
		bit, h.scheme = hasScheme, value
	case ":path":
		bit, h.path = hasPath, value
	case ":authority":
		bit, h.authority = hasAuthority, value
	case ":protocol":
		bit, h.protocol = hasProtocol, value
	default:
		h.err = Malformed("unknown pseudo-header")
		return
	}
	if h.pseudo&bit != 0 {
		h.err = Malformed("repeated pseudo-header")
	}
	h.pseudo |= bit
}

// line checks the pseudo-headers and writes the request line and Host.
func (h *Head) line() {
	h.lined = true
	if !validToken(h.method) {
		h.err = Malformed("missing or malformed :method")
		return
	}
	if !visible(h.authority) || !visible(h.path) {
		h.err = Malformed("malformed :path or :authority")
		return
	}
	method := h.method
	switch {
	case method != http.MethodConnect:
		h.err = h.checkPlain()
	case h.pseudo&hasProtocol == 0:
		if h.pseudo != hasMethod|hasAuthority || h.authority == "" {
			h.err = Malformed("CONNECT with :scheme or :path, or without :authority")
			return
		}
		h.refuse = http.StatusMethodNotAllowed
	default:
		h.err = h.checkExtended()
		method = http.MethodGet
	}
	if h.err != nil {
		return
	}
	h.buf = append(append(h.buf, method...), ' ')
	h.buf = append(append(h.buf, h.path...), " HTTP/1.1\r\n"...)
	if h.pseudo&hasAuthority != 0 {
		h.buf = append(append(h.buf, "host: "...), h.authority...)
		h.buf = append(h.buf, '\r', '\n')
	}
}

func (h *Head) checkPlain() error {
	switch {
	case h.pseudo&(hasScheme|hasPath) != hasScheme|hasPath:
		return Malformed("missing :scheme or :path")
	case h.pseudo&hasProtocol != 0:
		return Malformed(":protocol without CONNECT")
	case !strings.EqualFold(h.scheme, "https") && !strings.EqualFold(h.scheme, "http"):
		return Malformed("unknown :scheme")
	case h.path == "*" && h.method == http.MethodOptions:
		return nil
	case h.path == "" || h.path[0] != '/':
		return Malformed("malformed :path")
	}
	return nil
}

// checkExtended checks an extended CONNECT (RFC 8441 section 4).
func (h *Head) checkExtended() error {
	if h.pseudo != hasMethod|hasScheme|hasPath|hasAuthority|hasProtocol || h.authority == "" ||
		h.path == "" || h.path[0] != '/' ||
		!strings.EqualFold(h.scheme, "https") && !strings.EqualFold(h.scheme, "http") {
		return Malformed("malformed extended CONNECT")
	}
	if !strings.EqualFold(h.protocol, "websocket") {
		h.refuse = http.StatusNotImplemented
	}
	return nil
}

// add checks and writes a header.
func (h *Head) add(name, value string) {
	if !validName(name) {
		h.err = Malformed("malformed header name")
		return
	}
	if !validValue(value) {
		h.err = Malformed("malformed header value")
		return
	}
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.err = Malformed("connection-specific header")
		return
	case "te":
		if !strings.EqualFold(value, "trailers") {
			h.err = Malformed("TE other than trailers")
			return
		}
	case "host":
		h.addHost(value)
		return
	case "content-length":
		h.addLength(value)
		return
	case "cookie":
		if len(h.cookie) > 0 {
			h.cookie = append(h.cookie, ';', ' ')
		}
		h.cookie = append(h.cookie, value...)
		return
	case "sec-websocket-key", "sec-websocket-accept", "expect":
		if h.pseudo&hasProtocol != 0 {
			return // ours to say, or of no meaning to a tunnel
		}
	}
	h.write(name, value)
}

func (h *Head) write(name, value string) {
	h.buf = append(append(h.buf, name...), ':', ' ')
	h.buf = append(append(h.buf, value...), '\r', '\n')
}

// addHost takes a Host header, which must say what :authority says.
func (h *Head) addHost(value string) {
	switch {
	case h.hosts:
		h.err = Malformed("repeated host")
	case h.pseudo&hasAuthority == 0:
		h.write("host", value)
	case !strings.EqualFold(value, h.authority):
		h.err = Malformed("host differs from :authority")
	}
	h.hosts = true
}

func (h *Head) addLength(value string) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || value[0] == '+' || len(value) > 18 || h.length >= 0 {
		h.err = Malformed("malformed or repeated content-length")
		return
	}
	h.length = int64(n) //nolint:gosec // 63 bits
}

// Finish completes the head and returns the request. end says that no body
// follows. Errors are of type Malformed or Refusal.
func (h *Head) Finish(end bool) (Request, error) {
	if !h.lined && h.err == nil {
		h.line()
	}
	if h.err == nil && h.refuse != 0 {
		h.err = h.refuse
	}
	if h.err == nil && end && h.length > 0 {
		h.err = Malformed("content-length without a body")
	}
	if h.err != nil {
		return Request{}, h.err
	}
	if len(h.cookie) > 0 {
		h.buf = append(append(h.buf, "cookie: "...), h.cookie...)
		h.buf = append(h.buf, '\r', '\n')
	}
	r := Request{Length: h.length, HeadOnly: h.method == http.MethodHead}
	switch {
	case h.pseudo&hasProtocol != 0:
		r.Tunnel, r.Length = true, -1
		key, accept := webSocketKey()
		r.Accept = accept
		h.buf = append(append(h.buf, "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: "...), key...)
		h.buf = append(h.buf, '\r', '\n')
	case h.length >= 0:
		h.buf = strconv.AppendInt(append(h.buf, "content-length: "...), h.length, 10)
		h.buf = append(h.buf, '\r', '\n')
	case !end:
		r.Chunked = true
		h.buf = append(h.buf, "transfer-encoding: chunked\r\n"...)
	}
	h.buf = append(h.buf, '\r', '\n')
	r.Head = h.buf
	return r, nil
}

// Trailer adds a field of a trailer.
func (h *Head) Trailer(name, value string) {
	if !h.counts(name, value) {
		return
	}
	switch {
	case !validName(name): // pseudo-headers too
		h.err = Malformed("malformed trailer name")
	case !validValue(value):
		h.err = Malformed("malformed trailer value")
	default:
		h.write(name, value)
	}
}

// FinishTrailer returns the lines of the trailer.
func (h *Head) FinishTrailer() ([]byte, error) { return h.buf, h.err }

// webSocketKey makes a key and what the server must answer to it (RFC 6455
// section 4.2.2).
func webSocketKey() (key, accept string) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	key = base64.StdEncoding.EncodeToString(raw[:])
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	return key, base64.StdEncoding.EncodeToString(sum[:])
}

// The classes of bytes.
const (
	className  = 1 << iota // of a header name: a token without capitals
	classToken             // RFC 9110 section 5.6.2
	classValue
	classVisible // no space and no control
)

var classes = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		lower := b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
		if lower {
			t[c] |= className
		}
		if lower || b >= 'A' && b <= 'Z' {
			t[c] |= classToken
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[c] |= classValue
		}
		if b > ' ' && b != 0x7f {
			t[c] |= classVisible
		}
	}
	return t
}()

func all(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func validName(s string) bool  { return s != "" && all(s, className) }
func validToken(s string) bool { return s != "" && all(s, classToken) }
func visible(s string) bool    { return all(s, classVisible) }

// validValue accepts what RFC 9113 section 8.2.1 does and the grammar of
// RFC 9110 section 5.5 too.
func validValue(s string) bool {
	if s == "" {
		return true
	}
	if first, last := s[0], s[len(s)-1]; first == ' ' || first == '\t' || last == ' ' || last == '\t' {
		return false
	}
	return all(s, classValue)
}
