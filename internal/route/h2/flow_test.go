package h2_test

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/route/h2/lane/lanetest"
	"landward/internal/waittest"
)

// TestWindowOfTheClient holds that not a byte more is sent than the client's
// windows allow, and that the rest comes when they open.
func TestWindowOfTheClient(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	body := func(n int) string {
		got := ""
		for len(got) < n {
			all := p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool { return all[1] != nil && all[1].body != "" })
			got += all[1].body
		}
		return got
	}
	p.get(1, "/bytes?100")
	want := string(lanetest.Pattern(100))
	if got := body(10); got != want[:10] {
		t.Fatalf("%q", got)
	}
	p.write(raw(8, 0, 1, u32(5)))
	if got := body(5); got != want[10:15] {
		t.Fatalf("%q", got)
	}
	// The window goes below zero, and back.
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	p.write(raw(8, 0, 1, u32(9)) + raw(6, 0, 0, "12345678"))
	p.until(false, func(f http2.Frame, all map[uint32]*answer) bool {
		if all[1] != nil && all[1].body != "" {
			t.Fatalf("%q without a window", all[1].body)
		}
		return f.Header().Type == http2.FramePing
	})
	p.write(raw(8, 0, 1, u32(2)))
	if got := body(1); got != want[15:16] {
		t.Fatalf("%q", got)
	}
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
	if got := body(84); got != want[16:] {
		t.Fatalf("%q", got)
	}
}

// TestConnectionWindow holds that all streams share the connection's window,
// and that none is forgotten when it opens.
func TestConnectionWindow(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	const n, size = 20, 20_000
	for i := range n {
		p.get(uint32(2*i+1), "/bytes?20000")
	}
	total := 0
	count := func(all map[uint32]*answer) int {
		sum := 0
		for _, a := range all {
			sum += len(a.body)
		}
		return sum
	}
	p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool {
		total = count(all)
		return total >= 65535
	})
	if total != 65535 {
		t.Fatalf("%d bytes", total)
	}
	for total < n*size {
		step := min(7777, n*size-total)
		p.write(raw(8, 0, 0, u32(step)))
		got := 0
		p.until(false, func(_ http2.Frame, all map[uint32]*answer) bool {
			got = count(all)
			return got >= step
		})
		if total += got; got != step {
			t.Fatalf("%d bytes for a window of %d", got, step)
		}
	}
}

// TestWindowOfOurs holds that a slow app holds the client back, and that no
// more than the window is kept in memory.
func TestWindowOfOurs(t *testing.T) {
	const window = 32 << 10
	r := newRig(t, h2.Limits{StreamWindow: window, ConnWindow: 65535}, false)
	p := r.dial(t)
	p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool { // the server's settings, and its ack
		s, ok := f.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
	p.headers(1, false, ask("POST", "/slow?1")...)
	// It reads a piece and stops; from then on no window is given back.
	p.write(raw(0, 0, 1, strings.Repeat("x", 16384)))
	waittest.Eventually(t, "reading", func() bool { return r.app.Read.Load() > 0 })
	sent := 16384
	pump := func(until int) {
		for sent < until {
			n := min(16384, until-sent)
			p.write(raw(0, 0, 1, strings.Repeat("x", n)))
			sent += n
		}
	}
	pump(window) // all of the first window
	p.write(raw(6, 0, 0, "12345678"))
	given := 0
	p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool {
		if w, ok := f.(*http2.WindowUpdateFrame); ok && w.StreamID == 1 {
			given += int(w.Increment)
		}
		return f.Header().Type == http2.FramePing
	})
	if given > 20<<10 {
		t.Errorf("%d bytes given back for a reader that stands still", given)
	}
	pump(window + given)
	p.write(raw(0, 0, 1, "x")) // more than it may
	p.wantReset(1, http2.ErrCodeFlowControl)
	p.get(3, "/hello")
	if a := p.ended(3); a.body != "hello, /hello" {
		t.Errorf("afterwards: %+v", a)
	}
	r.app.Release()
}

// TestConnectionWindowOfOurs holds that the connection's window is enforced,
// and given back for what nobody will read.
func TestConnectionWindowOfOurs(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	t.Run("exceeded", func(t *testing.T) {
		p := r.dial(t)
		for i := range 5 {
			p.headers(uint32(2*i+1), false, ask("POST", "/slow?1")...)
			for range 16 {
				p.write(raw(0, 0, uint32(2*i+1), strings.Repeat("x", 16000)))
			}
		}
		p.wantGoAway(http2.ErrCodeFlowControl)
	})
	t.Run("given back", func(t *testing.T) {
		p := r.dial(t)
		given, sent := 65535, 0
		for i := range 40 { // ten times the window, of streams that we reset
			id := uint32(2*i + 1)
			p.headers(id, false, ask("POST", "/refuse")...)
			for range 16 {
				for sent+16000 > given {
					p.until(false, func(f http2.Frame, _ map[uint32]*answer) bool {
						w, ok := f.(*http2.WindowUpdateFrame)
						if ok && w.StreamID == 0 {
							given += int(w.Increment)
						}
						return ok
					})
				}
				p.write(raw(0, 0, id, strings.Repeat("x", 16000)))
				sent += 16000
			}
		}
		p.get(999, "/hello")
		if a := p.ended(999); a.body != "hello, /hello" {
			t.Errorf("afterwards: %+v", a)
		}
	})
	r.app.Release()
}

// TestMemory holds that large bodies both ways cost no more than the windows,
// with a reader that stands still on each of many streams.
func TestMemory(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	const n = 50
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	p := r.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.write(raw(8, 0, 0, u32(1<<31-1-65535)))
	for i := range n {
		p.get(uint32(2*i+1), "/bytes?1000000000")
	}
	piece := strings.Repeat("x", 16384)
	for i := range 4 { // the connection's window
		id := uint32(2*n + 2*i + 1)
		p.headers(id, false, ask("POST", "/slow?1")...)
		for range 16 - i {
			p.write(raw(0, 0, id, piece))
		}
	}
	waittest.Eventually(t, "all begun", func() bool { return r.app.Requests.Load() == n+4 })
	// Each app has a buffer of its own too.
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("%d KiB for %d streams", grown>>10, n+4)
	}
}
