package api_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/api"
	"landward/internal/auth"
)

const (
	publicKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGO50zQFwVgH2sOCZdjOoqQgC4+nOtylUxVTA83PVnGo"
	fingerprint = "SHA256:+lyP/GOdw2TptxtG3r6geLgVDR36LtsKfEV+wP4NK5o"
)

func TestWhoTheServerTakesTheCallerFor(t *testing.T) {
	e := newEnv(t)
	for caller, want := range map[string]client.Whoami{
		viewer:  {Kind: "user", Name: viewer, Apps: map[string]string{"shop": "viewer"}},
		machine: {Kind: "token", Name: machine, Apps: map[string]string{"shop": "deployer"}},
		admin:   {Kind: "user", Name: admin, Admin: true, Apps: map[string]string{}},
		local:   {Kind: "local", Name: "root", Admin: true, Apps: map[string]string{}},
	} {
		got := must(e.client(caller).Whoami(t.Context()))(t)
		if got.Kind != want.Kind || got.Name != want.Name || got.Admin != want.Admin || len(got.Apps) != len(want.Apps) || got.Apps["shop"] != want.Apps["shop"] {
			t.Errorf("%s is %+v, want %+v", caller, got, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	e := newEnv(t)
	token := e.tokens[viewer]
	for name, tc := range map[string]struct {
		header []string
		query  string
		want   int
	}{
		"bearer":              {[]string{"Bearer " + token}, "", 200},
		"bearer, lower case":  {[]string{"bearer " + token}, "", 200},
		"basic password":      {[]string{basic("anything", token)}, "", 200},
		"basic user":          {[]string{basic(token, "")}, "", 200},
		"wrong":               {[]string{"Bearer lw_" + strings.Repeat("a", 43)}, "", 401},
		"cut short":           {[]string{"Bearer " + token[:20]}, "", 401},
		"another scheme":      {[]string{"Digest " + token}, "", 401},
		"two":                 {[]string{"Bearer " + token, "Bearer " + token}, "", 401},
		"none":                {nil, "", 401},
		"in the query":        {nil, "?access_token=" + token, 401},
		"query beside header": {[]string{"Bearer " + token}, "?token=" + token, 422},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.server.URL+"/api/v1/whoami"+tc.query, nil)
		check(t, err)
		req.Header["Authorization"] = tc.header
		got := e.do(e.server.Client().Transport, req)
		if got.status != tc.want {
			t.Errorf("%s: answer %d, want %d: %s", name, got.status, tc.want, got.body)
		}
		if got.status == 401 && got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a 401 without WWW-Authenticate", name)
		}
	}
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestWrongTokensAreLimited(t *testing.T) {
	e := newEnv(t)
	e.tokens["guess"] = "lw_" + strings.Repeat("a", 43)
	limited := 0
	for range 100 {
		if got := e.request("guess", http.MethodGet, "/api/v1/whoami", ""); got.status == 429 {
			limited++
		}
	}
	if limited < 50 {
		t.Errorf("%d of 100 guesses were limited", limited)
	}
	if got := e.request(viewer, http.MethodGet, "/api/v1/whoami", ""); got.status != 429 {
		t.Errorf("a limited address learns that a token is right: %d", got.status)
	}
	if got := e.request(local, http.MethodGet, "/api/v1/whoami", ""); got.status != 200 {
		t.Errorf("root over the unix socket is limited too: %d", got.status)
	}
	e.clock.Advance(time.Hour)
	if got := e.request(viewer, http.MethodGet, "/api/v1/whoami", ""); got.status != 200 {
		t.Errorf("an hour later the answer is %d", got.status)
	}
}

func TestBootstrapIsLimited(t *testing.T) {
	e := newEnv(t)
	var last int
	for range 100 {
		last = e.request(anonymous, http.MethodPost, "/api/v1/bootstrap", `{"token":"lwboot_wrong","name":"eve"}`).status
	}
	if last != 429 {
		t.Errorf("the 100th guess answers %d", last)
	}
}

func TestOnlyAPeerOfTheSocketIsRoot(t *testing.T) {
	e := newEnv(t)
	for name, header := range map[string]string{"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=x", "Via": "1.1 edge", "X-Real-Ip": "::1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://landward.localhost/api/v1/whoami", nil)
		check(t, err)
		req.Header.Set(name, header)
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.socket)
		}}
		if got := e.do(transport, req); got.status != 401 {
			t.Errorf("a request that a proxy passed on (%s) answers %d: %s", name, got.status, got.body)
		}
	}
	a, b := net.Pipe()
	defer a.Close() //nolint:errcheck // a test's
	defer b.Close() //nolint:errcheck // a test's
	req, err := http.NewRequestWithContext(api.LocalConn(t.Context(), a), http.MethodGet, "/api/v1/whoami", nil)
	check(t, err)
	rec := newRecorder()
	e.api.ServeHTTP(rec, req)
	if rec.status != 401 {
		t.Errorf("a connection without peer credentials answers %d", rec.status)
	}
}

