package script_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"landward/client"
)

func (f *fake) routes() {
	route := func(pattern string, h http.HandlerFunc) {
		method, path, _ := strings.Cut(pattern, " ")
		f.mux.HandleFunc(method+" /api/v1"+path, h)
	}
	f.routeServer(route)
	f.routePeople(route)
	f.routeApps(route)
	f.routeDeploys(route)
	f.routeReleases(route)
	f.routeSettings(route)
	f.routeDomains(route)
	f.routeRunning(route)
}

func (f *fake) routeServer(route func(string, http.HandlerFunc)) {
	route("GET /version", func(w http.ResponseWriter, _ *http.Request) { reply(w, client.Version{Version: "9.9"}) })
	route("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, client.Status{Version: "9.9", Instance: "abc123", Domain: "localhost", Apps: len(f.apps), StartedAt: fakeNow,
			Components: []client.Component{{Name: "edge", State: "ok"}, {Name: "engine", State: "down", Message: "no answer\x1b]0;evil\x07"}}})
	})
	route("GET /doctor", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, client.Diagnosis{Healthy: false, Checks: []client.Check{
			{Name: "docker", State: "ok", Message: "Docker Engine 20.10"},
			{Name: "disk", State: "fail", Message: "1 GiB free", Hint: "make room"},
		}})
	})
	route("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, client.EventList{Events: []client.Event{{ID: 2, At: fakeNow, App: "blog", Kind: "deploy.live", Message: "v1 is live", Actor: client.Actor{Kind: "user", Name: "ann"}}}})
	})
	route("POST /plan", func(w http.ResponseWriter, r *http.Request) {
		names, err := files(r.Body)
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, client.Error{Code: client.CodeInvalid, Detail: err.Error()})
			return
		}
		if slices.Contains(names, "Dockerfile") {
			reply(w, client.Plan{Builder: "dockerfile", Why: "Dockerfile", Services: []client.ServicePlan{{Name: "app",
				Build: &client.BuildPlan{Dockerfile: "Dockerfile"}, Processes: []client.Process{{Name: "web", Replicas: 1}}}}})
			return
		}
		reply(w, client.Plan{Builder: "go", Why: "go.mod", Release: &client.Command{Shell: "./migrate up"},
			Services: []client.ServicePlan{{Name: "app", Build: &client.BuildPlan{Generated: "FROM golang\nRUN go build\n"},
				Processes: []client.Process{{Name: "web", Replicas: 2, Port: 8080, Command: &client.Command{Argv: []string{"./server", "-v"}}}}}},
			Env:     []client.EnvDecl{{Name: "SECRET_KEY", Description: "signs cookies", Required: true}},
			Notices: []string{"there is no health check"}})
	})
}

