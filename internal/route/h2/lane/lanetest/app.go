// Package lanetest has a small app for tests of what stands before lanes: it
// serves HTTP/1.1 on whatever connection it is given, in its own words, so that
// a test sees exactly what was sent. It must never know net/http.
package lanetest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"landward/internal/route/wire"
)

// App serves connections. Its paths are:
//
//	/hello            answers "hello, PATH?QUERY"
//	/head             answers with the head as it came
//	/bytes?N          answers with N bytes of Pattern
//	/chunks?N         likewise, in chunks
//	/echo             sends the body back while it comes, and its trailer
//	/count            reads the body, then answers with its length
//	/hints            sends 103 before its answer
//	/status?N         answers N with "body" where N may have one
//	/raw?TEXT         answers with those bytes, unescaped, and closes
//	/break, /cut      break off: after the head, in the middle of a chunk
//	/wait             waits until the client has gone, or Release is called
//	/refuse           answers 413 without reading, and closes
//	/slow?N           reads N bytes of the body, then waits for Release, then reads on
//	/socket           is a WebSocket that sends back what it gets
type App struct {
	Conns    atomic.Int64 // opened so far
	Open     atomic.Int64
	Requests atomic.Int64
	Gone     atomic.Int64 // requests whose client went away
	Read     atomic.Int64 // bytes of bodies

	once    sync.Once
	release chan struct{}
	let     sync.Once
}

// Release lets waiting requests go on, and those to come.
func (a *App) Release() {
	a.wait()
	a.let.Do(func() { close(a.release) })
}

func (a *App) wait() chan struct{} {
	a.once.Do(func() { a.release = make(chan struct{}) })
	return a.release
}

// Hand serves one connection.
func (a *App) Hand(c net.Conn) {
	a.Conns.Add(1)
	a.Open.Add(1)
	defer a.Open.Add(-1)
	defer func() { _ = c.Close() }()
	s := &session{a: a, c: c}
	for s.one() {
	}
}

// session is one connection.
type session struct {
	a   *App
	c   net.Conn
	buf []byte
	req wire.Request
	raw []byte
}

