package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// User is a person.
type User struct {
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// NewUser is the request to make a user.
type NewUser struct {
	Name  string `json:"name" doc:"1 to 40 lower-case letters, digits, dots and dashes, a letter first" maxLength:"1000"`
	Admin bool   `json:"admin,omitempty"`
}

// UserList is users, by name.
type UserList struct {
	Users []User `json:"users"`
}

// Users returns all users.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var out UserList
	err := c.call(ctx, http.MethodGet, path("users"), nil, &out)
	return out.Users, err
}

// CreateUser makes a user. CodeConflict where the name is taken.
func (c *Client) CreateUser(ctx context.Context, u NewUser) (User, error) {
	var out User
	err := c.call(ctx, http.MethodPost, path("users"), u, &out)
	return out, err
}

// DeleteUser removes a user with keys and tokens.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path("users", name), nil, nil)
}

// Key is an SSH public key that a user pushes with.
type Key struct {
	Fingerprint string    `json:"fingerprint" example:"SHA256:…"`
	Name        string    `json:"name"`
	User        string    `json:"user"`
	CreatedAt   time.Time `json:"created_at"`
	LastUsed    time.Time `json:"last_used,omitzero"`
}

// NewKey is the request to add a key.
type NewKey struct {
	Name      string `json:"name" doc:"To recognise it by" maxLength:"1000" example:"laptop"`
	PublicKey string `json:"public_key" doc:"One line as in authorized_keys, without options" maxLength:"16384"`
	User      string `json:"user,omitempty" doc:"Whose key it is; the caller's own where it is empty" maxLength:"1000"`
}

// KeyList is keys.
type KeyList struct {
	Keys []Key `json:"keys"`
}

// Keys returns the caller's keys, for administrators everybody's.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	var out KeyList
	err := c.call(ctx, http.MethodGet, path("keys"), nil, &out)
	return out.Keys, err
}

// AddKey adds a key. CodeConflict where somebody has it already.
func (c *Client) AddKey(ctx context.Context, k NewKey) (Key, error) {
	var out Key
	err := c.call(ctx, http.MethodPost, path("keys"), k, &out)
	return out, err
}

// DeleteKey removes a key by fingerprint.
func (c *Client) DeleteKey(ctx context.Context, fingerprint string) error {
	return c.call(ctx, http.MethodDelete, path("keys", fingerprint), nil, nil)
}

// Token is a secret that a machine calls the API with.
type Token struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Prefix    string    `json:"prefix" doc:"First characters, to recognise it by"`
	User      string    `json:"user,omitempty" doc:"Whose rights it has"`
	App       string    `json:"app,omitempty" doc:"The one app that it may touch"`
	Role      string    `json:"role,omitempty" doc:"What it may do on that app"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	LastUsed  time.Time `json:"last_used,omitzero"`
}

// NewToken is the request to make a token.
type NewToken struct {
	Name      string   `json:"name" doc:"To recognise it by" maxLength:"1000" example:"ci"`
	App       string   `json:"app,omitempty" doc:"Bind it to one app; otherwise it has the caller's own rights" maxLength:"1000"`
	Role      string   `json:"role,omitempty" enum:"viewer,deployer,owner" doc:"What it may do on that app"`
	User      string   `json:"user,omitempty" doc:"Whose rights it has; the caller's own where it is empty" maxLength:"1000"`
	ExpiresIn Duration `json:"expires_in,omitempty" doc:"Never, where it is empty" example:"720h0m0s"`
}

// CreatedToken is a new token with its value, which is shown this once.
type CreatedToken struct {
	Token
	Value string `json:"value" doc:"The secret itself; it is not shown again"`
}

// TokenList is tokens, without their values.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// Tokens returns the tokens that the caller may remove.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	var out TokenList
	err := c.call(ctx, http.MethodGet, path("tokens"), nil, &out)
	return out.Tokens, err
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (CreatedToken, error) {
	var out CreatedToken
	err := c.call(ctx, http.MethodPost, path("tokens"), t, &out)
	return out, err
}

// DeleteToken removes a token by id.
func (c *Client) DeleteToken(ctx context.Context, id int64) error {
	return c.call(ctx, http.MethodDelete, path("tokens", strconv.FormatInt(id, 10)), nil, nil)
}

// Whoami is who the server takes the caller for.
type Whoami struct {
	Kind  string            `json:"kind" enum:"user,token,local,system"`
	Name  string            `json:"name"`
	Admin bool              `json:"admin"`
	Apps  map[string]string `json:"apps" doc:"Role by app, where the caller is no administrator"`
}

// Whoami returns who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var out Whoami
	err := c.call(ctx, http.MethodGet, path("whoami"), nil, &out)
	return out, err
}

// Bootstrap is the request that turns the one-time token of a new installation
// into its first administrator.
type Bootstrap struct {
	Token string `json:"token" doc:"From the link that the first start printed" maxLength:"1000"`
	Name  string `json:"name" doc:"The administrator's name" maxLength:"1000"`
}

// Bootstrapped is the first administrator's token, which is shown this once.
type Bootstrapped struct {
	Name  string `json:"name"`
	Token string `json:"token" doc:"The secret itself; it is not shown again"`
}

// Bootstrap makes the first administrator.
func (c *Client) Bootstrap(ctx context.Context, b Bootstrap) (Bootstrapped, error) {
	var out Bootstrapped
	err := c.call(ctx, http.MethodPost, path("bootstrap"), b, &out)
	return out, err
}