func (f *fake) routePeople(route func(string, http.HandlerFunc)) {
	route("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Authorization"), guestToken) {
			reply(w, client.Whoami{Kind: "token", Name: "guest", Apps: map[string]string{"blog": "viewer"}})
			return
		}
		reply(w, client.Whoami{Kind: "user", Name: "ann", Admin: true})
	})
	route("POST /bootstrap", func(w http.ResponseWriter, r *http.Request) {
		b, ok := read[client.Bootstrap](w, r)
		switch {
		case !ok:
		case b.Token != "once":
			fail(w, http.StatusForbidden, client.Error{Code: client.CodeForbidden, Detail: "the bootstrap link was used already"})
		default:
			reply(w, client.Bootstrapped{Name: b.Name, Token: adminToken})
		}
	})
	route("GET /keys", func(w http.ResponseWriter, _ *http.Request) { reply(w, client.KeyList{Keys: f.keys}) })
	route("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		if k, ok := read[client.NewKey](w, r); ok {
			f.keys = append(f.keys, client.Key{Name: k.Name, User: "ann", Fingerprint: fmt.Sprintf("SHA256:%d", len(f.keys)+1), CreatedAt: fakeNow})
			reply(w, f.keys[len(f.keys)-1])
		}
	})
	route("DELETE /keys/{fingerprint}", func(w http.ResponseWriter, r *http.Request) {
		f.keys = slices.DeleteFunc(f.keys, func(k client.Key) bool { return k.Fingerprint == r.PathValue("fingerprint") })
		w.WriteHeader(http.StatusNoContent)
	})
	route("GET /tokens", func(w http.ResponseWriter, _ *http.Request) { reply(w, client.TokenList{Tokens: f.tokens}) })
	route("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		if t, ok := read[client.NewToken](w, r); ok {
			made := client.Token{ID: int64(len(f.tokens) + 1), Name: t.Name, App: t.App, Role: t.Role, User: "ann", Prefix: "lw_abc", CreatedAt: fakeNow}
			if t.ExpiresIn > 0 {
				made.ExpiresAt = fakeNow.Add(time.Duration(t.ExpiresIn))
			}
			f.tokens = append(f.tokens, made)
			reply(w, client.CreatedToken{Token: made, Value: "lw_abcdef"})
		}
	})
	route("DELETE /tokens/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	route("GET /users", func(w http.ResponseWriter, _ *http.Request) { reply(w, client.UserList{Users: f.users}) })
	route("POST /users", func(w http.ResponseWriter, r *http.Request) {
		if u, ok := read[client.NewUser](w, r); ok {
			f.users = append(f.users, client.User{Name: u.Name, Admin: u.Admin, CreatedAt: fakeNow})
			reply(w, f.users[len(f.users)-1])
		}
	})
	route("DELETE /users/{user}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

func (f *fake) routeApps(route func(string, http.HandlerFunc)) {
	route("GET /apps", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		list := client.AppList{Apps: []client.App{}}
		for _, a := range f.apps {
			list.Apps = append(list.Apps, a.App)
		}
		slices.SortFunc(list.Apps, func(a, b client.App) int { return strings.Compare(a.Name, b.Name) })
		reply(w, list)
	})
	route("POST /apps", func(w http.ResponseWriter, r *http.Request) {
		n, ok := read[client.NewApp](w, r)
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case !ok:
		case f.apps[n.Name] != nil:
			fail(w, http.StatusConflict, client.Error{Code: client.CodeConflict, Detail: fmt.Sprintf("there is an app %q already", n.Name)})
		case strings.ToLower(n.Name) != n.Name:
			fail(w, http.StatusUnprocessableEntity, client.Error{Code: client.CodeInvalid, Field: "name", Detail: fmt.Sprintf("%q is not an app name", n.Name),
				Hint: "use lower-case letters"})
		default:
			a := &fakeApp{output: map[int][]string{}, resources: map[string]client.Resources{}, health: map[string]client.Health{}}
			a.App = client.App{Name: n.Name, State: client.AppEmpty, URLs: []string{"http://" + n.Name + ".localhost:8080"}, Domains: []string{}, Scale: map[string]int{},
				GitRemote: "ssh://git@landward.localhost:2222/" + n.Name, GitHTTP: "http://landward.localhost:8080/git/" + n.Name, CreatedAt: fakeNow, UpdatedAt: fakeNow}
			f.apps[n.Name] = a
			reply(w, a.App)
		}
	})
	route("GET /apps/{app}", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) { reply(w, a.App) }))
	route("DELETE /apps/{app}", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) {
		delete(f.apps, a.Name)
		w.WriteHeader(http.StatusNoContent)
	}))
	route("GET /apps/{app}/access", f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) {
		reply(w, client.MemberList{Members: []client.Member{{User: "ann", Role: client.RoleOwner}, {User: "bob", Role: client.RoleDeployer}}})
	}))
	for _, way := range []string{"PUT", "DELETE"} {
		route(way+" /apps/{app}/access/{user}", f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) { w.WriteHeader(http.StatusNoContent) }))
	}
	route("GET /apps/{app}/events", f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) { reply(w, client.EventList{}) }))
	route("GET /apps/{app}/cron", f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) {
		reply(w, client.CronStatus{
			Jobs: []client.CronJob{{Name: "clean", Schedule: "0 3 * * *", Overlap: "forbid", Command: client.Command{Argv: []string{"./clean"}}}},
			Runs: []client.CronRun{{Name: "clean", State: "failed", ExitCode: 2, DueAt: fakeNow}, {Name: "clean", State: "done", DueAt: fakeNow.Add(-24 * time.Hour)}},
		})
	}))
}

func (f *fake) routeDeploys(route func(string, http.HandlerFunc)) {
	route("POST /apps/{app}/deploys/archive", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		names, err := files(r.Body)
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, client.Error{Code: client.CodeInvalid, Detail: err.Error()})
			return
		}
		slices.Sort(names)
		f.requests = append(f.requests, "archive: "+strings.Join(names, " "))
		reply(w, a.deploy(client.Source{Kind: "archive"}, "Building "+a.Name, names))
	}))
	route("POST /apps/{app}/deploys/image", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if ref, ok := read[client.ImageRef](w, r); ok {
			reply(w, a.deploy(client.Source{Kind: "image", Ref: ref.Ref}, "Pulling "+ref.Ref, nil))
		}
	}))
	route("POST /apps/{app}/deploys/image-archive", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if _, err := files(r.Body); err != nil {
			fail(w, http.StatusUnprocessableEntity, client.Error{Code: client.CodeInvalid, Detail: "this is not what `docker save` writes"})
			return
		}
		reply(w, a.deploy(client.Source{Kind: "imagetar"}, "Loading image", nil))
	}))
	route("GET /apps/{app}/deploys", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) {
		reply(w, client.DeploymentList{Deployments: a.deploys})
	}))
	route("GET /apps/{app}/deploys/{number}", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		n := number(r, "number")
		if n < 1 || n > len(a.deploys) {
			fail(w, http.StatusNotFound, client.Error{Code: client.CodeNotFound, Detail: fmt.Sprintf("%s has no deployment %d", a.Name, n)})
			return
		}
		reply(w, a.deploys[len(a.deploys)-n])
	}))
	route("POST /apps/{app}/deploys/{number}/cancel", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		d := &a.deploys[len(a.deploys)-number(r, "number")]
		d.State, d.Release = "cancelled", 0
		close(a.cancelled)
		reply(w, *d)
	}))
	route("GET /apps/{app}/deploys/{number}/output", f.output)
}

