package dns

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// View is what some networks see and others do not: the services of an app,
// from the app's own network. It does not change once SetViews has had it: the
// same pointer is the same view.
type View struct {
	Networks []netip.Prefix
	// Names are whole names, with one label or more, and their addresses:
	// "db", "db.internal", "web.shop.internal". They stand before all else,
	// the zone included.
	Names map[string][]netip.Addr
}

// viewTTL is in seconds, and short: containers come and go.
const viewTTL = 5

// views finds a client's view: the one with the most specific network. It does
// not change once made.
type views struct {
	made     map[*View]*view
	lengths  []int // of prefixes that occur, longest first; IPv4 counts from 96
	networks map[netip.Prefix]*view
}

// view has the addresses of a name, as record data. A name without any is the
// parent of one that has.
type view struct {
	names map[string]*addresses
}

// addresses are the data of A and AAAA records.
type addresses struct {
	four, six [][]byte
}

func newAddresses(list []netip.Addr) *addresses {
	a := &addresses{}
	for _, addr := range list {
		addr = addr.Unmap()
		switch {
		case addr.Is4():
			a.four = append(a.four, addr.AsSlice())
		case addr.Is6():
			a.six = append(a.six, addr.AsSlice())
		}
	}
	return a
}

// answer adds the records of the type that is asked for, beginning with
// another one each time, and says whether there were any.
func (a *addresses) answer(r *reply, ttl uint32) bool {
	list := a.four
	if r.q.qtype == dns.TypeAAAA {
		list = a.six
	}
	if (r.q.qtype != dns.TypeA && r.q.qtype != dns.TypeAAAA) || len(list) == 0 {
		return false
	}
	first := int(r.q.id) % len(list) // as good as any: clients choose it at random
	for i := range list {
		r.answer(r.q.qtype, ttl, list[(first+i)%len(list)])
	}
	return true
}

// newViews makes views, but for those that were there before: with many apps
// only one is another at a time.
func newViews(list []*View, before *views, private *special) *views {
	vs := &views{made: make(map[*View]*view, len(list)), networks: make(map[netip.Prefix]*view, len(list))}
	for _, from := range list {
		v := before.made[from]
		if v == nil {
			v = newView(from, private)
		}
		vs.made[from] = v
		for _, p := range from.Networks {
			if !p.IsValid() {
				continue
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
			if !p.IsValid() {
				continue
			}
			vs.networks[p] = v
			if l := length(p); !slices.Contains(vs.lengths, l) {
				vs.lengths = append(vs.lengths, l)
			}
		}
	}
	slices.SortFunc(vs.lengths, func(a, b int) int { return b - a })
	return vs
}

func newView(from *View, private *special) *view {
	v := &view{names: make(map[string]*addresses, len(from.Names))}
	for name, addrs := range from.Names {
		w, ok := wireName(name)
		if !ok || name[0] == '*' {
			continue
		}
		v.names[w] = newAddresses(addrs)
	}
	v.parents(private)
	return v
}

// parents adds the empty names between a special zone and a name in it
// ("shop.internal" above "web.shop.internal"), so that they exist (RFC 8020).
// Above names elsewhere nothing is added: it would hide what is there.
func (v *view) parents(private *special) {
	var missing []string
	for name := range v.names {
		zone := private.find([]byte(name))
		if zone == nil {
			continue
		}
		for up := parent(name); len(up) > len(zone.apex); up = parent(up) {
			missing = append(missing, up)
		}
	}
	for _, name := range missing {
		if v.names[name] == nil {
			v.names[name] = &addresses{}
		}
	}
}

func length(p netip.Prefix) int {
	if p.Addr().Is4() {
		return p.Bits() + 96
	}
	return p.Bits()
}

// find returns the view of a client, or nil.
func (vs *views) find(addr netip.Addr) *view {
	for _, bits := range vs.lengths {
		if addr.Is4() {
			bits -= 96
		}
		if bits < 0 {
			continue
		}
		p, err := addr.Prefix(bits)
		if err != nil {
			continue // longer than any address of its family
		}
		if v := vs.networks[p]; v != nil {
			return v
		}
	}
	return nil
}

// answer answers from the view where it has the name.
func (v *view) answer(r *reply, private *special) bool {
	found := v.names[string(r.q.name())]
	if found == nil {
		return false
	}
	r.bits |= bitAA
	switch {
	case r.q.qtype == dns.TypeANY:
		r.hinfo()
	case !found.answer(r, viewTTL):
		zone := private.find(r.q.name())
		if zone == nil {
			zone = localSOA(string(r.q.name()))
		}
		short := *zone
		short.negative = viewTTL
		short.write(r, true)
	}
	return true
}
