package api

import (
	"context"
	"net/http"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
)

func (a *API) registerTraffic() {
	const tag = "Traffic"
	handle(a, tag, endpoint{"set-maintenance", http.MethodPut, "/apps/{app}/maintenance", auth.AppScale, "Show a page in the app's stead, or stop to", nil}, a.setMaintenance)
	handle(a, tag, endpoint{"pause-app", http.MethodPost, "/apps/{app}/pause", auth.AppScale, "Hold the app's requests", nil}, a.setPaused(true))
	handle(a, tag, endpoint{"resume-app", http.MethodPost, "/apps/{app}/resume", auth.AppScale, "Let the app's requests go on", nil}, a.setPaused(false))
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

func (a *API) setPaused(on bool) func(context.Context, *OnApp) (*nothing, error) {
	return func(ctx context.Context, _ *OnApp) (*nothing, error) {
		c := callOf(ctx)
		_, err := a.Apps.Pause(ctx, c.actor, c.app.ID, on)
		return nil, err
	}
}
