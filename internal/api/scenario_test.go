package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/landward"
)

func TestApps(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(deployer), t.Context()
	app := must(c.CreateApp(ctx, "blog"))(t)
	if app.State != client.AppEmpty || app.URLs[0] != "http://blog.example.test:8080" ||
		app.GitRemote != "ssh://git@git.example.test:2222/blog" || app.GitHTTP != "http://landward.example.test:8080/git/blog" {
		t.Errorf("a new app is %+v", app)
	}
	if _, err := e.client(viewer).App(ctx, "blog"); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("somebody else sees the app: %v", err)
	}
	if d := must(c.AddDomain(ctx, "blog", client.NewDomain{Host: "Blog.Example.ORG."}))(t).Deployment; d != nil {
		t.Errorf("an app without a release got deployment %+v", d)
	}
	if got := must(c.App(ctx, "blog"))(t); !slices.Equal(got.URLs, []string{"http://blog.example.org:8080", "http://blog.example.test:8080"}) {
		t.Errorf("the app answers at %v", got.URLs)
	}
	if _, err := e.client(owner).AddDomain(ctx, "shop", client.NewDomain{Host: "blog.example.org"}); client.CodeOf(err) != client.CodeConflict {
		t.Errorf("a domain of another app: %v", err)
	}
	must(c.RemoveDomain(ctx, "blog", "blog.example.org", false))(t)
	if got := must(c.Domains(ctx, "blog"))(t); len(got) != 1 || got[0].Custom {
		t.Errorf("the domains are %+v", got)
	}
	check(t, c.Stop(ctx, "blog"))
	if got := must(c.App(ctx, "blog"))(t); got.State != client.AppStopped {
		t.Errorf("a stopped app is %q", got.State)
	}
	check(t, c.Start(ctx, "blog"))
	check(t, c.SetAccess(ctx, "blog", viewer, client.RoleViewer))
	must(e.client(viewer).App(ctx, "blog"))(t)
	check(t, c.RemoveAccess(ctx, "blog", viewer))
	if _, err := e.client(viewer).App(ctx, "blog"); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("a role that was taken away still works: %v", err)
	}
	check(t, c.DeleteApp(ctx, "blog"))
	kinds := ""
	for _, ev := range must(e.client(admin).Events(ctx, client.EventQuery{Limit: 10}))(t) {
		if ev.App == "blog" {
			kinds += ev.Kind + " "
		}
	}
	if want := "app.delete access.change access.change app.start app.stop config.change config.change app.create "; kinds != want {
		t.Errorf("events %q, want %q", kinds, want)
	}
}

func TestConfig(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(owner), t.Context()
	tricky := "a b\nc=\"d\" $HOME 'é' \\ \t\u202e"
	d := must(c.ChangeConfig(ctx, "shop", client.ConfigChange{Set: []client.Var{
		{Name: "PLAIN", Value: tricky}, {Name: "PASSWORD", Value: "hunter2", Secret: true}, {Name: "CERT", Value: "pem", Secret: true, File: true, Build: true},
	}}))(t)
	if d == nil || d.Release != 3 || d.State != "releasing" || d.Actor.Name != owner || d.App != "shop" {
		t.Fatalf("the change's deployment is %+v", d)
	}
	want := []client.Var{{Name: "CERT", Secret: true, File: true, Build: true}, {Name: "PASSWORD", Secret: true}, {Name: "PLAIN", Value: tricky}}
	if got := must(c.Config(ctx, "shop"))(t); !slices.Equal(got, want) {
		t.Errorf("the variables are %+v, want %+v", got, want)
	}
	if d := must(c.ChangeConfig(ctx, "shop", client.ConfigChange{Set: []client.Var{{Name: "PLAIN", Value: tricky}}}))(t); d != nil {
		t.Errorf("a change that changes nothing got deployment %+v", d)
	}
	must(c.ChangeConfig(ctx, "shop", client.ConfigChange{
		Set: []client.Var{{Name: "PASSWORD", Value: "other", Secret: true}, {Name: "NEW", Value: "1"}}, Unset: []string{"PLAIN"},
	}))(t)
	diff := must(c.DiffConfig(ctx, "shop", 3, 4))(t)
	wantDiff := []client.VarChange{
		{Name: "NEW", Kind: "added", To: "1"}, {Name: "PASSWORD", Kind: "changed", Secret: true}, {Name: "PLAIN", Kind: "removed", From: tricky},
	}
	if !slices.Equal(diff.Changes, wantDiff) {
		t.Errorf("the difference is %+v, want %+v", diff.Changes, wantDiff)
	}
	if got := must(c.DiffConfig(ctx, "shop", 0, 4))(t); got.From != 3 || !slices.Equal(got.Changes, wantDiff) {
		t.Errorf("the difference to the one before is %+v", got)
	}
	if got := must(c.DiffConfig(ctx, "shop", 0, 0))(t); got.From != 2 || len(got.Changes) != 3 {
		t.Errorf("the difference of what is to come is %+v", got)
	}
	if _, err := c.ChangeConfig(ctx, "shop", client.ConfigChange{Set: []client.Var{{Name: "A-B", Value: "1"}}}); clientError(t, err).Field != "set[0].name" {
		t.Errorf("a bad name: %v", err)
	}
}

