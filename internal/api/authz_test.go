package api_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
)

// who may call each route: the matrix that a reviewer reads. A route that is
// not here fails the test.
//
//	public   everybody
//	self     everybody who is known
//	user     every user, but no token that is bound to an app
//	viewer, deployer, owner   whoever has at least that role on the app
//	admin    administrators
var access = map[string]string{
	"GET /openapi.json":      "public",
	"GET /openapi.yaml":      "public",
	"GET /bootstrap":         "public",
	" /git/":                 "public", // it asks for itself
	"GET /api/v1/version":    "public",
	"POST /api/v1/bootstrap": "public",

	"GET /api/v1/certificates":          "self",
	"GET /api/v1/certificate-authority": "self",

	"GET /api/v1/whoami": "self",
	"GET /api/v1/status": "admin",
	"GET /api/v1/doctor": "admin",
	"GET /api/v1/events": "admin",
	"POST /api/v1/plan":  "self",

	"GET /api/v1/users":           "admin",
	"POST /api/v1/users":          "admin",
	"DELETE /api/v1/users/{user}": "admin",

	"GET /api/v1/keys":                  "self",
	"POST /api/v1/keys":                 "self",
	"DELETE /api/v1/keys/{fingerprint}": "self",
	"GET /api/v1/tokens":                "self",
	"POST /api/v1/tokens":               "user",
	"DELETE /api/v1/tokens/{id}":        "self",

	"GET /api/v1/apps":                                  "self",
	"POST /api/v1/apps":                                 "user",
	"GET /api/v1/apps/{app}":                            "viewer",
	"DELETE /api/v1/apps/{app}":                         "owner",
	"POST /api/v1/apps/{app}/stop":                      "owner",
	"POST /api/v1/apps/{app}/start":                     "owner",
	"PUT /api/v1/apps/{app}/maintenance":                "owner",
	"POST /api/v1/apps/{app}/pause":                     "owner",
	"POST /api/v1/apps/{app}/resume":                    "owner",
	"GET /api/v1/apps/{app}/certificates":               "viewer",
	"PUT /api/v1/apps/{app}/certificates/{host}":        "owner",
	"DELETE /api/v1/apps/{app}/certificates/{host}":     "owner",
	"GET /api/v1/apps/{app}/access":                     "viewer",
	"GET /api/v1/apps/{app}/access-log":                 "deployer",
	"GET /api/v1/apps/{app}/domains/{host}/check":       "viewer",
	"PUT /api/v1/apps/{app}/access/{user}":              "owner",
	"DELETE /api/v1/apps/{app}/access/{user}":           "owner",
	"GET /api/v1/apps/{app}/domains":                    "viewer",
	"POST /api/v1/apps/{app}/domains":                   "owner",
	"DELETE /api/v1/apps/{app}/domains/{host}":          "owner",
	"GET /api/v1/apps/{app}/config":                     "deployer",
	"PATCH /api/v1/apps/{app}/config":                   "owner",
	"GET /api/v1/apps/{app}/config/diff":                "deployer",
	"GET /api/v1/apps/{app}/releases":                   "viewer",
	"GET /api/v1/apps/{app}/releases/{version}":         "viewer",
	"POST /api/v1/apps/{app}/releases/{version}/retire": "deployer",
	"POST /api/v1/apps/{app}/rollback":                  "deployer",
	"GET /api/v1/apps/{app}/deploys":                    "viewer",
	"GET /api/v1/apps/{app}/deploys/{number}":           "viewer",
	"GET /api/v1/apps/{app}/deploys/{number}/output":    "deployer",
	"POST /api/v1/apps/{app}/deploys/{number}/cancel":   "deployer",
	"POST /api/v1/apps/{app}/deploys/{number}/promote":  "deployer",
	"POST /api/v1/apps/{app}/deploys/archive":           "deployer",
	"POST /api/v1/apps/{app}/deploys/image":             "deployer",
	"POST /api/v1/apps/{app}/deploys/image-archive":     "deployer",
	"GET /api/v1/apps/{app}/ps":                         "viewer",
	"PATCH /api/v1/apps/{app}/scale":                    "owner",
	"PATCH /api/v1/apps/{app}/resources":                "owner",
	"PATCH /api/v1/apps/{app}/health":                   "owner",
	"POST /api/v1/apps/{app}/restart":                   "owner",
	"GET /api/v1/apps/{app}/cron":                       "viewer",
	"GET /api/v1/apps/{app}/logs":                       "deployer",
	"GET /api/v1/apps/{app}/events":                     "viewer",
	"GET /api/v1/apps/{app}/exec":                       "owner",
	"GET /api/v1/apps/{app}/run":                        "owner",
}

