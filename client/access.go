package client

import (
	"context"
	"net/http"
)

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

// Member is a user with a role on an app.
type Member struct {
	User string `json:"user"`
	Role string `json:"role" enum:"viewer,deployer,owner"`
}

// MemberList are the users with a role on an app, by name.
type MemberList struct {
	Members []Member `json:"members"`
}

// Members returns who has a role on an app, by name. Administrators, who may do
// all on each, are not among them for that.
func (c *Client) Members(ctx context.Context, app string) ([]Member, error) {
	var out MemberList
	err := c.call(ctx, http.MethodGet, path("apps", app, "access"), nil, &out)
	return out.Members, err
}

// SetAccess gives a user a role on an app.
func (c *Client) SetAccess(ctx context.Context, app, user, role string) error {
	return c.call(ctx, http.MethodPut, path("apps", app, "access", user), Access{Role: role}, nil)
}

// RemoveAccess takes a user's role on an app away.
func (c *Client) RemoveAccess(ctx context.Context, app, user string) error {
	return c.call(ctx, http.MethodDelete, path("apps", app, "access", user), nil, nil)
}