func TestReleasesAndProcesses(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(owner), t.Context()
	must(c.Scale(ctx, "shop", map[string]int{"worker": 3}))(t)
	must(c.SetResources(ctx, "shop", map[string]client.Resources{"web": {Memory: 64 << 20, MilliCPU: 500}}))(t)
	must(c.SetHealth(ctx, "shop", map[string]client.Health{"web": {Path: "/up", Interval: client.Duration(2 * time.Second)}}))(t)
	must(c.Restart(ctx, "shop"))(t)
	releases := must(c.Releases(ctx, "shop", 0))(t)
	if len(releases) != 6 || releases[0].Version != 6 || releases[0].Current || !releases[4].Current {
		t.Fatalf("the releases are %+v", releases)
	}
	web, worker := releases[0].Services[0].Processes[0], releases[0].Services[0].Processes[1]
	if worker.Replicas != 3 || worker.Command.String() != "./work" || web.Resources.MilliCPU != 500 ||
		web.Health.Path != "/up" || time.Duration(web.Health.Interval) != 2*time.Second {
		t.Errorf("the processes are %+v and %+v", web, worker)
	}
	if got := must(c.Release(ctx, "shop", 1))(t); got.Source.Commit != strings.Repeat("a", 40) || got.Phase == "" {
		t.Errorf("the first release is %+v", got)
	}
	if _, err := c.Scale(ctx, "shop", map[string]int{"nothing": 1}); client.CodeOf(err) != client.CodeInvalid {
		t.Errorf("scale of what is not there: %v", err)
	}
	if _, err := c.SetHealth(ctx, "shop", map[string]client.Health{"web": {Interval: -1}}); client.CodeOf(err) != client.CodeInvalid {
		t.Errorf("a negative time: %v", err)
	}
	d := must(e.client(deployer).Rollback(ctx, "shop", 1))(t)
	if d.Release != 7 || d.Actor.Name != deployer {
		t.Errorf("the rollback is %+v", d)
	}
	units := must(c.Units(ctx, "shop"))(t)
	if len(units) != 3 || units[0].Name != "web.1" || units[0].State != "running" || units[2].Name != "worker.1" {
		t.Errorf("the units are %+v", units)
	}
	if cron := must(c.Cron(ctx, "shop"))(t); len(cron.Jobs) != 1 || cron.Jobs[0].Name != "tidy" || cron.Runs == nil {
		t.Errorf("the cron jobs are %+v", cron)
	}
}

