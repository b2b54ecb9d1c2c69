package static

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"

	"landward/internal/route/squeeze"
)

// Request is what a site must know of a request. A header that came in several
// lines is given joined with ", "; one that did not come is nil.
type Request struct {
	Method []byte
	Path   []byte // as it came, with its escapes
	Query  []byte // without the question mark

	Accept, AcceptEncoding             []byte
	IfMatch, IfNoneMatch               []byte
	IfModifiedSince, IfUnmodifiedSince []byte
	Range, IfRange                     []byte
}

// Section is one piece of a file that is sent.
type Section struct {
	Offset, Length int64
	Lead           []byte // sent before it: the head of a part of a multipart answer
}

// Answer is what a site answers. Use it again and again, for one request at a
// time, and call Release when its body has been sent or is not wanted. Its
// slices are good until then, and must not be changed.
type Answer struct {
	Status int
	// Head is header lines, each with its CRLF: everything but Date and what is
	// the connection's. Content-Length is in it unless Fault is set.
	Head []byte
	// Fault says that there is no body here: the caller makes a page for
	// Status. Err is set with status 500: why, for the log.
	Fault bool
	Err   error
	// Length is how many bytes of body are to be sent: 0 for HEAD.
	Length int64
	// Body is the body where it is in memory. Else it is Ranges of File, and
	// Tail after them.
	Body   []byte
	File   *os.File
	Ranges []Section
	Tail   []byte

	site  *Site
	open  *openFile
	head  []byte // room for Head
	path  []byte // room for a decoded path
	leads []byte // room for the leads
	spans [maxRanges]span
	list  [maxRanges]Section
	send  sending
}

// reset makes a ready for another request.
func (a *Answer) reset() {
	a.Release()
	a.Status, a.Fault, a.Err, a.Length = 0, false, nil, 0
	a.Head, a.Body, a.File, a.Ranges, a.Tail = a.head[:0], nil, nil, nil, nil
	a.send.reset()
}

// Release gives the file back, if there is one. It may be called twice.
func (a *Answer) Release() {
	if a.open != nil {
		a.site.release(a.open)
		a.open, a.File = nil, nil
	}
	a.site = nil
}

// Answer decides what is answered to r.
func (s *Site) Answer(a *Answer, r *Request) {
	a.reset()
	a.site = s
	defer a.settle()
	if m := string(r.Method); m != "GET" && m != "HEAD" {
		a.Head = append(a.Head, "Allow: GET, HEAD\r\n"...)
		a.fault(http.StatusMethodNotAllowed)
		return
	}
	key, hidden, status := resolve(&a.path, r.Path)
	if status != 0 {
		a.fault(status)
		return
	}
	var e *entry
	if !hidden {
		e = s.index[string(key)]
	}
	switch {
	case e == nil:
		a.absent(r, key, hidden)
	case e.folder:
		a.redirect(r, key)
	default:
		a.found(r, e, "")
	}
}

// settle keeps the room for the head.
func (a *Answer) settle() {
	a.head = a.Head
	if a.Fault || a.Length == 0 {
		a.Body, a.Ranges, a.Tail = nil, nil, nil
		if a.open != nil {
			a.site.release(a.open)
			a.open, a.File = nil, nil
		}
	}
}

func (a *Answer) fault(status int) { a.Status, a.Fault = status, true }

func (a *Answer) broken(err error) {
	a.Head = a.Head[:0]
	a.Err = err
	a.fault(http.StatusInternalServerError)
}

// absent answers for a path that is not there: with the fallback where a page
// is asked for, else with the site's 404.html. What is hidden and what a cache
// would keep for a year never gets the fallback.
func (a *Answer) absent(r *Request, key []byte, hidden bool) {
	s := a.site
	if s.fallback != nil && !hidden && !s.fixedBelow(string(key)) {
		if page, byAccept := looksLikePage(key, r.Accept); page {
			also := ""
			if byAccept {
				also = "Accept"
			}
			a.found(r, s.fallback, also)
			return
		}
	}
	if s.missing == nil {
		a.fault(http.StatusNotFound)
		return
	}
	e := s.missing.pick(r.AcceptEncoding)
	l, err := s.load(e)
	if err != nil {
		a.broken(err)
		return
	}
	a.Status = http.StatusNotFound
	a.describe(s.missing, e, "")
	a.line("Cache-Control: ", cacheAsk)
	a.whole(r, e, l)
}

