package plane

import (
	"bytes"
	"reflect"
	"strings"

	"landward/internal/route"
)

// index is a table made ready for look-ups. It never changes.
type index struct {
	table    route.Table
	hosts    map[string]*vhost
	wild     map[string]*vhost // by what follows "*."
	sites    map[siteKey]made
	none     *Stats        // of requests that belong to no app
	replaced chan struct{} // closed when another index is in use
}

// siteKey is what makes a route of one table that of the next.
type siteKey struct {
	app    int64
	prefix string
}

// made is a site and the route that the table has for it: an equal one, at
// least, to that which the site was made of.
type made struct {
	*site
	of *route.Route
}

// vhost is what answers under one host name: one site, or one for each of
// several path prefixes.
type vhost struct {
	rest  *site // what no prefix takes; nil for none
	paths *paths
	// local hosts have certificates of our own authority: nothing about them
	// may outlive the installation in a browser.
	local bool
}

// Apply puts a table into use as a whole, or returns why not and leaves the
// one in use. Requests in progress stay with the target they have.
func (p *Plane) Apply(t route.Table) error {
	p.swap.Lock()
	defer p.swap.Unlock()
	old := p.index.Load()
	if err := t.Check(old.table); err != nil {
		return err
	}
	if t.Generation < old.table.Generation {
		return staleTable(old.table.Generation, t.Generation)
	}
	next, err := p.build(old, t)
	if err != nil {
		return err
	}
	p.tables++
	for _, s := range next.sites {
		for _, g := range s.all {
			g.table = p.tables
			if g.retired.Load() {
				g.retired.Store(false)
				g.open()
			}
		}
	}
	p.index.Store(next)
	close(old.replaced)
	p.retire()
	for key, s := range old.sites {
		if now := next.sites[key].site; now != s.site {
			s.abandon(now)
		}
	}
	return nil
}

// build makes the index of a table. Sites whose route is the same are used
// again, with all that they have learned. The caller holds swap.
func (p *Plane) build(old *index, t route.Table) (*index, error) {
	next := &index{
		table: t, none: old.none, replaced: make(chan struct{}),
		hosts: make(map[string]*vhost, len(t.Routes)), wild: make(map[string]*vhost),
		sites: make(map[siteKey]made, len(t.Routes)),
	}
	for _, r := range t.Routes {
		key := siteKey{r.AppID, r.Prefix}
		before := old.sites[key]
		s := before.site
		if s == nil || before.of != r && !reflect.DeepEqual(before.of, r) {
			var err error
			if s, err = p.siteOf(r, s); err != nil {
				return nil, err
			}
		}
		next.sites[key] = made{s, r}
		for _, h := range r.Hosts {
			next.vhost(h, p.local).add(s)
		}
	}
	for _, v := range next.hosts {
		if err := v.finish(); err != nil {
			return nil, err
		}
	}
	for _, v := range next.wild {
		if err := v.finish(); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// vhost returns the host's entry, which it makes where there is none.
func (ix *index) vhost(host string, local func(string) bool) *vhost {
	in := ix.hosts
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		in, host = ix.wild, rest
	}
	v := in[host]
	if v == nil {
		v = &vhost{local: local(host)}
		in[host] = v
	}
	return v
}

// retire marks the targets that no site of the table has. Only after the swap, so
// that a request that finds its target retired finds another in the new table.
func (p *Plane) retire() {
	for key, g := range p.targets {
		if g.table == p.tables {
			continue
		}
		g.retired.Store(true)
		g.closeIdle(true)
		if g.inflight.Load() == 0 {
			delete(p.targets, key)
		}
	}
}

// Generation is the generation of the table in use.
func (p *Plane) Generation() int64 { return p.index.Load().table.Generation }

// Table is the table in use.
func (p *Plane) Table() route.Table { return p.index.Load().table }

// find looks a host up: lower case, no port, no final dot. A wildcard stands
// for one label, and only where no route names the host itself.
func (ix *index) find(host []byte) *vhost {
	if v := ix.hosts[string(host)]; v != nil {
		return v
	}
	if len(ix.wild) > 0 {
		if dot := bytes.IndexByte(host, '.'); dot > 0 {
			return ix.wild[string(host[dot+1:])]
		}
	}
	return nil
}

// Knows reports whether the table in use has a route for the host: one that a
// certificate may be asked for.
func (p *Plane) Knows(host string) bool { return p.index.Load().find([]byte(host)) != nil }
