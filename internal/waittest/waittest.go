// Package waittest owns what tests do while something else goes on: they wait
// for what must come about, and collect what another goroutine writes. It must
// never know what is tested.
package waittest

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits before it gives up. It bounds a failing test
// on a machine with little time to spare; nothing is measured by it.
const Patience = 2 * time.Minute

const pollEvery = 2 * time.Millisecond

// Eventually waits until ok, or fails the test with what did not happen.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

// Succeeds asks until there is no error, or fails the test with the last one.
// Asking may cost something: it is done less often than Eventually does.
func Succeeds(t testing.TB, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(Patience); ; <-tick.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
	}
}

// Buffer is a buffer that others write while a test reads it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Loopback returns an address of this host that no other test listens on: for
// one that lets go of a port and opens it again, or has a program open it.
func Loopback() string {
	n := rand.Uint32()
	return netip.AddrFrom4([4]byte{127, byte(1 + (n>>16)%254), byte(n >> 8), byte(1 + n%254)}).String()
}
