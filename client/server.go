package client

import (
	"context"
	"net/http"
	"time"
)

// Version is what the server is built from.
type Version struct {
	Version string `json:"version" example:"0.1.0"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go,omitempty" doc:"Version of the Go toolchain"`
}

// Status is how the installation stands.
type Status struct {
	Version    string      `json:"version"`
	Instance   string      `json:"instance" doc:"Tells installations on one machine apart"`
	Domain     string      `json:"domain" doc:"Apps answer at NAME.domain"`
	StartedAt  time.Time   `json:"started_at,omitzero"`
	Apps       int         `json:"apps" doc:"How many there are"`
	Components []Component `json:"components"`
}

// Component is a part of Landward or the host.
type Component struct {
	Name    string `json:"name" example:"engine"`
	State   string `json:"state" enum:"ok,degraded,down"`
	Message string `json:"message,omitempty"`
}

// Check is one thing that doctor looked at.
type Check struct {
	Name    string `json:"name" example:"docker"`
	State   string `json:"state" enum:"ok,warn,fail"`
	Message string `json:"message" doc:"What was found"`
	Hint    string `json:"hint,omitempty" doc:"How to mend it"`
}

// Diagnosis is what doctor found.
type Diagnosis struct {
	Healthy bool    `json:"healthy" doc:"No check failed"`
	Checks  []Check `json:"checks"`
}

// Version returns what the server is built from. It needs no token.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	err := c.call(ctx, http.MethodGet, path("version"), nil, &out)
	return out, err
}

// Status returns how the installation stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	err := c.call(ctx, http.MethodGet, path("status"), nil, &out)
	return out, err
}

// Doctor has the server check itself and its host.
func (c *Client) Doctor(ctx context.Context) (Diagnosis, error) {
	var out Diagnosis
	err := c.call(ctx, http.MethodGet, path("doctor"), nil, &out)
	return out, err
}
