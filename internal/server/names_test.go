package server

import (
	"cmp"
	"log/slog"
	"net/netip"
	"strings"
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

func TestDoors(t *testing.T) {
	for _, tt := range []struct {
		http, https string
		http3       bool
		docker      string
		want        string
	}{
		{":80", ":443", true, "", "tcp 0.0.0.0:80, tcp 0.0.0.0:443, udp 0.0.0.0:443"},
		{":80", ":443", false, "", "tcp 0.0.0.0:80, tcp 0.0.0.0:443"},
		{":8080", "", true, "", "tcp 0.0.0.0:8080"},
		{"127.0.0.1:80", "[::1]:443", true, "", ""},
		{"[::]:80", "[2001:db8::1]:443", true, "", "tcp 0.0.0.0:80"},
		{"192.0.2.7:http", "[::ffff:192.0.2.7]:https", false, "", "tcp 192.0.2.7:80, tcp 192.0.2.7:443"},
		{"localhost:80", ":0", true, "", ""},
		{":80", ":443", true, "tcp://192.0.2.9:2375", ""},
	} {
		cfg := config.Default()
		cfg.HTTP, cfg.HTTPS, cfg.HTTP3 = tt.http, tt.https, tt.http3
		cfg.Docker = cmp.Or(tt.docker, cfg.Docker)
		var got []string
		for _, d := range doors(cfg) {
			proto := "tcp "
			if d.UDP {
				proto = "udp "
			}
			got = append(got, proto+d.Addr.String())
		}
		if list := strings.Join(got, ", "); list != tt.want {
			t.Errorf("http %q, https %q, http3 %v, docker %q: %s, want %s", tt.http, tt.https, tt.http3, tt.docker, list, tt.want)
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
