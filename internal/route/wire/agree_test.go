package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"landward/internal/route/wire"
	"landward/internal/route/wire/wiretest"
)

// Ours and net/http's reading of a connection are compared here. Where ours
// takes a request, net/http must take the same one and end it at the same byte.
// Ours may refuse more; each way in which it means to is a row of stricter or
// of the corpus.

// message is one request as a parser has read it.
type message struct {
	method, target, host string
	chunked              bool
	length               int64 // -1: chunked
	body                 string
	last                 bool // the connection ends after it
	end                  int  // where the next one begins
}

func (m message) String() string { return m.method + " " + m.target + " " + m.body }

// ours reads a connection's bytes as they would come in pieces of that size,
// up to the first request that it refuses.
func ours(raw []byte, piece int) (list []message, err error) {
	for at := 0; ; {
		m, n, err := one(raw[at:], piece)
		if err != nil {
			return list, err
		}
		at += n
		m.end = at
		list = append(list, m)
		if m.last {
			return list, nil
		}
	}
}

// one reads one request and says how long it is.
func one(raw []byte, piece int) (m message, n int, err error) {
	end, seen := 0, 0
	for have := 0; end == 0; seen = have {
		if have == len(raw) {
			return m, 0, io.ErrUnexpectedEOF
		}
		have = min(have+piece, len(raw))
		if end, err = wire.HeadEnd(raw[:have], seen); err != nil {
			return m, 0, err
		}
	}
	var r wire.Request
	if err := r.Parse(raw[:end]); err != nil {
		return m, 0, err
	}
	m = message{method: string(r.Method), target: string(r.Target), host: string(r.Host()), chunked: r.Chunked(), length: r.Length(),
		last: !r.KeepAlive() || r.Upgrade() != nil}
	rest := raw[end:]
	if !m.chunked {
		if int64(len(rest)) < m.length {
			return m, 0, io.ErrUnexpectedEOF
		}
		m.body = string(rest[:m.length])
		return m, end + int(m.length), nil
	}
	body, used, err := dechunk(rest, piece)
	m.body = string(body)
	return m, end + used, err
}

// dechunk reads a chunked body and says how long it is.
func dechunk(raw []byte, piece int) (body []byte, used int, err error) {
	var c wire.Chunks
	for !c.Done() {
		if used == len(raw) {
			return body, used, io.ErrUnexpectedEOF
		}
		data, n, err := c.Next(raw[used:min(used+piece, len(raw))])
		if err != nil {
			return body, used, err
		}
		body = append(body, data...)
		used += n
	}
	_, err = c.AppendTrailer(nil)
	return body, used, err
}

// reader counts what net/http takes of a connection.
type reader struct {
	*bufio.Reader
	all, rest *bytes.Reader
}

// theirBuffer is larger than what net/http's server has, 4 KiB, which bounds
// its trailers and chunk extensions: no border depends on it.
const theirBuffer = 64 << 10

func newReader(raw []byte) *reader {
	in := bytes.NewReader(raw)
	return &reader{Reader: bufio.NewReaderSize(in, theirBuffer), rest: in, all: bytes.NewReader(raw)}
}

// at is how many bytes were taken.
func (r *reader) at() int { return int(r.all.Size()) - r.rest.Len() - r.Buffered() }

// theirs reads the next request.
func (r *reader) theirs() (m message, err error) {
	req, err := http.ReadRequest(r.Reader)
	if err != nil {
		return m, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return m, fmt.Errorf("body: %w", err)
	}
	m = message{method: req.Method, target: req.RequestURI, host: req.Host, length: req.ContentLength, body: string(body),
		chunked: len(req.TransferEncoding) == 1 && req.TransferEncoding[0] == "chunked", last: req.Close, end: r.at()}
	if u, err := url.Parse(m.target); err == nil && u.Scheme != "" {
		m.target = m.target[strings.Index(m.target, "//")+2:]
		m.target = m.target[max(strings.IndexByte(m.target, '/'), 0):]
	}
	return m, nil
}

