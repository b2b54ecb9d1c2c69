package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/logs"
)

func (a *API) registerLogs() {
	const tag = "Logs and events"
	handle(a, tag, endpoint{"get-logs", http.MethodGet, "/apps/{app}/logs", auth.AppLogs, "The app's lines, oldest first", with(streams())}, a.getLogs)
	handle(a, tag, endpoint{"list-app-events", http.MethodGet, "/apps/{app}/events", auth.AppRead, "What happened to the app, newest first", nil}, a.listAppEvents)
	handle(a, tag, endpoint{"list-events", http.MethodGet, "/events", auth.SystemRead, "What happened, newest first", nil}, a.listEvents)
}

type logsInput struct {
	OnApp
	Follow  bool      `query:"follow" doc:"Go on with what is written from now on"`
	Since   time.Time `query:"since" doc:"Only lines since then"`
	Tail    int       `query:"tail" minimum:"0" maximum:"100000" doc:"Only the last n that match"`
	Process string    `query:"process" maxLength:"100" doc:"Only lines of a process (web) or a unit (web.1)"`
	Grep    string    `query:"grep" maxLength:"1000" doc:"Only lines that contain it, case ignored"`
	Router  bool      `query:"router" doc:"The router's lines too"`
}

func (a *API) getLogs(ctx context.Context, in *logsInput) (*streamed, error) {
	if strings.ContainsAny(in.Process, "/\\\x00") {
		return nil, landward.Invalid("process", "%q is not a process or unit", landward.Printable(in.Process)).
			WithHint("`landward ps` lists them: web, or web.1")
	}
	app := callOf(ctx).app
	q := logs.Query{
		Follow: in.Follow, Since: in.Since, Tail: in.Tail, Process: in.Process, Grep: in.Grep, Router: in.Router,
	}
	return a.stream(in.Follow, func(ctx context.Context, send func(client.StreamItem) error) error {
		return a.Logs.App(ctx, app.ID, q, func(l logs.Line) error {
			return send(client.StreamItem{Line: wireLine(l)})
		})
	}), nil
}

// EventPage chooses a page of events.
type EventPage struct {
	Before int64 `query:"before" minimum:"1" doc:"An event's id: only older ones"`
	Limit  int   `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many"`
}

func (a *API) listAppEvents(ctx context.Context, in *struct {
	OnApp
	EventPage
},
) (*answer[client.EventList], error) {
	return a.events(ctx, callOf(ctx).app.ID, in.EventPage)
}

func (a *API) listEvents(ctx context.Context, in *struct{ EventPage }) (*answer[client.EventList], error) {
	return a.events(ctx, 0, in.EventPage)
}

func (a *API) events(ctx context.Context, appID int64, page EventPage) (*answer[client.EventList], error) {
	events, err := a.Store.Events(ctx, appID, page.Before, page.Limit)
	if err != nil {
		return nil, err
	}
	return reply(client.EventList{Events: wireEvents(events)})
}