// allowed says whether access lets the caller through.
func allowed(caller, least string) bool {
	if caller == expired {
		return false // even where anybody may: a wrong token is a mistake to hear of
	}
	ranks := []string{viewer, deployer, owner}
	role := map[string]string{viewer: viewer, deployer: deployer, owner: owner, machine: deployer}[caller]
	switch least {
	case "public":
		return true
	case "self":
		return caller != anonymous
	case "user":
		return slices.Contains([]string{viewer, deployer, owner, admin, local}, caller)
	case "admin":
		return caller == admin || caller == local
	}
	return caller == admin || caller == local || slices.Index(ranks, role) >= slices.Index(ranks, least)
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// fill puts things that exist into a route's path; those that a route would
// remove do not, so that every caller finds the same.
func fill(path, app string) string {
	values := map[string]string{
		"app": app, "version": "1", "number": "1", "user": "nobody", "host": "none.example.org", "fingerprint": "SHA256:none", "id": "999999",
	}
	return placeholder.ReplaceAllStringFunc(path, func(p string) string { return values[strings.Trim(p, "{}")] })
}

func TestEveryRouteForEveryCaller(t *testing.T) {
	e := newEnv(t)
	routes := e.api.Routes()
	if len(routes) != len(access) {
		t.Errorf("%d routes, %d in the matrix", len(routes), len(access))
	}
	for _, r := range routes {
		key := r.Method + " " + r.Path
		least, ok := access[key]
		if !ok {
			t.Errorf("%s is not in the matrix", key)
			continue
		}
		for _, caller := range callers {
			if strings.HasPrefix(r.Path, "/git/") || (key == "DELETE /api/v1/apps/{app}" && allowed(caller, least)) {
				continue // the one asks for itself, the other has a test of its own
			}
			t.Run(key+" as "+caller, func(t *testing.T) { e.oneRoute(t, r.Method, r.Path, caller, least) })
		}
	}
}

func (e *env) oneRoute(t *testing.T, method, path, caller, least string) {
	body := ""
	if method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		body = "{}"
	}
	events := len(must(e.store.Events(t.Context(), 0, 0, 0))(t))
	e.clock.Advance(10 * time.Second) // or the limit of wrong tokens hides all else
	got := e.request(caller, method, fill(path, "shop"), body)
	if got.status >= 500 || got.status == http.StatusTooManyRequests {
		t.Fatalf("answer %d: %s", got.status, got.body)
	}
	aboutApp := strings.Contains(path, "{app}")
	hidden := strings.Contains(got.body, "there is no app")
	if allowed(caller, least) {
		if got.status == 401 || hidden || (got.status == 403 && path != "/api/v1/bootstrap") {
			// Somebody who is known may still lack the right to a part of
			// the wish; what the matrix says is that the route lets them in.
			if !strings.Contains(got.body, "somebody else") {
				t.Errorf("allowed, but the answer is %d: %s", got.status, got.body)
			}
		}
		return
	}
	want := http.StatusForbidden
	switch {
	case caller == anonymous || caller == expired:
		want = http.StatusUnauthorized
	case aboutApp && caller == foreign:
		want = http.StatusNotFound
	}
	if got.status != want {
		t.Errorf("answer %d, want %d: %s", got.status, want, got.body)
	}
	if after := len(must(e.store.Events(t.Context(), 0, 0, 0))(t)); after != events {
		t.Errorf("refused, but %d events were written", after-events)
	}
	if want == http.StatusNotFound {
		unknown := e.request(caller, method, fill(path, "none"), body)
		same := strings.ReplaceAll(anyID.ReplaceAllString(got.body, ""), "shop", "none")
		if unknown.status != got.status || anyID.ReplaceAllString(unknown.body, "") != same {
			t.Errorf("a foreign app is told from an unknown one:\n%s\n%s", got.body, unknown.body)
		}
	}
}

var anyID = regexp.MustCompile(`"request_id":\s*"[A-Z0-9]+"`)

