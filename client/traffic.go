package client

import (
	"context"
	"net/http"
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

// Pause holds an app's requests until Resume, each as long as the server lets
// one wait.
func (c *Client) Pause(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, path("apps", app, "pause"), nil, nil)
}

// Resume lets an app's requests go on.
func (c *Client) Resume(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, path("apps", app, "resume"), nil, nil)
}