// compare holds that whatever of raw we accept, net/http reads in the same way.
func compare(t *testing.T, raw []byte, piece int) {
	t.Helper()
	list, _ := ours(raw, piece)
	in := newReader(raw)
	for i, m := range list {
		got, err := in.theirs()
		if err != nil {
			t.Fatalf("request %d, %q: we accept what net/http refuses: %v", i, m, err)
		}
		if strings.EqualFold(got.host, m.host) {
			got.host = m.host // an absolute target says it in its own way
		}
		if m.last && !got.last {
			got.last = true // an upgrade: nothing behind it is a request
		}
		if got != m {
			t.Fatalf("request %d:\n   ours %+v\nnet/http %+v", i, m, got)
		}
	}
}

// FuzzAgainstNetHTTP holds that no bytes of a connection have other borders
// for net/http than for us, however they come.
func FuzzAgainstNetHTTP(f *testing.F) {
	for i, c := range wiretest.Requests() {
		f.Add([]byte(c.Raw), uint8(i))
	}
	for _, s := range stricter() {
		f.Add([]byte(s.raw), uint8(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		whole, err := ours(raw, len(raw)+1)
		list, err2 := ours(raw, int(piece)+1)
		if fmt.Sprint(whole) != fmt.Sprint(list) || (err == nil) != (err2 == nil) {
			t.Fatalf("at once %+v, %v\nin pieces of %d %+v, %v", whole, err, int(piece)+1, list, err2)
		}
		compare(t, raw, int(piece)+1)
	})
}

// TestCorpus holds what becomes of each input of the corpus, in pieces of
// every size that can make a difference.
func TestCorpus(t *testing.T) {
	for _, c := range wiretest.Requests() {
		t.Run(c.Name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 64, 1 << 20} {
				list, err := ours([]byte(c.Raw), piece)
				want := c.Err
				if want == nil && !c.Ends {
					want = io.ErrUnexpectedEOF // it waits for more
				}
				if !errors.Is(err, want) {
					t.Errorf("pieces of %d: error %v, want %v", piece, err, want)
				}
				var seen []string
				for _, m := range list {
					seen = append(seen, m.String())
				}
				if c.Status == 0 && fmt.Sprintf("%q", seen) != fmt.Sprintf("%q", c.Seen) {
					t.Errorf("pieces of %d: seen %q, want %q", piece, seen, c.Seen)
				}
				compare(t, []byte(c.Raw), piece)
			}
		})
	}
}

// strict is an input that net/http takes and we do not.
type strict struct {
	name, raw string
	want      error
	why       string
}

