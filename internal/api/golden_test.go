package api_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"landward/internal/api"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644)) //nolint:gosec // not a secret
		return
	}
	want := string(must(os.ReadFile(file))(t))
	if got != want {
		t.Errorf("%s is out of date; look at what changed and run: go test ./internal/api -update", file)
		gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
		for i := range min(len(gotLines), len(wantLines)) {
			if gotLines[i] != wantLines[i] {
				t.Fatalf("line %d\ngot  %s\nwant %s", i+1, gotLines[i], wantLines[i])
			}
		}
	}
}

// document is what the tests read of the OpenAPI document.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]*schema }
}

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string
	Permission  string `json:"x-permission"`
	Security    []map[string][]string
	Parameters  []struct {
		Name, In string
		Schema   *schema
	}
	RequestBody *struct {
		Content map[string]struct{ Schema *schema }
	}
	Responses map[string]json.RawMessage
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]*schema
	Items      *schema
	Enum       []string
	Additional any `json:"additionalProperties"`
}

func readDocument(t *testing.T, e *env) document {
	t.Helper()
	got := e.request(anonymous, http.MethodGet, "/openapi.json", "")
	var doc document
	check(t, json.Unmarshal([]byte(got.body), &doc))
	return doc
}

func TestTheDocumentIsAsAgreed(t *testing.T) {
	e := newEnv(t)
	golden(t, "testdata/openapi.json", e.request(anonymous, http.MethodGet, "/openapi.json", "").body)
	if got := e.request(anonymous, http.MethodGet, "/openapi.yaml", ""); !strings.Contains(got.body, "openapi: 3.1.0") {
		t.Errorf("the YAML document starts %.100q", got.body)
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	e := newEnv(t)
	doc := readDocument(t, e)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("the document is OpenAPI %q", doc.OpenAPI)
	}
	seen, ids := 0, map[string]bool{}
	for _, r := range e.api.Routes() {
		if !slices.Contains(auth.Permissions(), auth.Permission(r.Permission)) {
			t.Errorf("%s %s declares permission %q", r.Method, r.Path, r.Permission)
		}
		if !strings.HasPrefix(r.Path, "/api/") {
			continue
		}
		seen++
		op, ok := doc.Paths[r.Path][strings.ToLower(r.Method)]
		switch {
		case !ok:
			t.Errorf("%s %s is not in the document", r.Method, r.Path)
		case op.Summary == "" || op.OperationID == "" || ids[op.OperationID]:
			t.Errorf("%s %s: id %q, summary %q", r.Method, r.Path, op.OperationID, op.Summary)
		case op.Permission != r.Permission || (len(op.Security) == 0) != (r.Permission == string(auth.Public)):
			t.Errorf("%s %s: permission %q, security %v", r.Method, r.Path, op.Permission, op.Security)
		case op.Responses["default"] == nil:
			t.Errorf("%s %s: no problem is described", r.Method, r.Path)
		}
		ids[op.OperationID] = true
		for _, p := range placeholder.FindAllStringSubmatch(r.Path, -1) {
			if !slices.ContainsFunc(op.Parameters, func(q struct {
				Name, In string
				Schema   *schema
			},
			) bool {
				return q.Name == p[1] && q.In == "path"
			}) {
				t.Errorf("%s %s: parameter %s is not described", r.Method, r.Path, p[1])
			}
		}
	}
	described := 0
	for _, methods := range doc.Paths {
		described += len(methods)
	}
	if described != seen {
		t.Errorf("%d operations are described, %d exist", described, seen)
	}
}

// failing is verbs of which some fail in a certain way.
type failing struct {
	api.Changes
	err error
}

func (f failing) Configure(context.Context, landward.Actor, int64, deploy.Change) (landward.Deployment, error) {
	return landward.Deployment{}, f.err
}

func (f failing) Rollback(context.Context, landward.Actor, int64, int) (landward.Deployment, error) {
	return landward.Deployment{}, f.err
}

func (f failing) Cancel(context.Context, landward.Actor, int64, int) (landward.Deployment, error) {
	panic("cancel was a bad idea: " + f.err.Error())
}

