package dnsprovider_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"landward/internal/cert/dnsprovider"
	"landward/internal/landward"
)

// rrset is one set of records as Route 53 writes it.
type rrset struct {
	Name          string
	Type          string
	SetIdentifier string  `xml:",omitempty"`
	Weight        int     `xml:",omitempty"`
	TTL           int     `xml:",omitempty"`
	Values        []value `xml:"ResourceRecords>ResourceRecord,omitempty"`
	Alias         *struct {
		HostedZoneID         string `xml:"HostedZoneId"`
		DNSName              string
		EvaluateTargetHealth bool
	} `xml:"AliasTarget"`
}

type value struct{ Value string }

func valuesOf(list ...string) []value {
	var out []value
	for _, v := range list {
		out = append(out, value{v})
	}
	return out
}

// amazonAPI is Route 53 with one zone, two sets to a page.
type amazonAPI struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	sets    []rrset
	changes []string // "CREATE shop.example.com. A"
	pending int      // questions until a change is everywhere
	auth    []string
}

func newAmazonAPI(t *testing.T, sets ...rrset) *amazonAPI {
	a := &amazonAPI{t: t, sets: append(sets, rrset{Name: "example.com.", Type: "SOA", TTL: 900, Values: valuesOf("ns. x. 1 1 1 1 1")})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2013-04-01/hostedzonesbyname", func(w http.ResponseWriter, r *http.Request) {
		// Route 53 lists on from the name that it was asked for.
		_, _ = io.WriteString(w, `<ListHostedZonesByNameResponse><HostedZones>
			<HostedZone><Id>/hostedzone/ZIN</Id><Name>example.com.</Name><CallerReference>1</CallerReference><Config><PrivateZone>true</PrivateZone></Config></HostedZone>
			<HostedZone><Id>/hostedzone/Z1</Id><Name>example.com.</Name><CallerReference>2</CallerReference><Config><PrivateZone>false</PrivateZone></Config></HostedZone>
			<HostedZone><Id>/hostedzone/Z2</Id><Name>example.net.</Name><CallerReference>3</CallerReference></HostedZone>
			</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesByNameResponse>`)
	})
	mux.HandleFunc("GET /2013-04-01/hostedzone/Z1/rrset", a.list)
	mux.HandleFunc("POST /2013-04-01/hostedzone/Z1/rrset", a.change)
	mux.HandleFunc("POST /2013-04-01/hostedzone/Z1/rrset/", a.change)
	mux.HandleFunc("GET /2013-04-01/change/C1", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.pending--
		_, _ = fmt.Fprintf(w, `<GetChangeResponse><ChangeInfo><Id>/change/C1</Id><Status>%s</Status><SubmittedAt>2030-01-01T00:00:00Z</SubmittedAt></ChangeInfo></GetChangeResponse>`, a.status())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("unexpected %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.auth = append(a.auth, r.Header.Get("Authorization"))
		a.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *amazonAPI) status() string {
	if a.pending > 0 {
		return "PENDING"
	}
	return "INSYNC"
}

// order is how Route 53 sorts: labels from the right.
func order(name string) string {
	l := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(l)
	return strings.Join(l, ".")
}

func (a *amazonAPI) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const page = 2
	key := func(s rrset) string { return order(s.Name) + " " + s.Type + " " + s.SetIdentifier }
	slices.SortFunc(a.sets, func(x, y rrset) int { return strings.Compare(key(x), key(y)) })
	q := r.URL.Query()
	from := order(strings.ReplaceAll(q.Get("name"), "*", `\052`)) + " " + q.Get("type") + " " + q.Get("identifier")
	rest := slices.DeleteFunc(slices.Clone(a.sets), func(s rrset) bool { return q.Get("name") != "" && key(s) < from })
	var out struct {
		XMLName              xml.Name `xml:"ListResourceRecordSetsResponse"`
		Sets                 []rrset  `xml:"ResourceRecordSets>ResourceRecordSet"`
		IsTruncated          bool
		MaxItems             int
		NextRecordName       string `xml:",omitempty"`
		NextRecordType       string `xml:",omitempty"`
		NextRecordIdentifier string `xml:",omitempty"`
	}
	out.Sets, out.MaxItems = rest[:min(page, len(rest))], page
	if len(rest) > page {
		out.IsTruncated = true
		out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier = rest[page].Name, rest[page].Type, rest[page].SetIdentifier
	}
	_ = xml.NewEncoder(w).Encode(out)
}

