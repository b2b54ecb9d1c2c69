package lane_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/internal/route/h2/lane"
	"landward/internal/route/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// far keeps what an answer was.
type far struct {
	mu       sync.Mutex
	statuses []int
	lines    string
	body     []byte
	ended    bool
	over     []string // calls of Ended
	taken    int
	err      error
	woken    chan struct{}
	block    chan struct{} // Data waits for it
}

func (f *far) Head(status int, a *wire.Answer, end bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses = append(f.statuses, status)
	if a != nil {
		for i := range a.Fields() {
			if lane.Kept(a, &a.Fields()[i]) {
				f.lines += string(a.Fields()[i].Line)
			}
		}
	}
	f.ended = f.ended || end
	return f.err
}

func (f *far) Data(p []byte, end bool) error {
	if f.block != nil {
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.body = append(f.body, p...)
	f.ended = f.ended || end
	return f.err
}

func (f *far) Trailer(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines += "trailer:" + string(lines)
	f.ended = true
	return f.err
}

func (f *far) Flush() error { return nil }

func (f *far) Taken(n int, _ bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken += n
}

func (f *far) Ended(untouched bool, _ int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if untouched {
		f.over = append(f.over, "untouched")
	} else {
		f.over = append(f.over, "broken")
	}
}

func (f *far) Wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// one makes a set with one lane whose near side the test holds.
func one(t *testing.T) (*lane.Lane, *far, *lane.Set) {
	t.Helper()
	f := &far{woken: make(chan struct{}, 1)}
	over := make(chan struct{})
	s := lane.NewSet(lane.Options{
		Hand: func(net.Conn) { <-over }, Far: func(*lane.Lane) lane.Far { return f },
		Proto: "HTTP/2.0", Remote: &net.TCPAddr{Port: 7}, Local: &net.TCPAddr{Port: 8}, Max: 2, Credit: 1,
	})
	t.Cleanup(func() {
		close(over)
		s.Close()
	})
	return s.Take(), f, s
}

func begin(t *testing.T, l *lane.Lane, r lane.Request, finished bool) {
	t.Helper()
	if !l.Begin(&r, finished) {
		t.Fatal("the lane has ended")
	}
	l.Kick()
}

func plain(head string) lane.Request { return lane.Request{Head: []byte(head), Length: -1} }

func say(t *testing.T, l *lane.Lane, s string) {
	t.Helper()
	if _, err := io.WriteString(l, s); err != nil {
		t.Fatal(err)
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, answer  string
		statuses      []int
		lines, body   string
		ended, broken bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Keep: 2\r\n\r\nabc", []int{200},
			"Content-Length: 3\r\nX-Keep: 2\r\n", "abc", true, false},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []int{200}, "Content-Length: 0\r\n", "", true, false},
		{"204", "HTTP/1.1 204 No\r\n\r\n", []int{204}, "", "", true, false},
		{"304 with length", "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", []int{304}, "Content-Length: 9\r\n", "", true, false},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", []int{200}, "", "abcde", true, false},
		{"trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: x\r\n\r\n", []int{200},
			"trailer:X-Sum: 1\r\n", "abc", true, false},
		{"interim", "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []int{100, 103, 200},
			"Link: x\r\nContent-Length: 0\r\n", "", true, false},
		{"until closed", "HTTP/1.1 200 OK\r\n\r\nabc", nil, "", "", false, true},
		{"too long", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", []int{200}, "Content-Length: 3\r\n", "abc", true, true},
		{"second answer", "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []int{204}, "", "", true, true},
		{"no HTTP", "SSH-2.0\r\n\r\n", nil, "", "", false, true},
		{"bare LF", "HTTP/1.1 200 OK\n\n", nil, "", "", false, true},
		{"both framings", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", nil, "", "", false, true},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", []int{200}, "", "", false, true},
		{"101 unasked", "HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", nil, "", "", false, true},
		{"head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 200<<10), nil, "", "", false, true},
	} {
		for _, step := range []int{1 << 30, 1, 7} {
			if step == 1 && len(tt.answer) > 10000 {
				continue
			}
			l, f, _ := one(t)
			begin(t, l, plain("GET / HTTP/1.1\r\n\r\n"), true)
			if _, err := l.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			var err error
			for rest := tt.answer; rest != "" && err == nil; {
				n := min(step, len(rest))
				_, err = io.WriteString(l, rest[:n])
				rest = rest[n:]
			}
			if (err != nil) != tt.broken {
				t.Errorf("%s by %d: %v", tt.name, step, err)
			}
			if len(f.statuses) != len(tt.statuses) || f.lines != tt.lines || string(f.body) != tt.body || f.ended != tt.ended {
				t.Errorf("%s by %d: %v %q %q %v", tt.name, step, f.statuses, f.lines, f.body, f.ended)
			}
			for i, s := range tt.statuses {
				if i < len(f.statuses) && f.statuses[i] != s {
					t.Errorf("%s: %v", tt.name, f.statuses)
				}
			}
		}
	}
}

func TestHeadRequestHasNoBody(t *testing.T) {
	l, f, _ := one(t)
	r := plain("HEAD / HTTP/1.1\r\n\r\n")
	r.HeadOnly = true
	begin(t, l, r, true)
	say(t, l, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
	if !f.ended || f.lines != "Content-Length: 5\r\n" {
		t.Errorf("%+v", f)
	}
}

// TestReuse holds that a lane carries one exchange after another, but none
// after one that asked for the end or did not end well.
func TestReuse(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	read := func(l *lane.Lane) error {
		_, err := l.Read(make([]byte, 1000))
		return err
	}
	for _, tt := range []struct {
		name  string
		again bool
		do    func(l *lane.Lane) error
	}{
		{"read and answered", true, func(l *lane.Lane) error { return errors.Join(read(l), write(l, ok)) }},
		{"answered and then read", true, func(l *lane.Lane) error { return errors.Join(write(l, ok), read(l)) }},
		{"not read", false, func(l *lane.Lane) error { return write(l, ok) }},
		{"not answered", false, read},
		{"close", false, func(l *lane.Lane) error {
			return errors.Join(read(l), write(l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		}},
		{"closed", false, func(l *lane.Lane) error { return errors.Join(read(l), write(l, ok), l.Close()) }},
		{"woken while idle", false, func(l *lane.Lane) error {
			return errors.Join(read(l), write(l, ok), l.SetReadDeadline(time.Unix(1, 0)))
		}},
	} {
		l, _, s := one(t)
		begin(t, l, plain("GET / HTTP/1.1\r\n\r\n"), true)
		if err := tt.do(l); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		r := plain("GET / HTTP/1.1\r\n\r\n")
		next := s.Take()
		if again := next == l && next.Begin(&r, true); again != tt.again {
			t.Errorf("%s: again %v", tt.name, again)
		}
	}
}

func write(l *lane.Lane, s string) error {
	_, err := io.WriteString(l, s)
	return err
}

// TestEnded holds what the far side is told about the near side's end.
func TestEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(l *lane.Lane)
		want string
	}{
		"at once":       {func(*lane.Lane) {}, "untouched"},
		"after reading": {func(l *lane.Lane) { _, _ = l.Read(make([]byte, 1)) }, "broken"},
		"after a whole answer": {func(l *lane.Lane) {
			_, _ = l.Read(make([]byte, 100))
			_ = write(l, "HTTP/1.1 204 No\r\n\r\n")
		}, ""},
		"in the middle": {func(l *lane.Lane) {
			_, _ = l.Read(make([]byte, 100))
			_ = write(l, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
		}, "broken"},
		"after the client has gone": {func(l *lane.Lane) { l.Cut() }, ""},
	} {
		l, f, _ := one(t)
		begin(t, l, plain("GET / HTTP/1.1\r\n\r\n"), true)
		tt.do(l)
		_ = l.Close()
		if got := strings.Join(f.over, ","); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		if _, err := l.Read(make([]byte, 1)); err == nil || err == io.EOF { //nolint:errorlint // the very value
			t.Errorf("read after the end: %v", err)
		}
	}
}

func TestDeadlines(t *testing.T) {
	l, f, _ := one(t)
	r := plain("POST / HTTP/1.1\r\n\r\n")
	r.Chunked = true
	begin(t, l, r, false)
	buf := make([]byte, 100)
	if _, err := l.Read(buf); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := l.Read(buf)
		failed <- err
	}()
	if err := l.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := l.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	l.Feed([]byte("x"))
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "1\r\nx\r\n" {
		t.Errorf("%q %v", buf[:n], err)
	}
	if err := l.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	<-f.woken
	if !l.WriteExpired() {
		t.Error("not told")
	}
	if err := write(l, "HTTP"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestCut(t *testing.T) {
	l, _, _ := one(t)
	r := plain("POST / HTTP/1.1\r\n\r\n")
	r.Chunked = true
	begin(t, l, r, false)
	l.Feed([]byte("12345"))
	if l.Gone() || l.Proto() != "HTTP/2.0" || l.RemoteAddr().String() != ":7" || l.LocalAddr().String() != ":8" {
		t.Error("not what it is")
	}
	if n := l.Cut(); n != 5 || !l.Gone() {
		t.Errorf("%d bytes discarded", n)
	}
	if _, err := l.Read(make([]byte, 9)); err == nil || err == io.EOF { //nolint:errorlint // the very value
		t.Errorf("read: %v", err)
	}
	if write(l, "HTTP/1.1 200 OK\r\n") == nil {
		t.Error("written to nobody")
	}
	if l.Feed([]byte("x")) {
		t.Error("fed")
	}
}

func TestSetBounded(t *testing.T) {
	_, _, s := one(t)
	if s.Take() == nil || s.Take() != nil {
		t.Error("not two lanes")
	}
}

// FuzzRequest holds that whatever fields and body a stream has, the lane
// carries exactly one request, with the borders that were announced.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(":method\x00GET\x01:scheme\x00https\x01:path\x00/\x01:authority\x00a"), []byte("body"), []byte("x\x00y"), true, byte(3))
	f.Add([]byte(":method\x00POST\x01:scheme\x00https\x01:path\x00/\x01host\x00a\x01content-length\x004\x01cookie\x00a\x01cookie\x00b"),
		[]byte("body"), []byte(""), false, byte(1))
	f.Add([]byte(":method\x00POST\x01:scheme\x00https\x01:path\x00/ HTTP/1.1\r\nx: y\x01:authority\x00a"), []byte("GET / HTTP/1.1\r\n\r\n"), []byte("a\x00b\r\n"), false, byte(90))
	f.Add([]byte(":method\x00CONNECT\x01:protocol\x00websocket\x01:scheme\x00https\x01:path\x00/\x01:authority\x00a"), []byte("GET / HTTP/1.1\r\n\r\n"), []byte(""), false, byte(90))
	f.Fuzz(func(t *testing.T, fields, body, trailer []byte, end bool, piece byte) {
		h := lane.Head{Limit: 16 << 10}
		h.Reset()
		count := 0
		for field := range bytes.SplitSeq(fields, []byte{1}) {
			name, value, _ := bytes.Cut(field, []byte{0})
			h.Field(string(name), string(value))
			count++
		}
		r, err := h.Finish(end)
		if err != nil {
			return
		}
		if n, err := wire.HeadEnd(r.Head, 0); err != nil || n != len(r.Head) {
			t.Fatalf("head of %d bytes ends at %d: %v: %q", len(r.Head), n, err, r.Head)
		}
		head := bytes.Clone(r.Head)
		var req wire.Request
		parsed := req.Parse(head)
		if parsed == nil {
			switch {
			case req.Chunked() != r.Chunked, req.HasLength() != (r.Length >= 0), r.Length > 0 && req.Length() != r.Length,
				req.WebSocket() != r.Tunnel, !req.KeepAlive(), len(req.Fields()) > count+4:
				t.Fatalf("%+v means something else in %q", r, head)
			}
		}
		h.Reset()
		for field := range bytes.SplitSeq(trailer, []byte{1}) {
			name, value, _ := bytes.Cut(field, []byte{0})
			h.Trailer(string(name), string(value))
		}
		lines, err := h.FinishTrailer()
		if err != nil {
			lines = nil
		}
		l, _, s := one(t)
		r.Head = head
		begin(t, l, r, end)
		for rest := body; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			l.Feed(rest[:n])
			rest = rest[n:]
		}
		l.Finish(lines)
		if parsed == nil {
			check(t, l, s, &r, &req, body, end, int(piece)+1)
		}
	})
}

// check reads what the lane carries and holds that it is that one request.
func check(t *testing.T, l *lane.Lane, s *lane.Set, r *lane.Request, req *wire.Request, body []byte, end bool, piece int) {
	t.Helper()
	var got []byte
	more := func() {
		buf := make([]byte, piece)
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("read: %v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
	for len(got) < len(r.Head) {
		more()
	}
	if !bytes.Equal(got[:len(r.Head)], r.Head) {
		t.Fatalf("%q instead of %q", got, r.Head)
	}
	got = got[len(r.Head):]
	var data []byte
	switch {
	case r.Tunnel:
		if err := write(l, "HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Read(make([]byte, 9)); err != io.EOF || n > 0 || len(got) > 0 { //nolint:errorlint // the very value
			t.Fatalf("%q after the head of a tunnel that is none: %v", got, err)
		}
		return
	case r.Chunked:
		var c wire.Chunks
		for !c.Done() {
			p, n, err := c.Next(got)
			if err != nil {
				t.Fatal(err)
			}
			data, got = append(data, p...), got[n:]
			if n == 0 && !c.Done() {
				more()
			}
		}
	case !end && int64(len(body)) != req.Length():
		return // never complete: nothing may come after it
	default:
		for int64(len(got)) < req.Length() {
			more()
		}
		data, got = got[:req.Length()], got[req.Length():]
	}
	if len(got) > 0 || !end && !bytes.Equal(data, body) || end && len(data) > 0 {
		t.Fatalf("body %q and %q, want %q", data, got, body)
	}
	if err := write(l, "HTTP/1.1 204 None\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	next := plain("GET / HTTP/1.1\r\n\r\n")
	if s.Take() != l || !l.Begin(&next, true) {
		t.Fatal("something is left to read")
	}
}
