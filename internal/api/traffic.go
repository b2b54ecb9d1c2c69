package api

import (
	"context"
	"net/http"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
)

func (a *API) registerTraffic() {
	const tag = "Traffic"
	handle(a, tag, endpoint{"set-maintenance", http.MethodPut, "/apps/{app}/maintenance", auth.AppScale, "Show a page in the app's stead, or stop to", nil}, a.setMaintenance)
	handle(a, tag, endpoint{"pause-app", http.MethodPost, "/apps/{app}/pause", auth.AppScale, "Hold the app's requests", nil}, a.pause)
	handle(a, tag, endpoint{"resume-app", http.MethodPost, "/apps/{app}/resume", auth.AppScale, "Let the app's requests go on", nil}, a.resume)
}

type maintenanceInput struct {
	OnApp
	Body client.Maintenance
}

func (a *API) setMaintenance(ctx context.Context, in *maintenanceInput) (*nothing, error) {
	switch {
	case in.Body.Message != "" && !in.Body.On:
		return nil, landward.Invalid("message", "a message goes with a page, and this takes the page away").
			WithHint("leave it out, or set on to true")
	case landward.CleanLine(in.Body.Message) != in.Body.Message:
		return nil, landward.Invalid("message", "the message is not one line of plain text").
			WithHint("leave out line breaks and control characters")
	}
	c := callOf(ctx)
	_, err := a.Apps.Maintenance(ctx, c.actor, c.app.ID, in.Body.On, in.Body.Message)
	return nil, err
}

type pauseInput struct {
	OnApp
	Body *client.Pause
}

func (a *API) pause(ctx context.Context, in *pauseInput) (*nothing, error) {
	var limit time.Duration
	if in.Body != nil {
		limit = time.Duration(in.Body.MaxPause)
	}
	c := callOf(ctx)
	_, err := a.Apps.Pause(ctx, c.actor, c.app.ID, limit)
	return nil, err
}

func (a *API) resume(ctx context.Context, _ *OnApp) (*nothing, error) {
	c := callOf(ctx)
	_, err := a.Apps.Resume(ctx, c.actor, c.app.ID)
	return nil, err
}

// canary says how an app's canary stands, nil where it has none. An answer
// about something else does not fail because that is not known.
func (a *API) canary(ctx context.Context, app landward.App) *client.Canary {
	s, err := a.Canaries.Canary(ctx, app.ID)
	if err != nil {
		a.Log.Warn("canary not known", "app", app.Name, "error", err)
	}
	if err != nil || s == nil {
		return nil
	}
	return &client.Canary{
		Deployment: s.Deployment, Release: s.Release, Beside: s.Beside, Percent: s.Percent,
		Step: s.Step, Steps: s.Steps, NextAt: s.NextAt, Canary: wireAnswers(s.Canary), Stable: wireAnswers(s.Stable),
	}
}

func wireAnswers(a *landward.Answers) *client.Answers {
	if a == nil {
		return nil
	}
	return &client.Answers{Count: a.Count, Errors: a.Errors, P95: client.Duration(a.P95)}
}
