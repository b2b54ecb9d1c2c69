package plane

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// manyParked connections have left so much behind that it is worth looking
	// for: stacks, sessions, buffers.
	manyParked = 1000
	// settleEvery is how often that is looked at, settleAgain how soon it may be
	// done again. Fewer than fewParked in a while of settleEvery are no wave.
	settleEvery = int64(time.Second)
	settleAgain = int64(30 * time.Second)
	fewParked   = 100
)

// settler gives memory back once a wave of clients has come and is idle. The
// runtime would do so as well, but it collects when as much again is in use, or
// after two minutes; until then each of them costs about twice what it needs.
type settler struct {
	looked, settled int64  // when
	seen, done      uint64 // how many had been parked then
	working         sync.WaitGroup
}

// look gives memory back where it is time for it. parked is how many
// connections have been parked so far.
func (t *settler) look(now int64, parked uint64) {
	if now-t.looked < settleEvery {
		return
	}
	calm := parked-t.seen < fewParked
	t.looked, t.seen = now, parked
	if !calm || parked-t.done < manyParked || t.settled > 0 && now-t.settled < settleAgain {
		return
	}
	t.settled, t.done = now, parked
	t.working.Go(func() {
		runtime.GC() // what pools hold goes with the second one
		debug.FreeOSMemory()
	})
}
