// Package wiretest is a corpus of HTTP/1.1 messages on whose borders parsers
// are known to disagree, for the tests of all that reads such messages. It says
// what is to become of each; it must never know who reads them.
package wiretest

import (
	"io"
	"strings"

	"landward/internal/route/wire"
)

// Host is the host that the requests are for, and Next a request that stands
// behind many of them: it must be taken for a request of its own, or for
// nothing.
const (
	Host = "shop.test"
	Next = "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n"
)

// Request is what one client sends on one connection, and what becomes of it.
type Request struct {
	Name string
	Raw  string
	// Seen are the requests that are passed on, in order, each as "METHOD
	// target body".
	Seen []string
	// Err is why the message behind them is refused, which ends the connection;
	// nil: all were accepted. io.ErrUnexpectedEOF: it is not whole.
	Err error
	// Ends says that the connection ends after the last request that is passed
	// on, for that one says so.
	Ends bool
	// Status is what an edge answers to the message that it does not pass on,
	// where that is not what Err says.
	Status int
}

const (
	get  = "GET /a HTTP/1.1\r\nHost: shop.test\r\n"
	post = "POST /a HTTP/1.1\r\nHost: shop.test\r\n"
	te   = "Transfer-Encoding: chunked\r\n"
	cl5  = "Content-Length: 5\r\n"
	end  = "\r\n"
	last = "0\r\n\r\n"
)

// refused is a message that is not passed on, with another behind it.
func refused(name, raw string, err error) Request {
	return Request{Name: name, Raw: raw + Next, Err: err}
}

// passed is a message that is, and so is the one behind it.
func passed(name, raw, seen string) Request {
	return Request{Name: name, Raw: raw + Next, Seen: []string{seen, "GET /next "}}
}

// Requests returns the corpus of requests.
func Requests() []Request {
	var all []Request
	for _, part := range [][]Request{bothFramings(), lengths(), codings(), chunked(), trailers(), lines(), hosts(), targets(), methods()} {
		all = append(all, part...)
	}
	return all
}

func bothFramings() []Request {
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	return []Request{
		refused("CL.TE", post+"Content-Length: 6\r\n"+te+end+last+"G", wire.ErrFraming),
		refused("TE.CL", post+te+"Content-Length: 4\r\n"+end+"2d\r\n"+smuggled+"\r\n"+last, wire.ErrFraming),
		refused("CL.TE, length 0", post+"Content-Length: 0\r\n"+te+end+last+smuggled, wire.ErrFraming),
		refused("CL.TE, capitals", post+"CONTENT-LENGTH: 6\r\nTRANSFER-ENCODING: CHUNKED\r\n"+end+last+"G", wire.ErrFraming),
		refused("CL.TE of a GET", get+cl5+te+end+last, wire.ErrFraming),
		refused("TE between two CL", post+cl5+te+cl5+end+last, wire.ErrLengthTwice),
		refused("CL and TE that is named in Connection", post+"Connection: transfer-encoding\r\n"+cl5+te+end+"hello", wire.ErrFraming),
		refused("TE and CL that is named in Connection", post+"Connection: content-length\r\n"+te+cl5+end+last, wire.ErrFraming),
		{Name: "CL.0: a GET with a body", Raw: get + "Content-Length: 63\r\n" + end + smuggled + strings.Repeat(" ", 63-len(smuggled)) + Next,
			Seen: []string{"GET /a " + smuggled + strings.Repeat(" ", 63-len(smuggled)), "GET /next "}},
		{Name: "0.CL: a body that is none", Raw: get + end + smuggled, Seen: []string{"GET /a ", "GET /smuggled "}},
		passed("CL that is named in Connection", post+"Connection: content-length\r\n"+cl5+end+"hello", "POST /a hello"),
		passed("TE that is named in Connection", post+"Connection: transfer-encoding\r\n"+te+end+"5\r\nhello\r\n"+last, "POST /a hello"),
		passed("Host that is named in Connection", get+"Connection: host\r\n"+end, "GET /a "),
		passed("twins with underscores", post+cl5+"Transfer_Encoding: chunked\r\nContent_Length: 3\r\n"+end+"hello", "POST /a hello"),
	}
}

