package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"landward/client"
)

func TestStrategies(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)
	ms := func(n time.Duration) client.Duration { return client.Duration(n * time.Millisecond) }
	canary := &client.Canary{
		Deployment: 7, Release: 5, Beside: 4, Percent: 25, Step: 2, Steps: 3, NextAt: now.Add(90 * time.Second),
		Canary: &client.Answers{Count: 1204, Errors: 1, P95: ms(40)}, Stable: &client.Answers{Count: 3612000, P95: client.Duration(1234567 * time.Nanosecond)},
	}
	fresh, blind := *canary, *canary
	fresh.Canary, fresh.Stable = &client.Answers{}, &client.Answers{Count: 1, Errors: 1, P95: ms(2500)}
	blind.Canary, blind.Stable = nil, nil
	live, err := json.Marshal(client.StreamItem{Deployment: &client.Deployment{App: "b", Number: 7, State: "live", Ended: true, Release: 5}})
	if err != nil {
		t.Fatal(err)
	}
	url, asked := asking(t, map[string]any{
		"GET /apps/b/ps":                 client.UnitList{Units: []client.Unit{{Name: "web.1", State: "asleep", Release: 5}}},
		"GET /apps/b":                    client.App{Name: "b", State: "deployed", Canary: canary, Warm: 4, WarmUntil: now.Add(23 * time.Hour), Asleep: true, Returned: 12 << 20},
		"GET /apps/quiet":                client.App{Name: "quiet", State: "deployed", Paused: true, MaxPause: client.Duration(2 * time.Minute)},
		"GET /apps/quiet/ps":             client.UnitList{Units: []client.Unit{}},
		"GET /apps":                      client.AppList{Apps: []client.App{{Name: "b", State: "deployed", Asleep: true, Returned: 12 << 20}}},
		"GET /apps/b/deploys":            client.DeploymentList{Deployments: []client.Deployment{{Number: 7, State: "starting", Release: 5, Canary: canary}, {Number: 6, State: "starting", Canary: &fresh}, {Number: 5, State: "starting", Canary: &blind}}},
		"GET /apps/b/deploys/7":          client.Deployment{App: "b", Number: 7, State: "starting", Release: 5, Canary: canary},
		"POST /apps/b/deploys/7/promote": client.Deployment{App: "b", Number: 7, State: "starting"},
		"POST /apps/b/deploys/7/cancel":  client.Deployment{App: "b", Number: 7, State: "cancelled", Ended: true},
		"GET /apps/b/deploys/7/output":   `{"line":{"text":"=====> Deployed b v5"}}` + "\n" + string(live) + "\n",
		"GET /apps/b/releases": client.ReleaseList{Releases: []client.Release{
			{Version: 5, Current: true, CreatedAt: now}, {Version: 4, WarmUntil: now.Add(time.Hour), CreatedAt: now}, {Version: 3, CreatedAt: now},
		}},
		"GET /apps/b/releases/4":         client.Release{Version: 4, WarmUntil: now.Add(time.Hour)},
		"POST /apps/b/releases/4/retire": client.Release{Version: 4},
		"POST /apps/b/pause":             nil,
	})
	for _, tt := range []struct {
		args  string
		code  int
		asked string
		want  []string
	}{
		{"ps", 0, "", []string{"web.1  asleep", "b is asleep and has returned 12 MiB of memory",
			"canary v5 at 25%: 1,204 answers, 0.1% errors, p95 40ms; v4 beside it: 3,612,000 answers, 0.0% errors, p95 1.23ms.",
			"landward deploys promote 7 -a b; end it: landward deploys cancel 7 -a b",
			"v4 is kept running for a quick way back, ends in 23h. Let it go: landward releases retire v4 -a b"}},
		{"apps info", 0, "", []string{"State:      asleep (12 MiB returned)", "Beside it:  canary v5 at 25%", "Beside it:  v4, kept running for a quick way back, ends in 23h"}},
		{"ps -a quiet", 0, "", []string{"each for at most 2m. Go on with"}},
		{"apps", 0, "", []string{"asleep (12 MiB returned)"}},
		{"deploys", 0, "", []string{"\n  canary v5 at 25%: 1,204 answers", "no answers yet; v4 beside it: 1 answer, 1 errors, 2.5s", "canary v5 at 25%, not measured"}},
		{"deploys info 7", 0, "", []string{"Canary:   canary v5 at 25%", "Step:     2 of 3, ends in 1m"}},
		{"deploys promote", 0, "GET /apps/b|POST /apps/b/deploys/7/promote|", []string{"Deployed b v5"}},
		{"deploys promote 7 -d", 0, "POST /apps/b/deploys/7/promote", []string{"Follow it: landward deploys output 7 -f"}},
		{"deploys promote -a quiet", 3, "GET /apps/quiet", []string{"quiet has no canary that runs"}},
		{"deploys promote x", 2, "", []string{`"x" is not a deployment's number`}},
		{"deploys abort 7", 0, "GET /apps/b/deploys/7|POST /apps/b/deploys/7/cancel", []string{"Deployment 7 of b is cancelled."}},
		{"releases", 0, "", []string{"*  v5", "+  v4", "   v3"}},
		{"releases info v4", 0, "", []string{"Warm:     kept running for a quick way back, ends in 1h"}},
		{"releases retire", 0, "GET /apps/b|POST /apps/b/releases/4/retire", []string{"Let v4 of b go."}},
		{"releases:retire v4 --json", 0, "POST /apps/b/releases/4/retire", []string{`"version": 4`}},
		{"releases retire -a quiet", 3, "GET /apps/quiet", []string{"quiet keeps no release running beside"}},
		{"releases retire four", 2, "", []string{`"four" is not a release`}},
		{"pause --max-pause 30s", 0, `POST /apps/b/pause {"max_pause":"30s"}`, []string{"Requests for b wait."}},
		{"pause --max-pause soon", 2, "", []string{"invalid argument"}},
	} {
		*asked = nil
		args := strings.Fields(tt.args)
		if !strings.Contains(tt.args, "-a ") && tt.args != "apps" {
			args = append(args, "-a", "b")
		}
		w := newWorld(t, url, args...)
		code := w.run(t.Context())
		said, log := w.out.String()+w.err.String(), strings.ReplaceAll(strings.Join(*asked, "|"), "pause{", "pause {")
		if code != tt.code || tt.asked != "" && !strings.HasPrefix(log, tt.asked) {
			t.Errorf("%s: exit code %d, asked %q, said\n%s", tt.args, code, log, said)
		}
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not in\n%s", tt.args, want, said)
			}
		}
	}
}