func (a *amazonAPI) change(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var in struct {
		Changes []struct {
			Action string
			Set    rrset `xml:"ResourceRecordSet"`
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
		a.t.Error(err)
	}
	for _, c := range in.Changes {
		c.Set.Name = strings.ReplaceAll(c.Set.Name, "*", `\052`)
		i := slices.IndexFunc(a.sets, func(s rrset) bool {
			return s.Name == c.Set.Name && s.Type == c.Set.Type && s.SetIdentifier == c.Set.SetIdentifier
		})
		a.changes = append(a.changes, c.Action+" "+c.Set.Name+" "+c.Set.Type)
		switch {
		case c.Action == "CREATE" && i >= 0, c.Action == "DELETE" && (i < 0 || !slices.Equal(a.sets[i].Values, c.Set.Values)):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>it exists, or it does not</Message></Error></ErrorResponse>`)
			return
		case c.Action == "DELETE":
			a.sets = slices.Delete(a.sets, i, i+1)
		case i >= 0:
			a.sets[i] = c.Set
		default:
			a.sets = append(a.sets, c.Set)
		}
	}
	_, _ = fmt.Fprintf(w, `<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id><Status>%s</Status><SubmittedAt>2030-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>`, a.status())
}

// text is the zone without its start of authority.
func (a *amazonAPI) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, s := range a.sets {
		if s.Type != "SOA" {
			words := []string{s.Name, s.Type}
			for _, v := range s.Values {
				words = append(words, v.Value)
			}
			out = append(out, strings.TrimSpace(strings.Join(append(words, s.SetIdentifier), " ")))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

var amazonKeys = map[string]string{"access_key_id": "AKIDEXAMPLE", "secret_access_key": secret}

// amazonHTTP is a transport of the test's own.
func amazonHTTP(t *testing.T) http.RoundTripper {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func alias(name, target string) rrset {
	s := rrset{Name: name, Type: "A"}
	s.Alias = &struct {
		HostedZoneID         string `xml:"HostedZoneId"`
		DNSName              string
		EvaluateTargetHealth bool
	}{"Z9", target, false}
	return s
}

func TestRecordsAtRoute53(t *testing.T) {
	weighted := []rrset{
		{Name: "shop.example.com.", Type: "A", SetIdentifier: "one", Weight: 1, TTL: 60, Values: valuesOf("192.0.2.8")},
		{Name: "shop.example.com.", Type: "A", SetIdentifier: "two", Weight: 1, TTL: 60, Values: valuesOf("192.0.2.9")},
	}
	for name, tt := range map[string]struct {
		host    string
		sets    []rrset
		replace bool
		done    string
		left    string
	}{
		"nothing there": {sets: []rrset{{Name: "a.example.com.", Type: "A", Values: valuesOf("192.0.2.1")}, {Name: "zoo.example.com.", Type: "TXT", Values: valuesOf(`"x"`)}},
			done: "created A shop.example.com 203.0.113.7", left: `a.example.com. A 192.0.2.1; shop.example.com. A 203.0.113.7; zoo.example.com. TXT "x"`},
		"a wildcard": {host: "*.example.com", done: "created A *.example.com 203.0.113.7", left: `\052.example.com. A 203.0.113.7`},
		"right by a wildcard": {sets: []rrset{{Name: `\052.example.com.`, Type: "A", Values: valuesOf("203.0.113.7")}},
			done: "there A *.example.com 203.0.113.7", left: `\052.example.com. A 203.0.113.7`},
		"an alias of Amazon's own": {sets: []rrset{alias("shop.example.com.", "dualstack.lb.amazonaws.com.")},
			done: "kept A shop.example.com dualstack.lb.amazonaws.com | error conflict", left: "shop.example.com. A"},
		"replace it": {replace: true, sets: []rrset{alias("shop.example.com.", "dualstack.lb.amazonaws.com.")},
			done: "created A shop.example.com 203.0.113.7 | removed A shop.example.com dualstack.lb.amazonaws.com", left: "shop.example.com. A 203.0.113.7"},
		"replace one of two": {replace: true, sets: []rrset{{Name: "shop.example.com.", Type: "A", TTL: 60, Values: valuesOf("192.0.2.9", "203.0.113.7")}},
			done: "removed A shop.example.com 192.0.2.9 | there A shop.example.com 203.0.113.7", left: "shop.example.com. A 203.0.113.7"},
		"a routing policy is left alone": {replace: true, sets: weighted,
			done: "error unavailable", left: "shop.example.com. A 192.0.2.8 one; shop.example.com. A 192.0.2.9 two"},
		"another zone": {host: "shop.example.org", done: "error not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.host == "" {
				tt.host = "shop.example.com"
			}
			a := newAmazonAPI(t, tt.sets...)
			r, err := dnsprovider.LinkTo(dnsprovider.Route53, amazonKeys, nil, amazonHTTP(t), a.URL)
			if err != nil {
				t.Fatal(err)
			}
			c := r.Make(t.Context(), tt.host, addrs("203.0.113.7"), tt.replace)
			if got := done(c); got != tt.done || a.text() != tt.left {
				t.Errorf("%s, want %s; the zone is %q, want %q: %v", got, tt.done, a.text(), tt.left, c.Err)
			}
			for _, auth := range a.auth {
				if !strings.Contains(auth, "AKIDEXAMPLE/") || !strings.Contains(auth, "/us-east-1/route53/aws4_request") || strings.Contains(auth, secret) {
					t.Errorf("signed with %q", auth)
				}
			}
		})
	}
}

// TestProofsAtRoute53 has two proofs under one name, as a domain and its
// wildcard have them, and waits until they are everywhere.
func TestProofsAtRoute53(t *testing.T) {
	a := newAmazonAPI(t)
	a.pending = 2
	p, err := dnsprovider.NewAt(dnsprovider.Route53, amazonKeys, amazonHTTP(t), a.URL)
	if err != nil {
		t.Fatal(err)
	}
	proof := func(text string) []libdns.Record {
		return []libdns.Record{libdns.TXT{Name: "_acme-challenge", Text: text, TTL: time.Minute}}
	}
	for _, text := range []string{"one", "two", "two"} {
		if _, err := p.AppendRecords(t.Context(), "example.com.", proof(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.text(); got != `_acme-challenge.example.com. TXT "one" "two"` || a.pending > 0 {
		t.Errorf("%s, %d questions too few", got, a.pending)
	}
	for _, text := range []string{"one", "two", "gone"} {
		if _, err := p.DeleteRecords(t.Context(), "example.com.", proof(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.text(); got != "" {
		t.Errorf("left: %s", got)
	}
	long := strings.Repeat("x", 300) + `"`
	if _, err := p.AppendRecords(t.Context(), "example.com.", proof(long)); err != nil {
		t.Fatal(err)
	}
	if want := `_acme-challenge.example.com. TXT "` + long[:255] + `" "` + long[255:300] + `\""`; a.text() != want {
		t.Errorf("a long text: %s", a.text())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.AppendRecords(ctx, "example.com.", proof("late")); err == nil {
		t.Error("a change after its time")
	}
}

// TestABrokenMachineDoesNotMatter has AWS settings on the machine that would
// each end the process, or lead elsewhere, if anybody read them.
func TestABrokenMachineDoesNotMatter(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "config")
	if err := os.WriteFile(broken, []byte("[profile\nx = ===\n\x00[[["), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{
		"AWS_CONFIG_FILE=" + broken, "AWS_SHARED_CREDENTIALS_FILE=" + broken, "AWS_PROFILE=nobody", "AWS_CA_BUNDLE=" + dir + "/none",
		"AWS_MAX_ATTEMPTS=many", "AWS_RETRY_MODE=never", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_ENABLE_ENDPOINT_DISCOVERY=perhaps",
		"AWS_ACCESS_KEY_ID=STRANGER", "AWS_SECRET_ACCESS_KEY=stranger", "AWS_REGION=mars", "AWS_USE_FIPS_ENDPOINT=perhaps", "HOME=" + dir,
	} {
		name, v, _ := strings.Cut(env, "=")
		t.Setenv(name, v)
	}
	a := newAmazonAPI(t)
	r, err := dnsprovider.LinkTo(dnsprovider.Route53, amazonKeys, nil, amazonHTTP(t), a.URL)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Make(t.Context(), "shop.example.com", addrs("203.0.113.7"), false); done(c) != "created A shop.example.com 203.0.113.7" {
		t.Fatalf("%s: %v", done(c), c.Err)
	}
	for _, auth := range a.auth {
		if !strings.Contains(auth, "AKIDEXAMPLE/") || !strings.Contains(auth, "/us-east-1/") {
			t.Errorf("signed with %q", auth)
		}
	}
}

// TestAnAnswerThatItsClientDoesNotExpect comes from Cloudflare's API: its libdns
// module looks into a part that is not there.
func TestAnAnswerThatItsClientDoesNotExpect(t *testing.T) {
	var token string
	api := roundTrip(func(r *http.Request) string {
		token = r.Header.Get("Authorization")
		if strings.HasSuffix(r.URL.Path, "/zones") {
			return `{"success":true,"result":[{"id":"z1","name":"example.com"}]}`
		}
		return `{"success":true,"result":[]}`
	})
	r, err := dnsprovider.LinkTo(dnsprovider.Cloudflare, map[string]string{"API_TOKEN": secret, "ZONE": "example.com"}, nil, api, "")
	if err != nil {
		t.Fatal(err)
	}
	c := r.Make(t.Context(), "shop.example.com", addrs("203.0.113.7"), false)
	if landward.CodeOf(errOf(c)) != landward.CodeUnavailable || !strings.Contains(c.Err.Message, "cloudflare") || strings.Contains(c.Err.Error()+strings.Join(c.Err.Explain(), ""), secret) {
		t.Errorf("%v", c.Err)
	}
	if token != "Bearer "+secret {
		t.Error("the token was not used")
	}
	// The next change has its turn.
	if c := r.Make(t.Context(), "shop.example.org", addrs("203.0.113.7"), false); landward.CodeOf(errOf(c)) != landward.CodeNotFound {
		t.Errorf("%v", c.Err)
	}
}

func TestRecordsAtCloudflare(t *testing.T) {
	var posted string
	api := roundTrip(func(r *http.Request) string {
		switch {
		case strings.HasSuffix(r.URL.Path, "/zones") && strings.TrimSuffix(r.URL.Query().Get("name"), ".") != "example.com":
			return `{"success":true,"result":[]}`
		case strings.HasSuffix(r.URL.Path, "/zones"):
			return `{"success":true,"result":[{"id":"z1","name":"example.com"}]}`
		case r.Method == http.MethodPost:
			b, _ := io.ReadAll(r.Body)
			posted = string(b)
			return `{"success":true,"result":{"id":"r9","type":"A","name":"shop.example.com","content":"203.0.113.7","ttl":300}}`
		}
		return `{"success":true,"result_info":{"page":1,"per_page":100,"count":1,"total_count":1},"result":[
			{"id":"r1","type":"A","name":"www.example.com","content":"192.0.2.9","ttl":1,"proxied":true}]}`
	})
	r, err := dnsprovider.LinkTo(dnsprovider.Cloudflare, map[string]string{"API_TOKEN": secret}, []string{resolver(t, "", "example.com", "example.org")}, api, "")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"www.example.com":  "kept A www.example.com 192.0.2.9 | error conflict",
		"shop.example.com": "created A shop.example.com 203.0.113.7",
		"shop.example.org": "error not_found",
	} {
		if c := r.Make(t.Context(), host, addrs("203.0.113.7"), false); done(c) != want {
			t.Errorf("%s: %s: %v", host, done(c), c.Err)
		}
	}
	if !strings.Contains(posted, `"content":"203.0.113.7"`) || !strings.Contains(posted, `"ttl":300`) || strings.Contains(posted, `"proxied":true`) {
		t.Errorf("posted %s", posted)
	}
}

// roundTrip answers each request with a JSON text.
type roundTrip func(*http.Request) string

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(f(r))), Request: r}, nil
}
