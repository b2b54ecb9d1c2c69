package static_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/static"
)

func mkfifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
}

func noise(n int) string {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// passed is a wrapper that may be passed by, and is: nothing is written to it.
type passed struct {
	net.Conn
	t   *testing.T
	tcp *net.TCPConn
}

func (p passed) PlainTCP() *net.TCPConn { return p.tcp }

func (p passed) Write(b []byte) (int, error) {
	p.t.Error("the kernel did not send")
	return p.Conn.Write(b)
}

// wrapped is a wrapper with a connection underneath, that changes what is written.
type wrapped struct {
	net.Conn
	written *bytes.Buffer
}

func (w wrapped) NetConn() net.Conn { return w.Conn }

func (w wrapped) Write(b []byte) (int, error) { return w.written.Write(b) }

func TestSendByKernel(t *testing.T) {
	content := noise(3 << 20)
	s := site(t, map[string]string{"x.bin": content, "small.txt": "small"})
	for _, tc := range []struct{ target, header string }{
		{"/x.bin", ""}, {"/x.bin", "bytes=5-"}, {"/x.bin", "bytes=0-9,100-2000000,-7"}, {"/small.txt", ""}, {"/small.txt", "bytes=1-2"},
	} {
		for _, limit := range []int64{1, 100, 64 << 10, 1 << 40} {
			if limit == 1 && tc.target == "/x.bin" && tc.header == "" || limit == 100 && tc.target == "/x.bin" {
				continue // takes long
			}
			r := request("GET", tc.target)
			if tc.header != "" {
				r.Range = []byte(tc.header)
			}
			var a static.Answer
			s.Answer(&a, r)
			length := a.Length
			if limit < 1000 && length > 1000 {
				a.Release()
				continue
			}
			client, server := pair(t)
			got := readAll(t, client)
			var total int64
			var conn net.Conn = server
			if a.Body == nil {
				conn = passed{server, t, server}
			}
			for head := []byte("HEAD\r\n\r\n"); a.Left() > 0; head = nil {
				before := a.Left()
				n, err := a.Send(conn, head, limit)
				if err != nil {
					t.Fatal(err)
				}
				if sent := before - a.Left(); sent > limit || sent != n-int64(len(head)) {
					t.Fatalf("sent %d of at most %d, n %d", sent, limit, n)
				}
				total += n
			}
			_ = server.Close()
			b := <-got
			if total != length+8 || int64(len(b)) != total || !strings.HasPrefix(string(b), "HEAD\r\n\r\n") {
				t.Errorf("%v: sent %d, got %d, want %d", tc, total, len(b), length+8)
			}
			if want := expect(t, s, r); want != string(b[8:]) && !strings.Contains(tc.header, ",") {
				t.Errorf("%v: other bytes", tc)
			}
			a.Release()
		}
	}
}

// expect is the body by way of a buffer.
func expect(t *testing.T, s *static.Site, r *static.Request) string {
	t.Helper()
	var a static.Answer
	s.Answer(&a, r)
	defer a.Release()
	return take(t, &a).body
}

// TestManyAtOnce holds that answers which share a file do not share a place in it.
func TestManyAtOnce(t *testing.T) {
	content := noise(1<<20 + 17)
	s := site(t, map[string]string{"x.bin": content})
	var wg sync.WaitGroup
	for i := range 8 {
		client, server := pair(t)
		got := readAll(t, client)
		wg.Go(func() {
			var a static.Answer
			s.Answer(&a, request("GET", "/x.bin", "Range: bytes="+strconv.Itoa(i*1000)+"-"))
			if _, err := a.WriteBody(server); err != nil {
				t.Error(err)
			}
			a.Release()
			_ = server.Close()
			if string(<-got) != content[i*1000:] {
				t.Errorf("%d: other bytes", i)
			}
		})
	}
	wg.Wait()
}

// TestNotPastTLS holds that a wrapper which does not say that it may be passed
// by gets all bytes itself.
func TestNotPastTLS(t *testing.T) {
	content := noise(200_000)
	s := site(t, map[string]string{"x.bin": content})
	client, server := pair(t)
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	cert := srv.TLS.Certificates
	srv.Close()
	got := make(chan []byte)
	go func() {
		c := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	conn := tls.Server(server, &tls.Config{Certificates: cert})
	var a static.Answer
	s.Answer(&a, request("GET", "/x.bin"))
	if n, err := a.Send(conn, []byte("HEAD"), 1000); n != 1004 || err != nil {
		t.Errorf("sent %d, %v", n, err)
	}
	if _, err := a.WriteBody(conn); err != nil {
		t.Error(err)
	}
	a.Release()
	_ = conn.Close()
	if string(<-got) != "HEAD"+content {
		t.Error("other bytes")
	}

	var written bytes.Buffer
	s.Answer(&a, request("GET", "/x.bin"))
	if _, err := a.WriteBody(wrapped{server, &written}); err != nil || written.String() != content {
		t.Errorf("the wrapper got %d bytes, %v", written.Len(), err)
	}
	a.Release()
}

// TestDeadline holds that a deadline ends a send to a client that takes nothing.
func TestDeadline(t *testing.T) {
	s := site(t, map[string]string{"x.bin": noise(8 << 20)})
	_, server := pair(t)
	if err := server.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var a static.Answer
	s.Answer(&a, request("GET", "/x.bin"))
	defer a.Release()
	n, err := a.WriteBody(server)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 8<<20 {
		t.Errorf("sent %d, %v", n, err)
	}
}

func TestPeerGone(t *testing.T) {
	s := site(t, map[string]string{"x.bin": noise(8 << 20)})
	client, server := pair(t)
	_ = client.SetLinger(0)
	_ = client.Close()
	var a static.Answer
	s.Answer(&a, request("GET", "/x.bin"))
	defer a.Release()
	if _, err := a.WriteBody(server); err == nil {
		t.Error("no error")
	}
}

// TestShorter holds that a file which ends early is an error, not an end.
func TestShorter(t *testing.T) {
	dir := tree(t, map[string]string{"x.bin": noise(100_000)})
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	for _, kernel := range []bool{true, false} {
		var a static.Answer
		if err := os.WriteFile(dir+"/x.bin", []byte(noise(100_000)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir+"/x.bin", when, when); err != nil {
			t.Fatal(err)
		}
		s.Answer(&a, request("GET", "/x.bin"))
		if a.Status != 200 {
			t.Fatal(a.Status, a.Err)
		}
		if err := os.Truncate(dir+"/x.bin", 50_000); err != nil {
			t.Fatal(err)
		}
		client, server := pair(t)
		got := readAll(t, client)
		var c net.Conn = server
		if !kernel {
			c = struct{ net.Conn }{server}
		}
		n, err := a.WriteBody(c)
		if !errors.Is(err, io.ErrUnexpectedEOF) || n > 50_000 {
			t.Errorf("kernel %v: sent %d, %v", kernel, n, err)
		}
		_ = server.Close()
		<-got
		a.Release()
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestOpenFilesAreBounded holds that no more files stay open than are allowed,
// and that one in use is not closed under an answer.
func TestOpenFilesAreBounded(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files["f"+strconv.Itoa(i)] = noise(20_000 + i)
	}
	s := open(t, static.Limits{OpenFiles: 4}, route.Static{Dir: tree(t, files)})
	before := openFiles(t)
	var held static.Answer
	s.Answer(&held, request("GET", "/f0"))
	for name, body := range files {
		if got := ask(t, s, "GET", "/"+name); got.body != body {
			t.Fatalf("%s: other bytes", name)
		}
	}
	if n := openFiles(t) - before; n > 5 {
		t.Errorf("%d files are open", n)
	}
	if got := take(t, &held); got.body != files["f0"] {
		t.Error("an answer lost its file")
	}
	held.Release()
	held.Release()
	if n := openFiles(t) - before; n > 4 {
		t.Errorf("%d files are open", n)
	}
}

// TestClose holds that an answer in progress survives the end of its site.
func TestClose(t *testing.T) {
	content := noise(50_000)
	dir := tree(t, map[string]string{"x.bin": content, "y.bin": content, "small.txt": "small"})
	before := openFiles(t)
	s, err := static.Open(route.Static{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var a static.Answer
	ask(t, s, "GET", "/small.txt")
	s.Answer(&a, request("GET", "/x.bin"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := take(t, &a); got.body != content {
		t.Error("other bytes")
	}
	a.Release()
	if got := ask(t, s, "GET", "/small.txt"); got.body != "small" {
		t.Errorf("got %+v", got)
	}
	if got := ask(t, s, "GET", "/y.bin"); got.status != 500 || !got.fault {
		t.Errorf("got %d", got.status)
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d files are open, %d before", n, before)
	}
}

// TestMemoryIsBounded holds that no more is kept than is allowed.
func TestMemoryIsBounded(t *testing.T) {
	files := map[string]string{}
	for i := range 100 {
		files["f"+strconv.Itoa(i)] = noise(1000)
	}
	s := open(t, static.Limits{Keep: 10_500}, route.Static{Dir: tree(t, files)})
	for name := range files {
		if got := ask(t, s, "GET", "/"+name); got.body != files[name] {
			t.Fatalf("%s: other bytes", name)
		}
	}
	if s.Kept() != 10_000 {
		t.Errorf("%d bytes are kept", s.Kept())
	}
}

// TestIndexMemory holds that a large site costs a few hundred bytes a file.
func TestIndexMemory(t *testing.T) {
	dir := t.TempDir()
	const n = 2000
	for i := range n {
		if err := os.WriteFile(dir+"/page-"+strconv.Itoa(i)+".html", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes a file", each)
	if each > 600 {
		t.Errorf("%d bytes a file", each)
	}
	runtime.KeepAlive(s)
}

func TestConcurrent(t *testing.T) {
	files := map[string]string{}
	for i := range 30 {
		files["f"+strconv.Itoa(i)] = noise(i * 2000)
	}
	s := open(t, static.Limits{OpenFiles: 3, Keep: 20_000}, route.Static{Dir: tree(t, files)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for name, body := range files {
				if got := ask(t, s, "GET", "/"+name); got.body != body {
					t.Errorf("%s: other bytes", name)
				}
			}
		})
	}
	wg.Wait()
}
