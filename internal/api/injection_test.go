package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// validBodies are a request for each operation with a JSON body, with every
// string field that its schema has. $ stands for a number that makes it new.
var validBodies = map[string]string{
	"bootstrap":       `{"token":"lwboot_x","name":"ada"}`,
	"create-app":      `{"name":"app-$"}`,
	"set-access":      `{"role":"viewer"}`,
	"add-domain":      `{"host":"d$.example.org"}`,
	"change-config":   `{"set":[{"name":"V$","value":"v$"}],"unset":["KEEP"]}`,
	"rollback":        `{"version":1}`,
	"deploy-image":    `{"ref":"alpine:$"}`,
	"scale":           `{"web":1}`,
	"set-resources":   `{"web":{"memory":67108864}}`,
	"set-health":      `{"web":{"path":"/p$","interval":"1s","timeout":"2s","grace":"3s"}}`,
	"set-maintenance": `{"on":true,"message":"m$"}`,
	"pause-app":       `{"max_pause":"5s"}`,
	"put-certificate": `{"certificate":"c$","key":"k$"}`,
	"create-user":     `{"name":"user-$"}`,
	"add-key":         `{"name":"k$","public_key":"` + publicKey + `","user":"viewer"}`,
	"create-token":    `{"name":"t$","app":"shop","role":"viewer","user":"viewer","expires_in":"1h"}`,
}

// payloads are what has broken platforms like this one.
func payloads(canary string) []string {
	return []string{
		";touch " + canary, "$(touch " + canary + ")", "`touch " + canary + "`", "|touch " + canary, "&&touch " + canary,
		"x\ntouch " + canary, "x\rtouch " + canary, "' ; touch " + canary + " '", `" ; touch ` + canary + ` "`,
		"--upload-pack=touch " + canary, "-oProxyCommand=touch " + canary, "--help", "-",
		"../../etc/passwd", "..", "/etc/passwd", "a/../../b", ".git", "CON", "%2e%2e%2f", "..\\..\\x",
		"\x00", "a\x00b", strings.Repeat("A", 10_000), "\u202etxt.exe", "\x1b[2J\x1b]0;owned\x07", "\u009b31m",
		"<img src=x onerror=alert(1)>", "{{.}}", "${jndi:ldap://x}", "' OR 1=1 --", "%s%n%d", "\ufeff", "\ud7ff", "ＡＤＭＩＮ", "", " ",
	}
}

func TestNoFieldIsEverRun(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	before := children(t)
	e := newEnv(t)
	doc := readDocument(t, e)
	n := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			in := injection{t: t, e: e, doc: doc, method: strings.ToUpper(method), path: path, op: op, n: &n}
			for _, payload := range payloads(canary) {
				in.parameters(payload)
				in.body(payload)
			}
		}
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("a payload was run: the canary exists")
	}
	if after := children(t); after != before {
		t.Errorf("a process was started: %+v, before %+v", after, before)
	}
	if n < 2500 {
		t.Errorf("only %d requests were tried", n)
	}
}

// children is what the kernel counts for processes that were started and waited
// for, and lists of those that were not.
func children(t *testing.T) string {
	t.Helper()
	var r syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_CHILDREN, &r))
	lists, err := filepath.Glob("/proc/self/task/*/children")
	check(t, err)
	running := ""
	for _, list := range lists {
		data, _ := os.ReadFile(list) // the thread may be gone
		running += string(data)
	}
	return fmt.Sprintf("%d faults, %d switches, running %q", r.Minflt, r.Nvcsw, running)
}

// injection tries payloads in every string of one operation.
type injection struct {
	t            *testing.T
	e            *env
	doc          document
	method, path string
	op           operation
	n            *int
}

// parameters puts the payload into each parameter of path and query.
func (in injection) parameters(payload string) {
	for _, p := range in.op.Parameters {
		if in.op.OperationID == "get-logs" && p.Name == "follow" {
			continue
		}
		path, query := in.path, ""
		if p.In == "path" {
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(payload), 1)
		} else {
			query = "?" + p.Name + "=" + url.QueryEscape(payload)
		}
		body := ""
		if in.method != http.MethodGet && in.method != http.MethodDelete {
			body = in.valid()
		}
		if payload == "" || payload == ".." {
			continue // they name another path
		}
		in.try(p.Name, fill(path, "shop")+query, body)
	}
}

