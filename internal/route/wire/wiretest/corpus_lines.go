package wiretest

import (
	"io"
	"strings"

	"landward/internal/route/wire"
)

// inChunks is a request with that body, refused while the body is read.
func inChunks(name, body string, err error) Request { return refused(name, post+te+end+body, err) }

func chunked() []Request {
	whole := func(name, body string) Request { return passed(name, post+te+end+body, "POST /a hello") }
	many := strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\nh\r\n", 40)
	return []Request{
		whole("size with zeros in front", "00005\r\nhello\r\n"+last),
		passed("size in capitals", post+te+end+"A\r\n0123456789\r\na\r\n0123456789\r\n"+last, "POST /a 01234567890123456789"),
		whole("two chunks", "2\r\nhe\r\n3\r\nllo\r\n"+last),
		whole("chunk extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n"),
		whole("chunk extension with quotes", "5;a=\"b;c\"\r\nhello\r\n"+last),
		whole("last chunk of many zeros", "5\r\nhello\r\n000\r\n\r\n"),
		inChunks("extension with a bare line feed", "5;a=b\nhello\r\n"+last, wire.ErrChunkExt),
		inChunks("extension with a bare carriage return", "5;a\rb\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("extension with NUL", "5;a\x00b\r\nhello\r\n"+last, wire.ErrChunkExt),
		inChunks("extension too long", "5;"+strings.Repeat("a", 300)+"\r\nhello\r\n"+last, wire.ErrChunkExt),
		inChunks("extension without end", "5;"+strings.Repeat("a", 1<<16), wire.ErrChunkExt),
		inChunks("extensions too long together", many+last, wire.ErrChunkExt),
		inChunks("extension behind a space", "5 ;a\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with a bare line feed", "5\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with a bare carriage return", "5\rhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with two carriage returns", "5\r\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size behind a space", " 5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size before a space", "5 \r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size before a tab", "5\t\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with plus", "+5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with minus", "-5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with 0x", "0x5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with an underscore", "0_5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size with quotes", "\"5\"\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("no size", "\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("an extension without a size", ";a\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size that overflows 64 bits", "10000000000000005\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size that overflows 63 bits", "fffffffffffffffb\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("size of many zeros", strings.Repeat("0", 64)+"5\r\nhello\r\n"+last, wire.ErrChunkSize),
		inChunks("chunk longer than it says", "4\r\nhello\r\n"+last, wire.ErrChunkEnd),
		inChunks("chunk that ends with a bare line feed", "5\r\nhello\n"+last, wire.ErrChunkEnd),
		inChunks("chunk that ends with a bare carriage return", "5\r\nhello\r"+last, wire.ErrChunkEnd),
		inChunks("chunk without an end", "5\r\nhello"+last, wire.ErrChunkEnd),
		inChunks("chunk that ends with two other bytes", "5\r\nhelloXX"+last, wire.ErrChunkEnd),
		{Name: "chunk shorter than it says", Raw: post + te + end + "ff\r\nhello\r\n" + last, Err: io.ErrUnexpectedEOF},
		{Name: "no last chunk", Raw: post + te + end + "5\r\nhello\r\n", Err: io.ErrUnexpectedEOF},
		{Name: "last chunk without its end", Raw: post + te + end + "5\r\nhello\r\n0\r\n", Err: io.ErrUnexpectedEOF},
	}
}

func trailers() []Request {
	whole := func(name, trailer string) Request {
		return passed(name, post+te+end+"5\r\nhello\r\n0\r\n"+trailer+"\r\n", "POST /a hello")
	}
	bad := func(name, trailer string, err error) Request {
		return inChunks(name, "5\r\nhello\r\n0\r\n"+trailer+"\r\n", err)
	}
	return []Request{
		whole("trailer", "X-Sum: 1\r\n"),
		whole("trailer with Content-Length", "Content-Length: 50\r\n"),
		whole("trailer with Transfer-Encoding", "Transfer-Encoding: chunked\r\n"),
		whole("trailer with Host", "Host: other.test\r\n"),
		whole("trailer with Authorization's twin and X-Forwarded-For", "X-Forwarded-For: 1.2.3.4\r\nX_Real_IP: 1.2.3.4\r\n"),
		whole("trailer with Connection", "Connection: close\r\n"),
		bad("trailer folded", "X: y\r\n z\r\n", wire.ErrTrailer),
		bad("trailer with a bare line feed", "X: y\nZ: z\r\n", wire.ErrTrailer),
		bad("trailer with a bare carriage return", "X: y\rZ: z\r\n", wire.ErrTrailer),
		bad("trailer with a space before the colon", "X : y\r\n", wire.ErrTrailer),
		bad("trailer with NUL", "X: \x00\r\n", wire.ErrTrailer),
		bad("trailer without a colon", "hello\r\n", wire.ErrTrailer),
		bad("trailer of many lines", strings.Repeat("X: y\r\n", wire.MaxFields+1), wire.ErrTrailer),
		bad("trailer too long", "X: "+strings.Repeat("y", 10<<10)+"\r\n", wire.ErrTrailer),
		inChunks("trailer that is a request", "5\r\nhello\r\n0\r\n", wire.ErrTrailer),
		refused("a length announced for the trailer", post+te+"Trailer: X-Sum, content-length\r\n"+end+"5\r\nhello\r\n"+last, wire.ErrTrailerName),
		refused("a coding announced for the trailer", post+te+"Trailer: Transfer-Encoding\r\n"+end+"5\r\nhello\r\n"+last, wire.ErrTrailerName),
		refused("a trailer announced for the trailer", post+te+"Trailer: X\r\nTrailer: Trailer\r\n"+end+"5\r\nhello\r\n"+last, wire.ErrTrailerName),
		passed("a trailer announced", post+te+"Trailer: X-Sum, X-Other\r\n"+end+"5\r\nhello\r\n"+last, "POST /a hello"),
	}
}

func lines() []Request {
	return []Request{
		{Name: "pipelined", Raw: get + end + Next + Next, Seen: []string{"GET /a ", "GET /next ", "GET /next "}},
		{Name: "pipelined behind bodies", Raw: post + cl5 + end + "hello" + post + te + end + "1\r\nx\r\n" + last + Next,
			Seen: []string{"POST /a hello", "POST /a x", "GET /next "}},
		{Name: "a good request, then a bad one", Raw: Next + post + cl5 + te + end + last, Seen: []string{"GET /next "}, Err: wire.ErrFraming},
		{Name: "closing", Raw: get + "Connection: close\r\n" + end + Next, Seen: []string{"GET /a "}, Ends: true},
		{Name: "closing, and not", Raw: get + "Connection: keep-alive, close\r\n" + end + Next, Seen: []string{"GET /a "}, Ends: true},
		{Name: "HTTP/1.0", Raw: "GET /a HTTP/1.0\r\nHost: shop.test\r\n\r\n" + Next, Seen: []string{"GET /a "}, Ends: true},
		passed("HTTP/1.0 that stays", "GET /a HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n", "GET /a "),
		refused("HTTP/0.9", "GET /a\r\n", wire.ErrRequestLine),
		refused("HTTP/0.9 in a version", "GET /a HTTP/0.9\r\nHost: shop.test\r\n\r\n", wire.ErrVersion),
		refused("HTTP/1.2", "GET /a HTTP/1.2\r\nHost: shop.test\r\n\r\n", wire.ErrVersion),
		refused("HTTP/2.0", "GET /a HTTP/2.0\r\nHost: shop.test\r\n\r\n", wire.ErrVersion),
		refused("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", wire.ErrVersion),
		refused("HTTP/01.1", "GET /a HTTP/01.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("HTTP/1.1 with a tail", "GET /a HTTP/1.1x\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("http/1.1", "GET /a http/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("empty line in front", "\r\n"+get+end, wire.ErrRequestLine),
		refused("empty line between", get+cl5+end+"hello\r\n", nil).but([]string{"GET /a hello"}, wire.ErrRequestLine),
		refused("bare line feeds", "GET /a HTTP/1.1\nHost: shop.test\n\n", wire.ErrBareLF),
		refused("a bare line feed in the request line", "GET /a HTTP/1.1\nHost: shop.test\r\n\r\n", wire.ErrBareLF),
		refused("a bare line feed at the end", get+"\n", wire.ErrBareLF),
		refused("a bare carriage return in the request line", "GET /a HTTP/1.1\rHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("two carriage returns", get+"\r\r\n\r\n", wire.ErrFieldName),
		refused("a space in front of the head", get+" \r\n\r\n", wire.ErrFold),
		refused("folded first line", "GET /a HTTP/1.1\r\n Host: shop.test\r\n\r\n", wire.ErrFold),
		refused("folded line", get+"X: y\r\n z\r\n\r\n", wire.ErrFold),
		refused("line without a colon", get+"hello\r\n\r\n", wire.ErrFieldName),
		refused("line without a name", get+": y\r\n\r\n", wire.ErrFieldName),
		refused("name with a bracket", get+"X(: y\r\n\r\n", wire.ErrFieldName),
		refused("value with NUL", get+"X: \x00\r\n\r\n", wire.ErrControl),
		refused("value with escape", get+"X: \x1b[2J\r\n\r\n", wire.ErrControl),
		refused("a NUL in front", "\x00"+get+end, wire.ErrRequestLine),
		refused("a tab for a space", "GET\t/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("two spaces", "GET  /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("a space at the end", "GET /a HTTP/1.1 \r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("too many lines", get+strings.Repeat("X: y\r\n", wire.MaxFields)+end, wire.ErrFieldCount),
		{Name: "nothing", Raw: "", Err: io.ErrUnexpectedEOF},
		{Name: "half a head", Raw: get, Err: io.ErrUnexpectedEOF},
	}
}

// but changes what becomes of a request.
func (r Request) but(seen []string, err error) Request {
	r.Seen, r.Err = seen, err
	return r
}
