package plane_test

import (
	"math"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// crowd is many clients that are idle. It costs this process next to nothing,
// so that what is measured is the plane's.
type crowd struct{ fds []int }

const hello = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"

// newCrowd opens n connections, each of which has had an answer.
func newCrowd(t testing.TB, r *rig, n int) *crowd {
	t.Helper()
	c := &crowd{}
	t.Cleanup(c.close)
	to := netip.MustParseAddrPort(r.addr)
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.fds = append(c.fds, fd)
		tv := unix.NsecToTimeval(int64(patience))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			t.Fatal(err)
		}
		// From several addresses, as clients come.
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(i % 100)}}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
			t.Fatal(err)
		}
		c.ask(t, i)
		c.hear(t, i)
	}
	return c
}

// ask sends a request from client i, hear reads its answer, which is short.
func (c *crowd) ask(t testing.TB, i int) {
	t.Helper()
	if n, err := unix.Write(c.fds[i], []byte(hello)); n != len(hello) {
		t.Fatalf("client %d: wrote %d, %v", i, n, err)
	}
}

func (c *crowd) hear(t testing.TB, i int) {
	t.Helper()
	var buf [1024]byte
	if n, err := unix.Read(c.fds[i], buf[:]); n < 12 || string(buf[:12]) != "HTTP/1.1 200" {
		t.Fatalf("client %d: got %q, %v", i, buf[:max(n, 0)], err)
	}
}

func (c *crowd) close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
	c.fds = nil
}

// inUse is the memory that the Go runtime cannot do without, once what other
// tests have left behind is gone: what pools hold and what had a finaliser goes
// late.
func inUse() int64 {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	least, same := int64(math.MaxInt64), 0
	for range 100 {
		runtime.GC()
		switch now := classes(); {
		case now < least-16<<10:
			least, same = now, 0
		default:
			same++
		}
		if same == 5 {
			break
		}
		<-tick.C
	}
	return least
}

// classes is what the runtime has in use, with the garbage.
func classes() int64 {
	all := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
		{Name: "/memory/classes/other:bytes"},
	}
	metrics.Read(all)
	sum := uint64(0)
	for _, s := range all {
		sum += s.Value.Uint64()
	}
	return int64(sum) //nolint:gosec // far from the largest
}

// idleCost is what an idle connection costs in bytes, parked or not.
func idleCost(t testing.TB, n int, after time.Duration) float64 {
	t.Helper()
	r := newRig(t, plane.Limits{ParkAfter: after, MaxConnsPerIP: n}, app("shop", quietApp(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
	r.sink.off.Store(true)
	_ = newCrowd(t, r, 10) // what is there once
	before := inUse()
	c := newCrowd(t, r, n)
	waittest.Eventually(t, "all are parked", func() bool { return after < 0 || r.Snapshot().Parked == n+10 })
	cost := float64(inUse()-before) / float64(n)
	c.close()
	r.stop()
	return cost
}

// TestIdleCost holds that a parked connection costs far less than one with a
// goroutine.
func TestIdleCost(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	const n = 1000
	parked := idleCost(t, n, time.Millisecond)
	awake := idleCost(t, n, -1)
	t.Logf("an idle connection: %.0f bytes parked, %.0f with a goroutine", parked, awake)
	if parked > awake/2 {
		t.Errorf("parked %.0f bytes, with a goroutine %.0f", parked, awake)
	}
}

// BenchmarkIdle reports what an idle connection costs.
func BenchmarkIdle(b *testing.B) {
	for name, after := range map[string]time.Duration{"parked": time.Millisecond, "awake": -1} {
		b.Run(name, func(b *testing.B) {
			cost := 0.0
			for range b.N {
				cost = idleCost(b, 2000, after)
			}
			b.ReportMetric(cost, "B/conn")
		})
	}
}
