package route_test

import (
	"net/netip"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
)

func good() route.Table {
	return route.Table{Generation: 3, MadeAt: time.Unix(1, 0).UTC(), Routes: []*route.Route{
		{App: "a", AppID: 1, Release: 2, Hosts: []string{"a.test", "www.example.com"}, State: route.StateUp,
			Targets: []route.Target{
				{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Unit: "web.1", ID: "x"},
				{Addr: netip.MustParseAddrPort("[fd00::2]:80"), Unit: "web.2", ID: "y"},
			}, Limits: route.Limits{MaxBody: -1, AnswerWithin: time.Second}},
		{App: "b", AppID: 2, Hosts: []string{"b.test"}, State: route.StateEmpty},
		{App: "landward", Hosts: []string{"landward.test"}, State: route.StateUp, Socket: "/run/x.sock"},
	}}
}

func TestCheck(t *testing.T) {
	if err := good().Check(route.Table{}); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*route.Table){
		"generation":              func(g *route.Table) { g.Generation = -1 },
		"routes[1].hosts[0]":      func(g *route.Table) { g.Routes[1].Hosts[0] = "a.test" },
		"routes[0].hosts[1]":      func(g *route.Table) { g.Routes[0].Hosts[1] = "Upper.test" },
		"routes[0].hosts[0]":      func(g *route.Table) { g.Routes[0].Hosts[0] = "a.test." },
		"routes[2].hosts[0]":      func(g *route.Table) { g.Routes[2].Hosts[0] = "landward.test:80" },
		"routes[1].state":         func(g *route.Table) { g.Routes[1].State = "sideways" },
		"routes[2].socket":        func(g *route.Table) { g.Routes[2].Socket = "x.sock" },
		"routes[0].socket":        func(g *route.Table) { g.Routes[0].Socket = "/x.sock" },
		"routes[0].targets[0].id": func(g *route.Table) { g.Routes[0].Targets[0].ID = "" },
		"routes[0].targets[1].id": func(g *route.Table) { g.Routes[0].Targets[1].ID = "x" },
		"routes[0].targets[0].addr": func(g *route.Table) {
			g.Routes[0].Targets[0].Addr = netip.MustParseAddrPort("0.0.0.0:80")
		},
		"routes[0].targets[1].addr": func(g *route.Table) { g.Routes[0].Targets[1].Addr = netip.AddrPort{} },
		"routes[0].limits":          func(g *route.Table) { g.Routes[0].Limits.ReadTimeout = -1 },
	} {
		g := good()
		spoil(&g)
		err := g.Check(route.Table{})
		if landward.CodeOf(err) != landward.CodeInvalid || landward.AsError(err).Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
