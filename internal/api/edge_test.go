package api_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/client"
	"landward/internal/api"
	"landward/internal/landward"
)

// rootPEM stands for a certificate: the API hands it on as it is.
const rootPEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

// fakeCerts has a certificate for each app, one of the installation's own host,
// and the pairs that were brought.
type fakeCerts struct {
	mu    sync.Mutex
	pairs map[string]string // host → certificate
	root  string
	err   error
}

func (f *fakeCerts) Certificates(context.Context) ([]client.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []client.Certificate{
		{Host: "landward.example.test", Source: client.CertificateACME},
		{Host: "other.example.test", App: "other", Source: client.CertificateNone, LastError: "no CA"},
		{Host: "shop.example.test", App: "shop", Source: client.CertificateACME, Names: []string{"shop.example.test"}},
	}
	for _, host := range slices.Sorted(maps.Keys(f.pairs)) {
		out = append(out, client.Certificate{Host: host, Source: client.CertificateOwn})
	}
	return out, f.err
}

func (f *fakeCerts) PutCertificate(_ context.Context, host string, c client.NewCertificate) (client.Certificate, error) {
	if !strings.HasPrefix(c.Certificate, "good") {
		return client.Certificate{}, landward.Invalid("certificate", "there is no certificate in the file")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pairs[host] = c.Certificate
	return client.Certificate{Host: host, Source: client.CertificateOwn}, nil
}

func (f *fakeCerts) RemoveCertificate(_ context.Context, host string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.pairs[host]; !ok {
		return landward.Errorf(landward.CodeNotFound, "%s has no key pair of its own", host)
	}
	delete(f.pairs, host)
	return nil
}

func (f *fakeCerts) LocalRoot(context.Context) (string, error) { return f.root, f.err }

// fakeDNS knows no host.
type fakeDNS struct{}

func (fakeDNS) CheckDomain(_ context.Context, host string) (client.DomainReport, error) {
	return client.DomainReport{Host: host, Wanted: []string{"203.0.113.7"}, Problems: []string{host + " does not exist."}}, nil
}

// fakeAccess has three lines, one of them cut off, and keeps the last query.
type fakeAccess struct {
	mu sync.Mutex
	q  api.AccessQuery
	id int64
}

func (f *fakeAccess) Read(_ context.Context, appID int64, q api.AccessQuery, fn func([]byte) error) error {
	f.mu.Lock()
	f.q, f.id = q, appID
	f.mu.Unlock()
	for _, line := range []string{
		`{"at":"2030-01-01T00:00:00.000Z","app_id":1,"method":"GET","path":"/a","host":"shop.example.test","status":200,"out":12,"ms":1.5,"id":"one","ip":"192.0.2.1","proto":"HTTP/2.0","scheme":"https"}`,
		`{"at":"2030-01-01T00:00:00.0`,
		`{"at":"2030-01-01T00:00:01.000Z","app_id":1,"method":"GET","path":"/b","host":"shop.example.test","status":502,"code":"no_unit","id":"two"}`,
	} {
		if err := fn([]byte(line)); err != nil {
			return err
		}
	}
	return nil
}

func TestTraffic(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(owner)
	check(t, c.SetMaintenance(ctx, "shop", client.Maintenance{On: true, Message: "Back at noon."}))
	check(t, c.Pause(ctx, "shop", 0))
	app := must(c.App(ctx, "shop"))(t)
	if !app.Maintenance || app.Message != "Back at noon." || !app.Paused || app.Asleep {
		t.Errorf("the app stands as %+v", app)
	}
	check(t, c.SetMaintenance(ctx, "shop", client.Maintenance{}))
	check(t, c.Resume(ctx, "shop"))
	if app = must(c.App(ctx, "shop"))(t); app.Maintenance || app.Message != "" || app.Paused {
		t.Errorf("the app still stands as %+v", app)
	}
	for _, m := range []client.Maintenance{
		{Message: "and off"}, {On: true, Message: "two\nlines"}, {On: true, Message: "\x1b[2J"}, {On: true, Message: strings.Repeat("é", 300)},
	} {
		if err := c.SetMaintenance(ctx, "shop", m); clientError(t, err).Field != "message" {
			t.Errorf("%+.40v: %v", m, err)
		}
	}
	var kinds []string
	for _, ev := range must(e.client(viewer).Events(ctx, client.EventQuery{App: "shop", Limit: 4}))(t) {
		kinds = append(kinds, ev.Kind)
	}
	if !slices.Equal(kinds, []string{"traffic.resume", "maintenance.off", "traffic.pause", "maintenance.on"}) {
		t.Errorf("the events are %q", kinds)
	}
}

func TestCertificates(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	hosts := func(list []client.Certificate, err error) string {
		check(t, err)
		var out []string
		for _, c := range list {
			out = append(out, c.Host)
		}
		return strings.Join(out, " ")
	}
	for caller, want := range map[string]string{
		viewer: "shop.example.test", machine: "shop.example.test", foreign: "other.example.test",
		admin: "landward.example.test other.example.test shop.example.test", local: "landward.example.test other.example.test shop.example.test",
	} {
		if got := hosts(e.client(caller).Certificates(ctx)); got != want {
			t.Errorf("%s sees %q, want %q", caller, got, want)
		}
	}
	pair := client.NewCertificate{Certificate: "good", Key: sentinel}
	c := e.client(owner)
	if _, err := c.PutCertificate(ctx, "shop", "www.example.org", pair); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("a host that is not the app's: %v", err)
	}
	must(c.AddDomain(ctx, "shop", client.NewDomain{Host: "www.example.org"}))(t)
	for _, host := range []string{"WWW.example.org.", "shop.example.test"} {
		must(c.PutCertificate(ctx, "shop", host, pair))(t)
	}
	if got := hosts(c.AppCertificates(ctx, "shop")); got != "shop.example.test shop.example.test www.example.org" {
		t.Errorf("the app's certificates are %q", got)
	}
	_, err := c.PutCertificate(ctx, "shop", "www.example.org", client.NewCertificate{Certificate: "bad", Key: sentinel})
	if clientError(t, err).Field != "certificate" {
		t.Errorf("a bad pair: %v", err)
	}
	refuse(t, "the error", fmt.Sprint(clientError(t, err).Explain()), sentinel)
	check(t, c.RemoveCertificate(ctx, "shop", "www.example.org"))
	if err := c.RemoveCertificate(ctx, "shop", "www.example.org"); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("removed twice: %v", err)
	}
	var kinds []string
	for _, ev := range must(c.Events(ctx, client.EventQuery{App: "shop"}))(t) {
		if strings.HasPrefix(ev.Kind, "cert.") {
			kinds = append(kinds, ev.Kind+" "+ev.Message)
		}
		refuse(t, "an event", fmt.Sprint(ev), sentinel)
	}
	want := []string{"cert.remove took the certificate of www.example.org away", "cert.put brought a certificate for shop.example.test", "cert.put brought a certificate for www.example.org"}
	if !slices.Equal(kinds, want) {
		t.Errorf("the events are %q", kinds)
	}
	refuse(t, "the log", e.log.String(), sentinel)
}

