package static_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/internal/route"
	"landward/internal/route/static"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// when is the time of all files in tests.
var when = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// tree writes files, by path, and returns the folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(full, when, when); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t testing.TB, l static.Limits, s route.Static) *static.Site {
	t.Helper()
	site, err := l.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

func site(t testing.TB, files map[string]string) *static.Site {
	t.Helper()
	return open(t, static.Limits{}, route.Static{Dir: tree(t, files)})
}

// sink is a connection that keeps what is written to it.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) { return s.Buffer.Write(b) }
func (s *sink) Read(b []byte) (int, error)  { return s.Buffer.Read(b) }

// answered is a whole answer.
type answered struct {
	status int
	fault  bool
	header http.Header
	body   string
}

// ask asks for a path; lines are header lines.
func ask(t testing.TB, s *static.Site, method, target string, lines ...string) answered {
	t.Helper()
	var a static.Answer
	s.Answer(&a, request(method, target, lines...))
	defer a.Release()
	return take(t, &a)
}

func request(method, target string, lines ...string) *static.Request {
	path, query, _ := strings.Cut(target, "?")
	r := &static.Request{Method: []byte(method), Path: []byte(path), Query: []byte(query)}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		v := []byte(value)
		switch name {
		case "Accept":
			r.Accept = v
		case "Accept-Encoding":
			r.AcceptEncoding = v
		case "If-Match":
			r.IfMatch = v
		case "If-None-Match":
			r.IfNoneMatch = v
		case "If-Modified-Since":
			r.IfModifiedSince = v
		case "If-Unmodified-Since":
			r.IfUnmodifiedSince = v
		case "Range":
			r.Range = v
		case "If-Range":
			r.IfRange = v
		default:
			panic(name)
		}
	}
	return r
}

// take reads an answer and checks what is true of every one.
func take(t testing.TB, a *static.Answer) answered {
	t.Helper()
	got := answered{status: a.Status, fault: a.Fault, header: http.Header{}}
	for line := range strings.Lines(string(a.Head)) {
		text, ok := strings.CutSuffix(line, "\r\n")
		name, value, ok2 := strings.Cut(text, ": ")
		if !ok || !ok2 || strings.ContainsAny(text, "\r\n\x00") || name == "" || value == "" {
			t.Errorf("malformed line %q", line)
		}
		if name != "Vary" && got.header.Get(name) != "" {
			t.Errorf("%s twice in %q", name, a.Head)
		}
		got.header.Add(name, value)
	}
	if a.Err != nil && a.Status != 500 {
		t.Errorf("status %d with an error: %v", a.Status, a.Err)
	}
	length := a.Length
	var c sink
	n, err := a.WriteBody(&c)
	if err != nil {
		t.Errorf("write body: %v", err)
	}
	if n != length || int64(c.Len()) != length || a.Left() != 0 {
		t.Errorf("wrote %d (%d), left %d, of %d", n, c.Len(), a.Left(), length)
	}
	got.body = c.String()
	if a.Fault && (length != 0 || got.header.Get("Content-Length") != "") {
		t.Errorf("a fault with a body: %+v", got)
	}
	return got
}

// readAll reads a connection to its end.
func readAll(t testing.TB, c net.Conn) chan []byte {
	t.Helper()
	out := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		out <- b
	}()
	return out
}

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}
