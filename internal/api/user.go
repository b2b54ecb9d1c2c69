package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/store"
)

// label is what keys and tokens are called: for people only.
var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9 ._@+-]{0,78}[A-Za-z0-9])?$`)

func checkLabel(name string) error {
	if label.MatchString(name) {
		return nil
	}
	return landward.Invalid("name", "%q is not a name to recognise it by", landward.Printable(name)).
		WithHint("use 1 to 80 letters, digits, spaces and . _ @ + -, no space at an end: ada@laptop")
}

func (a *API) registerUsers() {
	const tag = "People"
	handle(a, tag, endpoint{"list-users", http.MethodGet, "/users", auth.UserAdmin, "All users", nil}, a.listUsers)
	handle(a, tag, endpoint{"create-user", http.MethodPost, "/users", auth.UserAdmin, "Make a user", created()}, a.createUser)
	handle(a, tag, endpoint{"delete-user", http.MethodDelete, "/users/{user}", auth.UserAdmin, "Remove a user with keys and tokens", nil}, a.deleteUser)
}

func (a *API) listUsers(ctx context.Context, _ *struct{}) (*answer[client.UserList], error) {
	users, err := a.Store.Users(ctx)
	if err != nil {
		return nil, err
	}
	out := client.UserList{Users: []client.User{}}
	for _, u := range users {
		out.Users = append(out.Users, wireUser(u))
	}
	return reply(out)
}

func (a *API) createUser(ctx context.Context, in *struct{ Body client.NewUser }) (*answer[client.User], error) {
	if err := auth.CheckUserName(in.Body.Name); err != nil {
		return nil, err
	}
	u, err := a.Store.CreateUser(ctx, in.Body.Name, in.Body.Admin)
	if err != nil {
		return nil, err
	}
	what := "made user " + u.Name
	if u.Admin {
		what = "made administrator " + u.Name
	}
	if err := a.note(ctx, "user.create", what); err != nil {
		return nil, err
	}
	return reply(wireUser(u))
}

func (a *API) deleteUser(ctx context.Context, in *struct {
	User string `path:"user" doc:"The user's name"`
},
) (*nothing, error) {
	if err := a.Store.DeleteUser(ctx, in.User); err != nil {
		return nil, err
	}
	return nil, a.note(ctx, "user.delete", "removed user "+landward.Printable(in.User))
}

func (a *API) registerKeys() {
	const tag = "People"
	handle(a, tag, endpoint{"list-keys", http.MethodGet, "/keys", auth.Self, "Your SSH keys; for administrators everybody's", nil}, a.listKeys)
	handle(a, tag, endpoint{"add-key", http.MethodPost, "/keys", auth.Self, "Add an SSH key", created()}, a.addKey)
	handle(a, tag, endpoint{"delete-key", http.MethodDelete, "/keys/{fingerprint}", auth.Self, "Remove an SSH key", nil}, a.deleteKey)
}

// myKeys returns the keys that the caller may see and remove.
func (a *API) myKeys(ctx context.Context) ([]store.Key, error) {
	actor := callOf(ctx).actor
	switch {
	case actor.Admin:
		return a.Store.Keys(ctx, 0)
	case actor.Kind == landward.ActorUser:
		return a.Store.Keys(ctx, actor.ID)
	}
	return nil, nil
}

func (a *API) listKeys(ctx context.Context, _ *struct{}) (*answer[client.KeyList], error) {
	keys, err := a.myKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := client.KeyList{Keys: []client.Key{}}
	for _, k := range keys {
		out.Keys = append(out.Keys, wireKey(k))
	}
	return reply(out)
}

func (a *API) addKey(ctx context.Context, in *struct{ Body client.NewKey }) (*answer[client.Key], error) {
	if err := checkLabel(in.Body.Name); err != nil {
		return nil, err
	}
	key, err := auth.ParseSSHKey(in.Body.PublicKey)
	if err != nil {
		return nil, err
	}
	owner, made, err := a.keyOwner(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	k, err := a.Store.AddKey(ctx, owner.ID, in.Body.Name, key.Fingerprint, key.PublicKey)
	if err != nil {
		if made {
			err = errors.Join(err, a.Store.DeleteUser(ctx, owner.Name))
		}
		return nil, err
	}
	if made {
		if err := a.note(ctx, "user.create", "made user "+owner.Name); err != nil {
			return nil, err
		}
	}
	if err := a.note(ctx, "key.add", "added key "+k.Fingerprint+" of "+k.User); err != nil {
		return nil, err
	}
	return reply(wireKey(k))
}

// keyOwner is the user that a key is added to. The server's own root is no
// user: there the key's name is the user's too, who is made where there is
// none, so that the first key needs one command.
func (a *API) keyOwner(ctx context.Context, k client.NewKey) (u store.User, made bool, err error) {
	if callOf(ctx).actor.Kind != landward.ActorLocal || k.User != "" {
		u, err = a.owner(ctx, k.User)
		return u, false, err
	}
	u, err = a.Store.UserByName(ctx, k.Name)
	if landward.CodeOf(err) != landward.CodeNotFound {
		return u, false, err
	}
	if err := auth.CheckUserName(k.Name); err != nil {
		return store.User{}, false, err
	}
	u, err = a.Store.CreateUser(ctx, k.Name, false)
	return u, err == nil, err
}

// owner is the user that something is made for: the caller, or for an
// administrator anybody.
func (a *API) owner(ctx context.Context, name string) (store.User, error) {
	actor := callOf(ctx).actor
	switch {
	case actor.Kind == landward.ActorUser && (name == "" || name == actor.Name):
		return store.User{ID: actor.ID, Name: actor.Name}, nil
	case !actor.Admin:
		return store.User{}, forbidden("only an administrator may do this for somebody else")
	case name == "":
		return store.User{}, landward.Invalid("user", "you are no user, so say whose it is").
			WithHint("name a user; `landward users` lists them")
	}
	return a.Store.UserByName(ctx, name)
}

func (a *API) deleteKey(ctx context.Context, in *struct {
	Fingerprint string `path:"fingerprint" doc:"SHA256:…"`
},
) (*nothing, error) {
	keys, err := a.myKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.Fingerprint != in.Fingerprint {
			continue
		}
		if err := a.Store.DeleteKey(ctx, k.Fingerprint); err != nil {
			return nil, err
		}
		return nil, a.note(ctx, "key.delete", "removed key "+k.Fingerprint+" of "+k.User)
	}
	return nil, landward.Errorf(landward.CodeNotFound, "you have no key %s", landward.Printable(in.Fingerprint)).
		WithHint("`landward keys` lists them")
}