func (f *fake) routeReleases(route func(string, http.HandlerFunc)) {
	route("POST /apps/{app}/rollback", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if b, ok := read[client.Rollback](w, r); ok {
			if b.Version == 0 {
				b.Version = a.Release - 1
			}
			reply(w, a.deploy(client.Source{Kind: "change"}, fmt.Sprintf("Rolling back to v%d", b.Version), nil))
		}
	}))
	route("GET /apps/{app}/releases", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) {
		reply(w, client.ReleaseList{Releases: a.releases})
	}))
	route("GET /apps/{app}/releases/{version}", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		for _, release := range a.releases {
			if release.Version == number(r, "version") {
				reply(w, release)
				return
			}
		}
		fail(w, http.StatusNotFound, client.Error{Code: client.CodeNotFound, Detail: "there is no release v" + r.PathValue("version")})
	}))
}

// output streams a deployment's lines and then, once it has ended, itself.
func (f *fake) output(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	a := f.apps[r.PathValue("app")]
	n := number(r, "number")
	lines, hangs, cancelled := a.output[n], a.hangs, a.cancelled
	flaky := a.flaky
	a.flaky = false
	f.mu.Unlock()
	enc := json.NewEncoder(w)
	for i, line := range lines {
		_ = enc.Encode(client.StreamItem{Line: &client.LogLine{At: fakeNow, Source: "deploy", Kind: "deploy", Text: line}})
		if flaky && i == 0 {
			return
		}
	}
	if hangs && r.URL.Query().Get("follow") == "true" {
		w.(http.Flusher).Flush()
		select {
		case <-cancelled:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	d := a.deploys[len(a.deploys)-n]
	f.mu.Unlock()
	_ = enc.Encode(client.StreamItem{Deployment: &d})
}

func (f *fake) routeSettings(route func(string, http.HandlerFunc)) {
	route("GET /apps/{app}/config", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) { reply(w, client.Config{Vars: a.vars}) }))
	route("PATCH /apps/{app}/config", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		change, ok := read[client.ConfigChange](w, r)
		if !ok {
			return
		}
		var names []string
		for _, v := range change.Set {
			a.vars = slices.DeleteFunc(a.vars, func(o client.Var) bool { return o.Name == v.Name })
			if v.Secret {
				v.Value = ""
			}
			a.vars = append(a.vars, v)
			names = append(names, v.Name)
		}
		for _, name := range change.Unset {
			a.vars = slices.DeleteFunc(a.vars, func(o client.Var) bool { return o.Name == name })
			names = append(names, name)
		}
		reply(w, a.change("Changing "+strings.Join(names, ", ")))
	}))
	route("GET /apps/{app}/config/diff", f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) {
		reply(w, client.ConfigDiff{From: 1, To: 2, Changes: []client.VarChange{
			{Name: "A", Kind: "changed", From: "1", To: "2"}, {Name: "B", Kind: "added", To: "x\ny"}, {Name: "C", Kind: "removed", Secret: true}}})
	}))
	route("PATCH /apps/{app}/scale", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if scale, ok := read[map[string]int](w, r); ok {
			for name, n := range scale {
				a.Scale[name] = n
			}
			reply(w, a.change("Scaling"))
		}
	}))
	route("PATCH /apps/{app}/resources", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if v, ok := read[map[string]client.Resources](w, r); ok {
			a.resources = v
			reply(w, a.change("Limiting"))
		}
	}))
	route("PATCH /apps/{app}/health", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if v, ok := read[map[string]client.Health](w, r); ok {
			a.health = v
			reply(w, a.change("Changing health"))
		}
	}))
}

func (f *fake) routeDomains(route func(string, http.HandlerFunc)) {
	route("GET /apps/{app}/domains", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) {
		list := client.DomainList{Domains: []client.Domain{{Host: a.Name + ".localhost"}}}
		for _, host := range a.Domains {
			list.Domains = append(list.Domains, client.Domain{Host: host, Custom: true})
		}
		reply(w, list)
	}))
	route("POST /apps/{app}/domains", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		if d, ok := read[client.NewDomain](w, r); ok {
			a.Domains = append(a.Domains, d.Host)
			reply(w, a.change("Adding "+d.Host))
		}
	}))
	route("DELETE /apps/{app}/domains/{host}", f.onApp(func(w http.ResponseWriter, r *http.Request, a *fakeApp) {
		a.Domains = slices.DeleteFunc(a.Domains, func(h string) bool { return h == r.PathValue("host") })
		reply(w, a.change("Removing "+r.PathValue("host")))
	}))
}
