package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"landward/client"
)

func canaryYAML(rest string) string { return "deploy: {strategy: {canary: {" + rest + "}}}\n" }

// TestCanaryGoesLive: a new version gets its share, by percent and by cookie,
// and then everything, while every request is answered.
func TestCanaryGoesLive(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Write("landward.yaml", canaryYAML("steps: [25, 60, 100], every: 2s, cookie: beta"))
	repo.Testapp("one", "")
	want(t, repo.Push(), "=====> Deployed shop v1")
	s.WantGet("shop", "/", "one")
	users := gather(t, s, "shop")
	repo.Testapp("two", "")
	p := push(repo)
	c := canary(s, "shop", func(c client.Canary) bool { return c.Canary.Count > 0 && c.Stable.Count > 0 })
	if c.Release != 2 || c.Beside != 1 || c.Percent != 25 || c.Step != 1 || c.Steps != 2 || c.Canary.P95 <= 0 {
		t.Errorf("the canary is %+v", c)
	}
	for range 10 {
		if code, body, _ := ask(s, "shop", "/", "Cookie", "a=1; beta=yes"); code != http.StatusOK || body != "two" {
			t.Errorf("with the cookie: %d %q", code, body)
		}
	}
	shown := s.CLI("ps", "-a", "shop")
	want(t, shown, "web.1", "v1", "web.1", "v2", "canary v2 at ", "errors, p95 ", "; v1 beside it: ", "landward deploys promote 2 -a shop")
	want(t, s.CLI("deploys", "-a", "shop"), "2       starting", "canary v2 at ", "1       live")
	canary(s, "shop", func(c client.Canary) bool { return c.Percent == 60 })
	out, err := p.wait(t)
	if err != nil {
		t.Errorf("the push: %v", err)
	}
	want(t, out, "web.1 is healthy", "Canary v2: 25% of the requests for 2s", "v2 so far: ", "0.0% errors", "the version beside it: ",
		"Canary v2: 60% of the requests for 2s", "=====> Deployed shop v2")
	only(t, users.told(), "200 one", "200 two")
	for range 20 {
		if code, body, _ := ask(s, "shop", "/"); code != http.StatusOK || body != "two" {
			t.Errorf("live: %d %q", code, body)
		}
	}
	only(t, users.leave(), "200 two")
}

// TestCanaryIsAborted: a canary that does worse than it may is taken back, and
// the push says why. Whoever got the version beside it noticed nothing.
func TestCanaryIsAborted(t *testing.T) {
	for _, tt := range []struct {
		name, behaviour, canary, answer string
		says                            []string
	}{
		{"errors", "errors", "steps: [50], every: 10m", "500 two is broken",
			[]string{"the canary answered ", " requests with an error (100.0%, at most 5.0% are allowed; the version that serves: 0.0%)"}},
		{"p95", "lazy 150ms", "steps: [50], every: 10m, abort_on: {p95: 100ms}", "200 two",
			[]string{"the canary's slowest twentieth of answers took longer than 100ms (95th percentile "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			repo := s.NewRepo("shop")
			repo.Write("landward.yaml", canaryYAML(tt.canary))
			repo.Testapp("one", "")
			repo.Push()
			s.WantGet("shop", "/", "one")
			users := gather(t, s, "shop")
			repo.Testapp("two", tt.behaviour)
			out := repo.PushFails()
			want(t, out, append([]string{"Canary v2: 50% of the requests for 10m0s"}, append(tt.says, "v1 keeps serving.")...)...)
			want(t, s.CLI("deploys", "info", "-a", "shop"), append([]string{"State:    failed", "in step canary"}, tt.says...)...)
			serving(s, "shop", 1)
			s.Eventually("the canary's container has gone", func() error {
				if n := len(containers(t, s)); n != 1 {
					return fmt.Errorf("%d containers", n)
				}
				return nil
			})
			only(t, users.told(), "200 one", tt.answer)
			for range 20 {
				if code, body, _ := ask(s, "shop", "/"); code != http.StatusOK || body != "one" {
					t.Errorf("afterwards: %d %q", code, body)
				}
			}
			only(t, users.leave(), "200 one")
		})
	}
}