func TestWhoMayDeleteAnApp(t *testing.T) {
	for _, caller := range []string{owner, admin, local} {
		e := newEnv(t)
		if got := e.request(caller, http.MethodDelete, "/api/v1/apps/shop", ""); got.status != http.StatusNoContent {
			t.Errorf("%s: answer %d: %s", caller, got.status, got.body)
		}
		if got := e.request(caller, http.MethodGet, "/api/v1/apps/shop", ""); got.status != http.StatusNotFound {
			t.Errorf("%s: a deleted app answers %d", caller, got.status)
		}
	}
}

func TestNobodyGetsMoreThanHeHas(t *testing.T) {
	e := newEnv(t)
	for _, tc := range []struct {
		caller, method, path, body string
		want                       int
	}{
		{viewer, "POST", "/api/v1/tokens", `{"name":"x","app":"shop","role":"viewer"}`, 403},
		{deployer, "POST", "/api/v1/tokens", `{"name":"x","app":"shop","role":"owner"}`, 403},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","app":"other","role":"viewer"}`, 404},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","app":"none","role":"viewer"}`, 404},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","user":"admin"}`, 403},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","role":"owner"}`, 422},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","app":"shop","role":"owner","expires_in":"-1h"}`, 422},
		{machine, "POST", "/api/v1/tokens", `{"name":"x","app":"shop","role":"viewer"}`, 403},
		{owner, "POST", "/api/v1/tokens", `{"name":"x","app":"shop","role":"owner"}`, 201},
		{viewer, "POST", "/api/v1/keys", `{"name":"x","public_key":"` + publicKey + `","user":"admin"}`, 403},
		{machine, "POST", "/api/v1/keys", `{"name":"x","public_key":"` + publicKey + `"}`, 403},
		{local, "POST", "/api/v1/keys", `{"name":"My laptop","public_key":"` + publicKey + `"}`, 422},
		{local, "POST", "/api/v1/keys", `{"name":"x","public_key":"` + publicKey + `","user":"viewer"}`, 201},
		{owner, "DELETE", "/api/v1/keys/" + strings.ReplaceAll(fingerprint, "/", "%2F"), "", 404},
		{viewer, "DELETE", "/api/v1/keys/" + strings.ReplaceAll(fingerprint, "/", "%2F"), "", 204},
		{owner, "PUT", "/api/v1/apps/shop/access/viewer", `{"role":"admin"}`, 422},
		{owner, "PUT", "/api/v1/apps/shop/access/viewer", `{"role":"owner"}`, 204},
		{viewer, "PUT", "/api/v1/apps/shop/access/owner", `{"role":"viewer"}`, 204},
		{owner, "PUT", "/api/v1/apps/shop/access/viewer", `{"role":"viewer"}`, 403},
	} {
		got := e.request(tc.caller, tc.method, tc.path, tc.body)
		if got.status != tc.want {
			t.Errorf("%s: %s %s %s: answer %d, want %d: %s", tc.caller, tc.method, tc.path, tc.body, got.status, tc.want, got.body)
		}
	}
}

func TestListsShowOnlyWhatTheCallerMaySee(t *testing.T) {
	e := newEnv(t)
	for caller, want := range map[string]string{viewer: "shop", foreign: "other", machine: "shop", admin: "other shop", local: "other shop"} {
		var names []string
		for _, app := range must(e.client(caller).Apps(t.Context()))(t) {
			names = append(names, app.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s sees the apps %q, want %q", caller, got, want)
		}
	}
	count := func(caller string) int { return len(must(e.client(caller).Tokens(t.Context()))(t)) }
	if all, own, foreigners := count(admin), count(viewer), count(foreign); all != len(e.tokens) || own != 1 || foreigners != 0 {
		t.Errorf("tokens seen: admin %d, viewer %d, foreign %d", all, own, foreigners)
	}
}

func TestRolesEndAtOnce(t *testing.T) {
	e := newEnv(t)
	app := must(e.store.AppByName(t.Context(), "shop"))(t)
	u := must(e.store.UserByName(t.Context(), viewer))(t)
	check(t, e.store.SetAppRole(t.Context(), app.ID, u.ID, ""))
	if got := e.request(viewer, "GET", "/api/v1/apps/shop", ""); got.status != 404 {
		t.Errorf("without a role the answer is %d", got.status)
	}
	check(t, e.store.SetAppRole(t.Context(), app.ID, u.ID, landward.RoleViewer))
	if got := e.request(viewer, "GET", "/api/v1/apps/shop", ""); got.status != 200 {
		t.Errorf("with a role the answer is %d", got.status)
	}
}
