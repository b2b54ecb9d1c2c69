package api

import (
	"context"
	"net/http"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/store"
)

// diagnoseWithin bounds what doctor looks at.
const diagnoseWithin = 30 * time.Second

func (a *API) registerServer() {
	const tag = "Server"
	handle(a, tag, endpoint{"get-version", http.MethodGet, "/version", auth.Public, "What the server is built from", nil}, a.getVersion)
	handle(a, tag, endpoint{"whoami", http.MethodGet, "/whoami", auth.Self, "Who the server takes you for", nil}, a.whoami)
	handle(a, tag, endpoint{"get-status", http.MethodGet, "/status", auth.SystemRead, "How the installation stands", nil}, a.getStatus)
	handle(a, tag, endpoint{"diagnose", http.MethodGet, "/doctor", auth.SystemRead, "Check the server and its host", nil}, a.diagnose)
}

func (a *API) getVersion(context.Context, *struct{}) (*answer[client.Version], error) {
	return reply(a.Version)
}

func (a *API) whoami(ctx context.Context, _ *struct{}) (*answer[client.Whoami], error) {
	actor := callOf(ctx).actor
	out := client.Whoami{Kind: string(actor.Kind), Name: actor.Name, Admin: actor.Admin, Apps: map[string]string{}}
	apps, err := a.Store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	for _, app := range apps {
		if role := actor.Apps[app.ID]; role != "" {
			out.Apps[app.Name] = string(role)
		}
	}
	return reply(out)
}

func (a *API) getStatus(ctx context.Context, _ *struct{}) (*answer[client.Status], error) {
	s, err := a.Doctor.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Components == nil {
		s.Components = []client.Component{}
	}
	return reply(s)
}

func (a *API) diagnose(ctx context.Context, _ *struct{}) (*answer[client.Diagnosis], error) {
	ctx, cancel := context.WithTimeout(ctx, diagnoseWithin)
	defer cancel()
	checks, err := a.Doctor.Diagnose(ctx)
	if err != nil {
		return nil, err
	}
	out := client.Diagnosis{Healthy: true, Checks: append([]client.Check{}, checks...)}
	for _, c := range checks {
		out.Healthy = out.Healthy && c.State != "fail"
	}
	return reply(out)
}

// note writes an event about what the caller just did to people or rights. It
// is part of the deed: whoever reads the events must be able to trust them.
func (a *API) note(ctx context.Context, kind, message string) error {
	c := callOf(ctx)
	return a.Store.AddEvent(ctx, store.Event{AppID: c.app.ID, App: c.app.Name, Actor: c.actor, Kind: kind, Message: message})
}
