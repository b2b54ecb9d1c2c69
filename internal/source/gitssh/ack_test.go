package gitssh

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// quickAck reads or sets the kernel's option.
func quickAck(t *testing.T, c *net.TCPConn, set func(fd int) error) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if set != nil {
			failed = set(int(fd))
		}
		if failed == nil {
			v, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK)
		}
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return v
}

func TestPromptAcks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	tcp := accepted.(*net.TCPConn)
	prompt := newPromptAcks(accepted)
	off := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) }
	for _, want := range []int{1, 0} {
		if quickAck(t, tcp, off) != 0 {
			t.Fatal("the kernel did not take the option")
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(prompt, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got := quickAck(t, tcp, nil); got != want {
			t.Errorf("quick ack is %d after a read, want %d", got, want)
		}
		prompt.relax()
	}
}
