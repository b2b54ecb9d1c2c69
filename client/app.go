package client

import (
	"context"
	"net/http"
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
	Asleep       bool           `json:"asleep,omitempty" doc:"Its web processes are stopped until somebody asks for it"`
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
	Host string `json:"host" doc:"A host name, without scheme, port or path; *.NAME stands for all hosts one label below" example:"shop.example.com" maxLength:"1000"`
}

// Domains returns the hosts that an app answers at.
func (c *Client) Domains(ctx context.Context, app string) ([]Domain, error) {
	var out DomainList
	err := c.call(ctx, http.MethodGet, path("apps", app, "domains"), nil, &out)
	return out.Domains, err
}

// AddDomain gives an app a host. The deployment is nil where the app has none yet.
func (c *Client) AddDomain(ctx context.Context, app, host string) (*Deployment, error) {
	return c.change(ctx, http.MethodPost, path("apps", app, "domains"), NewDomain{Host: host})
}

// RemoveDomain takes a host from an app.
func (c *Client) RemoveDomain(ctx context.Context, app, host string) (*Deployment, error) {
	return c.change(ctx, http.MethodDelete, path("apps", app, "domains", host), nil)
}

// Access is what a user may do on an app.
type Access struct {
	Role string `json:"role" enum:"viewer,deployer,owner" doc:"What the user may do on the app"`
}

// Roles on an app.
const (
	RoleViewer   = "viewer"
	RoleDeployer = "deployer"
	RoleOwner    = "owner"
)

// SetAccess gives a user a role on an app.
func (c *Client) SetAccess(ctx context.Context, app, user, role string) error {
	return c.call(ctx, http.MethodPut, path("apps", app, "access", user), Access{Role: role}, nil)
}

// RemoveAccess takes a user's role on an app away.
func (c *Client) RemoveAccess(ctx context.Context, app, user string) error {
	return c.call(ctx, http.MethodDelete, path("apps", app, "access", user), nil, nil)
}