func TestProblemsLookAsAgreed(t *testing.T) {
	e := newEnv(t)
	var b strings.Builder
	show := func(caller, method, path, body string) {
		got := e.request(caller, method, path, body)
		if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("%s %s: content type %q", method, path, ct)
		}
		if id := got.header.Get("X-Request-Id"); id == "" || !strings.Contains(got.body, id) {
			t.Errorf("%s %s: request id %q is not in %s", method, path, id, got.body)
		}
		fmt.Fprintf(&b, "%s %s %.200s\n%d %s\n", method, path, body, got.status, anyID.ReplaceAllString(got.body, `"request_id":"…"`))
	}
	show(anonymous, "GET", "/api/v1/apps", "")
	show(viewer, "PATCH", "/api/v1/apps/shop/scale", `{"web":2}`)
	show(viewer, "GET", "/api/v1/apps/none", "")
	show(viewer, "GET", "/api/v1/users", "")
	show(admin, "GET", "/api/v1/nowhere", "")
	show(admin, "DELETE", "/api/v1/apps", "")
	show(admin, "POST", "/api/v1/apps", `{"name":"Shop"}`)
	show(admin, "POST", "/api/v1/apps", `{"name":"shop"}`)
	show(admin, "POST", "/api/v1/apps", `{"name":"x","admin":true}`)
	show(admin, "POST", "/api/v1/apps", `{"nane":"x","owner":1}`)
	show(admin, "POST", "/api/v1/apps", `{"name":`)
	show(admin, "POST", "/api/v1/apps", "{\"name\":\"\xff\"}")
	show(admin, "POST", "/api/v1/apps", ``)
	show(admin, "POST", "/api/v1/apps", `{"name":"`+strings.Repeat("a", 2<<20)+`"}`)
	show(admin, "GET", "/api/v1/apps/shop/releases?limit=0", "")
	show(admin, "GET", "/api/v1/apps/shop/releases?colour=red", "")
	show(admin, "GET", "/api/v1/apps/shop/releases/x", "")
	show(admin, "GET", "/api/v1/apps/shop/releases/99", "")
	show(admin, "GET", "/api/v1/apps/shop/logs?since=yesterday", "")
	show(admin, "GET", "/api/v1/apps/shop/exec", "")
	show(admin, "PATCH", "/api/v1/apps/shop/health", `{"web":{"interval":"fast"}}`)
	golden(t, "testdata/problems.txt", b.String())
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	e := newEnv(t)
	for code, want := range map[landward.Code]int{
		landward.CodeInvalid: 422, landward.CodeUnauthenticated: 401, landward.CodeForbidden: 403, landward.CodeNotFound: 404,
		landward.CodeConflict: 409, landward.CodeTooLarge: 413, landward.CodeLimited: 429, landward.CodeUnavailable: 503,
		landward.CodeTimeout: 504, landward.CodeCancelled: 409, landward.CodeFailed: 422, landward.CodePolicy: 422, landward.CodeInternal: 500,
	} {
		err := landward.Errorf(code, "it went wrong").WithCause("line one\nline two").WithHint("do this")
		e.options.Changes = failing{err: fmt.Errorf("roll back: %w", err)}
		e.remake()
		_, got := e.client(owner).Rollback(t.Context(), "shop", 1)
		problem := clientError(t, got)
		if problem.Status != want || problem.Code != string(code) || !slices.Equal(problem.Explain(), err.Explain()) {
			t.Errorf("%s: status %d, code %s, %q", code, problem.Status, problem.Code, problem.Explain())
		}
	}
}

func TestAnErrorOfOursGivesNothingAway(t *testing.T) {
	e := newEnv(t)
	e.options.Changes = failing{err: errSecret}
	e.remake()
	for _, path := range []string{"/api/v1/apps/shop/rollback", "/api/v1/apps/shop/deploys/1/cancel"} { // an error, and a panic
		got := e.request(owner, "POST", path, "{}")
		if got.status != 500 || strings.Contains(got.body, "hunter2") || strings.Contains(got.body, "/srv") {
			t.Errorf("%s: answer %d: %s", path, got.status, got.body)
		}
		if !strings.Contains(e.log.String(), got.header.Get("X-Request-Id")) || !strings.Contains(e.log.String(), "hunter2") {
			t.Errorf("%s: the log does not say what happened", path)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	e := newEnv(t)
	for _, path := range []string{"/api/v1/version", "/api/v1/apps", "/nowhere", "/openapi.json", "/bootstrap"} {
		h := e.request(anonymous, http.MethodGet, path, "").header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}