// TestCanaryByHand: a canary is promoted and aborted by command.
func TestCanaryByHand(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Write("landward.yaml", canaryYAML("steps: [10], every: 10m, cookie: beta"))
	repo.Testapp("one", "")
	repo.Push()
	if out, err := s.TryCLI(nil, "deploys", "promote", "-a", "shop"); err == nil || !strings.Contains(out, "shop has no canary that runs") {
		t.Errorf("nothing to promote: %v\n%s", err, out)
	}
	users := gather(t, s, "shop")

	repo.Testapp("two", "")
	p := push(repo)
	canary(s, "shop", func(client.Canary) bool { return true })
	want(t, s.CLI("deploys", "abort", "-a", "shop"), "Deployment 2 of shop is cancelled.")
	if out, err := p.wait(t); err == nil || !strings.Contains(out, "Deployment #2 cancelled by") {
		t.Errorf("the push: %v\n%s", err, out)
	}
	serving(s, "shop", 1)
	s.Eventually("all requests go to v1", func() error {
		if code, body, _ := ask(s, "shop", "/", "Cookie", "beta=1"); code != http.StatusOK || body != "one" {
			return fmt.Errorf("%d %q", code, body)
		}
		return nil
	})

	p = push(repo)
	c := canary(s, "shop", func(client.Canary) bool { return true })
	want(t, s.CLI("deploys", "promote", "-a", "shop"), "promoted by", "=====> Deployed shop v3")
	if out, err := p.wait(t); err != nil || !strings.Contains(out, "Canary v3: promoted by") {
		t.Errorf("the push: %v\n%s", err, out)
	}
	serving(s, "shop", 3)
	if code, body, _ := ask(s, "shop", "/"); code != http.StatusOK || body != "two" {
		t.Errorf("promoted: %d %q", code, body)
	}
	if out, err := s.TryCLI(nil, "deploys", "promote", fmt.Sprint(c.Deployment), "-a", "shop"); err == nil || !strings.Contains(out, "has ended: live") {
		t.Errorf("promoted again: %v\n%s", err, out)
	}
	only(t, users.leave(), "200 one", "200 two")
}

// TestBlueGreen: the old half of the pair runs on, going back to it starts
// nothing, and it goes when it is told to.
func TestBlueGreen(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Write("landward.yaml", "deploy: {strategy: blue-green}\n")
	repo.Testapp("one", "")
	repo.Push()
	repo.Testapp("two", "")
	repo.Push()
	s.WantGet("shop", "/", "two")
	pair := containers(t, s)
	if len(pair) != 2 {
		t.Fatalf("%d containers run", len(pair))
	}
	want(t, s.CLI("releases", "-a", "shop"), "*  v2", "+  v1")
	want(t, s.CLI("ps", "-a", "shop"), "v1 is kept running for a quick way back, ends in 23h. Let it go: landward releases retire v1 -a shop")

	users := gather(t, s, "shop")
	for i, says := range []string{"one", "two", "one"} { // there, back, and there again
		want(t, s.CLI("rollback", "-a", "shop"), fmt.Sprintf("=====> Deployed shop v%d", i+3))
		if code, body, _ := ask(s, "shop", "/"); code != http.StatusOK || body != says {
			t.Errorf("rolled back: %d %q, want %q", code, body, says)
		}
		if now := containers(t, s); !slices.Equal(now, pair) {
			t.Errorf("other containers run: %q, before: %q", now, pair)
		}
	}
	want(t, s.CLI("releases", "retire", "-a", "shop"), "Let v4 of shop go.")
	s.Eventually("the other half has gone", func() error {
		if now := containers(t, s); len(now) != 1 || !slices.Contains(pair, now[0]) {
			return fmt.Errorf("%q", now)
		}
		return nil
	})
	if out, err := s.TryCLI(nil, "releases", "retire", "-a", "shop"); err == nil || !strings.Contains(out, "keeps no release running") {
		t.Errorf("retired again: %v\n%s", err, out)
	}
	// A way back that is cold still is one.
	want(t, s.CLI("rollback", "v2", "-a", "shop"), "Starting web.1", "=====> Deployed shop v6")
	only(t, users.leave(), "200 one", "200 two")
}

// TestRollingReplicas: each of several replicas is replaced, and nobody notices.
func TestRollingReplicas(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Write("landward.yaml", "services: {web: {replicas: 2}}\ndeploy: {strategy: rolling}\n")
	repo.Testapp("one", "")
	want(t, repo.Push(), "Starting web.1, web.2", "web.1 is healthy", "web.2 is healthy", "=====> Deployed shop v1")
	old := containers(t, s)
	users := gather(t, s, "shop")
	repo.Testapp("two", "")
	want(t, repo.Push(), "Starting web.1, web.2", "=====> Deployed shop v2")
	s.Eventually("the old replicas have gone", func() error {
		now := containers(t, s)
		if len(now) != 2 || slices.ContainsFunc(now, func(id string) bool { return slices.Contains(old, id) }) {
			return fmt.Errorf("%q, before: %q", now, old)
		}
		return nil
	})
	only(t, users.leave(), "200 one", "200 two")
}