// redirect sends the client from "/a" to "/a/". The address is relative to the
// one that was asked for, so it can lead to no other host, and is right behind
// a prefix that was taken off.
func (a *Answer) redirect(r *Request, key []byte) {
	start := len(key)
	for start > 0 && key[start-1] != '/' {
		start--
	}
	a.Status = http.StatusMovedPermanently
	a.Head = append(a.Head, "Location: "...)
	a.Head = append(appendEscaped(a.Head, key[start:]), '/')
	if len(r.Query) > 0 {
		a.Head = append(a.Head, '?')
		for _, c := range r.Query {
			if c <= ' ' || c >= 0x7f {
				a.Head = append(a.Head, '%', upperHex[c>>4], upperHex[c&15])
				continue
			}
			a.Head = append(a.Head, c)
		}
	}
	a.Head = append(a.Head, "\r\n"...)
	a.line("Cache-Control: ", cacheAWhile)
	a.Head = append(a.Head, "Content-Length: 0\r\n"...)
}

// pick returns the file or the variant of it that the client likes best. Of
// those that it likes the same, the smallest.
func (e *entry) pick(accept []byte) *entry {
	if e.variants == nil || len(accept) == 0 {
		return e
	}
	w := squeeze.Parse(accept)
	best, weight := e, w.Of(squeeze.Identity)
	for c, v := range e.variants {
		if v == nil {
			continue
		}
		q := w.Of(squeeze.Coding(c)) //nolint:gosec // one of four
		if q > weight || q == weight && q > 0 && v.size < best.size {
			best, weight = v, q
		}
	}
	return best
}

// coding returns the coding of the variant v of e.
func (e *entry) coding(v *entry) squeeze.Coding {
	if e.variants != nil && v != e {
		for c, o := range e.variants {
			if o == v {
				return squeeze.Coding(c) //nolint:gosec // one of four
			}
		}
	}
	return squeeze.Identity
}

// found answers with a file: with 200, 206, 304, 412 or 416.
func (a *Answer) found(r *Request, e *entry, vary string) {
	s := a.site
	v := e.pick(r.AcceptEncoding)
	l, err := s.load(v)
	if err != nil {
		a.broken(err)
		return
	}
	switch r.conditions(l.etag, l.modified, v.modified) {
	case failed:
		a.Status = http.StatusPreconditionFailed
		a.line("Cache-Control: ", e.caching)
		a.Head = append(a.Head, "Content-Length: 0\r\n"...)
		return
	case notModified:
		a.Status = http.StatusNotModified
		a.vary(e, vary)
		a.line("Cache-Control: ", e.caching)
		a.line("ETag: ", l.etag)
		return
	}
	var spans []span
	if len(r.Range) > 0 && len(r.Method) == 3 && r.rangeStands(l.etag, l.modified, v.modified) {
		if spans, err = parseRange(a.spans[:0], r.Range, v.size); err != nil {
			a.Status = http.StatusRequestedRangeNotSatisfiable
			a.Head = append(a.Head, "Accept-Ranges: bytes\r\nContent-Range: bytes */"...)
			a.Head = strconv.AppendInt(a.Head, v.size, 10)
			a.Head = append(a.Head, "\r\nCache-Control: no-store\r\nContent-Length: 0\r\n"...)
			return
		}
	}
	a.Status = http.StatusOK
	if len(spans) < 2 {
		a.describe(e, v, vary)
	}
	a.line("Cache-Control: ", e.caching)
	a.line("ETag: ", l.etag)
	if l.modified != "" {
		a.line("Last-Modified: ", l.modified)
	}
	a.Head = append(a.Head, "Accept-Ranges: bytes\r\n"...)
	switch len(spans) {
	case 0:
		a.whole(r, v, l)
	case 1:
		a.one(v, l, spans[0])
	default:
		a.vary(e, vary)
		a.coded(e, v)
		a.several(e, v, spans)
	}
}

// describe says what the body is.
func (a *Answer) describe(e, v *entry, vary string) {
	a.line("Content-Type: ", e.kind)
	a.coded(e, v)
	a.vary(e, vary)
}

