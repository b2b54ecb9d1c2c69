package door_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/route/door"
)

// endless is a listener with a client waiting at any time.
type endless struct{}

func (endless) Accept() (net.Conn, error) { return pipeEnd{}, nil }
func (endless) Close() error              { return nil }
func (endless) Addr() net.Addr            { return &net.TCPAddr{} }

func TestPace(t *testing.T) {
	for name, tc := range map[string]struct {
		perSecond, burst int
		count            int
		want             time.Duration
	}{
		"none":            {0, 0, 10_000, 0},
		"within the pace": {100, 0, 100, 0},
		"over it":         {100, 0, 150, 500 * time.Millisecond},
		"small burst":     {100, 1, 101, time.Second},
		"large burst":     {10, 100, 110, time.Second},
		"huge burst":      {1, 1 << 40, 3000, 0},
		"high pace":       {1 << 40, 0, 10_000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := door.Listen(endless{}, door.Options{PerSecond: tc.perSecond, Burst: tc.burst})
				start := time.Now()
				for range tc.count {
					if _, err := l.Accept(); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(start); took != tc.want {
					t.Errorf("%d connections took %s, want %s", tc.count, took, tc.want)
				}
			})
		})
	}
}

func TestPaceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := door.Listen(endless{}, door.Options{PerSecond: 100, Burst: 1})
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					if _, err := l.Accept(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 1990*time.Millisecond {
			t.Errorf("200 connections took %s", took)
		}
	})
}

func TestCloseWakesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := door.Listen(endless{}, door.Options{PerSecond: 1, Burst: 1})
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		result := make(chan error)
		go func() {
			_, err := l.Accept()
			result <- err
		}()
		synctest.Wait()
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("Accept returns %v after %s", err, time.Since(start))
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close Accept returns %v", err)
		}
	})
}

func TestListenerErrorsAreTheInnerOnes(t *testing.T) {
	inner := make(pipes)
	close(inner)
	if _, err := door.Listen(inner, door.Options{}).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returns %v", err)
	}
}
