package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/store"
)

func (a *API) registerTokens() {
	const tag = "People"
	handle(a, tag, endpoint{"list-tokens", http.MethodGet, "/tokens", auth.Self, "The tokens that you may remove", nil}, a.listTokens)
	handle(a, tag, endpoint{"create-token", http.MethodPost, "/tokens", auth.TokenCreate, "Make a token; its value is shown this once", created()}, a.createToken)
	handle(a, tag, endpoint{"delete-token", http.MethodDelete, "/tokens/{id}", auth.Self, "Remove a token", nil}, a.deleteToken)
}

// myTokens returns the tokens that the caller may see and remove: his own, and
// those of apps that he manages.
func (a *API) myTokens(ctx context.Context) ([]store.Token, error) {
	actor := callOf(ctx).actor
	all, err := a.Store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	var mine []store.Token
	for _, t := range all {
		own := actor.Kind == landward.ActorUser && t.UserID == actor.ID
		if actor.Admin || own || (t.AppID != 0 && auth.Can(actor, auth.TokenCreate, t.AppID)) {
			mine = append(mine, t)
		}
	}
	return mine, nil
}

func (a *API) listTokens(ctx context.Context, _ *struct{}) (*answer[client.TokenList], error) {
	tokens, err := a.myTokens(ctx)
	if err != nil {
		return nil, err
	}
	out := client.TokenList{Tokens: []client.Token{}}
	for _, t := range tokens {
		out.Tokens = append(out.Tokens, wireToken(t))
	}
	return reply(out)
}

func (a *API) createToken(ctx context.Context, in *struct{ Body client.NewToken }) (*answer[client.CreatedToken], error) {
	if err := checkLabel(in.Body.Name); err != nil {
		return nil, err
	}
	t, err := a.newTokenFor(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	secret := auth.NewToken()
	t.Prefix = secret.Prefix
	if t, err = a.Store.AddToken(ctx, t, secret.Hash); err != nil {
		return nil, err
	}
	if err := a.note(ctx, "token.create", fmt.Sprintf("made token %d (%s)", t.ID, t.Name)); err != nil {
		return nil, err
	}
	return reply(client.CreatedToken{Token: wireToken(t), Value: secret.Text})
}

// newTokenFor decides what the asked-for token may do: never more than who
// asks for it.
func (a *API) newTokenFor(ctx context.Context, n client.NewToken) (store.Token, error) {
	t := store.Token{Name: n.Name}
	if n.ExpiresIn < 0 {
		return t, landward.Invalid("expires_in", "%s is in the past", time.Duration(n.ExpiresIn))
	}
	if n.ExpiresIn > 0 {
		t.ExpiresAt = a.Now().Add(time.Duration(n.ExpiresIn))
	}
	if n.App == "" {
		if n.Role != "" {
			return t, landward.Invalid("role", "a role needs an app that it is on").WithHint("name the app too")
		}
		owner, err := a.owner(ctx, n.User)
		t.UserID = owner.ID
		return t, err
	}
	if n.Role == "" || n.User != "" {
		return t, landward.Invalid("role", "a token of an app has a role and no user").
			WithHint("roles are viewer, deployer and owner")
	}
	return a.appToken(ctx, t, n)
}

// appToken binds t to an app. A user's stays his: it never may more than he
// does, and goes when he goes.
func (a *API) appToken(ctx context.Context, t store.Token, n client.NewToken) (store.Token, error) {
	c := callOf(ctx)
	check := *c
	check.permission, check.aboutApp, check.appName = auth.TokenCreate, true, n.App
	if err := a.permit(ctx, &check); err != nil {
		return t, err
	}
	t.AppID, t.Role = check.app.ID, landward.Role(n.Role)
	if c.actor.Kind == landward.ActorUser {
		t.UserID = c.actor.ID
	}
	return t, nil
}

func (a *API) deleteToken(ctx context.Context, in *struct {
	ID int64 `path:"id" minimum:"1" doc:"The token's id"`
},
) (*nothing, error) {
	tokens, err := a.myTokens(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		if t.ID != in.ID {
			continue
		}
		if err := a.Store.DeleteToken(ctx, t.ID); err != nil {
			return nil, err
		}
		return nil, a.note(ctx, "token.delete", fmt.Sprintf("removed token %d (%s)", t.ID, t.Name))
	}
	return nil, landward.Errorf(landward.CodeNotFound, "you have no token %d", in.ID).WithHint("`landward tokens` lists them")
}
