package manifest_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

func TestParseAppJSON(t *testing.T) {
	got, err := manifest.ParseAppJSON([]byte(`{
  "name": "hello", "stack": "heroku-24", "addons": ["x"], "buildpacks": [{"url": "y"}],
  "env": {
    "PLAIN": "value",
    "SECRET": {"generator": "secret", "description": "a key"},
    "OPTIONAL": {"required": false},
    "NEEDED": {"description": "must be set"}
  },
  "formation": {"web": {"quantity": 2, "size": "basic"}, "worker": {"quantity": 0}},
  "healthchecks": {
    "web": [
      {"type": "liveness", "path": "/alive"},
      {"type": "startup", "path": "/up", "attempts": 10, "wait": 2, "timeout": 0.5, "initialDelay": 5},
      {"type": "startup", "command": ["true"]}
    ]
  },
  "scripts": {"postdeploy": "x", "dokku": {"predeploy": "./migrate up", "postdeploy": "y"}},
  "cron": [{"command": "./clean", "schedule": "0 * * * *"}, {"command": "./b", "schedule": "@daily", "concurrency_policy": "forbid"}]
}`))
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.AppJSON{
		Env: []landward.EnvDecl{
			{Name: "PLAIN", Value: "value", Required: true},
			{Name: "SECRET", Description: "a key", Required: true, Generate: true},
			{Name: "OPTIONAL"},
			{Name: "NEEDED", Description: "must be set", Required: true},
		},
		Formation: map[string]int{"web": 2, "worker": 0},
		Health: map[string]landward.Health{"web": {
			Path: "/up", Interval: 2 * time.Second, Timeout: 500 * time.Millisecond, Grace: 30 * time.Second,
		}},
		Release: argv("./migrate", "up"),
		Cron: []landward.Cron{
			{Name: "cron-1", Schedule: "0 * * * *", Command: argv("./clean"), Overlap: landward.OverlapAllow},
			{Name: "cron-2", Schedule: "@daily", Command: argv("./b"), Overlap: landward.OverlapForbid},
		},
		Notices: []string{
			`app.json:12: a healthcheck of type "liveness" has no use here`,
			`app.json:14: a healthcheck that runs a command has no use here; give it a path`,
			"app.json:17: scripts.postdeploy is not run; use a release command for what must happen once per release",
			"app.json:17: scripts.dokku.predeploy runs as the release command, in a container of its own",
			"app.json:17: scripts.dokku.postdeploy is not run; use a release command for what must happen once per release",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseAppJSONHealthDefaults(t *testing.T) {
	got, err := manifest.ParseAppJSON([]byte(`{"healthchecks": {"web": [{"type": "startup", "path": "/up"}]}}`))
	if err != nil || got.Health["web"] != (landward.Health{Path: "/up"}) {
		t.Errorf("health = %+v, %v", got.Health, err)
	}
}

func TestParseAppJSONRefuses(t *testing.T) {
	tests := map[string]string{
		"[]":                                    "app.json:1: app.json must be a mapping, not a list",
		"{\n\"env\": [\n]}":                     "app.json:2: env must be a mapping, not a list",
		"{\"env\": {\n\"A\": 1}}":               "app.json:2: env.A must be text or a mapping, not a number",
		"{\"env\": {\"A\": {\"value\": true}}}": "app.json:1: env.A.value must be text, not true or false",
		"{\"env\": {\"A\": {\"required\": \"no\"}}}":              "app.json:1: env.A.required must be true or false",
		"{\"env\": {\"A\": {\"generator\": \"uuid\"}}}":           `app.json:1: env.A.generator must be "secret"`,
		"{\"env\": {\n\n\"A B\": \"x\"}}":                         `app.json:3: "A B" is not a variable name`,
		"{\"formation\": {\"web\": {\"quantity\": \"2\"}}}":       "app.json:1: formation.web.quantity must be a number, not text",
		"{\"formation\": {\"web\": {\"quantity\": -1}}}":          "app.json:1: formation.web.quantity is -1",
		"{\"formation\": {\"Web\": {}}}":                          `app.json:1: "Web" is not a process name`,
		"{\"healthchecks\": {\"web\": {}}}":                       "app.json:1: healthchecks.web must be a list",
		"{\"healthchecks\": {\"web\": [{\"wait\": 1e9}]}}":        "app.json:1: healthchecks.web.wait is 1e9",
		"{\"healthchecks\": {\"web\": [{\"path\": \"x\"}]}}":      `app.json:1: healthchecks.web.path is "x"`,
		"{\"cron\": [{\"command\": \"x\"}]}":                      "app.json:1: a cron job needs both",
		"{\"cron\": [{\"command\": \"x\", \"schedule\": \"x\"}]}": `app.json:1: "x" is not a schedule`,
		"{\"a\": 1,\n\"a\": 2}":                                   `app.json:2: key "a" is given twice`,
		"{\"a\": 1\n\n,}":                                         "app.json:3: not valid JSON",
		"{\"a\": 1":                                               "app.json:1: not valid JSON: the file ends too early",
		"":                                                        "app.json:1: not valid JSON",
		"{}\n{}":                                                  "app.json:2: there is more",
		"{\"a\": \"\xff\"}":                                       "app.json:1: the file is not UTF-8 text",
		strings.Repeat("[", 100) + strings.Repeat("]", 100):       "app.json:1: the file is nested more than 24 levels deep",
	}
	for text, want := range tests {
		_, err := manifest.ParseAppJSON([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: err = %v, want %s", text, err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{"1K": 1 << 10, "256M": 256 << 20, "1.5g": 3 << 29, "2GiB": 2 << 30, "3kb": 3 << 10, "1T": 1 << 40}
	for s, want := range good {
		if got, err := manifest.ParseSize(s); err != nil || got != want {
			t.Errorf("%s = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "256", "M", "-1M", "1 M", "1E", "99999999999999T", "1.M"} {
		if got, err := manifest.ParseSize(s); err == nil {
			t.Errorf("%q = %d, want an error", s, got)
		}
	}
}

func FuzzParseAppJSON(f *testing.F) {
	f.Add([]byte(`{"env": {"A": {"value": "x"}}, "formation": {"web": {"quantity": 2}}}`))
	f.Add([]byte(`{"healthchecks": {"web": [{"path": "/up"}]}, "cron": [{"command": "x", "schedule": "@daily"}]}`))
	f.Add([]byte("{\"a\": [1, true, null]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := manifest.ParseAppJSON(data)
		if err == nil {
			return
		}
		if e := landward.AsError(err); e.Code != landward.CodeInvalid || !strings.HasPrefix(e.Field, "app.json") {
			t.Errorf("err = %v", err)
		}
	})
}
