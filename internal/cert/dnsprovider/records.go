package dnsprovider

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"landward/internal/cert"
	"landward/internal/landward"
)

// RecordTTL is what records of hosts get: short enough to move a host.
const RecordTTL = 5 * time.Minute

// within bounds one change, with all the questions before it.
const within = 25 * time.Second

// Record is what one record of a host says.
type Record struct {
	Type  string `json:"type"` // "A", "AAAA", "CNAME"
	Host  string `json:"host"` // normalised; "*.example.com" for a wildcard
	Value string `json:"value"`
}

// String is the record as people write it: "A shop.example.com 203.0.113.7".
func (r Record) String() string { return r.Type + " " + r.Host + " " + r.Value }

// Change is what was done about a host's records.
type Change struct {
	Zone    string // that has them; empty: none of the provider's
	Created []Record
	Removed []Record
	There   []Record // were right already: the host's own, or the wildcard's above it
	Kept    []Record // stand in the way, and were left alone
	// Err is why not everything was done; nil where all is well. It is for
	// people: Message, Cause and Hint.
	Err *landward.Error
}

// Records makes and removes the records by which hosts lead somewhere, at one
// provider. It is safe for concurrent use; changes are done one at a time.
type Records struct {
	kind string
	keep keeper
	turn chan struct{}
}

// keeper is what Records needs of a provider.
type keeper interface {
	cert.DNSProvider
	// survey finds the zone that has a host's records, and what is in it about
	// the host. The zone is empty where the provider has none.
	survey(ctx context.Context, host string) (view, error)
}

// view is what a zone says about a host.
type view struct {
	zone string          // normalised, without a final dot
	here []libdns.Record // the host's own addresses and aliases
	wild []libdns.Record // those of the wildcard that answers for the host otherwise
	cut  string          // the host, or a name above it, that is delegated to other servers
}

