package wiretest

import (
	"io"
	"strings"

	"landward/internal/route/wire"
)

// Answer is what an upstream sends for one request, and what becomes of it.
type Answer struct {
	Name   string
	Method string // of the request; empty: GET
	Raw    string // the upstream closes behind it where Closes is set, else waits
	Closes bool
	// Status and Body are what a client gets where the answer is whole (but for
	// a 101, which it has not asked for), and Err why it is not. io.ErrUnexpectedEOF: it ends too early.
	Status int
	Body   string
	Err    error
	// Broken says that the client has got the beginning before the fault was
	// there: its answer is cut off. Without it, it gets a 502.
	Broken bool
	// Surplus says that there is more behind it than the answer: nobody may
	// ever take that for an answer of his own.
	Surplus bool
}

// Forged is the answer that stands behind the answers with a surplus.
const Forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

// Answers returns the corpus of answers.
func Answers() []Answer {
	const (
		ok     = "HTTP/1.1 200 OK\r\n"
		length = "Content-Length: 5\r\n"
		body   = "5\r\nhello\r\n" + last
	)
	good := func(name, raw string, status int, body string) Answer {
		return Answer{Name: name, Raw: raw, Status: status, Body: body}
	}
	surplus := func(a Answer) Answer {
		a.Raw, a.Surplus, a.Name = a.Raw+Forged, true, a.Name+", and another answer behind it"
		return a
	}
	method := func(m string, a Answer) Answer { a.Method = m; return a }
	closes := func(a Answer) Answer { a.Closes = true; return a }
	wrong := func(name, raw string, err error) Answer { return Answer{Name: name, Raw: raw, Err: err} }
	broken := func(name, raw string, err error) Answer {
		return Answer{Name: name, Raw: raw, Err: err, Broken: true, Closes: true}
	}
	all := []Answer{
		good("length", ok+length+end+"hello", 200, "hello"),
		surplus(good("length", ok+length+end+"hello", 200, "hello")),
		good("length 0", ok+"Content-Length: 0\r\n"+end, 200, ""),
		surplus(good("length 0", ok+"Content-Length: 0\r\n"+end, 200, "")),
		good("chunked", ok+te+end+body, 200, "hello"),
		surplus(good("chunked", ok+te+end+body, 200, "hello")),
		good("chunked with an extension and a trailer", ok+te+end+"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 200, "hello"),
		good("trailer that frames", ok+te+end+"5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "hello"),
		closes(good("by closing", ok+end+"hello", 200, "hello")),
		closes(good("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello")),
		good("HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"+length+end+"hello", 200, "hello"),
		good("204", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
		surplus(good("204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "")),
		surplus(good("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, "")),
		surplus(good("204 in chunks", "HTTP/1.1 204 No Content\r\n"+te+end, 204, "")),
		surplus(good("304 with a length", "HTTP/1.1 304 Not Modified\r\n"+length+end, 304, "")),
		surplus(good("304 in chunks", "HTTP/1.1 304 Not Modified\r\n"+te+end, 304, "")),
		method("HEAD", good("HEAD", ok+length+end, 200, "")),
		surplus(method("HEAD", good("HEAD", ok+length+end, 200, ""))),
		surplus(method("HEAD", good("HEAD in chunks", ok+te+end, 200, ""))),
		good("100 before it", "HTTP/1.1 100 Continue\r\n\r\n"+ok+length+end+"hello", 200, "hello"),
		good("103 before it", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok+length+end+"hello", 200, "hello"),
		good("102 with a length before it", "HTTP/1.1 102 Processing\r\nContent-Length: 99\r\n\r\n"+ok+length+end+"hello", 200, "hello"),
		good("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 101, ""),
		wrong("CL.TE", ok+length+te+end+body, wire.ErrFraming),
		wrong("TE.CL", ok+te+length+end+body, wire.ErrFraming),
		wrong("two lengths", ok+length+"Content-Length: 6\r\n"+end+"hello", wire.ErrLengthTwice),
		wrong("two equal lengths", ok+length+length+end+"hello", wire.ErrLengthTwice),
		wrong("two lengths to HEAD", ok+length+"Content-Length: 6\r\n"+end, wire.ErrLengthTwice),
		wrong("length list", ok+"Content-Length: 5, 5\r\n"+end+"hello", wire.ErrLength),
		wrong("length with plus", ok+"Content-Length: +5\r\n"+end+"hello", wire.ErrLength),
		wrong("length with minus", ok+"Content-Length: -5\r\n"+end+"hello", wire.ErrLength),
		wrong("length of a 204 that is none", "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", wire.ErrLength),
		wrong("chunked twice", ok+te+te+end+body, wire.ErrCoding),
		wrong("another coding", ok+"Transfer-Encoding: gzip, chunked\r\n"+end+body, wire.ErrCoding),
		wrong("identity", ok+"Transfer-Encoding: identity\r\n"+length+end+"hello", wire.ErrCoding),
		wrong("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\n"+te+end+body, wire.ErrCodingVersion),
		wrong("coding with a space before the colon", ok+"Transfer-Encoding : chunked\r\n"+end+body, wire.ErrFieldName),
		wrong("coding folded", ok+"X: y\r\n Transfer-Encoding: chunked\r\n"+end+body, wire.ErrFold),
		wrong("bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", wire.ErrBareLF),
		wrong("bare carriage return", ok+"X: y\rContent-Length: 5\r\n"+end+"hello", wire.ErrBareCR),
		wrong("value with NUL", ok+"X: \x00\r\n"+length+end+"hello", wire.ErrControl),
		wrong("a length announced for the trailer", ok+te+"Trailer: Content-Length\r\n"+end+body, wire.ErrTrailerName),
		wrong("no HTTP", "220 smtp.test ESMTP\r\n\r\n", wire.ErrStatusLine),
		wrong("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", wire.ErrStatusLine),
		wrong("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", wire.ErrStatusLine),
		wrong("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", wire.ErrStatusLine),
		wrong("status 0", "HTTP/1.1 000 OK\r\n\r\n", wire.ErrStatusLine),
		wrong("too many lines", ok+strings.Repeat("X: y\r\n", wire.MaxFields+1)+end, wire.ErrFieldCount),
		wrong("chunk size that is none", ok+te+end+"x\r\nhello\r\n"+last, wire.ErrChunkSize),
		wrong("chunk size that overflows", ok+te+end+"10000000000000005\r\nhello\r\n"+last, wire.ErrChunkSize),
		wrong("chunk extension with a bare line feed", ok+te+end+"5;a\nhello\r\n"+last, wire.ErrChunkExt),
		wrong("chunk that does not end", ok+te+end+"5\r\nhelloxx"+last, wire.ErrChunkEnd),
		wrong("trailer folded", ok+te+end+"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", wire.ErrTrailer),
		broken("less than announced", ok+"Content-Length: 50\r\n"+end+"hello", io.ErrUnexpectedEOF),
		broken("no last chunk", ok+te+end+"5\r\nhello\r\n", io.ErrUnexpectedEOF),
		closes(wrong("half a head", ok+"Content-Le", io.ErrUnexpectedEOF)),
	}
	return all
}