func lengths() []Request {
	all := []Request{
		passed("length", post+cl5+end+"hello", "POST /a hello"),
		passed("length with zeros in front", post+"Content-Length: 0005\r\n"+end+"hello", "POST /a hello"),
		passed("length with space around", post+"Content-Length: \t5 \t\r\n"+end+"hello", "POST /a hello"),
		passed("length without space", post+"Content-Length:5\r\n"+end+"hello", "POST /a hello"),
		passed("length 0", post+"Content-Length: 0\r\n"+end, "POST /a "),
		passed("no length", post+end, "POST /a "),
		passed("length twice, once with an underscore", post+cl5+"Content_Length: 0\r\n"+end+"hello", "POST /a hello"),
		refused("two lengths", post+cl5+"Content-Length: 4\r\n"+end+"hello", wire.ErrLengthTwice),
		refused("two equal lengths", post+cl5+cl5+end+"hello", wire.ErrLengthTwice),
		refused("two lengths, one of them 0", post+"Content-Length: 0\r\n"+cl5+end+"hello", wire.ErrLengthTwice),
		refused("length and none", post+cl5+"Content-Length:\r\n"+end+"hello", wire.ErrLength),
		{Name: "less than announced", Raw: post + "Content-Length: 99\r\n" + end + "hello", Err: io.ErrUnexpectedEOF},
		refused("length with a space before the colon", post+"Content-Length : 5\r\n"+end+"hello", wire.ErrFieldName),
		refused("length with a space in front", post+" Content-Length: 5\r\n"+end+"hello", wire.ErrFold),
		refused("length folded", post+"Content-Length:\r\n 5\r\n"+end+"hello", wire.ErrLength),
		refused("length with NUL", post+"Content-Length: 5\x00\r\n"+end+"hello", wire.ErrControl),
		refused("length with vertical tab", post+"Content-Length: \v5\r\n"+end+"hello", wire.ErrControl),
		refused("length with form feed", post+"Content-Length: 5\f\r\n"+end+"hello", wire.ErrControl),
		refused("length with a carriage return", post+"Content-Length: 5\r\r\n"+end+"hello", wire.ErrBareCR),
		refused("length behind a bare carriage return", post+"X: y\rContent-Length: 5\r\n"+end+"hello", wire.ErrBareCR),
		refused("length behind a bare line feed", post+"X: y\nContent-Length: 5\r\n"+end+"hello", wire.ErrBareLF),
	}
	for _, v := range []string{"+5", "-5", "-0", "0x5", "5h", "5_0", "_5", "5 5", "5, 5", "5,5", "5,", ",5", "5, 6", "5;", "5.0", "5e0", "0b101", "0o5",
		"\"5\"", "'5'", "5\xa0", "\u00a05", "\uff15", "\u0665", "five", "", "99999999999999999999", "18446744073709551621", "9223372036854775808"} {
		all = append(all, refused("length "+v, post+"Content-Length: "+v+"\r\n"+end+"hello", wire.ErrLength))
	}
	return all
}

func codings() []Request {
	body := "5\r\nhello\r\n" + last
	all := []Request{
		passed("chunked", post+te+end+body, "POST /a hello"),
		passed("chunked, of a GET", get+te+end+body, "GET /a hello"),
		passed("chunked in capitals", post+"TRANSFER-encoding: CHUNKED\r\n"+end+body, "POST /a hello"),
		passed("chunked with tabs", post+"Transfer-Encoding:\tchunked\t\r\n"+end+body, "POST /a hello"),
		passed("chunked in a twin only", post+"Transfer_Encoding: chunked\r\n"+end, "POST /a "),
		passed("chunked in a name that only begins so", post+"Transfer-Encoding-X: chunked\r\n"+end, "POST /a "),
		passed("te is no coding", post+"TE: chunked\r\n"+end, "POST /a "),
		refused("chunked twice", post+te+te+end+body, wire.ErrCoding),
		refused("chunked, then identity", post+te+"Transfer-Encoding: identity\r\n"+end+body, wire.ErrCoding),
		refused("identity, then chunked", post+"Transfer-Encoding: identity\r\n"+te+end+body, wire.ErrCoding),
		refused("chunked, then nonsense", post+te+"Transfer-encoding: cow\r\n"+end+body, wire.ErrCoding),
		refused("chunked, then nothing", post+te+"Transfer-Encoding:\r\n"+end+body, wire.ErrCoding),
		refused("coding with a space before the colon", post+"Transfer-Encoding : chunked\r\n"+end+body, wire.ErrFieldName),
		refused("coding with a tab before the colon", post+"Transfer-Encoding\t: chunked\r\n"+end+body, wire.ErrFieldName),
		refused("coding with a control before the colon", post+"Transfer-Encoding\x01: chunked\r\n"+end+body, wire.ErrFieldName),
		refused("coding with NUL in the name", post+"Transfer\x00-Encoding: chunked\r\n"+end+body, wire.ErrFieldName),
		refused("coding with a byte above ASCII in the name", post+"Tran\xc5\xbffer-Encoding: chunked\r\n"+end+body, wire.ErrFieldName),
		refused("coding with a space in front", post+" Transfer-Encoding: chunked\r\n"+end+body, wire.ErrFold),
		refused("coding folded", post+"Transfer-Encoding:\r\n chunked\r\n"+end+body, wire.ErrCoding),
		refused("coding folded by a tab", post+"Transfer-Encoding: identity,\r\n\tchunked\r\n"+end+body, wire.ErrCoding),
		refused("coding folded into another line", post+"X: y\r\n Transfer-Encoding: chunked\r\n"+end+body, wire.ErrFold),
		refused("coding behind a bare line feed", post+"X: y\nTransfer-Encoding: chunked\r\n"+end+body, wire.ErrBareLF),
		refused("coding behind a bare carriage return", post+"X: y\rTransfer-Encoding: chunked\r\n"+end+body, wire.ErrBareCR),
		refused("coding with vertical tab", post+"Transfer-Encoding: \vchunked\r\n"+end+body, wire.ErrControl),
		refused("coding with NUL", post+"Transfer-Encoding: chunked\x00\r\n"+end+body, wire.ErrControl),
		refused("coding with DEL", post+"Transfer-Encoding: chunked\x7f\r\n"+end+body, wire.ErrControl),
		refused("chunked in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: shop.test\r\n"+te+end+body, wire.ErrCodingVersion),
		refused("chunked in HTTP/1.0 that stays", "POST /a HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n"+te+end+body, wire.ErrCodingVersion),
	}
	for _, v := range []string{"xchunked", "chunkedx", "chunked, chunked", "chunked,", ",chunked", "chunked;", "chunked;q=1", "chunked identity",
		"identity", "identity, chunked", "gzip, chunked", "chunked, gzip", "\"chunked\"", "'chunked'", "chun ked", "chunked\xa0", "\xff", "none", "", "x"} {
		all = append(all, refused("coding "+v, post+"Transfer-Encoding: "+v+"\r\n"+end+body, wire.ErrCoding))
	}
	return all
}
