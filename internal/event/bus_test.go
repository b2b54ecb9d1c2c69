package event_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"landward/internal/event"
)

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhoIsWoken(t *testing.T) {
	tests := map[string]struct {
		publish, subscribe int64
		want               bool
	}{
		"the same app":                {7, 7, true},
		"another app":                 {7, 8, false},
		"everything hears an app":     {7, event.All, true},
		"everything hears everything": {event.All, event.All, true},
		"an app hears everything":     {event.All, 7, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var bus event.Bus
			ready := bus.Subscribe(t.Context(), test.subscribe)
			bus.Publish(test.publish)
			if got := woken(ready); got != test.want {
				t.Errorf("woken = %v, want %v", got, test.want)
			}
		})
	}
}

func TestCallsCoalesce(t *testing.T) {
	var bus event.Bus
	ready := bus.Subscribe(t.Context(), 1)
	for range 1000 {
		bus.Publish(1) // would block for ever if it waited for the reader
	}
	if !woken(ready) {
		t.Fatal("not woken")
	}
	if woken(ready) {
		t.Fatal("woken twice for calls that came before it looked")
	}
	bus.Publish(1)
	if !woken(ready) {
		t.Fatal("not woken again")
	}
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus event.Bus
		ctx, cancel := context.WithCancel(t.Context())
		gone, stays := bus.Subscribe(ctx, 1), bus.Subscribe(t.Context(), 1)
		cancel()
		synctest.Wait()
		bus.Publish(1)
		if woken(gone) {
			t.Error("woken after its context ended")
		}
		if !woken(stays) {
			t.Error("the other subscriber was not woken")
		}
	})
}

// TestNoCallIsLost: whoever reads the state after being woken sees the last change.
func TestNoCallIsLost(t *testing.T) {
	var bus event.Bus
	var mu sync.Mutex
	state := 0
	ready := bus.Subscribe(t.Context(), 1)
	const last = 2000
	go func() {
		for range last {
			mu.Lock()
			state++
			mu.Unlock()
			bus.Publish(1)
		}
	}()
	for seen := 0; seen < last; {
		<-ready // a lost call would make this wait until the test's deadline
		mu.Lock()
		seen = state
		mu.Unlock()
	}
}
