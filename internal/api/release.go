package api

import (
	"context"
	"net/http"

	"landward/client"
	"landward/internal/auth"
)

func (a *API) registerReleases() {
	const tag = "Releases"
	handle(a, tag, endpoint{"list-releases", http.MethodGet, "/apps/{app}/releases", auth.AppRead, "The app's releases, newest first", nil}, a.listReleases)
	handle(a, tag, endpoint{"get-release", http.MethodGet, "/apps/{app}/releases/{version}", auth.AppRead, "One release", nil}, a.getRelease)
	handle(a, tag, endpoint{"retire-release", http.MethodPost, "/apps/{app}/releases/{version}/retire", auth.AppDeploy, "Let a release go that is kept running for a quick way back", nil}, a.retireRelease)
	handle(a, tag, endpoint{"rollback", http.MethodPost, "/apps/{app}/rollback", auth.AppDeploy, "Go back to a release: its images, variables, processes, domains and health rules", with(status(http.StatusAccepted))}, a.rollback)
}

type pageInput struct {
	OnApp
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"20" doc:"How many"`
}

func (a *API) listReleases(ctx context.Context, in *pageInput) (*answer[client.ReleaseList], error) {
	app := callOf(ctx).app
	releases, err := a.Store.Releases(ctx, app.ID, in.Limit)
	if err != nil {
		return nil, err
	}
	out := client.ReleaseList{Releases: []client.Release{}}
	for _, r := range releases {
		out.Releases = append(out.Releases, wireRelease(app, r))
	}
	return reply(out)
}

type onRelease struct {
	OnApp
	Version int `path:"version" minimum:"1" doc:"The release's version"`
}

func (a *API) getRelease(ctx context.Context, in *onRelease) (*answer[client.Release], error) {
	app := callOf(ctx).app
	r, err := a.Store.Release(ctx, app.ID, in.Version)
	if err != nil {
		return nil, err
	}
	return reply(wireRelease(app, r))
}

func (a *API) retireRelease(ctx context.Context, in *onRelease) (*answer[client.Release], error) {
	c := callOf(ctx)
	r, err := a.Changes.Retire(ctx, c.actor, c.app.ID, in.Version)
	if err != nil {
		return nil, err
	}
	app := c.app
	app.Previous = 0 // as it stands now
	return reply(wireRelease(app, r))
}

type rollbackInput struct {
	OnApp
	Body client.Rollback
}

func (a *API) rollback(ctx context.Context, in *rollbackInput) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	d, err := a.Changes.Rollback(ctx, c.actor, c.app.ID, in.Body.Version)
	if err != nil {
		return nil, err
	}
	return reply(wireDeployment(c.app.Name, d))
}
