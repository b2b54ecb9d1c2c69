package door_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/route/door"
)

const header = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"

// listen starts a Listener on loopback, which is trusted unless o says who is.
func listen(t *testing.T, o door.Options) *door.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Trusted == nil {
		o.Trusted = networks(t, "127.0.0.0/8")
	}
	d := door.Listen(l, o)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// connect returns both ends of a new connection.
func connect(t *testing.T, l *door.Listener) (client *net.TCPConn, server net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = s.Close() })
	for _, conn := range []net.Conn{c, s} {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// receive reads exactly want.
func receive(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

func TestConn(t *testing.T) {
	for name, h := range map[string]string{
		"v1": header, "v2": string(v2(0x21, 0x11, tcp4)), "v2 with extras": string(v2(0x21, 0x11, tcp4, tlv(4, strings.Repeat("x", 3000)))),
	} {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, listen(t, door.Options{Required: true}))
			if got := s.RemoteAddr().String(); got != c.LocalAddr().String() {
				t.Errorf("before the header the client is %s", got)
			}
			send(t, c, h+"hello")
			receive(t, s, "hello")
			if got := s.RemoteAddr().String(); got != "192.0.2.7:51234" {
				t.Errorf("the client is %s", got)
			}
			if a, said := s.(*door.Conn).Client(); !said || a.String() != "192.0.2.7" {
				t.Errorf("the client is %s, said %v", a, said)
			}
			if got := s.LocalAddr().String(); got != c.RemoteAddr().String() {
				t.Errorf("the local address is %s", got)
			}
			send(t, s, "back")
			receive(t, c, "back")
		})
	}
}

func TestConnIsTheProxysOwn(t *testing.T) {
	for name, h := range map[string]string{"unknown": "PROXY UNKNOWN\r\n", "local": string(v2(0x20, 0)), "unix": string(v2(0x21, 0x31, make([]byte, 216)))} {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, listen(t, door.Options{Required: true}))
			send(t, c, h+"hello")
			receive(t, s, "hello")
			if got := s.RemoteAddr().String(); got != c.LocalAddr().String() {
				t.Errorf("the client is %s", got)
			}
			if a, said := s.(*door.Conn).Client(); said || a.String() != "127.0.0.1" {
				t.Errorf("the client is %s, said %v", a, said)
			}
		})
	}
}

// TestNothingBehindTheHeaderIsRead reads past the Conn: what follows the header
// must still be in the connection below.
func TestNothingBehindTheHeaderIsRead(t *testing.T) {
	for _, h := range []string{header, "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "PROXY UNKNOWN\r\n", string(v2(0x20, 0)), string(v2(0x21, 0x21, tcp6))} {
		c, s := connect(t, listen(t, door.Options{Required: true}))
		send(t, c, h+"x")
		if err := s.(*door.Conn).Handshake(); err != nil {
			t.Fatal(err)
		}
		raw, ok := s.(*door.Conn).NetConn().(*net.TCPConn)
		if !ok {
			t.Fatalf("below is a %T", s.(*door.Conn).NetConn())
		}
		receive(t, raw, "x")
	}
}

func TestStrangersArePassedOn(t *testing.T) {
	c, s := connect(t, listen(t, door.Options{Trusted: networks(t, "192.0.2.0/24"), Required: true}))
	if _, ok := s.(*net.TCPConn); !ok {
		t.Fatalf("a stranger's connection is a %T", s)
	}
	send(t, c, header)
	receive(t, s, header)
	if got := s.RemoteAddr().String(); got != c.LocalAddr().String() {
		t.Errorf("a stranger has made itself %s", got)
	}
}

func TestHeaderIsNotRequired(t *testing.T) {
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "P", "PR", "POST / ", "\r\n\r\nx", "\x16\x03\x01"} {
		c, s := connect(t, listen(t, door.Options{}))
		send(t, c, text+" and more")
		receive(t, s, text+" and more")
		if got := s.RemoteAddr().String(); got != c.LocalAddr().String() {
			t.Errorf("the client is %s", got)
		}
	}
	c, s := connect(t, listen(t, door.Options{}))
	send(t, c, header+"x")
	receive(t, s, "x")
	if got := s.RemoteAddr().String(); got != "192.0.2.7:51234" {
		t.Errorf("with a header the client is %s", got)
	}
}

