package manifest_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

func TestParseRoutes(t *testing.T) {
	m, err := manifest.Parse(corpus(t, "valid")["routes"])
	if err != nil {
		t.Fatal(err)
	}
	want := landward.Routing{
		HTTPS: landward.HTTPSRedirect,
		Paths: []landward.PathRule{{Prefix: "/api/v2", Process: "api-two"}, {Prefix: "/api", Process: "api", Strip: true}},
		Redirects: []landward.Redirect{
			{Host: "www.example.com", To: "https://example.com", Code: 301},
			{Path: "/old", To: "/new", Code: 308},
			{Path: "/blog/*", To: "https://blog.example.com/*"},
			{Path: "/", To: "/start?from=root"},
		},
		Headers: landward.Headers{
			Set:      []landward.Header{{Name: "X-Robots-Tag", Value: "noindex"}, {Name: "Cache-Control", Value: "no-cache, private"}},
			Remove:   []string{"Server", "X-Powered-By"},
			Security: landward.SwitchOn,
		},
		Auth: landward.Auth{
			Basic:   []landward.BasicUser{{Name: "alice", Hash: "$2y$10$0123456789012345678901abcdefghijklmnopqrstuvwxyz01234"}},
			Realm:   "Staff only",
			Forward: landward.ForwardAuth{URL: "http://auth.example.com:8080/check?x=1", Copy: []string{"X-User"}},
			Allow:   []string{"10.0.0.0/8", "203.0.113.7", "2001:db8::/32"},
			Deny:    []string{"203.0.113.66"},
		},
		Rate: landward.Rate{Requests: 100, Per: time.Minute, Burst: 20},
		Body: 50 << 20, Timeout: 90 * time.Second, Compress: landward.SwitchOff, Sticky: true, Protocol: landward.ProtocolH2C,
		Errors: landward.ErrorPages{Dir: "public/errors", Replace: true},
		Idle:   landward.Idle{SleepAfter: 30 * time.Minute},
		Static: landward.Static{Dir: "dist", Fallback: "app/index.html", Immutable: []string{"/assets/", "/", "/x"}},
		Strategy: landward.Strategy{Kind: landward.StrategyCanary, Steps: []int{5, 25, 100}, StepTime: 2 * time.Minute,
			MaxErrors: 0.005, MaxP95: 500 * time.Millisecond, Cookie: "canary"},
	}
	if !reflect.DeepEqual(m.Routes, want) {
		t.Errorf("got  %+v\nwant %+v", m.Routes, want)
	}
	text, err := json.Marshal(m.Routes)
	if err != nil {
		t.Fatal(err)
	}
	var back landward.Routing
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("%v: JSON gives %+v", err, back)
	}
}

func TestParseRoutesShort(t *testing.T) {
	canary := landward.Strategy{Kind: landward.StrategyCanary}
	tests := map[string]landward.Routing{
		"routes-short": {HTTPS: landward.HTTPSOff, Compress: landward.SwitchOn, Errors: landward.ErrorPages{Dir: "public/errors"},
			Headers: landward.Headers{Security: landward.SwitchOff}, Redirects: []landward.Redirect{{To: "https://example.com"}}, Strategy: canary},
		"redirects": {
			Redirects: []landward.Redirect{
				{Host: "*.example.com", To: "https://example.com/*"}, {Path: "/*", To: "/new/*"},
				{Path: "/a/b/*", To: "https://[2001:db8::1]:8443/*"}, {Path: "/q", To: "/?a=b#c"}, {Path: "/x/*", To: "https://example.com"},
			},
			Static:   landward.Static{Dir: "."},
			Strategy: landward.Strategy{Kind: landward.StrategyCanary, Steps: []int{10}},
		},
		"routes-empty": {},
		"whole":        {},
		"canary":       {Strategy: canary},
		"blue-green":   {Strategy: landward.Strategy{Kind: landward.StrategyBlueGreen}},
	}
	for name, want := range tests {
		if m, err := manifest.Parse(corpus(t, "valid")[name]); err != nil || !reflect.DeepEqual(m.Routes, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, m.Routes, want)
		}
	}
}

func TestWhere(t *testing.T) {
	m, err := manifest.Parse(corpus(t, "valid")["routes"])
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"routes":                         "landward.yaml:2",
		"routes.https":                   "landward.yaml:2",
		"routes.paths[0].process":        "landward.yaml:5", // the longest prefix is first
		"routes.paths[1]":                "landward.yaml:4",
		"routes.paths[7]":                "landward.yaml:3",
		"routes.redirects[2].to":         "landward.yaml:9",
		"routes.auth.basic.users.alice":  "landward.yaml:18",
		"routes.auth.basic.nothing.here": "landward.yaml:16",
		"routes.errors.dir":              "landward.yaml:28",
		"deploy.strategy.canary.cookie":  "landward.yaml:32",
		"services.web":                   "",
		"":                               "",
	} {
		if got := m.Where(name); got != want {
			t.Errorf("%s is at %q, want %q", name, got, want)
		}
	}
	m, err = manifest.Parse([]byte("routes:\n  error_pages: x\n"))
	if err != nil || m.Where("routes.errors.dir") != "landward.yaml:2" {
		t.Errorf("%v %q", err, m.Where("routes.errors.dir"))
	}
}

