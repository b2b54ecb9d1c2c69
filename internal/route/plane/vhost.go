package plane

import "landward/internal/route/guard"

// paths sends the requests of one host to several sites by the front of their
// path.
type paths struct {
	index *guard.PathIndex
	sites []*site // in the order of the index
}

// find returns the site for a path, rest where no prefix takes it. ok is false
// where the path could be read as another one.
func (p *paths) find(path []byte, rest *site) (s *site, ok bool) {
	i, ok := p.index.Find(path)
	switch {
	case !ok:
		return nil, false
	case i < 0:
		return rest, true
	}
	return p.sites[i], true
}

// add puts a site under the host.
func (v *vhost) add(s *site) {
	if s.route.Prefix == "" {
		v.rest = s
		return
	}
	if v.paths == nil {
		v.paths = &paths{}
	}
	v.paths.sites = append(v.paths.sites, s)
}

// finish makes the prefixes ready, once all sites are there.
func (v *vhost) finish() error {
	if v.paths == nil {
		return nil
	}
	prefixes := make([]string, len(v.paths.sites))
	for i, s := range v.paths.sites {
		prefixes[i] = s.route.Prefix
	}
	var err error
	v.paths.index, err = guard.NewPathIndex(prefixes)
	return err
}

// any is one of the host's sites, to blame for a request that is for none.
func (v *vhost) any() *site {
	if v.rest != nil {
		return v.rest
	}
	return v.paths.sites[0]
}
