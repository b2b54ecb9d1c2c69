package client

import (
	"context"
	"net/http"
	"time"
)

// Maintenance is the wish for a page in the app's stead, or for none.
type Maintenance struct {
	On      bool   `json:"on" doc:"Whether every request gets the page"`
	Message string `json:"message,omitempty" doc:"One line on the page, at most 500 bytes; only with on" maxLength:"500"`
}

// SetMaintenance shows a page in an app's stead, or stops to.
func (c *Client) SetMaintenance(ctx context.Context, app string, m Maintenance) error {
	return c.call(ctx, http.MethodPut, path("apps", app, "maintenance"), m, nil)
}

// Pause is the wish to hold an app's requests.
type Pause struct {
	MaxPause Duration `json:"max_pause,omitempty" doc:"How long one request is held before it gets 503, 1s to 10m; without it a minute" example:"30s"`
}

// Pause holds an app's requests until Resume, each for at most limit; 0: as
// long as the server lets one wait.
func (c *Client) Pause(ctx context.Context, app string, limit time.Duration) error {
	var body any
	if limit != 0 {
		body = Pause{MaxPause: Duration(limit)}
	}
	return c.call(ctx, http.MethodPost, path("apps", app, "pause"), body, nil)
}

// Resume lets an app's requests go on.
func (c *Client) Resume(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, path("apps", app, "resume"), nil, nil)
}

// Canary is a deployment whose release gets a share of the requests, beside the
// one that serves.
type Canary struct {
	Deployment int       `json:"deployment" doc:"Its number"`
	Release    int       `json:"release" doc:"The version on trial"`
	Beside     int       `json:"beside" doc:"The version that has the other requests"`
	Percent    int       `json:"percent" doc:"Of the requests that go to the version on trial"`
	Step       int       `json:"step" doc:"1 for the first"`
	Steps      int       `json:"steps" doc:"That it goes through before it takes over"`
	NextAt     time.Time `json:"next_at" doc:"When the step ends"`
	// What became of the requests since it began; nil where that is not known.
	Canary *Answers `json:"canary,omitempty" doc:"What became of the requests to the version on trial"`
	Stable *Answers `json:"stable,omitempty" doc:"What became of the others since then"`
}

// Answers are what became of some requests.
type Answers struct {
	Count  uint64   `json:"count"`
	Errors uint64   `json:"errors" doc:"Answers with 5xx, and those that were not whole"`
	P95    Duration `json:"p95" doc:"95 of 100 took at most this long" example:"40ms"`
}