func TestDeployments(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(machine), t.Context()
	d := must(c.DeployArchive(ctx, "shop", strings.NewReader("a tree"), client.DeployOptions{NoCache: true}))(t)
	if d.State != "queued" || d.Source.Kind != "archive" || d.Actor.Kind != "token" || e.pipeline.trees[0] != "a tree" {
		t.Errorf("the deployment is %+v of %q", d, e.pipeline.trees)
	}
	d = must(c.DeployImage(ctx, "shop", "registry.example:5000/acme/shop:1.4@sha256:"+strings.Repeat("a", 64)))(t)
	if d.Source.Kind != "image" || !strings.HasPrefix(d.Source.Ref, "registry.example") {
		t.Errorf("the deployment is %+v", d)
	}
	d = must(c.DeployImageArchive(ctx, "shop", strings.NewReader("layers")))(t)
	if d.Source.Kind != "imagetar" || e.pipeline.trees[1] != "layers" {
		t.Errorf("the deployment is %+v of %q", d, e.pipeline.trees)
	}
	all := must(c.Deployments(ctx, "shop", 2))(t)
	if len(all) != 2 || all[0].Number != d.Number || all[1].SupersededBy != d.Number || all[1].Err() == nil {
		t.Errorf("the deployments are %+v", all)
	}
	if got := must(c.CancelDeployment(ctx, "shop", d.Number))(t); got.State != "cancelled" || client.CodeOf(got.Err()) != client.CodeCancelled {
		t.Errorf("the cancelled deployment is %+v", got)
	}
	if _, err := c.CancelDeployment(ctx, "shop", d.Number); client.CodeOf(err) != client.CodeConflict {
		t.Errorf("cancelled twice: %v", err)
	}
	plan := must(c.Plan(ctx, strings.NewReader("a tree")))(t)
	if plan.Builder != "go" || plan.Services[0].Build.Generated == "" || plan.Services[0].Processes[0].Health.Path != "/up" {
		t.Errorf("the plan is %+v", plan)
	}
}