// A key comes back in no answer, whatever is wrong with the request.
func TestAKeyIsNotEchoed(t *testing.T) {
	e := newEnv(t)
	for _, body := range []string{
		`{"certificate":"good","key":[` + quote(sentinel) + `]}`,
		`{"certificate":"good","key":` + quote(sentinel) + `,"bogus":1}`,
		`{"key":` + quote(sentinel) + `}`,
		`{"certificate":"bad","key":` + quote(sentinel) + `}`,
		`{"certificate":"good","key":` + quote(sentinel),
		`{"certificate":"good","key":` + quote(sentinel) + `}`,
		`{"certificate":"good","key":` + quote(strings.Repeat(sentinel, 20_000)) + `}`,
	} {
		got := e.request(owner, http.MethodPut, "/api/v1/apps/shop/certificates/shop.example.test", body)
		refuse(t, "the answer", got.body, sentinel)
	}
	refuse(t, "the log", e.log.String(), sentinel)
}

// An administrator takes a pair away whose domain the app has no more; an owner
// has no say over it.
func TestAPairOutlivesItsDomain(t *testing.T) {
	e := newEnv(t)
	e.certs.pairs["gone.example.org"] = "good"
	if err := e.client(owner).RemoveCertificate(t.Context(), "shop", "gone.example.org"); client.CodeOf(err) != client.CodeNotFound || len(e.certs.pairs) != 1 {
		t.Errorf("an owner: %v", err)
	}
	check(t, e.client(admin).RemoveCertificate(t.Context(), "shop", "GONE.example.org"))
	if len(e.certs.pairs) != 0 {
		t.Error("the pair is still there")
	}
}