// Lister is a libdns provider that can say what a zone holds.
type Lister interface {
	libdns.RecordGetter
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Link makes the Records of a provider as New makes it. Resolvers ("host:port")
// are asked which zone a host is in, where the settings do not name the zone.
// It asks nobody. The error is New's.
func Link(kind string, settings map[string]string, resolvers []string) (*Records, error) {
	return link(kind, settings, resolvers, options{})
}

func link(kind string, settings map[string]string, resolvers []string, o options) (*Records, error) {
	p, named, err := open(kind, settings, o)
	if err != nil {
		return nil, err
	}
	switch p := p.(type) {
	case *updates:
		p.zones = named
		return newRecords(kind, p), nil
	case Lister:
		return newRecords(kind, &lister{p, named, resolvers}), nil
	}
	return nil, landward.Invalid("acme-provider", "records of hosts cannot be made with %s", kind)
}

// Over makes the Records of any libdns provider. With zones, only hosts in one
// of them are its business.
func Over(name string, p Lister, zones, resolvers []string) *Records {
	return newRecords(name, &lister{p, zones, resolvers})
}

func newRecords(kind string, k keeper) *Records {
	return &Records{kind: kind, keep: k, turn: make(chan struct{}, 1)}
}

// Provider is the kind of the provider, as settings name it.
func (r *Records) Provider() string { return r.kind }

// Make lets a host, which is normal, lead to the wanted addresses. What is there
// already is left as it is: where it leads elsewhere nothing is made, unless
// replace says that it may be taken away.
func (r *Records) Make(ctx context.Context, host string, want []netip.Addr, replace bool) Change {
	return r.do(ctx, host, func(ctx context.Context, v view) (c Change) {
		wanted := make([]libdns.Record, 0, len(want))
		for _, a := range want {
			wanted = append(wanted, libdns.Address{Name: libdns.RelativeName(host, v.zone), TTL: RecordTTL, IP: a})
		}
		ours, foreign := split(v.here, wanted)
		_, wildForeign := split(v.wild, wanted)
		switch {
		case len(foreign) > 0 && !replace:
			c.Kept = r.shown(host, foreign)
			c.Err = landward.Errorf(landward.CodeConflict, "%s has other records already", host).
				WithHint("take them away at %s if nobody needs them, or let an administrator add the domain with --replace-record", r.kind)
			return c
		case len(ours) > 0 && len(foreign) == 0:
			c.There = r.shown(host, ours)
			return c
		case len(v.here) == 0 && len(v.wild) > 0 && len(wildForeign) == 0:
			for _, rec := range v.wild {
				c.There = append(c.There, r.shown(absolute(rec.RR().Name, v.zone), []libdns.Record{rec})...)
			}
			return c
		}
		c.There = r.shown(host, ours)
		r.put(ctx, host, v, foreign, wanted, &c)
		return c
	})
}

// put takes foreign records away and makes those of wanted that are missing. An
// alias goes first, because nothing may stand beside one (RFC 1034 §3.6.2);
// addresses go last, so that the host always has one.
func (r *Records) put(ctx context.Context, host string, v view, foreign, wanted []libdns.Record, c *Change) {
	zone := v.zone + "."
	take := func(list []libdns.Record) bool {
		if len(list) == 0 {
			return true
		}
		if _, err := r.keep.DeleteRecords(ctx, zone, list); err != nil {
			c.Kept = append(c.Kept, r.shown(host, list)...)
			c.Err = r.failed(err, "did not remove the records of "+host)
			return false
		}
		c.Removed = append(c.Removed, r.shown(host, list)...)
		return true
	}
	var first, last []libdns.Record
	for _, rec := range foreign {
		if isAddress(rec) {
			last = append(last, rec)
		} else {
			first = append(first, rec)
		}
	}
	if !take(first) {
		return
	}
	_, missing := split(wanted, v.here)
	if len(missing) > 0 {
		if _, err := r.keep.AppendRecords(ctx, zone, missing); err != nil {
			c.Err = r.failed(err, "did not take the records of "+host)
			r.restore(ctx, zone, host, first, c)
			return
		}
		c.Created = r.shown(host, missing)
	}
	take(last)
}

// restore puts back what had to go first, where nothing could come in its place.
func (r *Records) restore(ctx context.Context, zone, host string, gone []libdns.Record, c *Change) {
	if len(gone) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if _, err := r.keep.AppendRecords(ctx, zone, gone); err == nil {
		c.Removed, c.Kept = nil, r.shown(host, gone)
	}
}

// Remove takes those of a host's records away that are still as they were made.
// Others, and those that somebody has changed, are left alone.
func (r *Records) Remove(ctx context.Context, host string, made []Record) Change {
	return r.do(ctx, host, func(ctx context.Context, v view) (c Change) {
		var gone []libdns.Record
		for _, rec := range v.here {
			if slices.Contains(made, r.shown(host, []libdns.Record{rec})[0]) {
				gone = append(gone, rec)
			} else {
				c.Kept = append(c.Kept, r.shown(host, []libdns.Record{rec})...)
			}
		}
		if len(gone) == 0 {
			return c
		}
		if _, err := r.keep.DeleteRecords(ctx, v.zone+".", gone); err != nil {
			c.Kept = append(c.Kept, r.shown(host, gone)...)
			c.Err = r.failed(err, "did not remove the records of "+host)
			return c
		}
		c.Removed = r.shown(host, gone)
		return c
	})
}

// do looks a host up and lets fn change its records, in its turn and in time.
func (r *Records) do(ctx context.Context, host string, fn func(context.Context, view) Change) (c Change) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		c.Err = landward.Errorf(landward.CodeTimeout, "other records at %s took too long", r.kind).WithHint("try again")
		return c
	}
	// A provider's answer that its client did not expect must not take more
	// with it than this change.
	defer func() {
		if p := recover(); p != nil {
			c.Err = r.failed(fmt.Errorf("panic: %v", p), "gave an answer that cannot be understood")
		}
	}()
	v, err := r.keep.survey(ctx, host)
	switch {
	case err != nil:
		c.Err = r.failed(err, "did not say what records there are of "+host)
	case v.zone == "":
		c.Err = landward.Errorf(landward.CodeNotFound, "%s is in none of the zones at %s", host, r.kind).
			WithHint("make the record where the domain's DNS is")
	case v.cut != "":
		c.Zone = v.zone
		c.Err = landward.Errorf(landward.CodeNotFound, "%s is delegated to name servers that are not those of %s at %s", v.cut, v.zone, r.kind).
			WithHint("make the record where %s's DNS is", v.cut)
	default:
		c = fn(ctx, v)
		c.Zone = v.zone
	}
	return c
}

// failed is a provider's error in words.
func (r *Records) failed(err error, what string) *landward.Error {
	const limit = 600
	text := err.Error()
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	e := landward.Errorf(landward.CodeUnavailable, "%s %s", r.kind, what).WithCause(landward.CleanLine(text)).
		WithHint("check the provider's settings in --acme-settings, and that they allow changes of the zone")
	return e.Wrap(err)
}

// shown are a host's records as people read them.
func (r *Records) shown(host string, list []libdns.Record) []Record {
	out := make([]Record, 0, len(list))
	for _, rec := range list {
		rr := rec.RR()
		out = append(out, Record{Type: landward.Printable(rr.Type), Host: host, Value: landward.Printable(value(rr))})
	}
	return out
}

// split sorts records into those that wanted has too, by type and value, and
// others.
func split(list, wanted []libdns.Record) (ours, others []libdns.Record) {
	for _, rec := range list {
		if slices.ContainsFunc(wanted, func(w libdns.Record) bool { return same(rec, w) }) {
			ours = append(ours, rec)
		} else {
			others = append(others, rec)
		}
	}
	return ours, others
}

func same(a, b libdns.Record) bool {
	x, y := a.RR(), b.RR()
	return x.Type == y.Type && value(x) == value(y)
}

// value is a record's value in one way of writing it.
func value(rr libdns.RR) string {
	if a, err := netip.ParseAddr(rr.Data); err == nil {
		return a.String()
	}
	return strings.ToLower(strings.TrimSuffix(rr.Data, "."))
}

func isAddress(rec libdns.Record) bool {
	_, err := netip.ParseAddr(rec.RR().Data)
	return err == nil
}
