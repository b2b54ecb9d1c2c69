package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/internal/auth"
	"landward/internal/landward"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newLimiter() (*auth.Limiter, *clock) {
	c := &clock{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	return auth.NewLimiter(c.now), c
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// guess tries and fails until it is told to wait, and returns how often it could.
func guess(l *auth.Limiter, addr func(i int) netip.Addr, account func(i int) string) int {
	for i := range 1000 {
		if l.Check(addr(i), account(i)) != nil {
			return i
		}
		l.Failed(addr(i), account(i))
	}
	return 1000
}

func TestGuessing(t *testing.T) {
	one := func(int) netip.Addr { return ip("192.0.2.1") }
	many := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	same64 := func(i int) netip.Addr { return ip(fmt.Sprintf("2001:db8::%x", i+1)) }
	mapped := func(i int) netip.Addr {
		if i%2 == 0 {
			return ip("192.0.2.1")
		}
		return ip("::ffff:192.0.2.1")
	}
	none := func(int) netip.Addr { return netip.Addr{} }
	ada := func(int) string { return "ada" }
	each := func(i int) string { return fmt.Sprint("user", i) }
	nobody := func(int) string { return "" }
	tests := map[string]struct {
		addr    func(int) netip.Addr
		account func(int) string
		want    int
	}{
		"many accounts from one address":  {one, each, 30},
		"no account from one address":     {one, nobody, 30},
		"one account from many addresses": {many, ada, 10},
		"one account from one address":    {one, ada, 10},
		"one IPv6 network":                {same64, each, 30},
		"one address in two spellings":    {mapped, each, 30},
		"one account from no address":     {none, ada, 10},
		"nobody from nowhere":             {none, nobody, 1000},
		"many from many":                  {many, each, 1000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, _ := newLimiter()
			if got := guess(l, test.addr, test.account); got != test.want {
				t.Errorf("%d guesses, want %d", got, test.want)
			}
		})
	}
}

func TestOthersAreNotSlowedDown(t *testing.T) {
	l, _ := newLimiter()
	guess(l, func(int) netip.Addr { return ip("192.0.2.1") }, func(int) string { return "ada" })
	if err := l.Check(ip("192.0.2.2"), "bob"); err != nil {
		t.Error(err)
	}
	if err := l.Check(ip("192.0.2.2"), "ada"); landward.CodeOf(err) != landward.CodeLimited {
		t.Errorf("ada from elsewhere: %v", err)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	l, c := newLimiter()
	addr := ip("192.0.2.1")
	for range 10 {
		l.Failed(addr, "ada")
	}
	err := l.Check(addr, "ada")
	var e *landward.Error
	if !errors.As(err, &e) || e.Code != landward.CodeLimited || !strings.Contains(e.Hint, "31s") {
		t.Errorf("error %+v", err)
	}
	if wait := l.Wait(addr, "ada"); wait != 30*time.Second {
		t.Errorf("wait %s", wait)
	}
	c.at = c.at.Add(29 * time.Second)
	if l.Check(addr, "ada") == nil {
		t.Error("forgotten too early")
	}
	c.at = c.at.Add(time.Second)
	if err := l.Check(addr, "ada"); err != nil {
		t.Error(err)
	}
	l.Failed(addr, "ada")
	if l.Check(addr, "ada") == nil {
		t.Error("one more failure, and no wait")
	}
	c.at = c.at.Add(time.Hour)
	if got := guess(l, func(int) netip.Addr { return addr }, func(int) string { return "ada" }); got != 10 {
		t.Errorf("after an hour: %d guesses", got)
	}
}

func TestNobodyIsLockedOutForLong(t *testing.T) {
	l, c := newLimiter()
	for range 100_000 {
		l.Failed(ip("192.0.2.1"), "ada")
	}
	c.at = c.at.Add(6 * time.Minute)
	if err := l.Check(netip.Addr{}, "ada"); err != nil {
		t.Errorf("six minutes after the last of many failures: %v", err)
	}
}

func TestClockThatJumpsBack(t *testing.T) {
	l, c := newLimiter()
	guess(l, func(int) netip.Addr { return ip("192.0.2.1") }, func(int) string { return "ada" })
	c.at = c.at.Add(-24 * time.Hour)
	if wait := l.Wait(ip("192.0.2.1"), "ada"); wait <= 0 || wait > time.Minute {
		t.Errorf("wait %s", wait)
	}
}

func TestSuccessForgetsTheAccountOnly(t *testing.T) {
	l, _ := newLimiter()
	addr := ip("192.0.2.1")
	for i := range 30 {
		l.Failed(addr, "ada")
		if i%5 == 0 {
			l.Succeeded("ada")
		}
	}
	l.Succeeded("ada")
	if err := l.Check(netip.Addr{}, "ada"); err != nil {
		t.Error(err)
	}
	if l.Check(addr, "bob") == nil {
		t.Error("own successes bought the address guesses at others")
	}
}

// TestMemoryIsBounded makes the limiter forget: the oldest, never the newest.
func TestMemoryIsBounded(t *testing.T) {
	l, _ := newLimiter()
	guess(l, func(int) netip.Addr { return netip.Addr{} }, func(int) string { return "first" })
	for i := range 10_000 {
		l.Failed(netip.Addr{}, fmt.Sprint("account", i))
	}
	if err := l.Check(netip.Addr{}, "first"); err != nil {
		t.Errorf("the oldest is still known: %v", err)
	}
	if got := guess(l, func(int) netip.Addr { return netip.Addr{} }, func(int) string { return "account9999" }); got != 9 {
		t.Errorf("the newest was forgotten: %d guesses", got)
	}
}

func TestLimiterConcurrently(t *testing.T) {
	l := auth.NewLimiter(time.Now)
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 500 {
				account := fmt.Sprint(i % 7)
				_ = l.Check(ip("192.0.2.1"), account)
				l.Failed(netip.AddrFrom4([4]byte{byte(g), 0, 0, byte(i)}), account)
				l.Succeeded(account)
			}
		})
	}
	group.Wait()
}
