package h2

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"landward/internal/route/h2/lane"
)

// Sizes of the reading buffer: the second takes any frame.
const (
	smallBuffer = 8 << 10
	largeBuffer = 32 << 10
)

// maxContinuations bounds the frames of one head (CVE-2024-27316).
const maxContinuations = 32

// conn is one client's connection. One goroutine reads it and handles frames,
// one writes; answers are put into the writer's buffer by who serves them.
type conn struct {
	s      *Server
	raw    net.Conn
	limits *Limits
	lanes  *lane.Set

	// The reader's.
	in       []byte // bytes read and not used yet are in[r:w]
	r, w     int
	settled  bool // the client's first SETTINGS has come
	decoder  *hpack.Decoder
	head     lane.Head
	trailing bool // the block being decoded is a trailer
	block    block
	dirty    []*stream // whose lanes have news

	// Times by the server's clock, 0 for none. The tick reads them.
	prefaced atomic.Bool
	blockAt  atomic.Int64 // when a head in several frames began
	writeAt  atomic.Int64 // when the write in progress began
	start    int64

	taken atomic.Int64 // bytes of bodies read since the connection's last WINDOW_UPDATE

	mu       sync.Mutex
	streams  map[uint32]*stream
	last     uint32      // highest stream that we have looked at
	top      uint32      // highest stream that the client has opened
	opened   [128]uint32 // streams that were opened lately
	ended    [128]uint32 // streams that we ended while the client may still have been sending
	greeted  bool        // the client is sent our settings
	acked    bool        // and knows them
	send     int64       // what the client lets us send on the connection
	initial  int64       // and on a new stream
	recv     int64       // what we let the client send on the connection
	calm     calm
	quiet    int64 // since when there is no stream
	encoder  encoder
	waiters  []*stream // that wait for room or for the connection's window, in order
	goaway   goaway
	stopping reason // why the reader is to stop

	// The writer's, under mu.
	out      []byte
	spare    []byte
	control  int // frames in out that no stream has asked for
	wake     sync.Cond
	sleeping bool
	shut     bool // write what is there, then end
	dead     bool // nothing can be written any more
}

// reason is why a connection is ended from outside the reader.
type reason uint8

const (
	reasonNone reason = iota
	reasonSlow        // the preface or a head took too long
	reasonDrained
	reasonKilled
	reasonStuck // the client does not read
)

// fault is a connection error (RFC 9113 section 5.4.1).
type fault struct {
	code   code
	reason string
}

// Error returns the reason.
func (f *fault) Error() string { return f.reason }

func protocolError(reason string) error { return &fault{codeProtocol, reason} }

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{
		s: s, raw: raw, limits: &s.o.Limits,
		in:      make([]byte, smallBuffer),
		streams: make(map[uint32]*stream),
		send:    defaultWindow, initial: defaultWindow, recv: int64(s.o.Limits.ConnWindow),
		calm: newCalm(&s.o.Limits),
	}
	c.wake.L = &c.mu
	c.head.Limit = c.limits.Header
	c.decoder = hpack.NewDecoder(defaultTableSize, c.field)
	c.encoder.init()
	c.lanes = lane.NewSet(lane.Options{
		Hand: s.o.Hand, Far: c.newStream, Proto: "HTTP/2.0",
		Local: raw.LocalAddr(), Remote: raw.RemoteAddr(), Server: serverName(raw),
		Max: 2 * c.limits.Streams, Credit: max(c.limits.StreamWindow/4, 1),
	})
	return c
}

// serverName is the name that a client's handshake asked for.
func serverName(raw net.Conn) string {
	if c, ok := raw.(*tls.Conn); ok {
		return c.ConnectionState().ServerName
	}
	return ""
}

// serve serves the connection until it ends.
func (c *conn) serve() {
	var writer sync.WaitGroup
	writer.Go(c.writeLoop)
	c.greet()
	err := c.readAll()
	c.farewell(err)
	writer.Wait()
	c.linger(err)
	_ = c.raw.Close()
	c.lanes.Close()
}

// readAll reads until the connection ends, and says why.
func (c *conn) readAll() (err error) {
	defer func() {
		// A mistake of ours on one connection must not end all others.
		if v := recover(); v != nil {
			c.s.o.Log.Error("serve http/2 connection", "panic", v, "stack", string(debug.Stack()))
			err = &fault{codeInternal, "internal error"}
		}
	}()
	if err := c.readPreface(); err != nil {
		return err
	}
	for {
		for {
			more, err := c.readFrame()
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
		c.kick()
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// kick lets the lanes know what this batch of frames has brought. They are not
// woken for each frame: a small body is there with its head then.
func (c *conn) kick() {
	for i, s := range c.dirty {
		s.dirty = false
		s.lane.Kick()
		c.dirty[i] = nil
	}
	c.dirty = c.dirty[:0]
}

// fill reads once.
func (c *conn) fill() error {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
		if len(c.in) > smallBuffer && c.idle() {
			c.in = make([]byte, smallBuffer)
		}
	case c.r > 0:
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.in) {
		larger := make([]byte, largeBuffer)
		copy(larger, c.in)
		c.in = larger
	}
	n, err := c.raw.Read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return errors.New("read nothing")
	}
	return err
}

func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams) == 0
}

