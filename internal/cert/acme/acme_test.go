package acme_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"landward/internal/cert/acme"
	"landward/internal/landward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memory is a Store.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (m *memory) Read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if data, ok := m.files[name]; ok {
		return data, nil
	}
	return nil, os.ErrNotExist
}

func (m *memory) Write(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string][]byte{}
	}
	m.files[name] = data
	return nil
}

// fakeCA answers as an ACME server up to the step that a test is about.
type fakeCA struct {
	*httptest.Server
	order   func(w http.ResponseWriter) // newOrder
	account func(w http.ResponseWriter) // newAccount
}

func newFakeCA(t testing.TB) *fakeCA {
	f := &fakeCA{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dir", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order"}`, f.URL)
	})
	nonce := func(w http.ResponseWriter) { w.Header().Set("Replay-Nonce", rand()) }
	mux.HandleFunc("HEAD /nonce", func(w http.ResponseWriter, _ *http.Request) { nonce(w) })
	mux.HandleFunc("POST /account", func(w http.ResponseWriter, r *http.Request) {
		nonce(w)
		if f.account != nil {
			f.account(w)
			return
		}
		w.Header().Set("Location", f.URL+"/account/1")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"status":"valid"}`)
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		nonce(w)
		f.order(w)
	})
	f.Server = httptest.NewTLSServer(mux)
	t.Cleanup(f.Close)
	return f
}

var counter struct {
	sync.Mutex
	n int
}

func rand() string {
	counter.Lock()
	defer counter.Unlock()
	counter.n++
	return fmt.Sprintf("nonce-%d", counter.n)
}

func (f *fakeCA) client(t testing.TB, change func(*acme.Options)) *acme.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.Certificate())
	o := acme.Options{Directory: f.URL + "/dir", Roots: roots, Store: &memory{}, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	c, err := acme.New(o)
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail})
}

func TestProblemsAreExplained(t *testing.T) {
	ca := newFakeCA(t)
	for _, c := range []struct {
		kind   string
		status int
		code   landward.Code
		says   string
	}{
		{"rateLimited", 429, landward.CodeLimited, "rate limit"},
		{"rejectedIdentifier", 400, landward.CodeFailed, "does not issue for a.example.com"},
		{"caa", 403, landward.CodeFailed, "CAA record"},
		{"connection", 400, landward.CodeFailed, "port 80"},
		{"dns", 400, landward.CodeFailed, "could not look up"},
		{"unauthorized", 403, landward.CodeFailed, "something else"},
		{"externalAccountRequired", 403, landward.CodeFailed, "external account"},
		{"somethingNew", 400, landward.CodeFailed, "gave no certificate"},
	} {
		ca.order = func(w http.ResponseWriter) { problem(w, c.status, c.kind, "because\x1b[31m of this") }
		_, err := ca.client(t, nil).Obtain(t.Context(), acme.Order{Name: "a.example.com", Challenge: acme.HTTP01})
		var f *acme.Failure
		if !errors.As(err, &f) {
			t.Fatalf("%s: %v", c.kind, err)
		}
		if f.Validation {
			t.Errorf("%s: a failed validation, though nothing was validated", c.kind)
		}
		if f.Reason.Code != c.code || !strings.Contains(f.Reason.Message, c.says) ||
			!strings.Contains(f.Reason.Cause, "because") || strings.Contains(f.Reason.Cause, "\x1b") {
			t.Errorf("%s: %v", c.kind, f.Reason.Explain())
		}
	}
}

func TestRetryAfterIsHeard(t *testing.T) {
	ca := newFakeCA(t)
	for header, want := range map[string]time.Duration{
		"7200": 2 * time.Hour, "": 0, "soon": 0, "-5": 0, "99999999": 24 * time.Hour,
		time.Now().Add(3 * time.Hour).UTC().Format(http.TimeFormat): 3 * time.Hour,
	} {
		ca.order = func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", header)
			problem(w, http.StatusTooManyRequests, "rateLimited", "too many")
		}
		_, err := ca.client(t, nil).Obtain(t.Context(), acme.Order{Name: "a.example.com", Challenge: acme.HTTP01})
		var f *acme.Failure
		if !errors.As(err, &f) || f.RetryAfter > want || f.RetryAfter < want-time.Minute {
			t.Errorf("%q: %v, %+v", header, err, f)
		}
	}
}