func TestBadHeaders(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		end  bool
		want error
	}{
		"no header":   {"GET / HTTP/1.1\r\n\r\n", false, door.ErrNoHeader},
		"malformed":   {"PROXY TCP4 x\r\n----------------------", false, door.ErrMalformed},
		"too large":   {string(v2(0x21, 0x11, make([]byte, 5000))), false, door.ErrTooLarge},
		"cut off":     {header[:20], true, io.ErrUnexpectedEOF},
		"cut off, v2": {string(v2(0x21, 0x11, tcp4)[:17]), true, io.ErrUnexpectedEOF},
		"probe":       {"", true, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, listen(t, door.Options{Required: true}))
			send(t, c, tc.text)
			if tc.end {
				_ = c.CloseWrite()
			}
			for range 2 {
				if n, err := s.Read(make([]byte, 9)); n != 0 || !errors.Is(err, tc.want) {
					t.Fatalf("read %d bytes, %v; want %v", n, err, tc.want)
				}
			}
			if tc.want == io.EOF {
				if err := s.(*door.Conn).Handshake(); err != io.EOF { // the very value
					t.Errorf("a probe is %v", err)
				}
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is still open: %v", err)
			}
			if _, err := s.(*door.Conn).WriteTo(io.Discard); !errors.Is(err, tc.want) {
				t.Errorf("WriteTo says %v", err)
			}
			if got := s.RemoteAddr(); got == nil {
				t.Error("there is no peer any more")
			}
		})
	}
}

// TestAcceptDoesNotWait takes a connection while another one says nothing.
func TestAcceptDoesNotWait(t *testing.T) {
	l := listen(t, door.Options{Required: true})
	_, silent := connect(t, l)
	_ = silent.RemoteAddr() // does not wait either
	c, s := connect(t, l)
	send(t, c, header+"x")
	receive(t, s, "x")
}

// pipeEnd is an end of a pipe that is a peer on loopback.
type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

// pipes is a listener that hands out what is put into it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { return nil }

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// piped returns both ends of a connection without sockets, for tests of time.
func piped(t *testing.T, o door.Options) (client net.Conn, server *door.Conn) {
	t.Helper()
	o.Trusted = networks(t, "127.0.0.1")
	near, far := net.Pipe()
	inner := make(pipes, 1)
	inner <- pipeEnd{far}
	s, err := door.Listen(inner, o).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = s.Close() })
	return near, s.(*door.Conn)
}

// timed runs f and returns how long it took and what it says.
func timed(f func() error) (took time.Duration, err error) {
	start := time.Now()
	err = f()
	return time.Since(start), err
}

func TestHeaderDeadline(t *testing.T) {
	const patience = 3 * time.Second
	read := func(s net.Conn) func() error {
		return func() error { _, err := s.Read(make([]byte, 9)); return err }
	}
	for name, tc := range map[string]struct {
		required bool
		play     func(c, s net.Conn)
		want     time.Duration
	}{
		"silence": {true, func(net.Conn, net.Conn) {}, patience},
		"drops": {true, func(c, _ net.Conn) {
			for i := range header {
				<-time.After(time.Second) // the clock of the bubble
				if _, err := io.WriteString(c, header[i:i+1]); err != nil {
					return
				}
			}
		}, patience},
		"drops, not required": {false, func(c, _ net.Conn) {
			<-time.After(10 * time.Second)
			_, _ = io.WriteString(c, header[:1])
		}, 10*time.Second + patience},
		"caller's before": {true, func(_, s net.Conn) { _ = s.SetReadDeadline(time.Now().Add(time.Second)) }, time.Second},
		"caller's after":  {true, func(_, s net.Conn) { _ = s.SetReadDeadline(time.Now().Add(time.Minute)) }, patience},
		"caller's, later": {true, func(_, s net.Conn) {
			<-time.After(time.Second)
			_ = s.SetDeadline(time.Now())
		}, time.Second},
		"caller takes its away":  {true, func(_, s net.Conn) { _ = s.SetDeadline(time.Time{}) }, patience},
		"caller's, not required": {false, func(_, s net.Conn) { _ = s.SetReadDeadline(time.Now().Add(time.Minute)) }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := piped(t, door.Options{Required: tc.required, Timeout: patience})
				var wg sync.WaitGroup
				wg.Go(func() { tc.play(c, s) })
				took, err := timed(read(s))
				if !errors.Is(err, os.ErrDeadlineExceeded) || took != tc.want {
					t.Errorf("the read ends after %s: %v; want %s", took, err, tc.want)
				}
				_ = c.Close()
				wg.Wait()
			})
		})
	}
}

