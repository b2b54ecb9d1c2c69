package dnsprovider_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"landward/internal/cert/dnsprovider"
	"landward/internal/landward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a libdns provider in memory.
type fake struct {
	mu       sync.Mutex
	zones    map[string][]libdns.RR // "example.com." → records
	list     error                  // instead of a list
	refuse   error                  // instead of a new record
	keep     error                  // instead of a removal
	panics   bool
	listing  chan struct{} // a list that never comes
	appended int
}

func (f *fake) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("index out of range")
	}
	if f.listing != nil {
		close(f.listing)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	list, ok := f.zones[zone]
	if !ok {
		return nil, errors.New("expected 1 zone, got 0 for " + zone)
	}
	var out []libdns.Record
	for _, rr := range list {
		out = append(out, rr)
	}
	return out, f.list
}

func (f *fake) AppendRecords(_ context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refuse; err != nil {
		f.refuse = nil
		return nil, err
	}
	for _, r := range list {
		rr := r.RR()
		if rr.TTL == 0 {
			return nil, errors.New("no TTL")
		}
		f.zones[zone] = append(f.zones[zone], rr)
		f.appended++
	}
	return list, nil
}

func (f *fake) DeleteRecords(_ context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keep != nil {
		return nil, f.keep
	}
	for _, r := range list {
		i := slices.Index(f.zones[zone], r.RR())
		if i < 0 {
			return nil, errors.New("not there: " + r.RR().Data)
		}
		f.zones[zone] = slices.Delete(f.zones[zone], i, i+1)
	}
	return list, nil
}

