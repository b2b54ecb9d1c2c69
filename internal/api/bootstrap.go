package api

import (
	"context"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/store"
)

//go:embed bootstrap.html
var bootstrapPage string

func (a *API) registerBootstrap() {
	handle(a, "Server", endpoint{
		"bootstrap", http.MethodPost, "/bootstrap", auth.Public,
		"Become the first administrator, with the one-time token", with(status(http.StatusCreated)),
	}, a.bootstrap)
	policy := fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; "+
		"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		inlineHash(bootstrapPage, "script"), inlineHash(bootstrapPage, "style"))
	a.page(http.MethodGet, "/bootstrap", auth.Public, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write([]byte(bootstrapPage)) // the caller may be gone
	})
}

// inlineHash returns the Content-Security-Policy source of the page's one
// element of that name.
func inlineHash(page, element string) string {
	_, rest, _ := strings.Cut(page, "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (a *API) bootstrap(ctx context.Context, in *struct{ Body client.Bootstrap }) (*answer[client.Bootstrapped], error) {
	c := callOf(ctx)
	if err := a.Limiter.Check(c.address, ""); err != nil {
		return nil, err
	}
	if err := auth.CheckUserName(in.Body.Name); err != nil {
		return nil, err
	}
	secret := auth.NewToken()
	user, err := a.Store.UseBootstrap(ctx, []byte(in.Body.Token), in.Body.Name,
		store.Token{Name: "bootstrap", Prefix: secret.Prefix}, secret.Hash)
	if landward.CodeOf(err) == landward.CodeForbidden {
		a.Limiter.Failed(c.address, "")
	}
	if err != nil {
		return nil, err
	}
	c.actor = landward.Actor{Kind: landward.ActorUser, ID: user.ID, Name: user.Name, Admin: true}
	if err := a.note(ctx, "user.create", user.Name+" became the first administrator"); err != nil {
		return nil, err
	}
	return reply(client.Bootstrapped{Name: user.Name, Token: secret.Text})
}