// TestDeadlinesAfterTheHeader says that the header's deadline is gone with it,
// and that the caller's has stayed.
func TestDeadlinesAfterTheHeader(t *testing.T) {
	for _, minute := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			c, s := piped(t, door.Options{Required: true})
			start := time.Now()
			if minute > 0 {
				_ = s.SetReadDeadline(start.Add(minute))
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = io.WriteString(c, header) })
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if minute == 0 {
				wg.Go(func() {
					<-time.After(time.Hour) // the clock of the bubble
					_, _ = io.WriteString(c, "x")
				})
				receive(t, s, "x")
				wg.Wait()
				return
			}
			_, err := timed(func() error { _, err := s.Read(make([]byte, 9)); return err })
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != minute {
				t.Errorf("the read ends after %s: %v", time.Since(start), err)
			}
		})
	}
}

func TestHeaderInPieces(t *testing.T) {
	for _, h := range []string{header, string(v2(0x21, 0x21, tcp6, tlv(4, "abc")))} {
		synctest.Test(t, func(t *testing.T) {
			c, s := piped(t, door.Options{Required: true})
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range len(h) {
					_, _ = io.WriteString(c, h[i:i+1])
				}
				_, _ = io.WriteString(c, "x")
			})
			receive(t, s, "x")
			wg.Wait()
			if _, said := s.Client(); !said {
				t.Error("the client is not known")
			}
		})
	}
}

func TestConnAtOnce(t *testing.T) {
	c, s := connect(t, listen(t, door.Options{}))
	text := strings.Repeat("no header", 1000)
	var mu sync.Mutex
	got := map[byte]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 3)
			for {
				n, err := s.Read(buf)
				mu.Lock()
				for _, b := range buf[:n] {
					got[b]++
				}
				mu.Unlock()
				if err != nil {
					return
				}
				_ = s.RemoteAddr()
			}
		})
	}
	send(t, c, text)
	_ = c.CloseWrite()
	wg.Wait()
	for _, b := range []byte("no header") {
		if want := strings.Count(text, string(b)); got[b] != want {
			t.Errorf("%q came %d times, want %d", b, got[b], want)
		}
	}
}

func TestConnCopies(t *testing.T) {
	for name, tc := range map[string]struct{ before, want string }{"header": {header, ""}, "none": {"GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n"}} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, door.Options{})
			c, s := connect(t, l)
			large := strings.Repeat("0123456789abcdef", 1<<14)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, _ = io.WriteString(c, tc.before+large)
				_ = c.CloseWrite()
			})
			var got bytes.Buffer
			n, err := io.Copy(&got, s)
			wg.Wait()
			if err != nil || got.String() != tc.want+large || n != int64(got.Len()) {
				t.Fatalf("copied %d bytes of %d: %v", n, len(tc.want+large), err)
			}
			// To the client, from a file.
			name := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(name, []byte(large), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			wg.Go(func() {
				if n, err := io.Copy(s, f); err != nil || n != int64(len(large)) {
					t.Errorf("sent %d bytes: %v", n, err)
				}
				if err := s.(*door.Conn).CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			back, err := io.ReadAll(c)
			wg.Wait()
			if err != nil || string(back) != large {
				t.Errorf("the client gets %d bytes: %v", len(back), err)
			}
		})
	}
}

// brokenWriter takes nothing.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, fmt.Errorf("broken") }

func TestConnBelow(t *testing.T) {
	c, s := connect(t, listen(t, door.Options{}))
	d := s.(*door.Conn)
	if _, err := d.SyscallConn(); err != nil {
		t.Error(err)
	}
	if err := d.CloseRead(); err != nil {
		t.Error(err)
	}
	if err := d.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	_, p := piped(t, door.Options{})
	_, err := p.SyscallConn()
	for _, err := range []error{err, p.CloseRead(), p.CloseWrite()} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a pipe says %v", err)
		}
	}
	c, s = connect(t, listen(t, door.Options{}))
	send(t, c, "no header")
	if _, err := s.(*door.Conn).WriteTo(brokenWriter{}); err == nil || err.Error() != "broken" {
		t.Errorf("WriteTo says %v", err)
	}
}

func BenchmarkHandshake(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	d := door.Listen(l, door.Options{Trusted: networks(b, "127.0.0.0/8"), Required: true})
	defer func() { _ = d.Close() }()
	for name, h := range map[string]string{"v1": header, "v2": string(v2(0x21, 0x11, tcp4))} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := net.Dial("tcp", d.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.WriteString(c, h)
				s, err := d.Accept()
				if err != nil {
					b.Fatal(err)
				}
				if err := s.(*door.Conn).Handshake(); err != nil {
					b.Fatal(err)
				}
				_, _ = s.Close(), c.Close()
			}
		})
	}
}