func TestImageReferences(t *testing.T) {
	e := newEnv(t)
	for _, ref := range []string{"", "UPPER", "a b", "-x", "--help", "http://x/y", "x:", "x@sha256:12", "../x", "a/../b", "x;id", "$(id)", strings.Repeat("a", 600)} {
		if _, err := e.client(deployer).DeployImage(t.Context(), "shop", ref); client.CodeOf(err) != client.CodeInvalid {
			t.Errorf("%.40q: %v", ref, err)
		}
	}
	for _, ref := range []string{"alpine", "library/alpine:3.20", "ghcr.io/a/b_c/d-e:V1.0", "localhost:5000/x", "sha256:" + strings.Repeat("0", 64)} {
		if _, err := e.client(deployer).DeployImage(t.Context(), "shop", ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestUploadsThatFail(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(deployer), t.Context()
	large := func() io.Reader { return io.LimitReader(zeros{}, 2<<20) }
	if _, err := c.DeployArchive(ctx, "shop", large(), client.DeployOptions{}); client.CodeOf(err) != client.CodeTooLarge {
		t.Errorf("a large archive: %v", err)
	}
	if _, err := c.DeployImageArchive(ctx, "shop", large()); client.CodeOf(err) != client.CodeTooLarge {
		t.Errorf("a large image: %v", err)
	}
	e.options.Unpack = func(dst io.Writer, src io.Reader) error {
		_, _ = io.CopyN(dst, src, 2)
		return landward.Invalid("archive", "../evil leads out of the archive")
	}
	e.remake()
	c = e.client(deployer)
	if _, err := c.Plan(ctx, strings.NewReader("a tree")); clientError(t, err).Field != "archive" {
		t.Errorf("a bad archive: %v", err)
	}
	if _, err := c.DeployArchive(ctx, "shop", strings.NewReader("a tree"), client.DeployOptions{}); clientError(t, err).Field != "archive" {
		t.Errorf("a bad archive: %v", err)
	}
	if got := must(c.Deployments(ctx, "shop", 1))(t); got[0].Number != 2 {
		t.Errorf("a failed upload left deployment %+v", got[0])
	}
}

// TestARefusedUploadEndsAtOnce has a caller that sends on for ever.
func TestARefusedUploadEndsAtOnce(t *testing.T) {
	e := newEnv(t)
	e.options.MaxUpload = 1 << 40
	e.pipeline.err = landward.Errorf(landward.CodeUnavailable, "the disk is full")
	e.options.Unpack = func(dst io.Writer, src io.Reader) error {
		buf := make([]byte, 10)
		if _, err := io.ReadFull(src, buf); err != nil {
			return err
		}
		_, err := dst.Write(buf)
		if err == nil {
			_, err = io.Copy(dst, src)
		}
		return err
	}
	e.options.Pipeline = impatient{e.pipeline}
	e.remake()
	r, w := io.Pipe()
	defer w.Close() //nolint:errcheck // it never fails
	go func() { _, _ = w.Write(make([]byte, 1<<20)) }()
	if _, err := e.client(deployer).DeployArchive(t.Context(), "shop", r, client.DeployOptions{}); client.CodeOf(err) != client.CodeUnavailable {
		t.Errorf("the answer is %v", err)
	}
	_ = r.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBootstrap(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(anonymous), t.Context()
	for name, b := range map[string]client.Bootstrap{
		"wrong token": {Token: "lwboot_wrong", Name: "ada"}, "no token": {Name: "ada"},
	} {
		if _, err := c.Bootstrap(ctx, b); client.CodeOf(err) != client.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Bootstrap(ctx, client.Bootstrap{Token: bootstrapToken, Name: "Ada Lovelace"}); client.CodeOf(err) != client.CodeInvalid {
		t.Errorf("a bad name: %v", err)
	}
	made := must(c.Bootstrap(ctx, client.Bootstrap{Token: bootstrapToken, Name: "ada"}))(t)
	e.tokens["ada"] = made.Token
	if who := must(e.client("ada").Whoami(ctx))(t); !who.Admin || who.Name != "ada" {
		t.Errorf("the first administrator is %+v", who)
	}
	if _, err := c.Bootstrap(ctx, client.Bootstrap{Token: bootstrapToken, Name: "eve"}); client.CodeOf(err) != client.CodeForbidden {
		t.Errorf("the token works twice: %v", err)
	}
}

func TestBootstrapPage(t *testing.T) {
	e := newEnv(t)
	got := e.request(anonymous, http.MethodGet, "/bootstrap", "")
	if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Fatalf("answer %d %s", got.status, got.header.Get("Content-Type"))
	}
	policy := got.header.Get("Content-Security-Policy")
	for _, element := range []string{"script", "style"} {
		if strings.Count(got.body, "<"+element) != 1 {
			t.Errorf("the page has not one %s", element)
		}
		_, rest, _ := strings.Cut(got.body, "<"+element+">")
		text, _, _ := strings.Cut(rest, "</"+element+">")
		sum := sha256.Sum256([]byte(text))
		if hash := base64.StdEncoding.EncodeToString(sum[:]); text == "" || !strings.Contains(policy, element+"-src 'sha256-"+hash+"'") {
			t.Errorf("the policy %q does not allow the page's %s %s", policy, element, hash)
		}
	}
	for _, bad := range []string{"innerHTML", "document.write", " onclick", " onsubmit", "javascript:", " style=", "http://", "https://"} {
		if strings.Contains(got.body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestPeople(t *testing.T) {
	e := newEnv(t)
	c, ctx := e.client(local), t.Context()
	must(c.CreateUser(ctx, client.NewUser{Name: "ada"}))(t)
	if _, err := c.CreateUser(ctx, client.NewUser{Name: "ada"}); client.CodeOf(err) != client.CodeConflict {
		t.Errorf("a name that is taken: %v", err)
	}
	k := must(c.AddKey(ctx, client.NewKey{Name: "laptop", PublicKey: publicKey + " ada@laptop", User: "ada"}))(t)
	if k.Fingerprint != fingerprint || k.User != "ada" {
		t.Errorf("the key is %+v", k)
	}
	for name, bad := range map[string]string{
		"options": `command="id" ` + publicKey, "two": publicKey + "\n" + publicKey, "private": "-----BEGIN OPENSSH PRIVATE KEY-----", "nothing": "", "text": "hello",
	} {
		if _, err := c.AddKey(ctx, client.NewKey{Name: "x", PublicKey: bad, User: "ada"}); client.CodeOf(err) != client.CodeInvalid {
			t.Errorf("a bad key (%s): %v", name, err)
		}
	}
	if got := must(c.Keys(ctx))(t); len(got) != 1 {
		t.Errorf("the keys are %+v", got)
	}
	if _, err := c.AddKey(ctx, client.NewKey{Name: "eve", PublicKey: publicKey}); client.CodeOf(err) != client.CodeConflict {
		t.Errorf("somebody else's key: %v", err)
	}
	if users := must(c.Users(ctx))(t); slices.ContainsFunc(users, func(u client.User) bool { return u.Name == "eve" }) {
		t.Error("a key that was refused left its user")
	}
	token := must(c.CreateToken(ctx, client.NewToken{Name: "ci", User: "ada", ExpiresIn: client.Duration(time.Hour)}))(t)
	e.tokens["ada"] = token.Value
	if who := must(e.client("ada").Whoami(ctx))(t); who.Name != "ada" || who.Admin {
		t.Errorf("the token speaks for %+v", who)
	}
	if got := must(e.client("ada").Keys(ctx))(t); len(got) != 1 {
		t.Errorf("ada's keys are %+v", got)
	}
	e.clock.Advance(time.Hour)
	if _, err := e.client("ada").Whoami(ctx); client.CodeOf(err) != client.CodeUnauthenticated {
		t.Errorf("a token that expired: %v", err)
	}
	check(t, c.DeleteToken(ctx, token.ID))
	check(t, c.DeleteKey(ctx, k.Fingerprint))
	check(t, c.DeleteUser(ctx, "ada"))
	if err := c.DeleteUser(ctx, "ada"); client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("removed twice: %v", err)
	}
}

func TestTheFirstKeyNeedsOneCommand(t *testing.T) {
	e := newEnv(t)
	k := must(e.client(local).AddKey(t.Context(), client.NewKey{Name: "ada", PublicKey: publicKey}))(t)
	if u := must(e.store.UserByName(t.Context(), "ada"))(t); k.User != "ada" || u.Admin {
		t.Errorf("the key is %+v of %+v", k, u)
	}
}

func TestServer(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	if v := must(e.client(anonymous).Version(ctx))(t); v.Version != "0.0.0-test" {
		t.Errorf("the version is %+v", v)
	}
	if s := must(e.client(admin).Status(ctx))(t); s.Domain != "example.test" || s.Components == nil {
		t.Errorf("the status is %+v", s)
	}
	if d := must(e.client(local).Doctor(ctx))(t); d.Healthy || len(d.Checks) != 2 {
		t.Errorf("the diagnosis is %+v", d)
	}
	if got := e.request(anonymous, http.MethodGet, "/git/shop/info/refs", ""); got.status != http.StatusTeapot {
		t.Errorf("git over HTTP is not mounted: %d", got.status)
	}
}

func TestTheLogHasOneLineForARequest(t *testing.T) {
	e := newEnv(t)
	e.request(owner, http.MethodGet, "/api/v1/apps/shop", "")
	lines := strings.Split(strings.TrimSpace(e.log.String()), "\n")
	if len(lines) != 1 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, part := range []string{`"route":"GET /api/v1/apps/{app}"`, `"actor":"owner"`, `"app":"shop"`, `"status":200`, `"address":"127.0.0.1"`} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("%s is not in %s", part, lines[0])
		}
	}
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	e := newEnv(t)
	doc := readDocument(t, e)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			body, ok := validBodies[op.OperationID]
			if !ok {
				continue
			}
			for _, extra := range []string{"admin", "id", "app_id", "actor", "role_", "deadline"} {
				if op.OperationID == "scale" || op.OperationID == "set-resources" || op.OperationID == "set-health" {
					break // their keys are process names
				}
				if op.OperationID == "create-user" && extra == "admin" {
					continue // administrators make administrators
				}
				poisoned := `{"` + extra + `":1,` + strings.TrimPrefix(body, "{")
				got := e.request(admin, strings.ToUpper(method), fill(path, "shop"), poisoned)
				if got.status != 422 || !bytes.Contains([]byte(got.body), []byte(extra)) {
					t.Errorf("%s %s with %q: answer %d: %s", method, path, extra, got.status, got.body)
				}
			}
		}
	}
	if who := must(e.store.UserByName(t.Context(), viewer))(t); who.Admin {
		t.Error(errors.New("the viewer became administrator"))
	}
}
