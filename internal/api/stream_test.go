package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"landward/client"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
	"landward/internal/waittest"
)

func (e *env) shop() landward.App { return must(e.store.AppByName(e.t.Context(), "shop"))(e.t) }

func (e *env) write(process, text string) {
	e.t.Helper()
	check(e.t, e.logs.AppendApp(e.shop().ID, logs.Line{At: e.clock.Now(), Kind: logs.KindApp, Source: process, Text: text}))
}

func TestLogs(t *testing.T) {
	e := newEnv(t)
	e.write("web.1", "one")
	e.write("worker.1", "two")
	e.clock.Advance(time.Minute)
	e.write("web.1", "three")
	for name, tc := range map[string]struct {
		q    client.LogQuery
		want string
	}{
		"all":     {client.LogQuery{}, "one two three"},
		"process": {client.LogQuery{Process: "web"}, "one three"},
		"unit":    {client.LogQuery{Process: "worker.1"}, "two"},
		"tail":    {client.LogQuery{Tail: 1}, "three"},
		"grep":    {client.LogQuery{Grep: "TW"}, "two"},
		"since":   {client.LogQuery{Since: e.clock.Now()}, "three"},
		"nothing": {client.LogQuery{Grep: "four"}, ""},
	} {
		var got []string
		for line, err := range e.client(deployer).Logs(t.Context(), "shop", tc.q) {
			check(t, err)
			got = append(got, line.Text)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestLogsFollowUntilTheCallerGoes(t *testing.T) {
	e := newEnv(t)
	before := goleak.IgnoreCurrent()
	e.write("web.1", "old")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := e.client(deployer)
	var got []string
	for line, err := range c.Logs(ctx, "shop", client.LogQuery{Follow: true}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the stream ended with %v", err)
			}
			break
		}
		if got = append(got, line.Text); len(got) < 3 {
			e.write("web.1", fmt.Sprint("new", len(got)))
			continue
		}
		cancel()
	}
	if !slices.Equal(got, []string{"old", "new1", "new2"}) {
		t.Errorf("the lines are %q", got)
	}
	c.Close()
	waittest.Eventually(t, "the request to end", func() bool { return strings.Contains(e.log.String(), "/logs") })
	e.server.Close()
	if err := goleak.Find(before); err != nil {
		t.Errorf("something is left: %v", err)
	}
}

func TestFollowADeployment(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	c := e.client(deployer)
	d := must(c.DeployImage(ctx, "shop", "alpine"))(t)
	row := must(e.store.DeploymentByNumber(ctx, e.shop().ID, d.Number))(t)
	out := e.deployer.Output(row)
	out.Step("Pulling alpine")
	var lines []string
	end, err := c.DeployOutput(ctx, "shop", d.Number, true, func(l client.LogLine) error {
		if lines = append(lines, l.Text); len(lines) == 1 {
			out.Warn("it does not exist")
			f := &landward.Failure{Step: "pull", Code: landward.CodeFailed, Message: "no such image", Cause: "404", Hint: "push it"}
			must(e.store.End(ctx, row.ID, landward.StateFailed, f, ""))(t)
		}
		return nil
	})
	check(t, err)
	if end.State != "failed" || !slices.Equal(end.Failure.Explain(), []string{"no such image", "404", "push it"}) || end.Err() == nil {
		t.Errorf("the deployment ended as %+v", end)
	}
	if !slices.Equal(lines, []string{"-----> Pulling alpine", " !     it does not exist"}) {
		t.Errorf("the lines are %q", lines)
	}
	again, err := c.DeployOutput(ctx, "shop", d.Number, false, func(client.LogLine) error { return nil })
	if err != nil || again.State != "failed" {
		t.Errorf("read again: %+v, %v", again, err)
	}
	stop := errors.New("enough")
	if _, err := c.DeployOutput(ctx, "shop", d.Number, true, func(client.LogLine) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error became %v", err)
	}
	if _, err := c.DeployOutput(ctx, "shop", 99, true, nil); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("output of nothing: %v", err)
	}
}

// brokenLogs fail after the first line.
type brokenLogs struct{}

func (brokenLogs) App(_ context.Context, _ int64, _ logs.Query, fn func(logs.Line) error) error {
	if err := fn(logs.Line{Kind: logs.KindApp, Text: "first"}); err != nil {
		return err
	}
	return landward.Errorf(landward.CodeUnavailable, "the disk went away").WithHint("look at it")
}

func (brokenLogs) Deploy(context.Context, int64, int64, logs.Query, func(logs.Line) error) error {
	return io.ErrUnexpectedEOF
}

func TestAStreamSaysWhyItEnds(t *testing.T) {
	e := newEnv(t)
	e.options.Logs = brokenLogs{}
	e.remake()
	lines, last := 0, error(nil)
	for _, err := range e.client(owner).Logs(t.Context(), "shop", client.LogQuery{}) {
		if err != nil {
			last = err
			continue
		}
		lines++
	}
	if lines != 1 || !slices.Equal(clientError(t, last).Explain(), []string{"the disk went away", "look at it"}) {
		t.Errorf("%d lines, then %v", lines, last)
	}
	_, err := e.client(owner).DeployOutput(t.Context(), "shop", 1, false, nil)
	if client.CodeOf(err) != client.CodeInternal || strings.Contains(err.Error(), "EOF") {
		t.Errorf("an error of ours is %v", err)
	}
}

func TestEvents(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	for i := range 5 {
		check(t, e.store.AddEvent(ctx, store.Event{AppID: e.shop().ID, Actor: landward.System, Kind: "test", Message: fmt.Sprint(i), Data: map[string]string{"n": fmt.Sprint(i)}}))
	}
	page := must(e.client(viewer).Events(ctx, client.EventQuery{App: "shop", Limit: 2}))(t)
	if len(page) != 2 || page[0].Message != "4" || page[0].Data["n"] != "4" || page[0].App != "shop" || page[0].Actor.Kind != "system" {
		t.Fatalf("the newest are %+v", page)
	}
	page = must(e.client(viewer).Events(ctx, client.EventQuery{App: "shop", Limit: 2, Before: page[1].ID}))(t)
	if len(page) != 2 || page[0].Message != "2" {
		t.Errorf("the next are %+v", page)
	}
}
