package guard_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

// routing is one that uses every field.
func routing(t *testing.T) landward.Routing {
	t.Helper()
	return landward.Routing{
		HTTPS:     landward.HTTPSOff,
		Paths:     []landward.PathRule{{Prefix: "/api", Process: "api", Strip: true}, {Prefix: "/ws", Process: "socket-server"}},
		Redirects: []landward.Redirect{{Host: "www.example.com", To: "https://example.com", Code: 308}, {Path: "/old/*", To: "/new/*"}},
		Headers: landward.Headers{Set: []landward.Header{{Name: "Content-Security-Policy", Value: "default-src 'self'"}},
			Remove: []string{"Server"}, Security: landward.SwitchOn},
		Auth: landward.Auth{
			Basic: []landward.BasicUser{{Name: "ada", Hash: hashOf(t, "secret", 4)}}, Realm: "Staging",
			Forward: landward.ForwardAuth{URL: "https://auth.example.com/verify", Copy: []string{"Remote-User"}},
			Allow:   []string{"10.0.0.0/8", "2001:db8::/32"}, Deny: []string{"10.0.0.1"},
		},
		Rate:     landward.Rate{Requests: 100, Per: time.Minute, Burst: 200},
		Body:     10 << 20,
		Timeout:  2 * time.Minute,
		Compress: landward.SwitchOff,
		Sticky:   true,
		Protocol: landward.ProtocolH2C,
		Errors:   landward.ErrorPages{Dir: "public/errors", Replace: true},
		Idle:     landward.Idle{SleepAfter: 30 * time.Minute},
		Static:   landward.Static{Dir: "./dist/", Fallback: "index.html", Immutable: []string{"/assets/", "/img"}},
		Strategy: landward.Strategy{Kind: landward.StrategyCanary, Steps: []int{5, 25, 100}, StepTime: time.Minute, MaxErrors: 0.01,
			MaxP95: 500 * time.Millisecond, Cookie: "canary"},
	}
}