// stricter lists every difference that is meant: what net/http reads, and we
// refuse. There is no list of the other direction, because there are none.
func stricter() []strict {
	const (
		host = "Host: a\r\n"
		te   = "Transfer-Encoding: chunked\r\n"
	)
	return []strict{
		{"bare line feeds", "GET / HTTP/1.1\nHost: a\n\n", wire.ErrBareLF, "RFC 9112 section 2.2 lets a recipient take them; front and back would have to agree"},
		{"folded line", "GET / HTTP/1.1\r\n" + host + "X: y\r\n z\r\n\r\n", wire.ErrFold, "RFC 9112 section 5.2: a server must refuse it or unfold it"},
		{"two equal lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", wire.ErrLengthTwice, "RFC 9112 section 6.3 lets it be refused"},
		{"length and chunked", "POST / HTTP/1.1\r\n" + host + te + "Content-Length: 1\r\n\r\n0\r\n\r\n", wire.ErrFraming, "RFC 9112 section 6.1: it ought to be handled as an error"},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + te + "\r\n", wire.ErrCodingVersion, "RFC 9112 section 6.1: the framing is faulty"},
		{"length of 19 digits", "POST / HTTP/1.1\r\n" + host + "Content-Length: 0000000000000000001\r\n\r\nx", wire.ErrLength, "nobody means it"},
		{"a space behind a chunk's size", "POST / HTTP/1.1\r\n" + host + te + "\r\n1 \r\nx\r\n0\r\n\r\n", wire.ErrChunkSize, "not in the grammar of RFC 9112 section 7.1"},
		{"a chunk's size of 16 digits", "POST / HTTP/1.1\r\n" + host + te + "\r\n0000000000000001\r\nx\r\n0\r\n\r\n", wire.ErrChunkSize, "one digit less cannot overflow"},
		{"a long chunk extension", "POST / HTTP/1.1\r\n" + host + te + "\r\n1;" + strings.Repeat("a", 300) + "\r\nx\r\n0\r\n\r\n", wire.ErrChunkExt, "nobody uses them; they hide work"},
		{"a control in a chunk extension", "POST / HTTP/1.1\r\n" + host + te + "\r\n1;\x01\r\nx\r\n0\r\n\r\n", wire.ErrChunkExt, "not in the grammar of RFC 9112 section 7.1.1"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", wire.ErrHost, "RFC 9112 section 3.2; net/http's server refuses it later"},
		{"host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", wire.ErrHost, "likewise"},
		{"absolute, another host", "GET http://b/ HTTP/1.1\r\n" + host + "\r\n", wire.ErrHostMismatch, "RFC 9112 section 3.2.2 lets the target win; who is behind us might let Host"},
		{"absolute without a path", "GET http://a HTTP/1.1\r\n" + host + "\r\n", wire.ErrTarget, "the path would have to be made up"},
		{"fragment", "GET /a#b HTTP/1.1\r\n" + host + "\r\n", wire.ErrTarget, "not in the grammar of RFC 9112 section 3.2"},
		{"star for GET", "GET * HTTP/1.1\r\n" + host + "\r\n", wire.ErrTarget, "RFC 9112 section 3.2.4 has it for OPTIONS alone"},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\n" + host + "\r\n", wire.ErrMethod, "no tunnel through the edge, and none into its pools"},
		{"TRACE", "TRACE / HTTP/1.1\r\n" + host + "\r\n", wire.ErrMethod, "it would show what we add to a request"},
		{"HTTP/1.7", "GET / HTTP/1.7\r\n" + host + "\r\n", wire.ErrVersion, "nobody speaks it"},
		{"a long method", strings.Repeat("G", 40) + " / HTTP/1.1\r\n" + host + "\r\n", wire.ErrRequestLine, "nobody means it"},
		{"many lines", "GET / HTTP/1.1\r\n" + host + strings.Repeat("X: y\r\n", wire.MaxFields) + "\r\n", wire.ErrFieldCount, "a bound"},
		{"unknown expectation", "GET / HTTP/1.1\r\n" + host + "Expect: x\r\n\r\n", wire.ErrExpect, "RFC 9110 section 10.1.1; net/http's server refuses it later"},
		{"Connection that is no list", "GET / HTTP/1.1\r\n" + host + "Connection: a b\r\n\r\n", wire.ErrConnection, "what it names must be known, for it is removed"},
		{"two upgrades", "GET / HTTP/1.1\r\n" + host + "Upgrade: a\r\nUpgrade: b\r\n\r\n", wire.ErrConnection, "one connection becomes one thing"},
	}
}

// TestStricter holds that the list is true: a row that net/http has begun to
// refuse, or we to take, is no difference any more.
func TestStricter(t *testing.T) {
	for _, s := range stricter() {
		t.Run(s.name, func(t *testing.T) {
			if _, err := ours([]byte(s.raw), 1<<20); !errors.Is(err, s.want) {
				t.Errorf("ours: %v, want %v", err, s.want)
			}
			if _, err := newReader([]byte(s.raw)).theirs(); err != nil {
				t.Errorf("net/http refuses it, too: %v", err)
			}
		})
	}
}
