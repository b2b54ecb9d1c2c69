package plane

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"landward/internal/route"
	"landward/internal/route/guard"
	"landward/internal/route/page"
	"landward/internal/route/static"
	"landward/internal/route/wire"
)

// rules are what a request must pass before it goes on, each nil where the
// route has none of its kind.
type rules struct {
	networks    *guard.Networks
	rate        *guard.Rate
	redirects   *guard.Redirects
	basic       *guard.Basic
	forward     *guard.Forward
	maintenance *route.Maintenance
	static      *static.Site
	staticOf    route.Static
	custom      *page.Custom
	customOf    string
}

// rulesOf compiles a route's rules. Those that hold something (buckets, verified
// passwords, connections, open folders) are taken over from the site in use
// where they are the same. nil: there are none.
func (p *Plane) rulesOf(r *route.Route, old *site) (*rules, error) {
	var was rules
	if old != nil && old.rules != nil {
		was = *old.rules
	}
	n := rules{maintenance: r.Maintenance}
	var err error
	if len(r.Auth.Allow)+len(r.Auth.Deny) > 0 {
		if n.networks, err = guard.ParseNetworks(r.Auth.Allow, r.Auth.Deny, p.apps); err != nil {
			return nil, err
		}
	}
	if n.rate = was.rate; !was.rate.Same(r.Rate) {
		if n.rate, err = guard.NewRate(r.Rate); err != nil {
			return nil, err
		}
	}
	if n.redirects, err = guard.NewRedirects(r.Redirects); err != nil {
		return nil, err
	}
	if len(r.Auth.Basic) > 0 {
		if n.basic = was.basic; was.basic == nil || !was.basic.Same(r.Auth.Basic, r.Auth.Realm) {
			if n.basic, err = guard.NewBasic(r.Auth.Basic, r.Auth.Realm); err != nil {
				return nil, err
			}
		}
	}
	if n.forward = was.forward; !was.forward.Same(r.Auth.Forward) {
		if n.forward, err = guard.NewForward(r.Auth.Forward, guard.ForwardOptions{}); err != nil {
			return nil, err
		}
	}
	if err := n.open(r, was); err != nil {
		return nil, err
	}
	if n.empty() {
		return nil, nil
	}
	return &n, nil
}

func (n *rules) empty() bool {
	return n.networks == nil && n.rate == nil && n.redirects == nil && n.basic == nil && n.forward == nil &&
		n.maintenance == nil && n.static == nil && n.custom == nil
}

// open opens the folders that a route is served from.
func (n *rules) open(r *route.Route, was rules) (err error) {
	if r.Static != nil {
		n.staticOf = *r.Static
		if was.static != nil && was.staticOf.Dir == r.Static.Dir && was.staticOf.Fallback == r.Static.Fallback &&
			slices.Equal(was.staticOf.Immutable, r.Static.Immutable) {
			n.static = was.static
		} else if n.static, err = static.Open(*r.Static); err != nil {
			return err
		}
	}
	if r.Pages.Dir == "" {
		return nil
	}
	n.customOf = r.Pages.Dir
	if n.custom = was.custom; was.customOf != r.Pages.Dir {
		n.custom, err = page.OpenCustom(r.Pages.Dir)
	}
	return err
}

// close lets go of what next has not taken over. Requests in progress that
// still use it end as they would have: files stay open until they are sent.
func (n *rules) close(next *site) {
	var kept rules
	if next != nil && next.rules != nil {
		kept = *next.rules
	}
	if n.forward != nil && n.forward != kept.forward {
		n.forward.Close()
	}
	if n.static != nil && n.static != kept.static {
		_ = n.static.Close() // only read
	}
}

// admitted applies the rules about addresses and numbers.
func (x *exchange) admitted(r *rules) bool {
	if r.networks != nil && !r.networks.Admits(x.client()) {
		x.fault(route.Fault{Status: http.StatusForbidden, Code: route.CodeForbidden, App: x.site.app})
		return false
	}
	if ok, wait := r.rate.Take(x.client(), x.start); !ok {
		after := int(time.Duration(wait)/time.Second) + 1
		x.fault(route.Fault{Status: http.StatusTooManyRequests, Code: route.CodeRateLimited, App: x.site.app, RetryAfter: after})
		return false
	}
	return true
}

// client is the address that rules go by.
func (x *exchange) client() netip.Addr { return x.entry.IP }

// oneAuthorization reports whether the request has at most one Authorization
// line: with two, what is checked here need not be what the app goes by.
func (x *exchange) oneAuthorization() bool {
	n := 0
	for _, f := range x.req.Fields() {
		if len(f.Name) == 13 && wire.EqualFold(f.Name, "authorization") {
			n++
		}
	}
	if n > 1 {
		x.fault(route.Fault{Status: http.StatusBadRequest, Code: route.CodeBadRequest, Reason: "more than one Authorization header"})
	}
	return n <= 1
}

// signedIn checks the password that a request brings.
func (x *exchange) signedIn(r *rules) bool {
	_, entry := r.basic.Check(x.req.Get("authorization"), x.start)
	switch entry {
	case guard.Admitted:
		x.req.Replace("authorization") // it was for us
		return true
	case guard.Busy:
		x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeBusy, App: x.site.app, RetryAfter: 1})
	default:
		x.fault(route.Fault{Status: http.StatusUnauthorized, Code: route.CodeUnauthorized, App: x.site.app,
			Header: []byte("WWW-Authenticate: " + r.basic.Challenge() + "\r\n")})
	}
	return false
}

// allowed asks the service that says who may come in.
func (x *exchange) allowed(r *rules) bool {
	q := guard.Question{
		Method: x.req.Method, Scheme: x.scheme(), Host: x.req.Host(), Target: x.req.Target, Client: x.client(),
		Authorization: x.req.Get("authorization"), Accept: x.req.Accept(), ID: x.id[:],
	}
	fields := x.req.Fields()
	for i := range fields {
		f := &fields[i]
		if len(f.Name) == 6 && wire.EqualFold(f.Name, "cookie") {
			q.Cookies = append(q.Cookies, f.Value)
		}
	}
	v := r.forward.Ask(x.p.ctx, q)
	if v.Pass {
		for i := range fields {
			if r.forward.Removes(fields[i].Name) && !fields[i].Kind.Dropped() {
				x.req.Drop(i)
			}
		}
		x.extra = v.Lines
		return true
	}
	if v.Err != nil {
		x.p.log.Warn("ask who may come in", "app", x.site.app, "err", v.Err)
		x.fault(route.Fault{Status: v.Status, Code: route.CodeUpstream, App: x.site.app, RetryAfter: 5})
		return false
	}
	x.entry.Code = route.CodeUnauthorized
	x.answer(v.Status, v.Lines, v.Body)
	return false
}