func TestCheck(t *testing.T) {
	if err := guard.Check(landward.Routing{}); err != nil {
		t.Errorf("what an app says that says nothing: %v", err)
	}
	if err := guard.Check(routing(t)); err != nil {
		t.Errorf("what an app says that says all: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	type R = landward.Routing
	for name, tc := range map[string]struct {
		change func(*R)
		field  string
	}{
		"mode":             {func(r *R) { r.HTTPS = "on" }, "routes.https"},
		"compress":         {func(r *R) { r.Compress = "yes" }, "routes.compress"},
		"protocol":         {func(r *R) { r.Protocol = "h3" }, "routes.protocol"},
		"no prefix":        {func(r *R) { r.Paths[1].Prefix = "" }, "routes.paths[1].prefix"},
		"root":             {func(r *R) { r.Paths[1].Prefix = "/" }, "routes.paths[1].prefix"},
		"prefix twice":     {func(r *R) { r.Paths[1].Prefix = "/api" }, "routes.paths[1].prefix"},
		"prefix slash":     {func(r *R) { r.Paths[0].Prefix = "/api/" }, "routes.paths[0].prefix"},
		"process":          {func(r *R) { r.Paths[1].Process = "API" }, "routes.paths[1].process"},
		"no process":       {func(r *R) { r.Paths[0].Process = "" }, "routes.paths[0].process"},
		"redirect":         {func(r *R) { r.Redirects[1].To = "//x" }, "routes.redirects[1].to"},
		"redirect code":    {func(r *R) { r.Redirects[0].Code = 418 }, "routes.redirects[0].code"},
		"set":              {func(r *R) { r.Headers.Set[0].Value = "a\nb" }, "routes.headers.set[0]"},
		"remove":           {func(r *R) { r.Headers.Remove[0] = "Date" }, "routes.headers.remove[0]"},
		"security":         {func(r *R) { r.Headers.Security = "no" }, "routes.headers.security"},
		"hash":             {func(r *R) { r.Auth.Basic[0].Hash = "x" }, "routes.auth.basic[0].hash"},
		"user":             {func(r *R) { r.Auth.Basic[0].Name = "" }, "routes.auth.basic[0].name"},
		"realm":            {func(r *R) { r.Auth.Realm = "\x00" }, "routes.auth.realm"},
		"forward":          {func(r *R) { r.Auth.Forward.URL = "x" }, "routes.auth.forward.url"},
		"copy":             {func(r *R) { r.Auth.Forward.Copy[0] = "Host" }, "routes.auth.forward.copy[0]"},
		"allow":            {func(r *R) { r.Auth.Allow[1] = "x" }, "routes.auth.allow[1]"},
		"deny":             {func(r *R) { r.Auth.Deny[0] = "x" }, "routes.auth.deny[0]"},
		"rate":             {func(r *R) { r.Rate.Requests = -1 }, "routes.rate.requests"},
		"per":              {func(r *R) { r.Rate.Per = -1 }, "routes.rate.per"},
		"burst":            {func(r *R) { r.Rate.Burst = -1 }, "routes.rate.burst"},
		"body":             {func(r *R) { r.Body = -1 }, "routes.body"},
		"large body":       {func(r *R) { r.Body = math.MaxInt64 }, "routes.body"},
		"timeout":          {func(r *R) { r.Timeout = -1 }, "routes.timeout"},
		"long timeout":     {func(r *R) { r.Timeout = 25 * time.Hour }, "routes.timeout"},
		"idle":             {func(r *R) { r.Idle.SleepAfter = -1 }, "routes.idle.sleep_after"},
		"errors up":        {func(r *R) { r.Errors.Dir = "../x" }, "routes.errors.dir"},
		"errors absolute":  {func(r *R) { r.Errors.Dir = "/etc" }, "routes.errors.dir"},
		"errors dots":      {func(r *R) { r.Errors.Dir = "a/../../x" }, "routes.errors.dir"},
		"errors backslash": {func(r *R) { r.Errors.Dir = `a\b` }, "routes.errors.dir"},
		"replace nothing":  {func(r *R) { r.Errors.Dir = "" }, "routes.errors.replace"},
		"static NUL":       {func(r *R) { r.Static.Dir = "a\x00" }, "routes.static.dir"},
		"static up":        {func(r *R) { r.Static.Dir = ".." }, "routes.static.dir"},
		"no static":        {func(r *R) { r.Static.Dir = "" }, "routes.static.dir"},
		"fallback":         {func(r *R) { r.Static.Fallback = "/index.html" }, "routes.static.fallback"},
		"immutable":        {func(r *R) { r.Static.Immutable[1] = "assets" }, "routes.static.immutable[1]"},
		"immutable twice":  {func(r *R) { r.Static.Immutable[1] = "/assets/" }, "routes.static.immutable[1]"},
		"many immutable":   {func(r *R) { r.Static.Immutable = make([]string, 65) }, "routes.static.immutable"},
		"strategy":         {func(r *R) { r.Strategy.Kind = "x" }, "routes.strategy.kind"},
		"steps of none":    {func(r *R) { r.Strategy.Kind = landward.StrategyRolling }, "routes.strategy.steps"},
		"canary's of none": {func(r *R) { r.Strategy.Kind, r.Strategy.Steps = "", nil }, "routes.strategy.kind"},
		"steps fall":       {func(r *R) { r.Strategy.Steps = []int{5, 5, 100} }, "routes.strategy.steps[1]"},
		"first step":       {func(r *R) { r.Strategy.Steps = []int{0, 100} }, "routes.strategy.steps[0]"},
		"over 100":         {func(r *R) { r.Strategy.Steps = []int{5, 101} }, "routes.strategy.steps[1]"},
		"many steps":       {func(r *R) { r.Strategy.Steps = make([]int, 33) }, "routes.strategy.steps"},
		"step time":        {func(r *R) { r.Strategy.StepTime = -1 }, "routes.strategy.step_time"},
		"errors share":     {func(r *R) { r.Strategy.MaxErrors = 1.1 }, "routes.strategy.max_errors"},
		"errors below 0":   {func(r *R) { r.Strategy.MaxErrors = -0.1 }, "routes.strategy.max_errors"},
		"errors NaN":       {func(r *R) { r.Strategy.MaxErrors = math.NaN() }, "routes.strategy.max_errors"},
		"p95":              {func(r *R) { r.Strategy.MaxP95 = -1 }, "routes.strategy.max_p95"},
		"cookie":           {func(r *R) { r.Strategy.Cookie = "a;b" }, "routes.strategy.cookie"},
		"long cookie":      {func(r *R) { r.Strategy.Cookie = strings.Repeat("a", 65) }, "routes.strategy.cookie"},
	} {
		t.Run(name, func(t *testing.T) {
			r := routing(t)
			tc.change(&r)
			wantField(t, guard.Check(r), tc.field)
		})
	}
}