// TestRoutesHints holds that a mistake is met with what to write instead.
func TestRoutesHints(t *testing.T) {
	for text, want := range map[string]string{
		"routes: {redirect: []}":                                      `did you mean "redirects"?`,
		"routes: {protocol: h2cc}":                                    `did you mean "h2c"?`,
		"deploy: {strategy: bluegreen}":                               `did you mean "blue-green"?`,
		"routes: {auth: {basic: {users: {bob: x}}}}":                  "`htpasswd -nB bob`",
		"deploy: {strategy: {canary: {abort_on: {errors: 1}}}}":       "write 1%",
		"routes: {body: 50MB, timeuot: 1s}":                           `did you mean "timeout"?`,
		"routes: {redirects: [{path: /x, too: /y}]}":                  `did you mean "to"?`,
		"routes: {headers: {set: {X-A: 1}}}":                          `put it in quotes: "1"`,
		"routes: {auth: {allow: [10.0.0.1/8]}}":                       "10.0.0.0/8",
		"deploy: {strategy: {canary: {steps: [5, 100], evry: 1m}}}":   `did you mean "every"?`,
		"routes: {paths: [{prefix: /api/, process: web}], https: on}": "none last",
	} {
		_, err := manifest.Parse([]byte(text))
		if hint := landward.AsError(err).Hint; err == nil || !strings.Contains(hint, want) {
			t.Errorf("%s: %v\nhint %q, want %q", text, err, hint, want)
		}
	}
}

// TestSecretsAreNotShown holds that a password given in place of its hash is
// not repeated, in an error that a build log keeps.
func TestSecretsAreNotShown(t *testing.T) {
	_, err := manifest.Parse([]byte("routes: {auth: {basic: {users: {bob: hunter2}}}}"))
	if err == nil || strings.Contains(strings.Join(landward.AsError(err).Explain(), "\n"), "hunter2") {
		t.Error(err)
	}
}

// TestSchemaHasTheRoutesKeys asks the parser at each place below routes and
// deploy which keys it knows and compares them with the schema's.
func TestSchemaHasTheRoutesKeys(t *testing.T) {
	var doc any
	if err := json.Unmarshal(manifest.Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	at := func(path string) any {
		v := doc
		for key := range strings.SplitSeq("$defs/"+path, "/") {
			m, ok := v.(map[string]any)
			if !ok || m[key] == nil {
				t.Fatalf("the schema has no %s", path)
			}
			v = m[key]
		}
		return v
	}
	for text, path := range map[string]string{
		"routes: {zzz: 1}":                                   "routes",
		"routes: {paths: [{zzz: 1}]}":                        "pathRule",
		"routes: {redirects: [{zzz: 1}]}":                    "redirect",
		"routes: {headers: {zzz: 1}}":                        "headers",
		"routes: {auth: {zzz: 1}}":                           "auth",
		"routes: {auth: {basic: {zzz: 1}}}":                  "auth/properties/basic",
		"routes: {auth: {forward: {zzz: 1}}}":                "auth/properties/forward",
		"routes: {rate: {zzz: 1}}":                           "rate",
		"routes: {errors: {zzz: 1}}":                         "errors",
		"routes: {idle: {zzz: 1}}":                           "idle",
		"routes: {static: {zzz: 1}}":                         "static",
		"deploy: {zzz: 1}":                                   "deploy",
		"deploy: {strategy: {canary: {zzz: 1}}}":             "canary",
		"deploy: {strategy: {canary: {abort_on: {zzz: 1}}}}": "canary/properties/abort_on",
	} {
		_, err := manifest.Parse([]byte(text))
		_, list, _ := strings.Cut(landward.AsError(err).Hint, "known keys: ")
		got := map[string]bool{}
		for key := range strings.SplitSeq(list, ", ") {
			got[key] = true
		}
		want := map[string]bool{}
		for key := range at(path + "/properties").(map[string]any) {
			want[key] = true
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nparser: %v\nschema: %v", text, got, want)
		}
	}
}

// TestDocs holds that what the documentation shows can be copied.
func TestDocs(t *testing.T) {
	s := schema(t)
	snippet := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, name := range []string{"routing.md", "deploying.md"} {
		text, err := os.ReadFile("../../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		list := snippet.FindAllSubmatch(text, -1)
		if len(list) == 0 {
			t.Errorf("%s has no snippets", name)
		}
		for _, sub := range list {
			if _, err := manifest.Parse(sub[1]); err != nil {
				t.Errorf("%s: %v\n%s", name, err, sub[1])
			}
			if err := validate(s, sub[1]); err != nil {
				t.Errorf("%s: schema: %v\n%s", name, err, sub[1])
			}
		}
	}
}