func TestEndlessAnswerIsCut(t *testing.T) {
	ca := newFakeCA(t)
	ca.order = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	_, err := ca.client(t, nil).Obtain(t.Context(), acme.Order{Name: "a.example.com", Challenge: acme.HTTP01})
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("%v", err)
	}
}

func TestObtainEndsWithItsContext(t *testing.T) {
	ca := newFakeCA(t)
	ctx, cancel := context.WithCancel(t.Context())
	ca.order = func(http.ResponseWriter) { cancel() }
	if _, err := ca.client(t, nil).Obtain(ctx, acme.Order{Name: "a.example.com", Challenge: acme.HTTP01}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAccountIsKept(t *testing.T) {
	ca := newFakeCA(t)
	registered := 0
	ca.account = func(w http.ResponseWriter) {
		registered++
		w.Header().Set("Location", ca.URL+"/account/1")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"valid"}`)
	}
	known := true
	ca.order = func(w http.ResponseWriter) {
		if !known {
			known = true
			problem(w, http.StatusBadRequest, "accountDoesNotExist", "who?")
			return
		}
		problem(w, http.StatusBadRequest, "malformed", "enough")
	}
	store := &memory{}
	for range 2 {
		c := ca.client(t, func(o *acme.Options) { o.Store = store })
		_, err := c.Obtain(t.Context(), acme.Order{Name: "a.example.com", Challenge: acme.HTTP01})
		if err == nil {
			t.Fatal("a certificate")
		}
	}
	key := string(store.files["account.key"])
	if registered != 1 || key == "" {
		t.Errorf("registered %d times", registered)
	}
	known = false
	c := ca.client(t, func(o *acme.Options) { o.Store = store })
	_, err := c.Obtain(t.Context(), acme.Order{Name: "a.example.com", Challenge: acme.HTTP01})
	if registered != 2 || !strings.Contains(err.Error(), "enough") {
		t.Errorf("registered %d times: %v", registered, err)
	}
	if string(store.files["account.key"]) != key {
		t.Error("another key")
	}
}

func TestChallenges(t *testing.T) {
	c, err := acme.New(acme.Options{Directory: "https://ca.example/dir", DNS: map[string]acme.DNSProvider{"Example.com.": &zone{}}})
	check(t, err)
	for name, want := range map[string]string{
		"a.example.org":   "http-01 tls-alpn-01",
		"a.example.com":   "http-01 tls-alpn-01 dns-01",
		"example.com":     "http-01 tls-alpn-01 dns-01",
		"xexample.com":    "http-01 tls-alpn-01",
		"*.a.example.com": "dns-01",
		"*.example.org":   "dns-01", // may be delegated
	} {
		if got := strings.Join(c.Challenges(name), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	c, err = acme.New(acme.Options{Directory: "https://ca.example/dir"})
	check(t, err)
	if got := c.Challenges("*.example.com"); got != nil {
		t.Errorf("without a provider: %v", got)
	}
}

// zone is a provider whose records a name server shows, or never does.
type zone struct {
	mu     sync.Mutex
	text   map[string]string
	hidden bool
	gone   int
}

func (z *zone) AppendRecords(_ context.Context, in string, list []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.text == nil {
		z.text = map[string]string{}
	}
	for _, r := range list {
		z.text[libdns.AbsoluteName(r.RR().Name, in)] = r.RR().Data
	}
	return list, nil
}

func (z *zone) DeleteRecords(_ context.Context, _ string, list []libdns.Record) ([]libdns.Record, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.gone += len(list)
	return list, nil
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	if text, ok := z.text[q.Question[0].Name]; ok && !z.hidden && q.Question[0].Qtype == dns.TypeTXT {
		m.Answer = append(m.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text},
		})
	}
	head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
	switch {
	case head.Rrtype == dns.TypeNS && head.Name == "example.com.":
		m.Answer = append(m.Answer, &dns.NS{Hdr: head, Ns: "ns.example.net."})
	case head.Rrtype == dns.TypeA && head.Name == "ns.example.net.":
		m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
	}
	_ = w.WriteMsg(m)
}

func (z *zone) serve(t testing.TB) (addr string) {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	started, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{PacketConn: p, Handler: z, NotifyStartedFunc: func() { close(started) }}
	go func() { done <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		check(t, s.Shutdown())
		check(t, <-done)
	})
	return p.LocalAddr().String()
}

// pending makes the CA hand out an order with a DNS-01 challenge.
func (f *fakeCA) pending() {
	mux := f.Config.Handler.(*http.ServeMux)
	reply := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Replay-Nonce", rand())
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(body, "URL", f.URL))
	}
	f.order = func(w http.ResponseWriter) {
		reply(w, http.StatusCreated, `{"status":"pending","authorizations":["URL/authz"],"finalize":"URL/finalize"}`)
	}
	mux.HandleFunc("POST /authz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, `{"status":"pending","identifier":{"type":"dns","value":"example.com"},"wildcard":true,
			"challenges":[{"type":"dns-01","url":"URL/chall","token":"tok","status":"pending"}]}`)
	})
	mux.HandleFunc("POST /chall", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Replay-Nonce", rand())
		problem(w, http.StatusForbidden, "unauthorized", "asked for the proof")
	})
}

func TestRecordIsAwaited(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		z := &zone{hidden: hidden}
		ca := newFakeCA(t)
		ca.pending()
		addr := z.serve(t)
		c := ca.client(t, func(o *acme.Options) {
			o.DNS, o.Resolvers, o.Propagation = map[string]acme.DNSProvider{"example.com": z}, []string{addr}, time.Second
			if !hidden {
				o.Propagation = time.Minute
			}
		})
		_, err := c.Obtain(t.Context(), acme.Order{Name: "*.example.com", Challenge: acme.DNS01})
		var f *acme.Failure
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		want := "something else" // the CA was told to look
		if hidden {
			want = "was not seen"
		}
		if !strings.Contains(f.Reason.Message, want) || f.Validation {
			t.Errorf("hidden %v: %v", hidden, f.Reason.Explain())
		}
		if z.gone != 1 || z.text["_acme-challenge.example.com."] == "" {
			t.Errorf("records %v, %d removed", z.text, z.gone)
		}
	}
}

// TestZonesOwnServersAreAsked has no resolvers set: the system's lead to the
// servers of the zone, which is a part of another.
func TestZonesOwnServersAreAsked(t *testing.T) {
	z := &zone{}
	ca := newFakeCA(t)
	ca.pending()
	addr := netip.MustParseAddrPort(z.serve(t))
	c := ca.client(t, func(o *acme.Options) {
		o.DNS = map[string]acme.DNSProvider{"apps.example.com": z, "example.com": z}
	})
	c.System(addr.String(), addr.Port())
	_, err := c.Obtain(t.Context(), acme.Order{Name: "*.example.com", Challenge: acme.DNS01})
	if err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("the record was not seen: %v", err)
	}
}

func TestNoProviderNoOrder(t *testing.T) {
	z := &zone{}
	ca := newFakeCA(t)
	ca.order = func(http.ResponseWriter) { t.Error("an order was placed") }
	addr := z.serve(t)
	c := ca.client(t, func(o *acme.Options) {
		o.DNS, o.Resolvers = map[string]acme.DNSProvider{"example.com": z}, []string{addr}
	})
	_, err := c.Obtain(t.Context(), acme.Order{Name: "*.example.org", Challenge: acme.DNS01})
	if err == nil || !strings.Contains(err.Error(), "no DNS provider is set for _acme-challenge.example.org") {
		t.Errorf("%v", err)
	}
}
