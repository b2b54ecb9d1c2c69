package wire

import "bytes"

// Kind says what a header line is to a proxy.
type Kind uint8

// The kinds of header line.
const (
	Other            Kind = iota // copied as it is
	Host                         // read and written anew
	ContentLength                // read and written anew
	TransferEncoding             // read and written anew
	Connection                   // hop by hop, read
	Upgrade                      // hop by hop, read
	Hop                          // hop by hop, dropped
	Forwarding                   // says who the client is or what the request is part of: only the edge may
	RequestID                    // likewise, both ways
	Expect                       // read, copied
	Accept                       // read, copied
	Date                         // copied, added where missing
	Named                        // named by Connection: dropped
	Agent                        // User-Agent: read, copied
	Referer                      // read, copied
	Coding                       // Content-Encoding: read, copied
	Security                     // a header of Secured: read, copied
	Trailer                      // read, copied
	Replaced                     // the edge says it itself: dropped
)

// Field is one header line. Its slices point into the parsed buffer.
type Field struct {
	Kind  Kind
	Line  []byte // with its CRLF
	Name  []byte
	Value []byte // without the space around it
}

// Dropped reports whether a line of that kind is not copied to the other side.
func (k Kind) Dropped() bool {
	switch k {
	case Other, Expect, Accept, Date, Agent, Referer, Coding, Security, Trailer:
		return false
	}
	return true
}

// fields is the part that heads of requests and answers share.
type fields struct {
	list  [MaxFields]Field
	count int

	length     int64 // -1: none
	chunked    bool
	close      bool // Connection: close
	keep       bool // Connection: keep-alive
	upgradeTok bool // Connection: upgrade
	upgrade    []byte
	host       []byte
	hosts      int
	date       bool
	expect     bool
	accept     []byte
	agent      []byte
	referer    []byte
	coded      bool
	secured    Secured
}

// Secured is the set of security headers that an answer has.
type Secured uint8

// The security headers.
const (
	NoSniff        Secured = 1 << iota // X-Content-Type-Options
	FrameOptions                       // X-Frame-Options
	ReferrerPolicy                     // Referrer-Policy
	StrictTLS                          // Strict-Transport-Security
)

func (f *fields) reset() {
	f.count, f.hosts = 0, 0
	f.length = -1
	f.chunked, f.close, f.keep, f.upgradeTok = false, false, false, false
	f.date, f.expect = false, false
	f.upgrade, f.host, f.accept = nil, nil, nil
	f.agent, f.referer = nil, nil
	f.coded, f.secured = false, 0
}

// Fields are the header lines in their order.
func (f *fields) Fields() []Field { return f.list[:f.count] }

// Get returns the value of the first header line of that name, in lower case,
// that reaches the other side; nil without one.
func (f *fields) Get(lower string) []byte {
	for i := range f.Fields() {
		if fd := &f.list[i]; !fd.Kind.Dropped() && EqualFold(fd.Name, lower) {
			return fd.Value
		}
	}
	return nil
}

// Drop keeps the header line at that place from the other side.
func (f *fields) Drop(i int) { f.list[i].Kind = Replaced }

// Replace marks the header lines of that name, in lower case and with '_'
// counted as '-': they reach nobody.
func (f *fields) Replace(lower string) {
	for i := range f.Fields() {
		if fd := &f.list[i]; !fd.Kind.Dropped() && sameName(fd.Name, lower) {
			fd.Kind = Replaced
		}
	}
}

// parse reads the header lines in buf, which ends with the empty line.
func (f *fields) parse(buf []byte) error {
	connections := 0
	for {
		if len(buf) == 2 && buf[0] == '\r' && buf[1] == '\n' {
			break
		}
		if f.count == MaxFields {
			return ErrFieldCount
		}
		fd := &f.list[f.count]
		n, err := fd.parse(buf)
		if err != nil {
			return err
		}
		buf = buf[n:]
		f.count++
		if fd.Kind == Other {
			continue
		}
		if fd.Kind == Connection {
			connections++
		}
		if err := f.note(fd); err != nil {
			return err
		}
	}
	if f.chunked && f.length >= 0 {
		return ErrFraming
	}
	if connections > 0 {
		return f.connection()
	}
	return nil
}

// parse reads one line from the front of buf and returns its length.
func (fd *Field) parse(buf []byte) (int, error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 1 || buf[end-1] != '\r' {
		return 0, ErrBareLF
	}
	if buf[0] == ' ' || buf[0] == '\t' {
		return 0, ErrFold
	}
	line := buf[:end-1]
	colon := 0
	for colon < len(line) && classes[line[colon]]&classToken != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return 0, ErrFieldName
	}
	value := line[colon+1:]
	for _, c := range value {
		if classes[c]&classValue == 0 {
			if c == '\r' {
				return 0, ErrBareCR
			}
			return 0, ErrControl
		}
	}
	fd.Line, fd.Name, fd.Value = buf[:end+1], line[:colon], trim(value)
	fd.Kind = kindOf(fd.Name)
	return end + 1, nil
}

