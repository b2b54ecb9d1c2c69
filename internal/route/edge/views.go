package edge

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"landward/internal/dns"
	"landward/internal/route"
)

// shown is what a route says that its app's network sees, and that as the DNS
// server knows it.
type shown struct {
	route *route.Route
	view  *dns.View
}

// show says what each app's network sees, to the DNS server. The caller holds
// put.
func (e *Edge) show(t route.Table) {
	if e.dns == nil {
		return
	}
	inside := make([]shown, 0, len(e.inside))
	for _, r := range t.Routes {
		if len(r.Networks) > 0 {
			inside = append(inside, shown{route: r})
		}
	}
	had := make(map[int64]shown, len(e.inside))
	for _, s := range e.inside {
		had[s.route.AppID] = s
	}
	e.inside = inside
	disputed := disputes(inside)
	list := make([]*dns.View, len(inside))
	for i := range inside {
		s := &inside[i]
		nets := s.route.Networks
		if len(disputed) > 0 {
			nets = slices.DeleteFunc(slices.Clone(nets), func(p netip.Prefix) bool { return disputed[p] })
		}
		if old, ok := had[s.route.AppID]; ok && seesTheSame(s.route, old.route) && slices.Equal(nets, old.view.Networks) {
			s.view = old.view
		} else {
			s.view = &dns.View{Networks: nets, Names: s.route.Names}
		}
		list[i] = s.view
	}
	e.dns.SetViews(list)
}

// seesTheSame compares what two routes show.
func seesTheSame(a, b *route.Route) bool {
	return a.AppID == b.AppID && slices.Equal(a.Networks, b.Networks) && maps.EqualFunc(a.Names, b.Names, slices.Equal)
}

// disputes returns the networks that two apps claim, or that are in one of
// another app's. They show nothing to anybody: there is a mistake somewhere,
// and one of the two would learn what is the other's.
func disputes(inside []shown) map[netip.Prefix]bool {
	type claim struct {
		net netip.Prefix
		app int64
	}
	claims := make([]claim, 0, len(inside))
	for _, s := range inside {
		for _, p := range s.route.Networks {
			claims = append(claims, claim{p, s.route.AppID})
		}
	}
	// In this order each network comes right before those inside it.
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(a.net.Addr().Compare(b.net.Addr()), cmp.Compare(a.net.Bits(), b.net.Bits()))
	})
	disputed := map[netip.Prefix]bool{}
	var widest claim
	for i, c := range claims {
		switch {
		case i == 0 || !widest.net.Overlaps(c.net):
			widest = c
		case widest.app != c.app:
			disputed[widest.net], disputed[c.net] = true, true
		}
	}
	return disputed
}
