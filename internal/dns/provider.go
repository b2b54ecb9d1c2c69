package dns

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"landward/internal/landward"
)

// Bounds of what a Provider keeps. A challenge needs one record a name.
const (
	maxTexts     = 1000
	maxText      = 1024 // bytes
	textTTL      = 30 * time.Second
	textLifetime = 24 * time.Hour
)

// Provider lets the maker of certificates put TXT records into our zone, for
// proofs of the kind dns-01 (RFC 8555 section 8.4). Records live in memory: a
// proof that a restart interrupts is begun anew by its maker. One that is
// never taken away is forgotten after a day. Each call takes effect as a whole
// or not at all. It is safe for concurrent use.
type Provider struct{ s *Server }

// The interfaces of github.com/libdns/libdns that a Provider has.
var (
	_ libdns.RecordGetter   = (*Provider)(nil)
	_ libdns.RecordAppender = (*Provider)(nil)
	_ libdns.RecordSetter   = (*Provider)(nil)
	_ libdns.RecordDeleter  = (*Provider)(nil)
)

// Provider returns the server's zone as a DNS provider.
func (s *Server) Provider() *Provider { return &Provider{s} }

// GetRecords returns the TXT records of the zone. Addresses, NS and SOA are not
// records that anybody could change, and are not among them.
func (p *Provider) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	if err := p.check(ctx, zone); err != nil {
		return nil, err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	now := p.s.o.Now()
	var out []libdns.Record
	for name, list := range p.s.texts {
		for _, t := range list {
			if now.Before(t.until) {
				out = append(out, p.record(name, t))
			}
		}
	}
	slices.SortFunc(out, func(a, b libdns.Record) int {
		x, y := a.RR(), b.RR()
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Data, y.Data)
	})
	return out, nil
}

// AppendRecords adds TXT records. One that is there already stays as it is.
func (p *Provider) AppendRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return p.put(ctx, zone, recs, false)
}

// SetRecords makes recs the only TXT records of their names.
func (p *Provider) SetRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	return p.put(ctx, zone, recs, true)
}

// put adds records, in place of those of the same names where it replaces.
func (p *Provider) put(ctx context.Context, zone string, recs []libdns.Record, replace bool) ([]libdns.Record, error) {
	if err := p.check(ctx, zone); err != nil {
		return nil, err
	}
	names := make([]string, len(recs))
	for i, rec := range recs {
		var err error
		if names[i], err = p.name(rec.RR()); err != nil {
			return nil, err
		}
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	now := p.s.o.Now()
	texts := p.s.liveTexts(now)
	if replace {
		for _, name := range names {
			delete(texts, name)
		}
	}
	out := make([]libdns.Record, 0, len(recs))
	for i, rec := range recs {
		rr := rec.RR()
		t := text{value: rr.Data, data: textData(rr.Data), ttl: max(rr.TTL.Truncate(time.Second), 0), until: now.Add(textLifetime)}
		if t.ttl == 0 {
			t.ttl = textTTL
		}
		t.ttl = min(t.ttl, textLifetime)
		list := texts[names[i]]
		if !slices.ContainsFunc(list, func(have text) bool { return have.value == t.value }) {
			texts[names[i]] = append(slices.Clip(list), t)
			out = append(out, p.record(names[i], t))
		}
	}
	count := 0
	for _, list := range texts {
		count += len(list)
	}
	if count > maxTexts {
		return nil, landward.Errorf(landward.CodeLimited, "there are already %d TXT records in the zone", maxTexts)
	}
	p.s.setTexts(texts)
	return out, nil
}

// DeleteRecords removes TXT records and returns those that were there. An empty
// type, TTL or text stands for any.
func (p *Provider) DeleteRecords(ctx context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	if err := p.check(ctx, zone); err != nil {
		return nil, err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	texts := p.s.liveTexts(p.s.o.Now())
	var out []libdns.Record
	for _, rec := range recs {
		rr := rec.RR()
		name, ok := wireName(libdns.AbsoluteName(rr.Name, p.s.o.Zone))
		if !ok || (rr.Type != "" && rr.Type != "TXT") {
			continue // there is none such
		}
		var rest []text
		for _, t := range texts[name] {
			if (rr.TTL != 0 && rr.TTL != t.ttl) || (rr.Data != "" && rr.Data != t.value) {
				rest = append(rest, t)
				continue
			}
			out = append(out, p.record(name, t))
		}
		if texts[name] = rest; len(rest) == 0 {
			delete(texts, name)
		}
	}
	p.s.setTexts(texts)
	return out, nil
}

// check refuses other zones than ours.
func (p *Provider) check(ctx context.Context, zone string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w, ok := wireName(zone); !ok || w != p.s.zone.Load().soa.apex {
		return landward.Errorf(landward.CodeNotFound, "this DNS server is not the authority for %q", zone).
			WithHint("it serves %s", p.s.o.Zone)
	}
	return nil
}

// name returns the wire name of a TXT record that may be kept.
func (p *Provider) name(rr libdns.RR) (string, error) {
	if rr.Type != "TXT" {
		return "", landward.Errorf(landward.CodeInvalid, "only TXT records can be put into the zone, not %s", rr.Type).Wrap(errors.ErrUnsupported)
	}
	name, ok := wireName(libdns.AbsoluteName(rr.Name, p.s.o.Zone))
	if !ok || !below([]byte(name), p.s.zone.Load().soa.apex) {
		return "", landward.Invalid("", "%q is not a name in %s", rr.Name, p.s.o.Zone)
	}
	if len(rr.Data) > maxText {
		return "", landward.Errorf(landward.CodeTooLarge, "a TXT record has at most %d bytes", maxText)
	}
	return name, nil
}

// record is what callers get: names relative to the zone.
func (p *Provider) record(name string, t text) libdns.Record {
	own := name[:len(name)-len(p.s.zone.Load().soa.apex)]
	var labels []string
	for len(own) > 0 {
		n := int(own[0])
		labels = append(labels, own[1:n+1])
		own = own[n+1:]
	}
	written := "@"
	if len(labels) > 0 {
		written = strings.Join(labels, ".")
	}
	return libdns.TXT{Name: written, TTL: t.ttl, Text: t.value}
}
