package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
)

// maxConfigBody is the most that one change of variables may send, in bytes.
const maxConfigBody = 4 << 20

func (a *API) registerConfig() {
	const tag = "Configuration"
	handle(a, tag, endpoint{"get-config", http.MethodGet, "/apps/{app}/config", auth.AppConfigRead, "The app's variables; secret values are never shown", nil}, a.getConfig)
	handle(a, tag, endpoint{"change-config", http.MethodPatch, "/apps/{app}/config", auth.AppConfigWrite, "Set and unset variables, in one release", with(maxBody(maxConfigBody))}, a.changeConfig)
	handle(a, tag, endpoint{"diff-config", http.MethodGet, "/apps/{app}/config/diff", auth.AppConfigRead, "How the variables of two releases differ", nil}, a.diffConfig)
}

func (a *API) getConfig(ctx context.Context, _ *OnApp) (*answer[client.Config], error) {
	out := client.Config{Vars: []client.Var{}}
	for _, v := range callOf(ctx).app.Settings.Env {
		out.Vars = append(out.Vars, client.Var{Name: v.Name, Value: shown(v), Secret: v.Secret, File: v.File, Build: v.Build})
	}
	return reply(out)
}

// shown is what the API says a variable's value is.
func shown(v landward.Var) string {
	if v.Secret {
		return ""
	}
	return v.Value
}

type configInput struct {
	OnApp
	Body client.ConfigChange
}

func (a *API) changeConfig(ctx context.Context, in *configInput) (*answer[client.Changed], error) {
	var change deploy.Change
	for _, v := range in.Body.Set {
		change.Set = append(change.Set, landward.Var{Name: v.Name, Value: v.Value, Secret: v.Secret, File: v.File, Build: v.Build})
	}
	change.Unset = in.Body.Unset
	return a.configure(ctx, change)
}

type diffInput struct {
	OnApp
	From int `query:"from" minimum:"0" doc:"A release's version; without it, the one before the other"`
	To   int `query:"to" minimum:"0" doc:"A release's version; without it, what the next release gets"`
}

func (a *API) diffConfig(ctx context.Context, in *diffInput) (*answer[client.ConfigDiff], error) {
	app := callOf(ctx).app
	from := in.From
	switch {
	case from == 0 && in.To == 0:
		from = app.Current
	case from == 0:
		from = in.To - 1
	}
	before, err := a.vars(ctx, app, from)
	if err != nil {
		return nil, err
	}
	after := app.Settings.Env
	if in.To != 0 {
		if after, err = a.vars(ctx, app, in.To); err != nil {
			return nil, err
		}
	}
	return reply(client.ConfigDiff{From: from, To: in.To, Changes: diff(before, after)})
}

// vars returns a release's variables; those of version 0 are none.
func (a *API) vars(ctx context.Context, app landward.App, version int) ([]landward.Var, error) {
	if version == 0 {
		return nil, nil
	}
	r, err := a.Store.Release(ctx, app.ID, version)
	return r.Settings.Env, err
}

// diff says how after differs from before, by name.
func diff(before, after []landward.Var) []client.VarChange {
	out := []client.VarChange{}
	old := map[string]landward.Var{}
	for _, v := range before {
		old[v.Name] = v
	}
	for _, v := range after {
		was, known := old[v.Name]
		delete(old, v.Name)
		switch {
		case !known:
			out = append(out, client.VarChange{Name: v.Name, Kind: "added", Secret: v.Secret, To: shown(v)})
		case was != v:
			ch := client.VarChange{Name: v.Name, Kind: "changed", Secret: v.Secret || was.Secret}
			if !ch.Secret {
				ch.From, ch.To = was.Value, v.Value
			}
			out = append(out, ch)
		}
	}
	for _, v := range old {
		out = append(out, client.VarChange{Name: v.Name, Kind: "removed", Secret: v.Secret, From: shown(v)})
	}
	slices.SortFunc(out, func(a, b client.VarChange) int { return strings.Compare(a.Name, b.Name) })
	return out
}
