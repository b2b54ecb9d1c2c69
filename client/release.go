package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Release is one version of an app, whole and immutable.
type Release struct {
	Version     int       `json:"version" doc:"1, 2, … shown as v1, v2, …"`
	Description string    `json:"description" example:"Set DATABASE_URL"`
	Current     bool      `json:"current" doc:"Whether it serves"`
	WarmUntil   time.Time `json:"warm_until,omitzero" doc:"Until when it is kept running for a quick way back, though another serves"`
	Source      Source    `json:"source"`
	Actor       Actor     `json:"actor"`
	Services    []Service `json:"services"`
	Release     *Command  `json:"release,omitempty" doc:"Runs once, before traffic"`
	Phase       string    `json:"phase" enum:"pending,done,failed" doc:"How the release command stands"`
	Cron        []CronJob `json:"cron,omitempty"`
	Vars        []string  `json:"vars" doc:"Names of its variables"`
	Domains     []string  `json:"domains"`
	CreatedAt   time.Time `json:"created_at"`
}

// Service is one image and the processes that run from it.
type Service struct {
	Name      string    `json:"name"`
	Image     Image     `json:"image"`
	Processes []Process `json:"processes"`
}

// Image is a built or pulled image.
type Image struct {
	Ref  string `json:"ref"`
	ID   string `json:"id" doc:"Content address"`
	Size int64  `json:"size,omitempty" doc:"Bytes"`
}

// Process is one way to run a service's image.
type Process struct {
	Name        string     `json:"name"`
	Command     *Command   `json:"command,omitempty" doc:"The image's own, where there is none"`
	Replicas    int        `json:"replicas"`
	Port        int        `json:"port,omitempty"`
	Health      *Health    `json:"health,omitempty"`
	Resources   *Resources `json:"resources,omitempty"`
	StopTimeout Duration   `json:"stop_timeout,omitempty" doc:"From SIGTERM to SIGKILL"`
}

// ReleaseList is releases, newest first.
type ReleaseList struct {
	Releases []Release `json:"releases"`
}

// Rollback is the request to go back to a release.
type Rollback struct {
	Version int `json:"version,omitempty" minimum:"0" doc:"The one before the current, where it is 0"`
}

// Releases returns an app's releases, newest first. Limit 0 is the server's own.
func (c *Client) Releases(ctx context.Context, app string, limit int) ([]Release, error) {
	var out ReleaseList
	err := c.call(ctx, http.MethodGet, withQuery(path("apps", app, "releases"), limitQuery(limit)), nil, &out)
	return out.Releases, err
}

// Release returns one release.
func (c *Client) Release(ctx context.Context, app string, version int) (Release, error) {
	var out Release
	err := c.call(ctx, http.MethodGet, path("apps", app, "releases", strconv.Itoa(version)), nil, &out)
	return out, err
}

// Rollback makes a release like version (0: the one before the current) the
// current one.
func (c *Client) Rollback(ctx context.Context, app string, version int) (Deployment, error) {
	var out Deployment
	err := c.call(ctx, http.MethodPost, path("apps", app, "rollback"), Rollback{Version: version}, &out)
	return out, err
}

// RetireRelease lets a release go that is kept running for a quick way back.
func (c *Client) RetireRelease(ctx context.Context, app string, version int) (Release, error) {
	var out Release
	err := c.call(ctx, http.MethodPost, path("apps", app, "releases", strconv.Itoa(version), "retire"), nil, &out)
	return out, err
}