// readPreface reads the client's preface (RFC 9113 section 3.4).
func (c *conn) readPreface() error {
	for c.w < len(preface) {
		if string(c.in[:c.w]) != preface[:c.w] {
			break
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	if c.w < len(preface) || string(c.in[:len(preface)]) != preface {
		return protocolError("malformed preface")
	}
	c.r = len(preface)
	return nil
}

// readFrame handles one frame and reports whether there was a whole one.
func (c *conn) readFrame() (bool, error) {
	have := c.in[c.r:c.w]
	if len(have) < frameHead {
		return false, nil
	}
	f := parseFrame(have)
	if f.length > frameSize {
		return false, &fault{codeFrameSize, "frame too large"}
	}
	if len(have) < frameHead+f.length {
		return false, nil
	}
	c.r += frameHead + f.length
	return true, c.handle(f, have[frameHead:frameHead+f.length])
}

// handle handles one frame. Its errors end the connection.
func (c *conn) handle(f frame, p []byte) error {
	if !c.settled {
		if f.kind != frameSettings || f.has(flagAck) {
			return protocolError("preface without SETTINGS")
		}
		c.settled = true
		c.prefaced.Store(true)
	}
	if c.block.open && (f.kind != frameContinuation || f.id != c.block.id) {
		return protocolError("header block interrupted")
	}
	switch f.kind {
	case frameData:
		return c.handleData(f, p)
	case frameHeaders:
		return c.handleHeaders(f, p)
	case frameContinuation:
		return c.handleContinuation(f, p)
	case frameWindow:
		return c.handleWindow(f, p)
	case frameReset:
		return c.handleReset(f, p)
	case frameSettings:
		return c.handleSettings(f, p)
	case framePing:
		return c.handlePing(f, p)
	case frameGoAway:
		return c.handleGoAway(f, p)
	case framePriority:
		return c.handlePriority(f, p)
	case framePush:
		return protocolError("PUSH_PROMISE from a client")
	}
	return c.noise() // unknown frames are ignored (RFC 9113 section 5.5)
}

// tick looks after the limits in time.
func (c *conn) tick(now int64) {
	over := func(since int64, limit time.Duration) bool {
		return since != 0 && now-since > int64(limit)
	}
	if over(c.writeAt.Load(), c.limits.WriteTimeout) {
		c.stop(reasonStuck)
		_ = c.raw.SetWriteDeadline(past)
		return
	}
	if !c.prefaced.Load() && now-c.start > int64(c.limits.HeaderTimeout) ||
		over(c.blockAt.Load(), c.limits.HeaderTimeout) {
		c.stop(reasonSlow)
		return
	}
	c.mu.Lock()
	c.calm.refill(now)
	if len(c.streams) == 0 && now-c.quiet > int64(c.limits.IdleTimeout) {
		c.goaway.at = max(now, 1)
		c.windUp() // what comes now is not looked at, and the client knows
	}
	c.windOn(now)
	c.mu.Unlock()
	c.lanes.Trim(c.s.epoch.Add(time.Duration(now)), c.limits.LaneIdle)
}

// past is a deadline that wakes whoever blocks.
var past = time.Unix(1, 0)

// stop ends the reader for that reason.
func (c *conn) stop(why reason) {
	c.mu.Lock()
	if c.stopping == reasonNone || why == reasonKilled {
		c.stopping = why
	}
	c.mu.Unlock()
	_ = c.raw.SetReadDeadline(past)
}

// kill ends the connection at once.
func (c *conn) kill() {
	c.stop(reasonKilled)
	_ = c.raw.SetWriteDeadline(past)
}

// farewell tells the client why the connection ends, if it can be told, and
// lets the writer end.
func (c *conn) farewell(err error) {
	var f *fault
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.As(err, &f) {
		c.s.o.Log.Debug("end http/2 connection", "remote", c.raw.RemoteAddr(), "code", f.code, "reason", f.reason)
		c.putGoAway(c.last, f.code, f.reason)
	} else if c.stopping == reasonSlow {
		c.putGoAway(c.last, codeEnhanceCalm, "too slow")
	}
	for _, s := range c.streams {
		s.reset = true
		s.cond.Signal()
	}
	c.waiters = nil
	c.shut = true
	c.wake.Signal()
	switch c.stopping {
	case reasonKilled, reasonStuck: // nothing is written any more
	case reasonDrained: // the end of an answer, for which the client has its time
	default:
		_ = c.raw.SetWriteDeadline(time.Now().Add(lingerTime))
	}
}

// Limits of what is read from a client only to be thrown away.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// linger lets the client read our last frames: closing while it still sends
// would make them be lost to a reset.
func (c *conn) linger(err error) {
	var f *fault
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || !errors.As(err, &f) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.mu.Lock()
	in := !c.dead && c.stopping != reasonKilled && half.CloseWrite() == nil
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime)) // before a kill, which sets it too
	c.mu.Unlock()
	if !in {
		return
	}
	for n := 0; n < lingerBytes; {
		m, err := c.raw.Read(c.in)
		if err != nil {
			return
		}
		n += m
	}
}
