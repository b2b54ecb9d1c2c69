package server

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"landward/internal/config"
)

func TestAppResolver(t *testing.T) {
	for _, tt := range []struct{ dns, docker, want string }{
		{"", "", "invalid IP"},
		{":53", "", "0.0.0.0"},
		{"0.0.0.0:53", "", "0.0.0.0"},
		{"192.168.1.10:53", "", "192.168.1.10"},
		{"[::ffff:192.168.1.10]:53", "", "192.168.1.10"},
		{"127.0.0.1:53", "", "invalid IP"},
		{"localhost:53", "", "invalid IP"},
		{":5353", "", "invalid IP"},
		{"[::]:53", "", "invalid IP"},
		{"[2001:db8::1]:53", "", "invalid IP"},
		{":53", "tcp://192.0.2.9:2375", "invalid IP"},
	} {
		cfg := config.Default()
		cfg.DNS = tt.dns
		if tt.docker != "" {
			cfg.Docker = tt.docker
		}
		if got := appResolver(cfg).String(); got != tt.want {
			t.Errorf("dns %q, docker %q: %s, want %s", tt.dns, tt.docker, got, tt.want)
		}
	}
}

// TestEngineOptions: whatever can be set makes an engine.
func TestEngineOptions(t *testing.T) {
	for _, change := range []func(*config.Config){
		func(*config.Config) {},
		func(c *config.Config) { c.Egress = config.EgressAll },
		func(c *config.Config) { c.DNS = ":53" },
		func(c *config.Config) { c.DNS, c.DNSForward = "192.168.1.10:53", []string{"1.1.1.1:53"} },
		func(c *config.Config) { c.DNS = "[::1]:53" },
	} {
		cfg := config.Default()
		cfg.Data = t.TempDir()
		change(&cfg)
		e, err := newEngine(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("egress %s, dns %q: %v", cfg.Egress, cfg.DNS, err)
			continue
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ list, hole, want string }{
		{"10.0.0.0/8", "192.168.0.0/16", "[10.0.0.0/8]"},
		{"10.0.0.0/8", "10.0.0.0/8", "[]"},
		{"10.1.0.0/16", "10.0.0.0/8", "[]"},
		{"10.0.0.0/8", "10.201.0.0/10", "[10.0.0.0/9 10.128.0.0/10]"},
		{"10.0.0.0/8", "10.201.0.0/16", "[10.0.0.0/9 10.128.0.0/10 10.192.0.0/13 10.200.0.0/16 10.202.0.0/15 10.204.0.0/14 10.208.0.0/12 10.224.0.0/11]"},
		{"fd00::/8", "fd00::/9", "[fd80::/9]"},
	} {
		got := fmt.Sprint(without([]netip.Prefix{netip.MustParsePrefix(tt.list)}, netip.MustParsePrefix(tt.hole)))
		if got != tt.want {
			t.Errorf("%s without %s: %s, want %s", tt.list, tt.hole, got, tt.want)
		}
	}
}

// TestWhoMayResolve: everybody inside and every app; what is private is for
// those inside only.
func TestWhoMayResolve(t *testing.T) {
	cfg := config.Default()
	cfg.Pool = netip.MustParsePrefix("10.201.0.0/16")
	o, err := EdgeOptions(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	holds := func(list []netip.Prefix, a string) bool {
		for _, p := range list {
			if p.Contains(netip.MustParseAddr(a)) {
				return true
			}
		}
		return false
	}
	for _, tt := range []struct {
		addr             string
		resolve, private bool
	}{
		{"127.0.0.1", true, true},
		{"192.168.1.5", true, true},
		{"10.1.2.3", true, true},     // a LAN that the pool is cut from
		{"10.202.0.1", true, true},   // right beside the pool
		{"10.201.0.66", true, false}, // an app
		{"fd00::5", true, true},
		{"203.0.113.9", false, false},
	} {
		if got := holds(o.DNS.ForwardFor, tt.addr); got != tt.resolve {
			t.Errorf("%s may resolve: %v", tt.addr, got)
		}
		if got := holds(o.DNS.AllowPrivate, tt.addr); got != tt.private {
			t.Errorf("%s sees private addresses: %v", tt.addr, got)
		}
	}
}
