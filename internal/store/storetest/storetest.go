// Package storetest gives tests a real, empty store in a temporary folder. It
// must never be imported by anything but tests.
package storetest

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"landward/internal/secret"
	"landward/internal/store"
)

// New returns an empty store whose clock stands still. It is closed when the
// test ends.
func New(t testing.TB) *store.Store {
	t.Helper()
	s, _ := NewWithClock(t)
	return s
}

// NewWithClock returns an empty store and its clock.
func NewWithClock(t testing.TB) (*store.Store, *Clock) {
	t.Helper()
	c := NewClock()
	return Open(t, t.TempDir(), c.Now), c
}

// Open opens the store in dir, as a server with that data folder would. It is
// closed when the test ends.
func Open(t testing.TB, dir string, now func() time.Time) *store.Store {
	t.Helper()
	box, err := secret.LoadOrCreate(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatalf("open keys: %v", err)
	}
	s, err := store.Open(t.Context(), filepath.Join(dir, "landward.db"), box, now)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

// Clock is a clock that moves when it is told to.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at a moment of its own choice.
func NewClock() *Clock { return &Clock{at: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
