package harness

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"landward/internal/dns"
)

// LockDNS waits until no other test has port 53, and keeps it for this one
// until its end: resolvers of containers ask at no other, and the host has it
// once.
func LockDNS(t testing.TB) {
	t.Helper()
	path := filepath.Join(os.TempDir(), "landward-test-port-53.lock")
	f, err := os.Open(path) // another user's will do, and may not be opened so as to be made
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644) //nolint:gosec // every user's tests read it
	}
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // and with it the lock goes
}

// FreeDNS returns the first of addrs that a DNS server can listen on, or "".
// Programs of the machine's own may have port 53 of some.
func FreeDNS(t testing.TB, addrs ...string) string {
	t.Helper()
	for _, addr := range addrs {
		list, err := dns.Open(addr)
		if err == nil {
			for _, s := range list {
				err = errors.Join(err, s.Close())
			}
		}
		if err == nil {
			return addr
		}
		t.Logf("not on %s: %v", addr, err)
	}
	return ""
}

// BridgeDNS is port 53 at the host's address on Docker's default bridge, which
// all containers of a host could reach if they were let.
func BridgeDNS(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort(Docker(t, "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}"), "53")
}
