package route_test

import (
	"net/netip"
	"reflect"
	"testing"

	"landward/internal/landward"
	"landward/internal/route"
)

// inside is a table whose first app says what its network sees.
func inside() route.Table {
	g := good()
	g.Routes[0].Networks = []netip.Prefix{netip.MustParsePrefix("10.201.0.0/26"), netip.MustParsePrefix("fd00:1::/64")}
	a := []netip.Addr{netip.MustParseAddr("10.201.0.2"), netip.MustParseAddr("fd00:1::2")}
	g.Routes[0].Names = map[string][]netip.Addr{"db": a, "db.internal": a, "web.a.internal": a[:1], "idle": {}}
	return g
}

func TestNames(t *testing.T) {
	g := inside()
	if err := g.Check(route.Table{}); err != nil {
		t.Fatal(err)
	}
	var d route.Reader
	back, err := d.Read(g.Text())
	if err != nil || !reflect.DeepEqual(back, g) {
		t.Errorf("read back: %v\n got %+v\nwant %+v", err, back.Routes[0], g.Routes[0])
	}
	for _, tt := range []struct {
		name, field string
		spoil       func(r *route.Route)
	}{
		{"a name on the internet", "routes[0].names.db.example.com", func(r *route.Route) { r.Names["db.example.com"] = nil }},
		{"one that only looks internal", "routes[0].names.db.notinternal", func(r *route.Route) { r.Names["db.notinternal"] = nil }},
		{"upper case", "routes[0].names.DB", func(r *route.Route) { r.Names["DB"] = nil }},
		{"no name", "routes[0].names.", func(r *route.Route) { r.Names[""] = nil }},
		{"a wildcard", "routes[0].names.*.internal", func(r *route.Route) { r.Names["*.internal"] = nil }},
		{"a final dot", "routes[0].names.db.", func(r *route.Route) { r.Names["db."] = nil }},
		{"another app's address", "routes[0].names.db", func(r *route.Route) { r.Names["db"] = []netip.Addr{netip.MustParseAddr("10.201.0.66")} }},
		{"no address", "routes[0].names.db", func(r *route.Route) { r.Names["db"] = []netip.Addr{{}} }},
		{"no network", "routes[0].networks[1]", func(r *route.Route) { r.Networks[1] = netip.Prefix{} }},
		{"everybody's network", "routes[0].networks[0]", func(r *route.Route) { r.Networks[0] = netip.MustParsePrefix("0.0.0.0/0") }},
		{"an address for a network", "routes[0].networks[0]", func(r *route.Route) { r.Networks[0] = netip.MustParsePrefix("10.201.0.2/26") }},
	} {
		g := inside()
		tt.spoil(g.Routes[0])
		err := g.Check(route.Table{})
		if landward.CodeOf(err) != landward.CodeInvalid || landward.AsError(err).Field != tt.field {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