// fill reads once.
func (s *session) fill() error {
	b := make([]byte, 4096)
	n, err := s.c.Read(b)
	s.buf = append(s.buf, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// one answers one request.
func (s *session) one() bool {
	for {
		end, err := wire.HeadEnd(s.buf, 0)
		if err != nil {
			s.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return false
		}
		if end > 0 {
			s.raw = bytes.Clone(s.buf[:end])
			s.buf = s.buf[end:]
			break
		}
		if s.fill() != nil {
			return false
		}
	}
	s.a.Requests.Add(1)
	if err := s.req.Parse(s.raw); err != nil {
		status := 400
		var we *wire.Error
		if errors.As(err, &we) {
			status = we.Status
		}
		s.say("HTTP/1.1 %d Refused\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(err.Error()), err)
		return false
	}
	return s.answer()
}

func (s *session) say(format string, args ...any) bool {
	_, err := fmt.Fprintf(s.c, format, args...)
	return err == nil
}

// whole answers with a body of known length, after the request's body.
func (s *session) whole(body string) bool {
	if _, err := s.body(nil); err != nil {
		return false
	}
	if string(s.req.Method) == "HEAD" {
		return s.say("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
	}
	return s.say("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\nX-App: lanetest\r\nKeep-Alive: timeout=5\r\n\r\n%s", len(body), body)
}

// answer answers as the path says.
func (s *session) answer() bool {
	_, query, _ := strings.Cut(string(s.req.Target), "?")
	n, _ := strconv.Atoi(query)
	switch string(s.req.Path()) {
	case "/head":
		return s.whole(string(s.raw))
	case "/bytes":
		return s.say("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n) && s.pattern(n, false)
	case "/chunks":
		return s.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") && s.pattern(n, true)
	case "/echo":
		return s.echo()
	case "/count":
		got, err := s.body(nil)
		return err == nil && s.whole(strconv.FormatInt(got, 10))
	case "/hints":
		return s.say("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n") && s.whole("hints")
	case "/status":
		return s.status(n)
	case "/raw":
		text, _ := unescape(query)
		s.say("%s", text)
		return false
	case "/break":
		s.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
		return false
	case "/cut":
		s.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf")
		return false
	case "/wait":
		return s.waitGone() && s.whole("waited")
	case "/refuse":
		s.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
		return false
	case "/slow":
		return s.slow(int64(n))
	case "/socket":
		return s.socket()
	}
	return s.whole("hello, " + string(s.req.Target))
}

func (s *session) status(n int) bool {
	if n == 204 || n == 304 {
		return s.say("HTTP/1.1 %d Some\r\nETag: \"x\"\r\n\r\n", n)
	}
	return s.say("HTTP/1.1 %d Some\r\nContent-Length: 4\r\n\r\nbody", n)
}

// Pattern is n bytes that differ from place to place.
func Pattern(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz-"), n/37+1)[:n]
}

func (s *session) pattern(n int, chunked bool) bool {
	const piece = 37 * 1024
	whole := Pattern(piece)
	for left := n; left > 0; left -= piece {
		p := whole[:min(left, piece)]
		if chunked {
			p = wire.AppendChunk(nil, p)
		}
		if _, err := s.c.Write(p); err != nil {
			return false
		}
	}
	return !chunked || s.say("0\r\n\r\n")
}

// body reads the request's body and hands its pieces to each.
func (s *session) body(each func(p []byte) error) (int64, error) {
	total, left := int64(0), s.req.Length()
	give := func(p []byte) error {
		total += int64(len(p))
		s.a.Read.Add(int64(len(p)))
		if each != nil && len(p) > 0 {
			return each(p)
		}
		return nil
	}
	var chunks wire.Chunks
	for {
		for len(s.buf) > 0 && (left > 0 || left < 0 && !chunks.Done()) {
			p, used := s.buf, len(s.buf)
			var err error
			if left < 0 {
				if p, used, err = chunks.Next(s.buf); err != nil {
					return total, err
				}
			} else {
				used = int(min(left, int64(used)))
				p, left = p[:used], left-int64(used)
			}
			if err := give(p); err != nil {
				return total, err
			}
			s.buf = s.buf[used:]
		}
		if left == 0 || left < 0 && chunks.Done() {
			break
		}
		if err := s.fill(); err != nil {
			s.a.Gone.Add(1)
			return total, err
		}
	}
	_ = s.req.Parse([]byte("GET / HTTP/1.1\r\nHost: read\r\n\r\n")) // well formed: a second call reads nothing
	trailer, err := chunks.AppendTrailer(nil)
	s.raw = trailer
	return total, err
}

func (s *session) echo() bool {
	if !s.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") {
		return false
	}
	_, err := s.body(func(p []byte) error {
		_, err := s.c.Write(wire.AppendChunk(nil, p))
		return err
	})
	return err == nil && s.say("0\r\n%s\r\n", s.raw)
}

func (s *session) slow(n int64) bool {
	got := int64(0)
	_, err := s.body(func(p []byte) error {
		if got += int64(len(p)); got >= n {
			<-s.a.wait()
		}
		return nil
	})
	return err == nil && s.whole("slow")
}

// waitGone waits until the client has gone, and reports false then.
func (s *session) waitGone() bool {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = s.fill() // fails once the client has gone
	}()
	select {
	case <-gone:
		s.a.Gone.Add(1)
		return false
	case <-s.a.wait():
		return false // with no answer: who released us wants to see that
	}
}

func (s *session) socket() bool {
	key := ""
	for _, f := range s.req.Fields() {
		if wire.EqualFold(f.Name, "sec-websocket-key") {
			key = string(f.Value)
		}
	}
	if !s.req.WebSocket() || key == "" {
		return s.status(426)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	if !s.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:])) {
		return false
	}
	_, _ = io.Copy(s.c, s.c)
	if half, ok := s.c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return false
}

// unescape undoes percent-encoding.
func unescape(s string) (string, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", err
			}
			out = append(out, byte(n))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out), nil
}
