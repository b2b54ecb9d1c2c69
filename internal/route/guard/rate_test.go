package guard_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

func newRate(tb testing.TB, rule landward.Rate) *guard.Rate {
	tb.Helper()
	r, err := guard.NewRate(rule)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

const second = int64(time.Second)

func TestRate(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 2, Burst: 3})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, step := range []struct {
		addr netip.Addr
		at   int64
		ok   bool
		wait int64
	}{
		{a, 0, true, 0}, {a, 0, true, 0}, {a, 0, true, 0},
		{a, 0, false, second / 2},
		{b, 0, true, 0},
		{a, second / 4, false, second / 4},
		{a, second/2 - 1, false, 1},
		{a, second / 2, true, 0},
		{a, second / 2, false, second / 2},
		{a, 3 * second, true, 0}, {a, 3 * second, true, 0}, {a, 3 * second, true, 0}, {a, 3 * second, false, second / 2},
		{netip.MustParseAddr("::ffff:192.0.2.1"), 3 * second, false, second / 2},
	} {
		if ok, wait := r.Take(step.addr, step.at); ok != step.ok || wait != step.wait {
			t.Fatalf("%s at %d: %v, %d; want %v, %d", step.addr, step.at, ok, wait, step.ok, step.wait)
		}
	}
}

func TestRateDefaults(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 5})
	a := netip.MustParseAddr("192.0.2.1")
	for i := range 5 {
		if ok, _ := r.Take(a, 7); !ok {
			t.Fatalf("request %d of 5 is refused", i)
		}
	}
	if ok, wait := r.Take(a, 7); ok || wait != second/5 {
		t.Fatalf("the sixth gets %v, %d", ok, wait)
	}
}

func TestRateOfV6IsPerNetwork(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 1})
	if ok, _ := r.Take(netip.MustParseAddr("2001:db8:0:1::1"), 0); !ok {
		t.Fatal("the first is refused")
	}
	if ok, _ := r.Take(netip.MustParseAddr("2001:db8:0:1:ffff::2"), 0); ok {
		t.Error("a neighbour in the same /64 has a bucket of its own")
	}
	if ok, _ := r.Take(netip.MustParseAddr("2001:db8:0:2::1"), 0); !ok {
		t.Error("another /64 has the same bucket")
	}
	if ok, _ := r.Take(netip.Addr{}, 0); !ok {
		t.Error("clients without an address have no bucket")
	}
	if ok, _ := r.Take(netip.Addr{}, 0); ok {
		t.Error("clients without an address have no limit")
	}
	if ok, _ := r.Take(netip.IPv6Unspecified(), 0); ok {
		t.Error("the network of zeros does not share the bucket of those without an address")
	}
}

// TestRateForgetsTheFullest sends more clients than there is room for. Who has
// been limited hard stays so: those that are forgotten had most left.
func TestRateForgetsTheFullest(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 1, Per: time.Hour, Burst: 100})
	bad := netip.MustParseAddr("203.0.113.9")
	for range 100 {
		r.Take(bad, 0)
	}
	for i := range uint32(100_000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|i)
		if ok, _ := r.Take(netip.AddrFrom4(a), 0); !ok {
			t.Fatalf("client %d is refused its first request", i)
		}
	}
	if ok, _ := r.Take(bad, 0); ok {
		t.Error("a crowd of others has given a client its tokens back")
	}
}

func TestRateAtOnce(t *testing.T) {
	const allowed = 1000
	r := newRate(t, landward.Rate{Requests: 1, Per: time.Hour, Burst: 700})
	a := netip.MustParseAddr("192.0.2.1")
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range allowed / 4 {
				if ok, _ := r.Take(a, 0); ok {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 700 {
		t.Errorf("%d requests got through, want 700", got.Load())
	}
}

func TestNoRate(t *testing.T) {
	r := newRate(t, landward.Rate{})
	if r != nil {
		t.Fatal("no limit gives a Rate")
	}
	if ok, _ := r.Take(netip.Addr{}, 0); !ok {
		t.Error("without a limit a request is refused")
	}
	if !r.Same(landward.Rate{}) || r.Same(landward.Rate{Requests: 1}) {
		t.Error("Same of no limit is wrong")
	}
}

func TestRateSame(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 5})
	for rule, want := range map[landward.Rate]bool{
		{Requests: 5}: true,
		{Requests: 5, Per: time.Second, Burst: 5}: true,
		{Requests: 5, Burst: 6}:                   false,
		{Requests: 5, Per: time.Minute}:           false,
		{Requests: 6}:                             false,
		{}:                                        false,
	} {
		if got := r.Same(rule); got != want {
			t.Errorf("Same(%+v) is %v", rule, got)
		}
	}
}

func TestRateRefuses(t *testing.T) {
	for _, tc := range []struct {
		rule  landward.Rate
		field string
	}{
		{landward.Rate{Requests: -1}, "routes.rate.requests"},
		{landward.Rate{Requests: 1_000_001}, "routes.rate.requests"},
		{landward.Rate{Burst: 1}, "routes.rate.requests"},
		{landward.Rate{Per: time.Second}, "routes.rate.requests"},
		{landward.Rate{Requests: 1, Burst: -1}, "routes.rate.burst"},
		{landward.Rate{Requests: 1, Burst: 2_000_000}, "routes.rate.burst"},
		{landward.Rate{Requests: 1, Per: -time.Second}, "routes.rate.per"},
		{landward.Rate{Requests: 1, Per: time.Microsecond}, "routes.rate.per"},
		{landward.Rate{Requests: 1, Per: 25 * time.Hour}, "routes.rate.per"},
		{landward.Rate{Requests: 1, Per: 24 * time.Hour, Burst: 31}, "routes.rate.burst"},
	} {
		_, err := guard.NewRate(tc.rule)
		wantField(t, err, tc.field)
	}
}

func TestRateDoesNotAllocate(t *testing.T) {
	r := newRate(t, landward.Rate{Requests: 1})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	now := int64(0)
	noAllocs(t, "Take", func() { now += second / 2; r.Take(a, now); r.Take(b, now) })
}

func BenchmarkRate(b *testing.B) {
	r := newRate(b, landward.Rate{Requests: 1000})
	a := netip.MustParseAddr("192.0.2.1")
	now := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += second / 500
		r.Take(a, now)
	}
}