func (a *Answer) coded(e, v *entry) {
	if c := e.coding(v); c != squeeze.Identity {
		a.line("Content-Encoding: ", c.String())
	}
}

// vary says what else the answer depends on.
func (a *Answer) vary(e *entry, also string) {
	switch {
	case e.variants != nil && also != "":
		a.Head = append(append(append(a.Head, "Vary: Accept-Encoding, "...), also...), '\r', '\n')
	case e.variants != nil:
		a.Head = append(a.Head, "Vary: Accept-Encoding\r\n"...)
	case also != "":
		a.line("Vary: ", also)
	}
}

func (a *Answer) line(name, value string) {
	a.Head = append(append(append(a.Head, name...), value...), '\r', '\n')
}

func (a *Answer) contentLength(n int64) {
	a.Head = strconv.AppendInt(append(a.Head, "Content-Length: "...), n, 10)
	a.Head = append(a.Head, '\r', '\n')
}

// whole sends all of the file.
func (a *Answer) whole(r *Request, v *entry, l *loaded) {
	a.contentLength(v.size)
	if len(r.Method) != 3 { // HEAD
		return
	}
	a.Length = v.size
	if l.body != nil {
		a.Body = l.body
		return
	}
	if v.size > 0 {
		a.list[0] = Section{Length: v.size}
		a.from(v, 1)
	}
}

// one sends one range.
func (a *Answer) one(v *entry, l *loaded, s span) {
	a.Status = http.StatusPartialContent
	a.Head = append(a.Head, "Content-Range: "...)
	a.Head = append(appendRange(a.Head, s, v.size), '\r', '\n')
	a.contentLength(s.length)
	a.Length = s.length
	if l.body != nil {
		a.Body = l.body[s.offset : s.offset+s.length]
		return
	}
	a.list[0] = Section{Offset: s.offset, Length: s.length}
	a.from(v, 1)
}

// several sends many ranges as the parts of one body (RFC 9110 section 14.6).
func (a *Answer) several(e, v *entry, spans []span) {
	a.Status = http.StatusPartialContent
	var border [32]byte
	for i := 0; i < len(border); i += 16 {
		n := rand.Uint64() //nolint:gosec // not to be found in the file by chance
		for j := range 16 {
			border[i+j] = "0123456789abcdef"[n>>(4*j)&15]
		}
	}
	a.Head = append(append(append(a.Head, "Content-Type: multipart/byteranges; boundary="...), border[:]...), '\r', '\n')
	// The leads are cut out at the end: their room may move while they grow.
	var ends [maxRanges]int
	b := a.leads[:0]
	for i, s := range spans {
		if i > 0 {
			b = append(b, '\r', '\n')
		}
		b = append(append(append(b, "--"...), border[:]...), "\r\nContent-Type: "...)
		b = append(append(b, e.kind...), "\r\nContent-Range: "...)
		b = append(appendRange(b, s, v.size), "\r\n\r\n"...)
		ends[i] = len(b)
		a.Length += s.length
	}
	b = append(append(append(b, "\r\n--"...), border[:]...), "--\r\n"...)
	a.leads = b
	a.Length += int64(len(b))
	start := 0
	for i, s := range spans {
		a.list[i] = Section{Offset: s.offset, Length: s.length, Lead: b[start:ends[i]]}
		start = ends[i]
	}
	a.Tail = b[start:]
	a.contentLength(a.Length)
	a.from(v, len(spans))
}

func appendRange(dst []byte, s span, size int64) []byte {
	dst = strconv.AppendInt(append(dst, "bytes "...), s.offset, 10)
	dst = strconv.AppendInt(append(dst, '-'), s.offset+s.length-1, 10)
	return strconv.AppendInt(append(dst, '/'), size, 10)
}

// from takes the first n sections out of the file of v.
func (a *Answer) from(v *entry, n int) {
	f, err := a.site.acquire(v)
	if err != nil {
		if errors.Is(err, os.ErrClosed) {
			err = errClosed
		}
		a.broken(err)
		a.Length = 0
		return
	}
	a.open, a.File = f, f.file
	a.Ranges = a.list[:n]
}

var errClosed = errors.New("the site has been closed")
