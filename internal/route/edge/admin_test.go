package edge_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAdminIsNoPage (Caddy CVE-2026-27589, 45692): nothing that the public can
// reach leads to control's way in, by whatever path or host.
func TestAdminIsNoPage(t *testing.T) {
	r := besieged(t, nil)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for _, path := range []string{"/v1/status", "/v1/table", "/v1/drain", "/v1/certs", "/v1/root", "/v1/events", "/metrics"} {
		for _, host := range []string{"edge", "localhost", "127.0.0.1", "edge.sock", "nobody.test"} {
			resp, body := r.says(t, "", "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nOrigin: http://evil.example\r\n\r\n")
			if resp.StatusCode != 404 || strings.Contains(body, "generation") {
				t.Errorf("%s%s: %s %q", host, path, resp.Status, body)
			}
		}
		if resp, body := r.says(t, "", "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\n\r\n"); body != "GET "+path {
			t.Errorf("the app's own %s: %s %q", path, resp.Status, body)
		}
	}
}

// TestAdminSocket: the socket is ours alone, and where its mode has become
// another one it still is. A thread that has become another user is turned away
// without a byte.
func TestAdminSocket(t *testing.T) {
	r := besieged(t, nil)
	socket := filepath.Join(r.dir, "edge.sock")
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("%v, %v", info, err)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can try as somebody else")
	}
	for dir := r.dir; dir != os.TempDir() && len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that is what is tried
			t.Fatal(err)
		}
	}
	if err := os.Chmod(socket, 0o666); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	type result struct {
		answer string
		err    error
	}
	for _, uid := range []int{0, 65534} {
		done := make(chan result)
		go onThread(func() {
			answer, err := askAs(uid, socket)
			done <- result{answer, err}
		})
		got := <-done
		if got.err != nil {
			t.Fatalf("as %d: %v", uid, got.err)
		}
		if in := strings.HasPrefix(got.answer, "HTTP/1.1 200"); in != (uid == 0) {
			t.Errorf("as %d: %q", uid, got.answer)
		}
		if uid != 0 && got.answer != "" {
			t.Errorf("as %d: %q, want nothing", uid, got.answer)
		}
	}
	if _, err := r.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// onThread runs fn on a thread that ends with it, and with what it has become.
// The process's first thread never ends, so it is held while another one is used.
func onThread(fn func()) {
	runtime.LockOSThread() // and not unlocked
	if syscall.Gettid() != syscall.Getpid() {
		fn()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked
		fn()
	}()
	<-done
}

// askAs asks for the status as that user, on this thread alone.
func askAs(uid int, socket string) (string, error) {
	if uid != 0 {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			return "", fmt.Errorf("become %d: %w", uid, e)
		}
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), socket)
	c, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(c)
	if len(b) == 0 {
		err = nil // closed, or reset: in any case without a word
	}
	return string(b), err
}

// TestNoCrossOriginBypass (Go CVE-2025-47910): the protection of the control API
// against other sites has no patterns that are let through, and no origin that
// is trusted beside its own.
func TestNoCrossOriginBypass(t *testing.T) {
	protected := false
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // of our own source
		if err != nil {
			return err
		}
		for _, banned := range []string{"AddInsecureBypassPattern", "AddTrustedOrigin"} {
			if strings.Contains(string(text), banned) {
				t.Errorf("%s calls %s", path, banned)
			}
		}
		protected = protected || strings.Contains(string(text), "http.NewCrossOriginProtection()")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !protected {
		t.Error("nothing is protected")
	}
}

// TestAdminMethods: what control's way in does not know it refuses, and nothing
// there answers to a form of a browser.
func TestAdminMethods(t *testing.T) {
	r := besieged(t, nil)
	for _, line := range []string{"POST /v1/table", "GET /v1/table", "DELETE /v1/table", "PUT /v1/status", "GET /", "GET /v1/certs/../table", "OPTIONS /v1/table"} {
		c, err := net.Dial("unix", filepath.Join(r.dir, "edge.sock"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, line+" HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		b, err := io.ReadAll(c)
		_ = c.Close()
		if first, _, _ := strings.Cut(string(b), "\r\n"); err != nil || strings.Contains(first, " 200 ") || !strings.HasPrefix(first, "HTTP/1.1 ") {
			t.Errorf("%s: %q, %v", line, first, err)
		}
		if resp, err := r.Status(t.Context()); err != nil || resp.Generation != 0 {
			t.Errorf("%s: %+v, %v", line, resp, err)
		}
	}
}
