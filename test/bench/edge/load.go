package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const roleLoad = "load"

// loadSettings say what one turn of load is.
type loadSettings struct {
	addr   netip.AddrPort
	host   string // a %d in it is replaced by the numbers below hosts
	hosts  int
	path   string
	length int64 // of the answer's body
	conns  int
	rate   float64       // requests a second; 0: each connection as fast as it can
	warm   time.Duration // not measured
	window time.Duration // measured
	pid    int           // whose processor time counts, with its children
}

// sample is what one turn measured.
type sample struct {
	Requests int64         `json:"requests"`
	Wrong    int64         `json:"wrong"` // answers that were not what they should be, and broken connections
	Trouble  string        `json:"trouble,omitempty"`
	Elapsed  time.Duration `json:"elapsed"`
	CPU      time.Duration `json:"cpu"` // of the server, all its processes
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
}

// perRequest is the server's processor time a request, in microseconds.
func (s sample) perRequest() float64 {
	return float64(s.CPU) / float64(time.Microsecond) / float64(max(s.Requests, 1))
}

// perSecond is the rate of requests.
func (s sample) perSecond() float64 { return float64(s.Requests) / s.Elapsed.Seconds() }

func loadMain(ctx context.Context, args []string) error {
	var s loadSettings
	fs := flag.NewFlagSet(roleLoad, flag.ContinueOnError)
	addr := fs.String("addr", "", "server")
	fs.StringVar(&s.host, "host", "", "Host")
	fs.IntVar(&s.hosts, "hosts", 1, "how many hosts")
	fs.StringVar(&s.path, "path", "", "path")
	fs.Int64Var(&s.length, "length", 0, "length of the answer's body")
	fs.IntVar(&s.conns, "conns", 1, "connections")
	fs.Float64Var(&s.rate, "rate", 0, "requests a second")
	fs.DurationVar(&s.warm, "warm", 0, "time before the measured window")
	fs.DurationVar(&s.window, "window", time.Second, "measured time")
	fs.IntVar(&s.pid, "pid", 0, "server")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if s.addr, err = netip.ParseAddrPort(*addr); err != nil {
		return err
	}
	// This process lives for seconds, and a collection would be a latency of its own.
	debug.SetGCPercent(-1)
	result, err := runLoad(ctx, s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// load is one turn in progress.
type load struct {
	s        loadSettings
	poll     *poller
	requests [][]byte // one a host
	next     int      // host
	conns    []*loadConn
	byFD     map[int32]*loadConn
	idle     []*loadConn // of an open loop, the longest idle first
	due      []time.Time // of an open loop: requests that no connection was free for
	buf      []byte

	counting  bool
	sample    sample
	latencies []time.Duration
}

// loadConn is one connection and the request on it.
type loadConn struct {
	fd    int
	busy  bool
	since time.Time // when the request should have been sent
	head  []byte    // of the answer, not whole yet
	left  int64     // bytes of the answer's body still to come; negative: the head is not whole
	last  bool      // the server closes after this answer
}

// runLoad sends requests and measures.
//
// Without a rate it is a closed loop: each connection sends its next request
// when it has the answer to the last. With one it is an open loop: requests
// become due at random times that depend on nothing that the server does, and
// one that finds no free connection waits, which counts as latency. So a server
// that stalls is charged for every request that it held up, not for one.
func runLoad(ctx context.Context, s loadSettings) (sample, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := newLoad(s)
	if err != nil {
		return sample{}, err
	}
	defer l.close()
	if err := l.phase(ctx, s.warm); err != nil {
		return sample{}, err
	}
	before, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	l.counting = true
	start := time.Now()
	if err := l.phase(ctx, s.window); err != nil {
		return sample{}, err
	}
	l.sample.Elapsed = time.Since(start)
	after, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	l.sample.CPU = after - before
	// What is still under way or waits has at least this latency.
	for _, c := range l.conns {
		if s.rate > 0 && c.busy {
			l.latencies = append(l.latencies, time.Since(c.since))
		}
	}
	for _, at := range l.due {
		l.latencies = append(l.latencies, time.Since(at))
	}
	l.sample.P50, l.sample.P99 = percentile(l.latencies, 50), percentile(l.latencies, 99)
	return l.sample, nil
}

// newLoad connects.
func newLoad(s loadSettings) (*load, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &load{s: s, poll: poll, byFD: make(map[int32]*loadConn), buf: make([]byte, 1<<20),
		latencies: make([]time.Duration, 0, 1<<20)}
	for i := range max(s.hosts, 1) {
		host := s.host
		if strings.Contains(host, "%d") {
			host = fmt.Sprintf(host, i)
		}
		l.requests = append(l.requests, request(s.path, host))
	}
	for range s.conns {
		c := &loadConn{fd: -1}
		l.conns = append(l.conns, c)
		if err := l.connect(c); err != nil {
			l.close()
			return nil, err
		}
	}
	l.idle = append(l.idle, l.conns...)
	return l, nil
}

// request is what the load asks.
func request(path, host string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench-edge\r\nAccept: */*\r\n\r\n", path, host)
}

func (l *load) close() {
	for _, c := range l.conns {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	}
	l.poll.close()
}

// phase runs the load for a time.
func (l *load) phase(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if l.s.rate > 0 {
		return l.open(ctx, d)
	}
	for _, c := range l.conns {
		if !c.busy {
			if err := l.send(c, time.Time{}); err != nil {
				return err
			}
		}
	}
	end := time.Now().Add(d)
	for time.Now().Before(end) && ctx.Err() == nil {
		if err := l.turn(100); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// open sends requests at random times of the wanted mean rate: the same times
// for every server and turn.
func (l *load) open(ctx context.Context, d time.Duration) error {
	timer, err := newTimer(l.poll)
	if err != nil {
		return err
	}
	defer timer.close()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same numbers each time are what is wanted
	start := time.Now()
	end, next := start.Add(d), start
	for {
		now := time.Now()
		for !next.After(now) && next.Before(end) {
			l.due = append(l.due, next)
			next = next.Add(time.Duration(-math.Log(1-random.Float64()) / l.s.rate * float64(time.Second)))
		}
		if err := l.sendDue(now); err != nil {
			return err
		}
		if now.After(end) || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := timer.set(min(time.Until(next), time.Until(end))); err != nil {
			return err
		}
		if err := l.turn(100); err != nil {
			return err
		}
		timer.clear()
	}
}

// sendDue gives due requests to free connections. One that comes to its turn
// late because this process woke late is not late by the server's fault, and
// counts from now.
func (l *load) sendDue(now time.Time) error {
	for len(l.due) > 0 && len(l.idle) > 0 {
		since := l.due[0]
		if l.idle[0].since.Before(since) {
			since = now // the connection was free when the request became due
		}
		c := l.idle[0]
		l.due, l.idle = l.due[1:], l.idle[1:]
		if err := l.send(c, since); err != nil {
			return err
		}
	}
	return nil
}

// turn handles what has happened.
func (l *load) turn(ms int) error {
	events, err := l.poll.wait(ms)
	if err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	for _, e := range events {
		c := l.byFD[e.Fd]
		if c == nil {
			continue // the timer
		}
		if err := l.read(c); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) connect(c *loadConn) error {
	fd, err := dial(l.s.addr, netip.Addr{})
	if err != nil {
		return err
	}
	c.fd, c.last, c.head = fd, false, c.head[:0]
	l.byFD[int32(fd)] = c //nolint:gosec // a descriptor is small
	return l.poll.watch(fd, unix.EPOLLIN)
}

// reconnect takes the place of a connection that the server has closed.
func (l *load) reconnect(c *loadConn) error {
	delete(l.byFD, int32(c.fd)) //nolint:gosec // as above
	_ = unix.Close(c.fd)
	return l.connect(c)
}

func (l *load) send(c *loadConn, since time.Time) error {
	c.busy, c.since, c.left = true, since, -1
	req := l.requests[l.next]
	if l.next++; l.next == len(l.requests) {
		l.next = 0
	}
	if n, err := unix.Write(c.fd, req); err == nil && n == len(req) {
		return nil
	}
	// Closed by the server while it was idle, as it may. Once more.
	if err := l.reconnect(c); err != nil {
		return err
	}
	if _, err := unix.Write(c.fd, req); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return nil
}

// read takes what the server has sent.
func (l *load) read(c *loadConn) error {
	if c.left > 0 {
		return l.skip(c)
	}
	n, err := unix.Read(c.fd, l.buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil || n == 0 {
		return l.broken(c, "the server closed the connection")
	}
	if !c.busy {
		return l.broken(c, "the server sent what nobody had asked for")
	}
	data := l.buf[:n]
	if len(c.head) > 0 {
		c.head = append(c.head, data...)
		data = c.head
	}
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.head) == 0 {
			c.head = append(c.head, data...)
		}
		return nil
	}
	status, length, last := answerHead(data[:end+2])
	if status != 200 || length != l.s.length {
		return l.broken(c, fmt.Sprintf("status %d, length %d", status, length))
	}
	c.last = last
	c.left = length - int64(len(data)-end-4)
	c.head = c.head[:0]
	return l.arrived(c)
}

// skip throws bytes of a body away: with MSG_TRUNC the kernel does not copy
// them out.
func (l *load) skip(c *loadConn) error {
	for c.left > 0 {
		n, _, err := unix.Recvfrom(c.fd, l.buf[:min(c.left, int64(len(l.buf)))], unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return nil
		}
		if err != nil || n == 0 {
			return l.broken(c, "the server closed the connection within an answer")
		}
		c.left -= int64(n)
	}
	return l.arrived(c)
}

// arrived ends the request if the answer is whole.
func (l *load) arrived(c *loadConn) error {
	if c.left > 0 {
		return nil
	}
	if c.left < 0 {
		return l.broken(c, "the answer is longer than it says")
	}
	if l.counting {
		l.sample.Requests++
	}
	return l.free(c)
}

// broken counts a wrong answer and starts afresh.
func (l *load) broken(c *loadConn, why string) error {
	busy := c.busy
	if err := l.reconnect(c); err != nil {
		return err
	}
	if !busy {
		return nil // closed while idle
	}
	l.sample.Wrong++
	l.sample.Trouble = why
	c.last = false
	return l.free(c)
}

// free makes a connection ready for its next request, and in a closed loop
// sends that.
func (l *load) free(c *loadConn) error {
	if c.last {
		if err := l.reconnect(c); err != nil {
			return err
		}
	}
	c.busy = false
	if l.s.rate == 0 {
		return l.send(c, time.Time{})
	}
	now := time.Now()
	if l.counting {
		l.latencies = append(l.latencies, now.Sub(c.since))
	}
	c.since = now
	l.idle = append(l.idle, c)
	return l.sendDue(now)
}

// answerHead reads the head of an answer: its lines all end in CRLF. The length
// is -1 where the head does not say it.
func answerHead(head []byte) (status int, length int64, last bool) {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return 0, -1, true
	}
	status, length = 0, -1
	for _, d := range head[9:12] {
		status = status*10 + int(d-'0')
	}
	if v := field(head, "Content-Length"); v != nil {
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			length = n
		}
	}
	return status, length, bytes.EqualFold(field(head, "Connection"), []byte("close"))
}