// note takes what a proxy must understand from one line.
func (f *fields) note(fd *Field) error {
	switch fd.Kind {
	case Host:
		f.host = fd.Value
		f.hosts++
	case ContentLength:
		n, ok := parseLength(fd.Value)
		if !ok {
			return ErrLength
		}
		if f.length >= 0 {
			return ErrLengthTwice
		}
		f.length = n
	case TransferEncoding:
		if f.chunked || !EqualFold(fd.Value, "chunked") {
			return ErrCoding
		}
		f.chunked = true
	case Upgrade:
		if f.upgrade != nil {
			return ErrConnection
		}
		f.upgrade = fd.Value
	case Expect:
		if f.expect || !EqualFold(fd.Value, "100-continue") {
			return ErrExpect
		}
		f.expect = true
	case Accept:
		if f.accept == nil {
			f.accept = fd.Value
		}
	case Date:
		f.date = true
	case Agent:
		f.agent = fd.Value
	case Referer:
		f.referer = fd.Value
	case Coding:
		f.coded = true
	case Trailer:
		return checkTrailer(fd.Value)
	case Security:
		f.secured |= securedBy(len(fd.Name), fd.Name[0]|0x20)
	}
	return nil
}

// checkTrailer refuses the announcement of a trailer that must not be one
// (RFC 9110 section 6.5.1): whoever takes it into the head would see another
// message.
func checkTrailer(list []byte) error {
	for rest := list; rest != nil; {
		var name []byte
		name, rest = nextItem(rest)
		if EqualFold(name, "content-length") || EqualFold(name, "transfer-encoding") || EqualFold(name, "trailer") {
			return ErrTrailerName
		}
	}
	return nil
}

// maxTokens bounds the work that one Connection header can ask for.
const maxTokens = 32

// connection reads the Connection lines and marks every line that they name.
func (f *fields) connection() error {
	tokens := 0
	for i := range f.Fields() {
		if f.list[i].Kind != Connection {
			continue
		}
		for rest := f.list[i].Value; rest != nil; {
			var tok []byte
			tok, rest = nextItem(rest)
			if len(tok) == 0 {
				continue
			}
			if tokens++; tokens > maxTokens || !all(tok, classToken) {
				return ErrConnection
			}
			f.token(tok)
		}
	}
	return nil
}

func (f *fields) token(tok []byte) {
	switch {
	case EqualFold(tok, "close"):
		f.close = true
	case EqualFold(tok, "keep-alive"):
		f.keep = true
	case EqualFold(tok, "upgrade"):
		f.upgradeTok = true
	default:
		for i := range f.Fields() {
			if fd := &f.list[i]; !fd.Kind.Dropped() && bytes.EqualFold(fd.Name, tok) {
				fd.Kind = Named
			}
		}
	}
}

// kindOf sorts a header name. Underscores count as dashes for the headers that
// say who the client is and for those that end here, because many servers make
// them the same variable.
func kindOf(name []byte) Kind {
	switch len(name) {
	case 2, 4, 5, 6, 7:
		return shortKind(name)
	case 9:
		if sameName(name, "x-real-ip") || EqualFold(name, "forwarded") {
			return Forwarding
		}
	case 10:
		switch {
		case EqualFold(name, "connection"):
			return Connection
		case sameName(name, "keep-alive"):
			return Hop
		case EqualFold(name, "user-agent"):
			return Agent
		case sameName(name, "tracestate"):
			return Forwarding
		}
	case 11:
		if sameName(name, "traceparent") {
			return Forwarding
		}
	case 12:
		if sameName(name, "x-request-id") {
			return RequestID
		}
	case 14:
		switch {
		case sameName(name, "content-length"):
			return exact(name, "content-length", ContentLength)
		case sameName(name, "http2-settings"):
			return Hop
		}
	case 15:
		if EqualFold(name, "x-frame-options") || EqualFold(name, "referrer-policy") {
			return Security
		}
	case 16:
		switch {
		case sameName(name, "proxy-connection"):
			return Hop
		case EqualFold(name, "content-encoding"):
			return Coding
		}
	case 17:
		if sameName(name, "transfer-encoding") {
			return exact(name, "transfer-encoding", TransferEncoding)
		}
	case 19:
		if sameName(name, "proxy-authorization") {
			return Hop
		}
	case 22:
		if EqualFold(name, "x-content-type-options") {
			return Security
		}
	case 25:
		if EqualFold(name, "strict-transport-security") {
			return Security
		}
	}
	if len(name) >= 11 && sameName(name[:11], "x-forwarded") {
		return Forwarding
	}
	return Other
}

func shortKind(name []byte) Kind {
	switch {
	case EqualFold(name, "host"):
		return Host
	case EqualFold(name, "date"):
		return Date
	case EqualFold(name, "accept"):
		return Accept
	case EqualFold(name, "expect"):
		return Expect
	case EqualFold(name, "upgrade"):
		return Upgrade
	case EqualFold(name, "referer"):
		return Referer
	case EqualFold(name, "trailer"):
		return Trailer
	case EqualFold(name, "te"):
		return Hop
	case EqualFold(name, "proxy"): // becomes HTTP_PROXY in a CGI environment
		return Forwarding
	}
	return Other
}

// securedBy tells the security headers apart by length and first letter.
func securedBy(length int, first byte) Secured {
	switch {
	case length == 22:
		return NoSniff
	case length == 25:
		return StrictTLS
	case first == 'x':
		return FrameOptions
	}
	return ReferrerPolicy
}

// exact returns k for the true name and Hop for a twin with an underscore,
// which must reach nobody who would take it for the real one.
func exact(name []byte, lower string, k Kind) Kind {
	if EqualFold(name, lower) {
		return k
	}
	return Hop
}

// sameName is EqualFold with '_' counted as '-'.
func sameName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_':
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