func TestHostsOfAnApp(t *testing.T) {
	app := landward.App{Name: "shop", Settings: landward.Settings{Domains: []string{"*.example.com", "www.example.org"}}}
	for host, want := range map[string]bool{
		"shop.example.test": true, "www.example.org": true, "*.example.com": true, "a.example.com": true,
		"example.com": false, "a.b.example.com": false, "*.b.example.com": false, "example.org": false, "*.example.org": false,
		"other.example.test": false, "example.test": false, "*": false, "": false,
	} {
		if got := api.HasHost(app, "example.test", host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	other := landward.App{ID: 1, Name: "other", Settings: landward.Settings{Domains: []string{"b.example.com", "www.example.org"}}}
	for host, want := range map[string]bool{
		"a.example.com": true, "b.example.com": false, "*.example.com": true, "shop.example.test": true, "other.example.test": false,
		"www.example.org": true, // the store lets no two apps have it
	} {
		if got := api.SpeaksFor(app, []landward.App{app, other}, "example.test", host); got != want {
			t.Errorf("speaks for %q: %v", host, got)
		}
	}
	for in, want := range map[string]string{
		"*.Example.com.": "*.example.com", "EXAMPLE.com": "example.com",
		"*": "", "*.": "", "*.*.com": "", "a.*.com": "", "**.com": "", "": "", "a b": "", "*.a/b": "",
	} {
		if got, ok := landward.NormalDomain(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q became %q, %v", in, got, ok)
		}
	}
}

func TestTheLocalAuthority(t *testing.T) {
	e := newEnv(t)
	if _, err := e.client(viewer).LocalRoot(t.Context()); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("without one: %v", err)
	}
	e.certs.root = rootPEM
	if got := must(e.client(viewer).LocalRoot(t.Context()))(t); got != rootPEM {
		t.Errorf("the root is %q", got)
	}
}

func TestCheckDomain(t *testing.T) {
	e := newEnv(t)
	r := must(e.client(viewer).CheckDomain(t.Context(), "shop", "SHOP.example.test"))(t)
	if r.OK || r.Host != "shop.example.test" || r.Found == nil || r.Records == nil || !slices.Equal(r.Problems, []string{"shop.example.test does not exist."}) {
		t.Errorf("the report is %+v", r)
	}
	for _, host := range []string{"www.example.org", "other.example.test", "a b", "*"} {
		if _, err := e.client(admin).CheckDomain(t.Context(), "shop", host); client.CodeOf(err) != client.CodeNotFound {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestAccessLog(t *testing.T) {
	e := newEnv(t)
	since := e.clock.Now().Add(-time.Hour).UTC()
	var ids []string
	for line, err := range e.client(deployer).AccessLog(t.Context(), "shop", client.AccessQuery{Since: since, Tail: 5, Status: "5xx"}) {
		check(t, err)
		ids = append(ids, line.ID)
	}
	if !slices.Equal(ids, []string{"one", "two"}) {
		t.Errorf("the lines are %q", ids)
	}
	want := api.AccessQuery{Since: since, Tail: 5, MinStatus: 500, MaxStatus: 599}
	if e.access.q != want || e.access.id != e.shop().ID {
		t.Errorf("asked for %+v of app %d", e.access.q, e.access.id)
	}
	for status, bounds := range map[string][2]int{"": {}, "404": {404, 404}, "1xx": {100, 199}} {
		if got := e.request(deployer, http.MethodGet, "/api/v1/apps/shop/access-log?status="+status, ""); got.status != 200 {
			t.Errorf("%q: answer %d", status, got.status)
		}
		if e.access.q.MinStatus != bounds[0] || e.access.q.MaxStatus != bounds[1] {
			t.Errorf("%q: asked for %+v", status, e.access.q)
		}
	}
	for _, query := range []string{"status=6xx", "status=xx", "status=4040", "status=5Xx", "tail=10001", "tail=-1"} {
		if got := e.request(deployer, http.MethodGet, "/api/v1/apps/shop/access-log?"+query, ""); got.status != 422 {
			t.Errorf("%s: answer %d: %s", query, got.status, got.body)
		}
	}
}

// What an installation lacks is said, in the words of any other problem.
func TestPartsThatAreNotThere(t *testing.T) {
	e := newEnv(t)
	e.options.Certs, e.options.Domains, e.options.Access = nil, nil, nil
	e.remake()
	for path, method := range map[string]string{
		"/certificates": "GET", "/apps/shop/certificates": "GET", "/certificate-authority": "GET", "/apps/shop/access-log": "GET",
		"/apps/shop/domains/shop.example.test/check": "GET", "/apps/shop/certificates/shop.example.test": "DELETE",
	} {
		got := e.request(admin, method, "/api/v1"+path, "")
		if got.status != 503 || !strings.Contains(got.body, `"code":"unavailable"`) || !strings.Contains(got.body, "hint") {
			t.Errorf("%s %s: answer %d: %s", method, path, got.status, got.body)
		}
	}
	if _, err := e.client(owner).PutCertificate(t.Context(), "shop", "shop.example.test", client.NewCertificate{Certificate: "good", Key: "k"}); client.CodeOf(err) != client.CodeUnavailable {
		t.Errorf("a pair: %v", err)
	}
}

// An error of the certificate store is not shown to callers.
func TestAnErrorOfTheCertificatesGivesNothingAway(t *testing.T) {
	e := newEnv(t)
	e.certs.err = errors.Join(errSecret)
	for _, path := range []string{"/certificates", "/apps/shop/certificates", "/certificate-authority"} {
		if got := e.request(admin, http.MethodGet, "/api/v1"+path, ""); got.status != 500 || strings.Contains(got.body, "hunter2") {
			t.Errorf("%s: answer %d: %s", path, got.status, got.body)
		}
	}
}

func TestDomainsThatAreRefused(t *testing.T) {
	e := newEnv(t)
	for host, hint := range map[string]string{
		"*": "first: *.example.com", "*.": "first: *.example.com", "*.*.example.com": "first: *.example.com", "a.*.example.com": "first: *.example.com",
		"a*.example.com": "first: *.example.com", "*example.com": "first: *.example.com", "*.com": "domain of your own", "com": "without scheme",
		"https://example.com": "without scheme", "*.example.test": "its own name", "*.shop.example.test": "its own name", "x.example.test": "its own name",
	} {
		_, err := e.client(owner).AddDomain(t.Context(), "shop", client.NewDomain{Host: host})
		if p := clientError(t, err); p.Code != client.CodeInvalid || !strings.Contains(p.Hint, hint) {
			t.Errorf("%q: %q", host, p.Explain())
		}
	}
	if got := e.shop().Settings.Domains; len(got) > 0 {
		t.Errorf("the app has the domains %q", got)
	}
}
