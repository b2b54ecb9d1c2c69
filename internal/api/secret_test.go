package api_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"landward/client"
	"landward/internal/landward"
	"landward/internal/store"
)

// sentinel is a secret that looks different in every encoding.
const sentinel = `s3nt!nel "<&>" +/é% of this test`

// forms are the ways in which a secret could get out.
func forms(secret string) map[string]string {
	quoted, _ := json.Marshal(secret) // a string always encodes
	out := map[string]string{
		"raw": secret, "json": strings.Trim(string(quoted), `"`), "query": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"hex": hex.EncodeToString([]byte(secret)), "html": html.EscapeString(secret), "json without html": strings.ReplaceAll(secret, `"`, `\"`),
	}
	// Base64 of a text in the middle of another depends on where it starts.
	for shift := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			out[name+string(rune('0'+shift))] = text[4 : len(text)-4]
		}
	}
	return out
}

func TestSecretsAreNeverShown(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(owner)
	for _, v := range []client.Var{{Name: "A"}, {Name: "B", File: true}, {Name: "C", Build: true}} {
		v.Value, v.Secret = sentinel, true
		must(c.ChangeConfig(ctx, "shop", client.ConfigChange{Set: []client.Var{v}}))(t)
	}
	e.release(e.shop().ID)
	must(c.ChangeConfig(ctx, "shop", client.ConfigChange{Set: []client.Var{{Name: "A", Value: "public now"}}, Unset: []string{"B"}}))(t)
	// Requests that go wrong must not come back with what they brought.
	for _, body := range []string{
		`{"set":[{"name":"A","value":` + quote(sentinel) + `,"bogus":1}]}`,
		`{"set":[{"name":"A","value":[` + quote(sentinel) + `]}]}`,
		`{"set":[{"value":` + quote(sentinel) + `}]}`,
		`{"set":[{"name":"A","value":` + quote(sentinel) + `}`,
		`{"set":[{"name":"1A","value":` + quote(sentinel) + `}]}`,
		`{"set":` + quote(sentinel) + `}`,
	} {
		if got := e.request(owner, http.MethodPatch, "/api/v1/apps/shop/config", body); got.status < 400 {
			t.Errorf("%s was taken", body)
		} else {
			refuse(t, "a refused change", got.body, sentinel)
		}
	}
	secrets := []string{sentinel, bootstrapToken}
	for _, token := range e.tokens {
		secrets = append(secrets, token)
	}
	for _, caller := range callers {
		for _, path := range e.readable(t) {
			got := e.request(caller, http.MethodGet, path, "")
			text := got.body
			for name, values := range got.header {
				text += "\n" + name + ": " + strings.Join(values, ",")
			}
			for _, s := range secrets {
				refuse(t, caller+" GET "+path, text, s)
			}
		}
	}
	for _, s := range secrets {
		refuse(t, "the log", e.log.String(), s)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always encodes
	return string(b)
}

func refuse(t *testing.T, where, text, secret string) {
	t.Helper()
	for name, form := range forms(secret) {
		if strings.Contains(text, form) {
			t.Errorf("%s shows a secret (%s): %.300s", where, name, text)
		}
	}
}

// readable returns every path that GET reads, with all that exists filled in.
func (e *env) readable(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, r := range e.api.Routes() {
		if r.Method != http.MethodGet {
			continue
		}
		path := fill(r.Path, "shop")
		paths = append(paths, path)
		switch {
		case strings.Contains(r.Path, "{version}"):
			for _, v := range must(e.store.Releases(t.Context(), e.shop().ID, 0))(t) {
				paths = append(paths, strings.Replace(path, "/releases/1", "/releases/"+itoa(v.Version), 1))
			}
		case strings.Contains(r.Path, "{number}"):
			for _, d := range must(e.store.Deployments(t.Context(), e.shop().ID, 0))(t) {
				paths = append(paths, strings.Replace(path, "/deploys/1", "/deploys/"+itoa(d.Number), 1))
			}
		case strings.HasSuffix(r.Path, "/diff"):
			for _, query := range []string{"?from=2", "?from=2&to=5", "?from=5&to=2", "?from=5&to=6", "?to=6", "?from=6&to=7"} {
				paths = append(paths, path+query)
			}
		case strings.HasSuffix(r.Path, "/logs"):
			paths = append(paths, path+"?router=true&tail=10")
		}
	}
	return paths
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestAFailureCanBeRead(t *testing.T) {
	e := newEnv(t)
	d := must(e.store.CreateDeployment(t.Context(), store.NewDeployment{AppID: e.shop().ID, State: landward.StateQueued, Actor: landward.System}))(t)
	f := &landward.Failure{Step: "building", Code: landward.CodeFailed, Message: "RUN make failed", Cause: "a\nb", Hint: "look"}
	must(e.store.End(t.Context(), d.ID, landward.StateFailed, f, ""))(t)
	got := must(e.client(viewer).Deployment(t.Context(), "shop", d.Number))(t)
	if strings.Join(got.Failure.Explain(), "|") != "RUN make failed|a|b|look" {
		t.Errorf("the failure reads %q", got.Failure.Explain())
	}
}