func TestTheEdgeNamesTheCaller(t *testing.T) {
	e := newEnv(t)
	guess := func(ctx context.Context, from string) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/whoami", nil)
		check(t, err)
		req.RemoteAddr = "@"
		req.Header.Set("X-Forwarded-For", from)
		req.Header.Set("Authorization", "Bearer lw_"+strings.Repeat("a", 43))
		rec := newRecorder()
		e.api.ServeHTTP(rec, req)
		return rec.status
	}
	edge := api.EdgeConn(t.Context(), nil)
	for range 100 {
		guess(edge, "203.0.113.9, 198.51.100.1")
	}
	if got := guess(edge, "203.0.113.10, 198.51.100.1"); got != 429 {
		t.Errorf("the address that the edge adds is not the one that counts: %d", got)
	}
	if got := guess(edge, "198.51.100.1, 203.0.113.9"); got != 401 {
		t.Errorf("an address that the client made up counts: %d", got)
	}
	if got := guess(t.Context(), "198.51.100.1"); got != 401 {
		t.Errorf("anybody's header counts: %d", got)
	}
}

func TestOtherSitesCannotCall(t *testing.T) {
	e := newEnv(t)
	for name, header := range map[string][2]string{
		"cross-site":   {"Sec-Fetch-Site", "cross-site"},
		"same-site":    {"Sec-Fetch-Site", "same-site"},
		"other origin": {"Origin", "https://evil.example"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.server.URL+"/api/v1/apps", strings.NewReader(`{"name":"stolen"}`))
		check(t, err)
		req.Header.Set("Authorization", "Bearer "+e.tokens[admin])
		req.Header.Set(header[0], header[1])
		if got := e.do(e.server.Client().Transport, req); got.status != 403 {
			t.Errorf("%s: answer %d: %s", name, got.status, got.body)
		}
	}
	if got := e.request(admin, http.MethodGet, "/api/v1/apps/stolen", ""); got.status != 404 {
		t.Error("another site made an app")
	}
}

func TestARouteWithoutPermissionStopsTheProgram(t *testing.T) {
	for _, p := range []auth.Permission{"", "made.up"} {
		if err := api.NewWithRoute(newEnv(t).options, p); err == nil || !strings.Contains(err.Error(), "declares no permission") {
			t.Errorf("permission %q: New returned %v", p, err)
		}
	}
	if err := api.NewWithRoute(newEnv(t).options, auth.Self); err != nil {
		t.Errorf("a declared permission: New returned %v", err)
	}
}

func TestARequiredPartIsMissed(t *testing.T) {
	o := newEnv(t).options
	o.Doctor = nil
	if _, err := api.New(o); err == nil {
		t.Error("New returned no error without a Doctor")
	}
}

// recorder is an answer whose status is looked at.
type recorder struct {
	header http.Header
	status int
}

func newRecorder() *recorder                    { return &recorder{header: http.Header{}} }
func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
