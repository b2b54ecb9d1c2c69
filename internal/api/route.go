package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"landward/internal/auth"
	"landward/internal/landward"
)

// prefix is where the API lives.
const prefix = "/api/v1"

// permissionKey is the metadata and the OpenAPI extension that hold an
// operation's permission.
const permissionKey = "x-permission"

// endpoint declares one operation. All fields but more are required.
type endpoint struct {
	id         string // of the operation, in the OpenAPI document
	method     string
	path       string // below prefix
	permission auth.Permission
	summary    string
	more       []func(*huma.Operation)
}

// handle registers an operation of the API.
func handle[I, O any](a *API, tag string, e endpoint, fn func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: e.id, Method: e.method, Path: prefix + e.path, Summary: e.summary, Tags: []string{tag},
		Metadata:                     map[string]any{permissionKey: e.permission},
		Extensions:                   map[string]any{permissionKey: string(e.permission)},
		RejectUnknownQueryParameters: true,
		Responses:                    map[string]*huma.Response{"default": a.problemResponse()},
	}
	if e.permission != auth.Public {
		op.Security = []map[string][]string{{"token": {}}}
	}
	for _, change := range e.more {
		change(&op)
	}
	a.routes = append(a.routes, Route{Method: e.method, Path: op.Path, Permission: string(e.permission)})
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, callOf(ctx).problem(err)
		}
		return out, nil
	})
}

// page registers a route that is no operation of the API. Only public ones
// exist: nothing else is checked for them.
func (a *API) page(method, path string, p auth.Permission, h http.HandlerFunc) {
	if p != auth.Public {
		a.errs = append(a.errs, fmt.Errorf("page %s declares permission %q, which nothing would check", path, p))
	}
	a.routes = append(a.routes, Route{Method: method, Path: path, Permission: string(p)})
	a.mux.HandleFunc(strings.TrimSpace(method+" "+path), h)
}

// status sets the status of a success.
func status(code int) func(*huma.Operation) {
	return func(op *huma.Operation) { op.DefaultStatus = code }
}

// maxBody sets the size limit of a JSON body, in bytes.
func maxBody(n int64) func(*huma.Operation) {
	return func(op *huma.Operation) { op.MaxBodyBytes = n }
}

// authorize is the one place where a caller is let through to an operation. An
// operation about an app gets the app with it.
func (a *API) authorize(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	c := callOf(ctx.Context())
	c.permission, _ = op.Metadata[permissionKey].(auth.Permission)
	c.aboutApp = strings.Contains(op.Path, "/{app}")
	c.appName = ctx.Param("app")
	if err := a.permit(ctx.Context(), c); err != nil {
		_, w := humago.Unwrap(ctx)
		c.fail(w, err)
		return
	}
	next(ctx)
}

// permit decides whether the call's actor may do what the operation declares.
func (a *API) permit(ctx context.Context, c *call) error {
	switch {
	case c.permission == "":
		return fmt.Errorf("operation without permission")
	case c.permission == auth.Public:
		return nil
	case !c.known:
		return landward.Errorf(landward.CodeUnauthenticated, "this needs a token").
			WithHint("sign in with `landward login`, or send the header Authorization: Bearer TOKEN")
	case !c.aboutApp:
		if !auth.Can(c.actor, c.permission, 0) {
			return forbidden("only an administrator may do this")
		}
		return nil
	}
	app, err := a.Store.AppByName(ctx, c.appName)
	if landward.CodeOf(err) == landward.CodeNotFound || (err == nil && !auth.Can(c.actor, auth.AppRead, app.ID)) {
		return noApp(c.appName)
	}
	if err != nil {
		return err
	}
	if !auth.Can(c.actor, c.permission, app.ID) {
		return forbidden("your role on %s does not allow this", app.Name)
	}
	c.app = app
	return nil
}

// noApp is the answer about an app that does not exist and about one that the
// caller may not see: nobody can tell them apart.
func noApp(name string) error {
	return landward.Errorf(landward.CodeNotFound, "there is no app %q, or none that you may see", landward.Printable(name)).
		WithHint("`landward apps` lists yours")
}

func forbidden(format string, args ...any) error {
	return landward.Errorf(landward.CodeForbidden, format, args...).
		WithHint("ask an administrator or an owner of the app")
}

// with makes the list of changes of an endpoint.
func with(changes ...func(*huma.Operation)) []func(*huma.Operation) { return changes }

// created marks an operation that makes a thing and answers with it.
func created() []func(*huma.Operation) { return with(status(http.StatusCreated)) }
