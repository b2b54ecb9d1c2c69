package docker_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"landward/internal/dns"
	"landward/internal/engine"
	"landward/internal/engine/docker"
	"landward/test/harness"
)

// answering runs a DNS server on addresses of the host until the test ends.
func answering(t *testing.T, views []*dns.View, addrs ...string) {
	t.Helper()
	s, err := dns.New(dns.Options{Zone: "paas.test", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetHosts([]string{"shop.paas.test"})
	s.SetViews(views)
	if err := s.Listen(addrs...); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// lookedUp runs a probe that asks for names and says what each leads to.
func lookedUp(t *testing.T, d *docker.Docker, u engine.Unit) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(output(t, d, u)) {
		name, addrs, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[name] = addrs
	}
	return got
}

// TestOwnNames: apps ask the DNS server on their own bridge, or at the one
// address that it has, and nothing else of the host is open by that.
func TestOwnNames(t *testing.T) {
	needDocker(t)
	for _, at := range []string{"each bridge", "one address"} {
		t.Run(at, func(t *testing.T) {
			harness.LockDNS(t)
			resolver, fixed := netip.IPv4Unspecified(), ""
			if at == "one address" {
				if fixed = harness.FreeDNS(t, harness.BridgeDNS(t)); fixed == "" {
					t.Skip("port 53 is taken")
				}
				resolver = netip.MustParseAddrPort(fixed).Addr()
			}
			d := newDocker(t, "names", func(o *docker.Options) { o.Resolver, o.Forwards = resolver, true })
			a := apply(t, d, testUnit(t, 1, "a1-a", "serve", "0.0.0.0:8080"))
			b := apply(t, d, testUnit(t, 2, "a2-b", "serve", "0.0.0.0:8080"))
			own, other := gateway(a), gateway(b)
			views := []*dns.View{
				{Networks: []netip.Prefix{a.Network}, Names: map[string][]netip.Addr{"web": {a.Addr}, "web.app1.internal": {a.Addr}}},
				{Networks: []netip.Prefix{b.Network}, Names: map[string][]netip.Addr{"web.app2.internal": {b.Addr}}},
			}
			addrs := []string{own + ":53", other + ":53"}
			if fixed != "" {
				addrs = []string{fixed}
			} else if harness.FreeDNS(t, addrs...) == "" {
				t.Skip("port 53 is taken")
			}
			answering(t, views, addrs...)
			for _, network := range []string{"udp", "tcp"} {
				got := lookedUp(t, d, testUnit(t, 1, "a1-"+network, "lookup", network,
					"web", "web.app1.internal", "web.app2.internal", "shop.paas.test"))
				for name, want := range map[string]string{"web": a.Addr.String(), "web.app1.internal": a.Addr.String(), "shop.paas.test": "192.0.2.7"} {
					if got[name] != want {
						t.Errorf("%s: %s leads to %q, want %s", network, name, got[name], want)
					}
				}
				if name := "web.app2.internal"; !strings.Contains(got[name], "no such host") {
					t.Errorf("%s: %s leads to %q", network, name, got[name])
				}
			}
			wantClosed(t, d, own, other, fixed)
		})
	}
}

// gateway is the host's address in the container's network.
func gateway(c engine.Container) string { return c.Network.Addr().Next().String() }

// wantClosed dials everything of the host from app 1: its own DNS server
// answers, nothing else.
func wantClosed(t *testing.T, d *docker.Docker, own, other, fixed string) {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{own + ":53": fixed == "", other + ":53": false, own + ":" + port: false, other + ":" + port: false}
	if fixed != "" {
		want[fixed] = true
		want[strings.TrimSuffix(fixed, "53")+port] = false
	}
	for _, ip := range hostIPv4(t) {
		want[ip+":"+port] = false
	}
	var targets []string
	for target := range want {
		targets = append(targets, target)
	}
	got := dialled(t, d, testUnit(t, 1, "a1-dial", append([]string{"dial"}, targets...)...))
	for target, open := range want {
		if got[target] != open {
			t.Errorf("from app 1, %s answers: %v, want %v", target, got[target], open)
		}
	}
}

// TestNetworkIsRecalled: an engine that starts anew knows where the containers
// are that another has made.
func TestNetworkIsRecalled(t *testing.T) {
	needDocker(t)
	var o docker.Options
	d := newDocker(t, "recall", func(made *docker.Options) { made.SubnetBits = 27; o = *made })
	c := apply(t, d, testUnit(t, 1, "a1-web"))
	o.SubnetBits = 28 // of networks that are still to be made
	again, err := docker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	list, err := again.List(t.Context(), 1)
	if err != nil || len(list) != 1 || list[0].Network != c.Network || c.Network.Bits() != 27 {
		t.Errorf("listed %+v, %v; made in %s", list, err, c.Network)
	}
	if got, err := again.Inspect(t.Context(), "a1-web"); err != nil || got.Network != c.Network {
		t.Errorf("inspected in %s, %v", got.Network, err)
	}
}