// text is a zone, a line each.
func (f *fake) text(zone string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, rr := range f.zones[zone] {
		lines = append(lines, rr.Name+" "+rr.Type+" "+rr.Data)
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// zoneOf reads lines like "shop A 192.0.2.9".
func zoneOf(lines ...string) []libdns.RR {
	out := []libdns.RR{}
	for _, l := range lines {
		f := strings.Fields(l)
		out = append(out, libdns.RR{Name: f[0], Type: f[1], Data: f[2], TTL: time.Hour})
	}
	return out
}

// resolver answers with the start of authority of zones, and fails the test
// when it is asked about a name that it must not be asked about.
func resolver(t *testing.T, never string, zones ...string) string {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{PacketConn: p, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m, name := new(dns.Msg).SetReply(q), q.Question[0].Name
		if name == dns.Fqdn(never) {
			t.Errorf("asked about %s: its absence is remembered", name)
		}
		if slices.Contains(zones, strings.TrimSuffix(name, ".")) {
			m.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.", Mbox: "x."}}
		}
		_ = w.WriteMsg(m)
	})}
	go func() { done <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return p.LocalAddr().String()
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func lines(list []dnsprovider.Record) string {
	var out []string
	for _, r := range list {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// done is a change in words: what was made, removed, right already, in the way.
func done(c dnsprovider.Change) string {
	var out []string
	for _, p := range []struct {
		word string
		list []dnsprovider.Record
	}{{"created", c.Created}, {"removed", c.Removed}, {"there", c.There}, {"kept", c.Kept}} {
		if len(p.list) > 0 {
			out = append(out, p.word+" "+lines(p.list))
		}
	}
	if c.Err != nil {
		out = append(out, "error "+string(c.Err.Code))
	}
	return strings.Join(out, " | ")
}

func TestMake(t *testing.T) {
	both := []string{"203.0.113.7", "2001:db8:1::7"}
	for name, tt := range map[string]struct {
		host    string
		want    []string
		zone    []string
		change  func(*fake)
		replace bool
		done    string // by Make
		left    string // in the zone; "": what was there
	}{
		"nothing there": {
			done: "created A shop.example.com 203.0.113.7", left: "shop A 203.0.113.7",
		},
		"both families": {want: both,
			done: "created A shop.example.com 203.0.113.7; AAAA shop.example.com 2001:db8:1::7",
			left: "shop A 203.0.113.7; shop AAAA 2001:db8:1::7",
		},
		"the zone itself": {host: "example.com", zone: []string{"@ MX 10", "@ NS ns.example.net."},
			done: "created A example.com 203.0.113.7", left: "@ A 203.0.113.7; @ MX 10; @ NS ns.example.net.",
		},
		"a wildcard": {host: "*.apps.example.com", zone: []string{"* A 192.0.2.9"},
			done: "created A *.apps.example.com 203.0.113.7", left: "* A 192.0.2.9; *.apps A 203.0.113.7",
		},
		"right already": {zone: []string{"shop A 203.0.113.7"}, done: "there A shop.example.com 203.0.113.7"},
		"right in one family": {want: both, zone: []string{"shop A 203.0.113.7"},
			done: "there A shop.example.com 203.0.113.7",
		},
		"right, written otherwise": {want: both[1:], zone: []string{"shop AAAA 2001:DB8:1:0::7"},
			done: "there AAAA shop.example.com 2001:db8:1::7",
		},
		"right by a wildcard":                         {zone: []string{"* A 203.0.113.7"}, done: "there A *.example.com 203.0.113.7"},
		"right by a wildcard that a provider escapes": {zone: []string{`\052 A 203.0.113.7`}, done: "there A *.example.com 203.0.113.7"},
		"a wildcard leads elsewhere": {zone: []string{"* A 192.0.2.9"},
			done: "created A shop.example.com 203.0.113.7", left: "* A 192.0.2.9; shop A 203.0.113.7",
		},
		"a wildcard that does not hold, because the name is there": {zone: []string{"* A 203.0.113.7", "shop TXT x"},
			done: "created A shop.example.com 203.0.113.7", left: "* A 203.0.113.7; shop A 203.0.113.7; shop TXT x",
		},
		"a wildcard that does not hold, because a name between is there": {host: "a.shop.example.com", zone: []string{"* A 203.0.113.7", "b.shop TXT x"},
			done: "created A a.shop.example.com 203.0.113.7", left: "* A 203.0.113.7; a.shop A 203.0.113.7; b.shop TXT x",
		},
		"elsewhere": {zone: []string{"shop A 192.0.2.9"}, done: "kept A shop.example.com 192.0.2.9 | error conflict"},
		"here and elsewhere": {zone: []string{"shop A 192.0.2.9", "shop A 203.0.113.7"},
			done: "kept A shop.example.com 192.0.2.9 | error conflict",
		},
		"IPv6 elsewhere":       {zone: []string{"shop AAAA 2001:db8::9"}, done: "kept AAAA shop.example.com 2001:db8::9 | error conflict"},
		"an alias":             {zone: []string{"shop CNAME old.example.net."}, done: "kept CNAME shop.example.com old.example.net | error conflict"},
		"a provider's alias":   {host: "example.com", zone: []string{"@ ALIAS old.example.net."}, done: "kept ALIAS example.com old.example.net | error conflict"},
		"another name's value": {zone: []string{"shopping A 192.0.2.9", "x.shop A 192.0.2.9"}, done: "created A shop.example.com 203.0.113.7", left: "shop A 203.0.113.7; shopping A 192.0.2.9; x.shop A 192.0.2.9"},
		"delegated":            {zone: []string{"shop NS ns.example.net."}, done: "error not_found"},
		"below what is delegated": {host: "a.b.shop.example.com", zone: []string{"shop NS ns.example.net."},
			done: "error not_found",
		},
		"replace": {replace: true, zone: []string{"shop A 192.0.2.9", "shop AAAA 2001:db8::9", "shop TXT x", "www A 192.0.2.9"},
			done: "created A shop.example.com 203.0.113.7 | removed A shop.example.com 192.0.2.9; AAAA shop.example.com 2001:db8::9",
			left: "shop A 203.0.113.7; shop TXT x; www A 192.0.2.9",
		},
		"replace what is here and elsewhere": {replace: true, zone: []string{"shop A 192.0.2.9", "shop A 203.0.113.7"},
			done: "removed A shop.example.com 192.0.2.9 | there A shop.example.com 203.0.113.7", left: "shop A 203.0.113.7",
		},
		"replace an alias": {replace: true, zone: []string{"shop CNAME old.example.net."},
			done: "created A shop.example.com 203.0.113.7 | removed CNAME shop.example.com old.example.net", left: "shop A 203.0.113.7",
		},
		"replace, and nothing is there": {replace: true, done: "created A shop.example.com 203.0.113.7", left: "shop A 203.0.113.7"},
		"replace, and nothing can come": {replace: true, zone: []string{"shop CNAME old.example.net."},
			change: func(f *fake) { f.refuse = errors.New("quota") },
			done:   "kept CNAME shop.example.com old.example.net | error unavailable",
		},
		"replace, and nothing can go": {replace: true, zone: []string{"shop CNAME old.example.net."},
			change: func(f *fake) { f.keep = errors.New("read only") },
			done:   "kept CNAME shop.example.com old.example.net | error unavailable",
		},
		"no list":       {change: func(f *fake) { f.list = errors.New("bad token") }, done: "error unavailable"},
		"no record":     {change: func(f *fake) { f.refuse = errors.New("bad token") }, done: "error unavailable"},
		"a panic":       {change: func(f *fake) { f.panics = true }, done: "error unavailable"},
		"another zone":  {host: "shop.example.org", done: "error not_found"},
		"a public name": {host: "co.uk", done: "error not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{zones: map[string][]libdns.RR{"example.com.": zoneOf(tt.zone...)}}
			before := f.text("example.com.")
			if tt.change != nil {
				tt.change(f)
			}
			if tt.host == "" {
				tt.host = "shop.example.com"
			}
			if tt.want == nil {
				tt.want = both[:1]
			}
			never := tt.host
			if never == "example.com" {
				never = "" // it is there
			}
			r := dnsprovider.Over("fake", f, nil, []string{resolver(t, never, "example.com", "example.org")})
			c := r.Make(t.Context(), tt.host, addrs(tt.want...), tt.replace)
			if got := done(c); got != tt.done {
				t.Errorf("%s, want %s: %v", got, tt.done, c.Err)
			}
			if tt.left == "" {
				tt.left = before
			}
			if got := f.text("example.com."); got != tt.left {
				t.Errorf("the zone is %s, want %s", got, tt.left)
			}
			if c.Err != nil && (c.Err.Hint == "" || !strings.Contains(strings.Join(c.Err.Explain(), " "), "fake")) {
				t.Errorf("%q does not say where, or what to do", c.Err.Explain())
			}
			if !strings.HasSuffix(tt.host, "example.com") && c.Zone != "" {
				t.Errorf("the zone is said to be %q", c.Zone)
			}
		})
	}
}

func TestZones(t *testing.T) {
	for name, tt := range map[string]struct {
		host  string
		zones []string // of the settings
		have  []string // at the provider
		known []string // to the resolver
		in    string
	}{
		"the resolver knows":           {host: "shop.example.com", have: []string{"example.com"}, known: []string{"example.com"}, in: "example.com"},
		"a zone within":                {host: "a.b.example.com", have: []string{"example.com", "b.example.com"}, known: []string{"example.com", "b.example.com"}, in: "b.example.com"},
		"the host is a zone":           {host: "shop.example.com", have: []string{"shop.example.com"}, known: []string{"example.com"}, in: "shop.example.com"},
		"nobody knows":                 {host: "a.b.example.com", have: []string{"example.com"}, in: "example.com"},
		"a top-level domain's is none": {host: "example.com", have: []string{"com"}},
		"it is named":                  {host: "a.shop.example.com", zones: []string{"example.org", "example.com", "shop.example.com"}, have: []string{"example.com", "shop.example.com"}, in: "shop.example.com"},
		"another is named":             {host: "shop.example.com", zones: []string{"example.org"}, have: []string{"example.com"}, known: []string{"example.com"}},
		"only its end is named":        {host: "myexample.com", zones: []string{"example.com"}, have: []string{"example.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{zones: map[string][]libdns.RR{}}
			for _, z := range tt.have {
				f.zones[z+"."] = zoneOf("@ NS ns.example.net.")
			}
			r := dnsprovider.Over("fake", f, tt.zones, []string{"127.0.0.1:1", resolver(t, "", tt.known...)})
			c := r.Make(t.Context(), tt.host, addrs("203.0.113.7"), false)
			if c.Zone != tt.in || (tt.in == "") != (landward.CodeOf(errOf(c)) == landward.CodeNotFound) || (tt.in != "") != (f.appended == 1) {
				t.Errorf("zone %q, %d records, %v", c.Zone, f.appended, c.Err)
			}
		})
	}
	// What is delegated may be another zone of the same provider.
	f := &fake{zones: map[string][]libdns.RR{"example.com.": zoneOf("b NS ns.example.net."), "b.example.com.": zoneOf("@ NS ns.example.net.")}}
	r := dnsprovider.Over("fake", f, nil, []string{resolver(t, "", "example.com")})
	if c := r.Make(t.Context(), "a.b.example.com", addrs("203.0.113.7"), false); c.Zone != "b.example.com" || f.text("b.example.com.") != "@ NS ns.example.net.; a A 203.0.113.7" {
		t.Errorf("%+v", c)
	}
}

func errOf(c dnsprovider.Change) error {
	if c.Err == nil {
		return nil
	}
	return c.Err
}

func TestRemove(t *testing.T) {
	made := []dnsprovider.Record{{Type: "A", Host: "shop.example.com", Value: "203.0.113.7"}, {Type: "AAAA", Host: "shop.example.com", Value: "2001:db8:1::7"}}
	for name, tt := range map[string]struct {
		zone   []string
		change func(*fake)
		done   string
		left   string
	}{
		"as it was made": {zone: []string{"shop A 203.0.113.7", "shop AAAA 2001:db8:1::7", "www A 203.0.113.7"},
			done: "removed A shop.example.com 203.0.113.7; AAAA shop.example.com 2001:db8:1::7", left: "www A 203.0.113.7",
		},
		"one has changed": {zone: []string{"shop A 192.0.2.9", "shop AAAA 2001:db8:1::7"},
			done: "removed AAAA shop.example.com 2001:db8:1::7 | kept A shop.example.com 192.0.2.9", left: "shop A 192.0.2.9",
		},
		"gone":     {zone: []string{"www A 203.0.113.7"}, done: "", left: "www A 203.0.113.7"},
		"an alias": {zone: []string{"shop CNAME x."}, done: "kept CNAME shop.example.com x", left: "shop CNAME x."},
		"it cannot": {zone: []string{"shop A 203.0.113.7"}, change: func(f *fake) { f.keep = errors.New("read only") },
			done: "kept A shop.example.com 203.0.113.7 | error unavailable", left: "shop A 203.0.113.7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{zones: map[string][]libdns.RR{"example.com.": zoneOf(tt.zone...)}}
			if tt.change != nil {
				tt.change(f)
			}
			c := dnsprovider.Over("fake", f, []string{"example.com"}, nil).Remove(t.Context(), "shop.example.com", made)
			if got := done(c); got != tt.done || f.text("example.com.") != tt.left {
				t.Errorf("%s, want %s; the zone is %s", got, tt.done, f.text("example.com."))
			}
		})
	}
}

// TestAChangeHasAnEnd has a provider that does not answer, and a second change
// that waits for the first.
func TestAChangeHasAnEnd(t *testing.T) {
	f := &fake{listing: make(chan struct{})}
	r := dnsprovider.Over("fake", f, []string{"example.com"}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan dnsprovider.Change, 1)
	go func() { first <- r.Make(ctx, "shop.example.com", addrs("203.0.113.7"), false) }()
	<-f.listing
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if c := r.Make(short, "www.example.com", addrs("203.0.113.7"), false); c.Err == nil || c.Err.Code != landward.CodeTimeout {
		t.Errorf("the second: %v", c.Err)
	}
	cancel()
	if c := <-first; c.Err == nil || c.Err.Code != landward.CodeUnavailable {
		t.Errorf("the first: %v", c.Err)
	}
	if f.listing = nil; dnsprovider.Over("fake", f, nil, nil).Provider() != "fake" {
		t.Error("its name is lost")
	}
}