// body puts the payload into each string of the body, keys of maps too.
func (in injection) body(payload string) {
	if in.op.RequestBody == nil || in.op.RequestBody.Content["application/json"].Schema == nil {
		return
	}
	var valid any
	check(in.t, json.Unmarshal([]byte(in.valid()), &valid))
	leaves := in.leaves(in.op.RequestBody.Content["application/json"].Schema, "")
	for _, leaf := range leaves {
		var tree any
		check(in.t, json.Unmarshal([]byte(in.valid()), &tree))
		if !put(&tree, strings.Split(leaf, "."), payload) {
			in.t.Fatalf("%s: the body in validBodies lacks %s", in.op.OperationID, leaf)
		}
		body, err := json.Marshal(tree)
		check(in.t, err)
		state := in.state()
		got := in.try(leaf, fill(strings.Replace(in.path, "{user}", viewer, 1), "shop"), string(body))
		switch {
		case got.status >= 400:
			if after := in.state(); after != state {
				in.t.Errorf("%s %s=%.60q was refused (%d), but something changed:\n%s\n%s", in.op.OperationID, leaf, payload, got.status, state, after)
			}
		case !in.returned(payload, leaf):
			in.t.Errorf("%s %s=%.60q was taken, but is not returned as it was: %s", in.op.OperationID, leaf, payload, got.body)
		}
	}
}

func (in injection) valid() string {
	body, ok := validBodies[in.op.OperationID]
	if !ok && in.op.RequestBody != nil && in.op.RequestBody.Content["application/json"].Schema != nil {
		in.t.Fatalf("%s has no row in validBodies", in.op.OperationID)
	}
	return strings.ReplaceAll(body, "$", fmt.Sprint(*in.n))
}

func (in injection) try(field, path, body string) response {
	*in.n++
	got := in.e.request(local, in.method, path, body)
	if got.status >= 500 {
		in.t.Errorf("%s %s: %s answers %d: %s", in.method, path, field, got.status, got.body)
	}
	return got
}

// state is what a refused request must not change.
func (in injection) state() string {
	ctx := in.t.Context()
	settings, err := json.Marshal(in.e.shop().Settings)
	check(in.t, err)
	return fmt.Sprint(len(must(in.e.store.Events(ctx, 0, 0, 0))(in.t)), len(must(in.e.store.Apps(ctx))(in.t)),
		len(must(in.e.store.Users(ctx))(in.t)), len(must(in.e.store.Tokens(ctx))(in.t)),
		len(must(in.e.store.Deployments(ctx, in.e.shop().ID, 0))(in.t)), string(settings))
}

// returned reports whether some GET gives the text back, byte for byte. Some
// fields choose something and are stored nowhere.
func (in injection) returned(text, leaf string) bool {
	if text == "" && slices.Contains([]string{"interval", "timeout", "grace", "path", "expires_in", "app", "user", "role", "message"}, leaf[strings.LastIndex(leaf, ".")+1:]) {
		return true // as good as not given
	}
	for _, path := range []string{
		"/api/v1/apps/shop/config", "/api/v1/apps", "/api/v1/users", "/api/v1/tokens", "/api/v1/keys",
		"/api/v1/apps/shop/releases?limit=1", "/api/v1/apps/shop/deploys?limit=1", "/api/v1/apps/shop/domains",
	} {
		var tree any
		check(in.t, json.Unmarshal([]byte(in.e.request(local, http.MethodGet, path, "").body), &tree))
		if slices.Contains(texts(tree), text) {
			return true
		}
	}
	return false
}

// texts returns every string in a JSON value.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, texts(x)...)
		}
		return out
	case map[string]any:
		out := slices.Collect(maps.Keys(v))
		for _, x := range v {
			out = append(out, texts(x)...)
		}
		return out
	}
	return nil
}

// leaves returns the path of every string in a schema: "set.0.name"; "*" is
// the key of a map.
func (in injection) leaves(s *schema, at string) []string {
	if s.Ref != "" {
		s = in.doc.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	join := func(name string) string { return strings.TrimPrefix(at+"."+name, ".") }
	var out []string
	if isType(s.Type, "string") {
		out = append(out, at)
	}
	for name, p := range s.Properties {
		out = append(out, in.leaves(p, join(name))...)
	}
	if s.Items != nil {
		out = append(out, in.leaves(s.Items, join("0"))...)
	}
	if more, ok := s.Additional.(map[string]any); ok {
		var inner schema
		data, err := json.Marshal(more)
		check(in.t, err)
		check(in.t, json.Unmarshal(data, &inner))
		out = append(out, join("*"))
		out = append(out, in.leaves(&inner, join("web"))...)
	}
	return out
}

func isType(t any, want string) bool {
	if list, ok := t.([]any); ok {
		return slices.Contains(list, any(want))
	}
	return t == want
}

// put replaces the string at path with text.
func put(tree *any, path []string, text string) bool {
	if len(path) == 0 {
		*tree = text
		return true
	}
	switch v := (*tree).(type) {
	case []any:
		return len(v) > 0 && put(&v[0], path[1:], text)
	case map[string]any:
		if path[0] == "*" {
			for key, value := range v {
				delete(v, key)
				v[text] = value
				return true
			}
			return false
		}
		child, ok := v[path[0]]
		if ok && put(&child, path[1:], text) {
			v[path[0]] = child
			return true
		}
	}
	return false
}
