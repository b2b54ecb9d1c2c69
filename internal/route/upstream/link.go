package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// readBuffer is the buffer of a link for requests: heads and chunk sizes.
const readBuffer = 4 << 10

// link is one in-memory connection and the goroutine that translates on it.
type link struct {
	bridge *Bridge
	plane  *linkConn // the plane's end
	conn   *end      // ours
	reader headReader
	in     *bufio.Reader
	ctx    context.Context // ends when the plane closes
	cancel context.CancelFunc
	busy   bool // a request is in progress, or the first is to come; guarded by Bridge.mu
	// last is set before the last bytes of the last answer: whoever has read
	// them knows that this link is not to be used again.
	last atomic.Bool
}

// linkConn is the end that the plane holds.
type linkConn struct {
	end
	link *link
}

// Idle reports whether another request can be sent.
func (c *linkConn) Idle() bool {
	return !c.link.last.Load() && c.in.quiet() && c.out.quiet()
}

// Close ends the request in progress, if there is one: its stream is reset.
func (c *linkConn) Close() error {
	c.link.cancel()
	return c.end.Close()
}

func newLink(b *Bridge) *link {
	up, down := newPipe(), newPipe()
	l := &link{bridge: b, busy: true, conn: &end{in: up, out: down, addr: "plane"}}
	l.plane = &linkConn{end: end{in: down, out: up, addr: address(b.addr)}, link: l}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.reader.r = l.conn
	l.in = bufio.NewReaderSize(&l.reader, readBuffer)
	return l
}

// shut closes our end. What has been written can still be read.
func (l *link) shut() {
	l.last.Store(true)
	_ = l.conn.Close()
}

// serve answers requests until the link ends.
func (l *link) serve() {
	defer l.bridge.leave(l)
	defer l.cancel()
	defer l.shut()
	for l.one() {
	}
}

// headReader bounds how long a request's head may be.
type headReader struct {
	r    io.Reader
	left int // bytes; negative: no bound
}

// maxRequestHead is more than the plane lets through, with what it adds.
const maxRequestHead = 256 << 10

var errHead = errors.New("request head too large")

func (h *headReader) Read(b []byte) (int, error) {
	if h.left == 0 {
		return 0, errHead
	}
	if h.left > 0 && len(b) > h.left {
		b = b[:h.left]
	}
	n, err := h.r.Read(b)
	if h.left > 0 {
		h.left -= n
	}
	return n, err
}

// one answers one request and reports whether another may come.
func (l *link) one() bool {
	l.reader.left = maxRequestHead
	req, err := http.ReadRequest(l.in)
	l.reader.left = -1
	if err != nil {
		return l.unreadable(err)
	}
	if !l.bridge.begin(l) {
		return false
	}
	if req.Method == http.MethodConnect || req.Header.Get("Upgrade") != "" {
		// HTTP/2 has no Upgrade, and its own way for WebSockets (RFC 8441)
		// few apps know.
		return l.refuse(http.StatusNotImplemented)
	}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	a := &answer{link: l, keep: !req.Close, head: req.Method == http.MethodHead, body: &body{in: req.Body, conn: l.conn}}
	if req.ContentLength == 0 {
		a.body.state.Store(bodyDone)
	}
	res, err := l.roundTrip(ctx, req, a.body)
	if err != nil {
		// Nothing of an answer has been written: the plane sees a target that
		// closed, and knows what to do about that.
		return false
	}
	defer res.Body.Close()
	return a.send(res) && l.bridge.rest(l)
}

// unreadable answers what is no request, unless the plane has just gone.
func (l *link) unreadable(err error) bool {
	if l.ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return false
	}
	if errors.Is(err, errHead) {
		return l.refuse(http.StatusRequestHeaderFieldsTooLarge)
	}
	return l.refuse(http.StatusBadRequest)
}

