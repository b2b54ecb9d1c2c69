package api

import (
	"context"
	"net/http"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
)

// OnApp is the input of an operation about an app. The app itself comes with
// the call, from authorize. Embedded inputs have exported names because huma
// passes over others.
type OnApp struct {
	App string `path:"app" doc:"The app's name"`
}

// answer is the output of an operation that answers with one thing.
type answer[T any] struct{ Body T }

// nothing is the output of an operation that has nothing to say.
type nothing struct{}

func reply[T any](body T) (*answer[T], error) { return &answer[T]{Body: body}, nil }

func (a *API) registerApps() {
	const tag = "Apps"
	handle(a, tag, endpoint{"list-apps", http.MethodGet, "/apps", auth.Self, "The apps that you may see", nil}, a.listApps)
	handle(a, tag, endpoint{"create-app", http.MethodPost, "/apps", auth.AppCreate, "Make an app", created()}, a.createApp)
	handle(a, tag, endpoint{"get-app", http.MethodGet, "/apps/{app}", auth.AppRead, "One app", nil}, a.getApp)
	handle(a, tag, endpoint{"delete-app", http.MethodDelete, "/apps/{app}", auth.AppDelete, "Delete an app with all that it has", nil}, a.deleteApp)
	handle(a, tag, endpoint{"stop-app", http.MethodPost, "/apps/{app}/stop", auth.AppScale, "Take every unit away", nil}, a.setStopped(true))
	handle(a, tag, endpoint{"start-app", http.MethodPost, "/apps/{app}/start", auth.AppScale, "Bring a stopped app back", nil}, a.setStopped(false))
	handle(a, tag, endpoint{"list-access", http.MethodGet, "/apps/{app}/access", auth.AppRead, "Who has which role on the app", nil}, a.listAccess)
	handle(a, tag, endpoint{"set-access", http.MethodPut, "/apps/{app}/access/{user}", auth.AppMembers, "Give a user a role on the app", nil}, a.setAccess)
	handle(a, tag, endpoint{"remove-access", http.MethodDelete, "/apps/{app}/access/{user}", auth.AppMembers, "Take a user's role away", nil}, a.removeAccess)
}

func (a *API) listApps(ctx context.Context, _ *struct{}) (*answer[client.AppList], error) {
	apps, err := a.Store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	out := client.AppList{Apps: []client.App{}}
	for _, app := range apps {
		if auth.Can(callOf(ctx).actor, auth.AppRead, app.ID) {
			out.Apps = append(out.Apps, a.wireApp(app))
		}
	}
	return reply(out)
}

func (a *API) createApp(ctx context.Context, in *struct{ Body client.NewApp }) (*answer[client.App], error) {
	if err := landward.CheckAppName(in.Body.Name); err != nil {
		return nil, err
	}
	app, err := a.Apps.CreateApp(ctx, callOf(ctx).actor, in.Body.Name)
	if err != nil {
		return nil, err
	}
	return reply(a.wireApp(app))
}

func (a *API) getApp(ctx context.Context, _ *OnApp) (*answer[client.App], error) {
	app := callOf(ctx).app
	out := a.wireApp(app)
	out.Canary = a.canary(ctx, app)
	return reply(out)
}

func (a *API) deleteApp(ctx context.Context, _ *OnApp) (*nothing, error) {
	c := callOf(ctx)
	return nil, a.Apps.DeleteApp(ctx, c.actor, c.app.ID)
}

func (a *API) setStopped(stopped bool) func(context.Context, *OnApp) (*nothing, error) {
	return func(ctx context.Context, _ *OnApp) (*nothing, error) {
		c := callOf(ctx)
		return nil, a.Apps.SetStopped(ctx, c.actor, c.app.ID, stopped)
	}
}

// OnAccess is the input of an operation about a user's role on an app.
type OnAccess struct {
	OnApp
	User string `path:"user" doc:"The user's name"`
}

type accessInput struct {
	OnAccess
	Body client.Access
}

func (a *API) listAccess(ctx context.Context, _ *OnApp) (*answer[client.MemberList], error) {
	members, err := a.Store.AppMembers(ctx, callOf(ctx).app.ID)
	if err != nil {
		return nil, err
	}
	out := client.MemberList{Members: []client.Member{}}
	for _, m := range members {
		out.Members = append(out.Members, client.Member{User: m.User, Role: string(m.Role)})
	}
	return reply(out)
}

func (a *API) setAccess(ctx context.Context, in *accessInput) (*nothing, error) {
	return nil, a.changeAccess(ctx, in.User, landward.Role(in.Body.Role))
}

func (a *API) removeAccess(ctx context.Context, in *OnAccess) (*nothing, error) {
	return nil, a.changeAccess(ctx, in.User, "")
}

func (a *API) changeAccess(ctx context.Context, name string, role landward.Role) error {
	c := callOf(ctx)
	user, err := a.Store.UserByName(ctx, name)
	if err != nil {
		return err
	}
	if err := a.Store.SetAppRole(ctx, c.app.ID, user.ID, role); err != nil {
		return err
	}
	what := "took the role of " + user.Name + " away"
	if role != "" {
		what = "made " + user.Name + " " + string(role)
	}
	return a.note(ctx, "access.change", what)
}

// configure asks for a change of the call's app.
func (a *API) configure(ctx context.Context, change deploy.Change) (*answer[client.Changed], error) {
	d, err := a.changed(ctx, change)
	if err != nil {
		return nil, err
	}
	return reply(client.Changed{Deployment: d})
}

// changed asks for a change of the call's app and returns what carries it out,
// or nil.
func (a *API) changed(ctx context.Context, change deploy.Change) (*client.Deployment, error) {
	c := callOf(ctx)
	d, err := a.Changes.Configure(ctx, c.actor, c.app.ID, change)
	if err != nil || d.ID == 0 {
		return nil, err
	}
	w := wireDeployment(c.app.Name, d)
	return &w, nil
}