// TestPauseHolds: requests wait while an app is paused, also while control dies
// and comes back, and are all answered afterwards. One that waits longer than
// it may is told when to come back.
func TestPauseHolds(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Testapp("one", "")
	repo.Push()
	s.WantGet("shop", "/", "one")
	s.CLI("pause", "-a", "shop", "--max-pause", "1s")
	s.Eventually("one that waits too long gets 503", func() error {
		code, _, h := ask(s, "shop", "/")
		if code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
			return fmt.Errorf("%d, Retry-After %q", code, h.Get("Retry-After"))
		}
		return nil
	})
	want(t, s.CLI("ps", "-a", "shop"), "shop is paused: requests wait, each for at most 1s.")
	s.CLI("resume", "-a", "shop")
	s.WantGet("shop", "/", "one")

	s.CLI("pause", "-a", "shop")
	const askers = 25
	answers := make(chan string, askers+1)
	// Until the edge knows, a request is answered at once.
	s.Eventually("a request is held", func() error {
		go func() {
			code, body, _ := ask(s, "shop", "/")
			answers <- fmt.Sprint(code, " ", body)
		}()
		select {
		case got := <-answers:
			return fmt.Errorf("answered %s", got)
		case <-time.After(300 * time.Millisecond):
			return nil
		}
	})
	for range askers {
		go func() {
			code, body, _ := ask(s, "shop", "/")
			answers <- fmt.Sprint(code, " ", body)
		}()
	}
	s.Kill("control")
	s.WaitReady()
	if a, err := s.Client.App(context.Background(), "shop"); err != nil || !a.Paused {
		t.Errorf("after control's death: %v, paused %v", err, a.Paused)
	}
	select {
	case got := <-answers:
		t.Errorf("answered while it is paused: %s", got)
	case <-time.After(time.Second):
	}
	s.CLI("resume", "-a", "shop")
	for range askers + 1 {
		if got := <-answers; got != "200 one" {
			t.Errorf("a request that was held got %q", got)
		}
	}
}

// TestCanaryOutlivesControl: control dies in the middle of a canary, which goes
// on where it was, with what was counted so far.
func TestCanaryOutlivesControl(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("shop")
	repo.Write("landward.yaml", canaryYAML("steps: [40, 70], every: 4s"))
	repo.Testapp("one", "")
	repo.Push()
	s.WantGet("shop", "/", "one")
	users := gather(t, s, "shop")
	repo.Testapp("two", "")
	s.CLI("deploy", repo.Dir, "-d", "-a", "shop")
	before := canary(s, "shop", func(c client.Canary) bool { return c.Canary.Count > 10 })
	pair := containers(t, s)
	s.Kill("control")
	s.WaitReady()
	after := canary(s, "shop", func(client.Canary) bool { return true })
	if after.Deployment != before.Deployment || after.Release != 2 || after.Step < before.Step || after.Canary.Count < before.Canary.Count {
		t.Errorf("before: %+v %+v\nafter: %+v %+v", before, *before.Canary, after, *after.Canary)
	}
	if now := containers(t, s); !slices.Equal(now, pair) {
		t.Errorf("other containers run: %q, before: %q", now, pair)
	}
	serving(s, "shop", 2)
	want(t, s.CLI("deploys", "output", "-a", "shop"), "Canary v2: 40% of the requests for 4s", "Canary v2: 70% of the requests for 4s", "=====> Deployed shop v2")
	if n := strings.Count(s.CLI("deploys", "output", "-a", "shop"), "Canary v2: 40%"); n != 1 {
		t.Errorf("the first step was begun %d times", n)
	}
	s.WantGet("shop", "/", "two")
	only(t, users.leave(), "200 one", "200 two")
}

// TestSleep: an open WebSocket keeps an app awake though nothing is said; once
// it is closed the app sleeps, and what it had of memory is shown.
func TestSleep(t *testing.T) {
	s := start(t)
	repo := s.NewRepo("sleepy")
	repo.Write("landward.yaml", "routes: {idle: {sleep_after: 1s}}\n")
	repo.Testapp("one", "")
	repo.Push()
	s.WantGet("sleepy", "/", "one")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "ws://"+s.HTTP+"/ws", &websocket.DialOptions{Host: "sleepy.localhost"})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	defer conn.CloseNow() //nolint:errcheck // closed below
	woke := containers(t, s)
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for range 20 {
		<-look.C
		if a, err := s.Client.App(ctx, "sleepy"); err != nil || a.Asleep {
			t.Fatalf("asleep with a WebSocket open: %v", err)
		}
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte("still there?")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := conn.Read(ctx); err != nil || string(b) != "still there?" {
		t.Fatalf("%v %q", err, b)
	}
	if now := containers(t, s); !slices.Equal(now, woke) || len(now) != 1 {
		t.Errorf("containers %q, before: %q", now, woke)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	s.Eventually("it sleeps", func() error {
		a, err := s.Client.App(ctx, "sleepy")
		if err == nil && (!a.Asleep || a.Returned == 0) {
			err = fmt.Errorf("asleep %v, %d bytes returned", a.Asleep, a.Returned)
		}
		return err
	})
	if now := containers(t, s); len(now) != 0 {
		t.Errorf("containers run: %q", now)
	}
	s.Eventually("its unit is made again, and held", func() error {
		shown := s.CLI("ps", "-a", "sleepy")
		if !strings.Contains(shown, "web.1  asleep") || !strings.Contains(shown, "sleepy is asleep and has returned ") || !strings.Contains(shown, "iB of memory") {
			return errors.New(shown)
		}
		return nil
	})
	want(t, s.CLI("apps"), "sleepy", "asleep (", "iB returned)")
	if code, body, _ := ask(s, "sleepy", "/"); code != http.StatusOK || body != "one" {
		t.Errorf("woken: %d %q", code, body)
	}
	if a, err := s.Client.App(ctx, "sleepy"); err != nil || a.Asleep || a.Returned != 0 {
		t.Errorf("woken, but: %v %+v", err, a)
	}
}
