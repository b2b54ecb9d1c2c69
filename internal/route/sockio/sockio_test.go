package sockio_test

import (
	"bytes"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"landward/internal/route/sockio"
)

// pair are two sockets that are connected to each other. They would wait if they
// were asked in the ordinary way.
func pair(t *testing.T) (a, b uintptr) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestSendAndReceive(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 10)
	if n, err := sockio.Receive(b, buf); err != unix.EAGAIN {
		t.Fatalf("nothing is there: %d, %v", n, err)
	}
	if !sockio.Silent(b) {
		t.Error("a peer that has said nothing is not silent")
	}
	for _, send := range []func(uintptr, []byte) (int, syscall.Errno){sockio.Send, sockio.SendMore} {
		if n, err := send(a, []byte("hello")); n != 5 || err != 0 {
			t.Fatalf("sent %d, %v", n, err)
		}
		if sockio.Silent(b) {
			t.Error("a peer that has spoken is silent")
		}
		if n, err := sockio.Receive(b, buf); err != 0 || !bytes.Equal(buf[:n], []byte("hello")) {
			t.Fatalf("received %q, %v", buf[:n], err)
		}
	}
}

func TestNoRoom(t *testing.T) {
	a, b := pair(t)
	piece := bytes.Repeat([]byte("x"), 64<<10)
	sent := 0
	for {
		n, err := sockio.Send(a, piece)
		if err == unix.EAGAIN {
			break
		}
		if err != 0 {
			t.Fatal(err)
		}
		sent += n
	}
	got := 0
	for got < sent {
		n, err := sockio.Receive(b, piece)
		if err != 0 || n == 0 {
			t.Fatalf("%d of %d bytes, then %d, %v", got, sent, n, err)
		}
		got += n
	}
}

func TestPeerIsGone(t *testing.T) {
	a, b := pair(t)
	if err := unix.Shutdown(int(a), unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if n, err := sockio.Receive(b, make([]byte, 1)); n != 0 || err != 0 {
		t.Errorf("the end is %d, %v", n, err)
	}
	if sockio.Silent(b) {
		t.Error("a peer that has closed its side is silent")
	}
	if err := unix.Shutdown(int(a), unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	// No signal that would end the process.
	if _, err := sockio.Send(b, []byte("x")); err != unix.EPIPE {
		t.Errorf("sending to nobody: %v", err)
	}
}
