package upstream

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"landward/internal/route/wire"
)

// answerBuffer is how much of an answer is moved at once.
const answerBuffer = 16 << 10

// answerBuffers are the same for all bridges.
var answerBuffers = sync.Pool{New: func() any { b := make([]byte, answerBuffer); return &b }}

// answer writes one HTTP/2 answer as HTTP/1.1.
type answer struct {
	link *link
	body *body
	head bool // to a HEAD request
	keep bool // the plane wants the link to stay
	out  []byte
}

// send writes the answer and reports whether the link can stay. An answer that
// the target breaks off is broken off here, too: the link ends without the
// last chunk, or before the announced length.
func (a *answer) send(res *http.Response) bool {
	code := res.StatusCode
	out := appendHeader(appendStatus(make([]byte, 0, 1<<10), code), res.Header)
	switch {
	case a.head, code == http.StatusNoContent, code == http.StatusNotModified:
		if n := res.Header.Get("Content-Length"); n != "" && code != http.StatusNoContent {
			out = append(append(append(out, "Content-Length: "...), n...), '\r', '\n')
		}
		return a.end(append(out, '\r', '\n'))
	case res.ContentLength == 0 && isGRPC(res.Header.Get("Content-Type")) && atEnd(res.Body) && len(res.Trailer) == 0:
		// An answer of trailers only: its head is all.
		return a.end(append(out, "Content-Length: 0\r\n\r\n"...))
	case res.ContentLength >= 0 && len(res.Trailer) == 0 && !isGRPC(res.Header.Get("Content-Type")):
		out = strconv.AppendInt(append(out, "Content-Length: "...), res.ContentLength, 10)
		a.out = append(out, "\r\n\r\n"...)
		return a.plain(res)
	}
	out = appendTrailerNames(out, res)
	a.out = append(out, "Transfer-Encoding: chunked\r\n\r\n"...)
	return a.chunks(res)
}

// end writes the last bytes of the answer.
func (a *answer) end(b []byte) bool {
	stays := a.keep && a.body.whole() && !a.link.bridge.retired()
	if !stays {
		a.link.last.Store(true)
	}
	_, err := a.link.conn.Write(b)
	return err == nil && stays
}

// write writes bytes that are not the last.
func (a *answer) write(b []byte) bool {
	_, err := a.link.conn.Write(b)
	return err == nil
}

// plain sends a body of known length. The head goes with its first piece.
func (a *answer) plain(res *http.Response) bool {
	left := res.ContentLength
	if left == 0 {
		return a.end(a.out) && atEnd(res.Body)
	}
	if !a.write(a.out) {
		return false
	}
	b := answerBuffers.Get().(*[]byte)
	defer answerBuffers.Put(b)
	for {
		n, err := res.Body.Read((*b)[:min(left, answerBuffer)])
		if left -= int64(n); left == 0 {
			return a.end((*b)[:n]) && (errors.Is(err, io.EOF) || atEnd(res.Body))
		}
		if n > 0 && !a.write((*b)[:n]) || err != nil {
			return false
		}
	}
}

// atEnd waits for the end of a stream whose bytes have all come. Closing it
// before would reset it, and the target would think that nobody wanted it.
func atEnd(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && errors.Is(err, io.EOF)
}

// chunks sends a body of unknown length, each piece as soon as it is there,
// and the trailers.
func (a *answer) chunks(res *http.Response) bool {
	if !a.write(a.out) {
		return false
	}
	b := answerBuffers.Get().(*[]byte)
	defer answerBuffers.Put(b)
	for {
		n, err := res.Body.Read((*b)[:answerBuffer-32]) // its frame fits, too
		a.out = wire.AppendChunk(a.out[:0], (*b)[:n])
		switch {
		case errors.Is(err, io.EOF):
			a.out = append(a.out, "0\r\n"...)
			a.out = appendHeader(a.out, res.Trailer)
			return a.end(append(a.out, '\r', '\n'))
		case n > 0 && !a.write(a.out) || err != nil:
			return false
		}
	}
}

func appendStatus(out []byte, code int) []byte {
	out = strconv.AppendInt(append(out, "HTTP/1.1 "...), int64(code), 10)
	return append(append(append(out, ' '), http.StatusText(code)...), '\r', '\n')
}

// appendTrailerNames announces the trailers that the target has announced, and
// those of gRPC, which nobody announces in HTTP/2.
func appendTrailerNames(out []byte, res *http.Response) []byte {
	var names []string
	for name := range res.Trailer {
		names = append(names, name)
	}
	slices.Sort(names)
	if isGRPC(res.Header.Get("Content-Type")) {
		for _, name := range []string{"Grpc-Status", "Grpc-Message"} {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return out
	}
	return append(append(append(out, "Trailer: "...), strings.Join(names, ", ")...), '\r', '\n')
}

// appendHeader appends header lines, but for those that say how a message is
// framed or what becomes of the connection: they are ours to say.
func appendHeader(out []byte, h map[string][]string) []byte {
	for name, values := range h {
		switch name {
		case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			continue
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") {
				continue // HTTP/2 forbids it, and so it has been refused before
			}
			out = append(append(append(append(out, name...), ": "...), v...), '\r', '\n')
		}
	}
	return out
}
