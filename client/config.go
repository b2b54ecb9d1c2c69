package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Var is one variable of an app.
type Var struct {
	Name   string `json:"name" maxLength:"1000" example:"DATABASE_URL"`
	Value  string `json:"value" doc:"Empty in answers where the variable is secret" maxLength:"65536"`
	Secret bool   `json:"secret,omitempty" doc:"Write-only: the value is never shown again"`
	File   bool   `json:"file,omitempty" doc:"The app finds it in /run/secrets/NAME instead of its environment"`
	Build  bool   `json:"build,omitempty" doc:"The build may read it as a secret with the id NAME"`
}

// Config is the variables of an app, by name.
type Config struct {
	Vars []Var `json:"vars"`
}

// ConfigChange is the request to set and unset variables, in one release.
type ConfigChange struct {
	Set   []Var    `json:"set,omitempty" maxItems:"1000"`
	Unset []string `json:"unset,omitempty" maxItems:"1000"`
}

// ConfigDiff is how the variables of two releases differ.
type ConfigDiff struct {
	From    int         `json:"from" doc:"A release's version"`
	To      int         `json:"to" doc:"A release's version"`
	Changes []VarChange `json:"changes"`
}

// VarChange is how one variable differs.
type VarChange struct {
	Name   string `json:"name"`
	Kind   string `json:"kind" enum:"added,removed,changed"`
	Secret bool   `json:"secret,omitempty" doc:"Its values are not shown"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Config returns the variables of an app.
func (c *Client) Config(ctx context.Context, app string) ([]Var, error) {
	var out Config
	err := c.call(ctx, http.MethodGet, path("apps", app, "config"), nil, &out)
	return out.Vars, err
}

// ChangeConfig sets and unsets variables. The deployment is nil where the app
// has none yet or nothing changed.
func (c *Client) ChangeConfig(ctx context.Context, app string, change ConfigChange) (*Deployment, error) {
	return c.change(ctx, http.MethodPatch, path("apps", app, "config"), change)
}

// DiffConfig returns how the variables of two releases differ. From 0 is the
// release before to; to 0 is what the next release gets.
func (c *Client) DiffConfig(ctx context.Context, app string, from, to int) (ConfigDiff, error) {
	q := url.Values{}
	if from != 0 {
		q.Set("from", strconv.Itoa(from))
	}
	if to != 0 {
		q.Set("to", strconv.Itoa(to))
	}
	var out ConfigDiff
	err := c.call(ctx, http.MethodGet, withQuery(path("apps", app, "config", "diff"), q), nil, &out)
	return out, err
}