// refuse answers without the target and ends the link.
func (l *link) refuse(status int) bool {
	l.last.Store(true)
	_, _ = io.WriteString(l.conn, "HTTP/1.1 "+strconv.Itoa(status)+" "+http.StatusText(status)+
		"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	return false
}

// maxTries is how many connections one request may be given to. It goes to the
// next one only if nothing of it was sent on the one before.
const maxTries = 3

// roundTrip sends the request to the target and waits for its answer's head.
func (l *link) roundTrip(ctx context.Context, req *http.Request, b *body) (*http.Response, error) {
	l.outgoing(req)
	var began atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders:   func() { began.Store(true) },
		Got1xxResponse: l.inform,
	}))
	if b.state.Load() == bodyDone {
		req.Body = http.NoBody
	} else {
		req.Body = b
	}
	for try := 1; ; try++ {
		cc, err := l.bridge.reserve(ctx)
		if err != nil {
			return nil, err
		}
		res, err := cc.RoundTrip(req)
		if err == nil {
			return res, nil
		}
		if try == maxTries || began.Load() || ctx.Err() != nil || !b.reopen() {
			return nil, err
		}
	}
}

// outgoing makes the request that was read one that can be sent.
func (l *link) outgoing(req *http.Request) {
	host := req.Host
	if host == "" {
		host = l.bridge.addr
	}
	u := &url.URL{Scheme: l.bridge.scheme, Host: l.bridge.addr, Opaque: "*"}
	if req.RequestURI != "*" {
		// In this form the target goes out byte for byte as it came in.
		u.Opaque = "//" + host + req.RequestURI
	}
	req.URL, req.Host, req.RequestURI = u, host, ""
	req.Close, req.TransferEncoding = false, nil
	h := req.Header
	trailers := strings.Contains(strings.ToLower(strings.Join(h["Te"], ",")), "trailers") ||
		isGRPC(h.Get("Content-Type"))
	for _, name := range []string{"Te", "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "Transfer-Encoding", "Http2-Settings"} {
		delete(h, name)
	}
	if trailers {
		h["Te"] = []string{"trailers"} // all that HTTP/2 lets it say
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // or Go would add its own
	}
}

func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && strings.EqualFold(contentType[:len(grpc)], grpc)
}

// inform passes an interim answer on, where there is room: it runs in the
// goroutine that reads for all streams and must not wait for one.
func (l *link) inform(code int, header textproto.MIMEHeader) error {
	if code == http.StatusSwitchingProtocols {
		return nil
	}
	out := appendStatus(make([]byte, 0, 256), code)
	out = appendHeader(out, header)
	l.conn.out.offer(append(out, '\r', '\n'))
	return nil
}

// The states of a request's body.
const (
	bodyFresh   int32 = iota // not read from yet
	bodyOpen                 // some of it was read
	bodyDone                 // all of it was: the next request can follow
	bodyClosed               // closed before its end: the link cannot be used again
	bodyDropped              // closed before it was read from
)

// body is a request's body. Closing it does not read what is left, as the one
// of net/http would, but wakes whoever reads.
type body struct {
	in    io.ReadCloser
	conn  net.Conn
	state atomic.Int32
}

// Read reads some of the body.
func (b *body) Read(p []byte) (int, error) {
	b.state.CompareAndSwap(bodyFresh, bodyOpen)
	switch b.state.Load() {
	case bodyDone:
		return 0, io.EOF
	case bodyOpen:
	default:
		return 0, net.ErrClosed
	}
	n, err := b.in.Read(p)
	if errors.Is(err, io.EOF) && !b.state.CompareAndSwap(bodyOpen, bodyDone) {
		err = net.ErrClosed
	}
	return n, err
}

// Close ends reading.
func (b *body) Close() error {
	if b.state.CompareAndSwap(bodyFresh, bodyDropped) {
		return nil
	}
	if b.state.CompareAndSwap(bodyOpen, bodyClosed) {
		_ = b.conn.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
}

// reopen reports whether the body can be sent from its start, on another
// connection.
func (b *body) reopen() bool {
	return b.state.Load() == bodyDone || b.state.Load() == bodyFresh || b.state.CompareAndSwap(bodyDropped, bodyFresh)
}

// whole reports whether all of the body was read.
func (b *body) whole() bool { return b.state.Load() == bodyDone }
