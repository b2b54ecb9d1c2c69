package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// App is a thing that is deployed.
type App struct {
	Name string `json:"name" doc:"Unique on the installation" example:"shop"`
	// State is how the app stands: "empty" (nothing deployed yet), "deployed"
	// or "stopped" (by its owner).
	State        string         `json:"state" enum:"empty,deployed,stopped" doc:"How the app stands"`
	Release      int            `json:"release,omitempty" doc:"Version of the release that serves"`
	URLs         []string       `json:"urls" doc:"Where the app answers, its own domains first"`
	GitRemote    string         `json:"git_remote" doc:"The address to push to over SSH" example:"ssh://git@landward.example.com:2222/shop"`
	GitHTTP      string         `json:"git_http" doc:"The address to push to over HTTP, with a token as password"`
	DeployBranch string         `json:"deploy_branch,omitempty" doc:"A push to it deploys; empty until the first push names it"`
	Domains      []string       `json:"domains" doc:"Custom hosts"`
	Scale        map[string]int `json:"scale" doc:"Replicas by process, where they were set"`
	Maintenance  bool           `json:"maintenance,omitempty" doc:"Every request gets a page that says so"`
	Message      string         `json:"message,omitempty" doc:"On that page"`
	Paused       bool           `json:"paused,omitempty" doc:"Requests are held until it is resumed"`
	MaxPause     Duration       `json:"max_pause,omitempty" doc:"How long one request is held meanwhile, where that was set"`
	Asleep       bool           `json:"asleep,omitempty" doc:"Its web processes are stopped until somebody asks for it"`
	Returned     int64          `json:"memory_returned,omitempty" doc:"Bytes of memory that they used when they were stopped"`
	Warm         int            `json:"warm,omitempty" doc:"Version of the release that is kept running beside it for a quick way back"`
	WarmUntil    time.Time      `json:"warm_until,omitzero" doc:"Until when"`
	Canary       *Canary        `json:"canary,omitempty" doc:"The release that gets a share of the requests; of a single app only, not in lists"`
	CreatedAt    time.Time      `json:"created_at"`
	UpdatedAt    time.Time      `json:"updated_at"`
}

// States of an App.
const (
	AppEmpty    = "empty"
	AppDeployed = "deployed"
	AppStopped  = "stopped"
)

// NewApp is the request to make an app.
type NewApp struct {
	Name string `json:"name" doc:"1 to 40 lower-case letters, digits and dashes, a letter first" maxLength:"1000"`
}

// AppList is the apps that the caller may see.
type AppList struct {
	Apps []App `json:"apps"`
}

// Apps returns the apps that the caller may see, by name.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	var out AppList
	err := c.call(ctx, http.MethodGet, path("apps"), nil, &out)
	return out.Apps, err
}

// App returns one app.
func (c *Client) App(ctx context.Context, name string) (App, error) {
	var out App
	err := c.call(ctx, http.MethodGet, path("apps", name), nil, &out)
	return out, err
}

// CreateApp makes an app. CodeConflict where the name is taken.
func (c *Client) CreateApp(ctx context.Context, name string) (App, error) {
	var out App
	err := c.call(ctx, http.MethodPost, path("apps"), NewApp{Name: name}, &out)
	return out, err
}

// DeleteApp removes an app with everything that it has.
func (c *Client) DeleteApp(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path("apps", name), nil, nil)
}

// Domain is a host that an app answers at.
type Domain struct {
	Host   string `json:"host"`
	Custom bool   `json:"custom" doc:"False for the host that the app has by its name"`
}

// DomainList is the hosts of an app.
type DomainList struct {
	Domains []Domain `json:"domains"`
}

// NewDomain is the request to add a host.
type NewDomain struct {
	Host          string `json:"host" doc:"A host name, without scheme, port or path; *.NAME stands for all hosts one label below" example:"shop.example.com" maxLength:"1000"`
	NoRecord      bool   `json:"no_record,omitempty" doc:"Leave the DNS alone, where a provider is linked"`
	ReplaceRecord bool   `json:"replace_record,omitempty" doc:"Take away records that lead the host elsewhere, where a provider is linked; for administrators"`
}

// Domains returns the hosts that an app answers at.
func (c *Client) Domains(ctx context.Context, app string) ([]Domain, error) {
	var out DomainList
	err := c.call(ctx, http.MethodGet, path("apps", app, "domains"), nil, &out)
	return out.Domains, err
}

// AddDomain gives an app a host, and lets the host lead here where a DNS
// provider is linked. The deployment is nil where the app has none yet.
func (c *Client) AddDomain(ctx context.Context, app string, n NewDomain) (DomainChanged, error) {
	var out DomainChanged
	err := c.call(ctx, http.MethodPost, path("apps", app, "domains"), n, &out)
	return out, err
}

// RemoveDomain takes a host from an app, with the records that were made for
// it, unless noRecord leaves them alone.
func (c *Client) RemoveDomain(ctx context.Context, app, host string, noRecord bool) (DomainChanged, error) {
	q := url.Values{}
	if noRecord {
		q.Set("no_record", "true")
	}
	var out DomainChanged
	err := c.call(ctx, http.MethodDelete, withQuery(path("apps", app, "domains", host), q), nil, &out)
	return out, err
}
