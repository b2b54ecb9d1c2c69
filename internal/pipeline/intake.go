package pipeline

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/source"
)

var _ source.Intake = (*Pipeline)(nil)

// OpenRepo implements source.Intake.
func (p *Pipeline) OpenRepo(ctx context.Context, actor landward.Actor, name string, write bool) (source.Repo, error) {
	app, err := p.Store.AppByName(ctx, name)
	if landward.CodeOf(err) == landward.CodeNotFound && write && auth.Can(actor, auth.AppCreate, 0) {
		// Its owner now, though the actor was read before there was an app.
		if app, err = p.Deploy.CreateApp(ctx, actor, name); err == nil {
			return p.repo(ctx, app)
		}
	}
	switch {
	case err != nil:
		return source.Repo{}, err
	case !auth.Can(actor, auth.AppRead, app.ID):
		// As if there were no such app: names are not for everybody.
		return source.Repo{}, landward.NoApp(name)
	case write && !auth.Can(actor, auth.AppDeploy, app.ID):
		return source.Repo{}, landward.Errorf(landward.CodeForbidden, "you may read %s but not deploy it", name).
			WithHint("ask its owner for the role deployer: landward access add %s deployer -a %s", actor.Name, name)
	}
	return p.repo(ctx, app)
}

// repo returns the app's repository, which is made when it is first wanted.
func (p *Pipeline) repo(ctx context.Context, app landward.App) (source.Repo, error) {
	repo := source.Repo{AppID: app.ID, App: app.Name, Dir: p.repoDir(app.ID)}
	return repo, p.Git.Create(ctx, repo.Dir)
}

func (p *Pipeline) repoDir(appID int64) string {
	return filepath.Join(p.ReposDir, strconv.FormatInt(appID, 10)+".git")
}

// Push implements source.Intake: a push to the deploy branch is a deployment,
// and ends as it ends.
func (p *Pipeline) Push(ctx context.Context, push source.Push, out io.Writer) error {
	app, err := p.Store.App(ctx, push.Repo.AppID)
	if err != nil {
		return err
	}
	branch, err := p.deployBranch(ctx, app, push)
	if err != nil {
		return err
	}
	ref := "refs/heads/" + branch
	i := slices.IndexFunc(push.Refs, func(r source.RefUpdate) bool { return r.Name == ref })
	switch {
	case i < 0:
		say(out, "-----> Stored. A push to %s deploys.", branch)
		return nil
	case push.Refs[i].Deletes():
		return landward.Errorf(landward.CodeConflict, "%s is the branch that deploys; it cannot be deleted", branch).
			WithHint("landward apps destroy %s removes the whole app", app.Name)
	}
	commit := push.Refs[i].New
	c, err := p.Git.Checkout(ctx, push.Repo, push.Env, commit)
	if err != nil {
		return err
	}
	defer c.Tree.Close() //nolint:errcheck // only read, and to its end where that matters
	if skips(c.Message, push.Options) {
		say(out, "-----> Stored, not deployed: the push says [skip ci].")
		return nil
	}
	d, err := p.Submit(ctx, Submission{
		AppID: app.ID, Actor: push.Actor, Tree: c.Tree,
		Source: landward.Source{Kind: landward.SourceGit, Ref: ref, Commit: commit, Title: c.Title},
	})
	if err != nil {
		return err
	}
	for _, n := range c.Notices {
		p.Deploy.Output(d).Warn("%s", n)
	}
	return p.follow(ctx, app, d, out)
}

// deployBranch is the branch that deploys: what the app says, else main or master
// where the push has one, else the first branch pushed.
func (p *Pipeline) deployBranch(ctx context.Context, app landward.App, push source.Push) (string, error) {
	if app.DeployBranch != "" {
		return app.DeployBranch, nil
	}
	var branches []string
	for _, r := range push.Refs {
		if name, ok := strings.CutPrefix(r.Name, "refs/heads/"); ok && !r.Deletes() {
			branches = append(branches, name)
		}
	}
	if len(branches) == 0 {
		return "main", nil
	}
	branch := branches[0]
	for _, usual := range []string{"master", "main"} {
		if slices.Contains(branches, usual) {
			branch = usual
		}
	}
	if err := p.Git.SetHead(ctx, push.Repo, branch); err != nil {
		return "", err
	}
	return branch, p.Store.SetDeployBranch(ctx, app.ID, branch)
}

// skips reports whether the push asks not to be deployed, in one of the ways
// that forges know.
func skips(message string, pushOptions []string) bool {
	if slices.Contains(pushOptions, "ci.skip") {
		return true
	}
	lower := strings.ToLower(message)
	return strings.Contains(lower, "[skip ci]") || strings.Contains(lower, "[ci skip]")
}

// follow shows the pusher the deployment's lines and returns how it ended.
func (p *Pipeline) follow(ctx context.Context, app landward.App, d landward.Deployment, out io.Writer) error {
	ended := func() bool {
		now, err := p.Store.Deployment(ctx, d.ID)
		if err == nil {
			d = now
		}
		return err != nil || now.State.Ended()
	}
	err := p.Logs.Deploy(ctx, d.AppID, d.ID, logs.Query{Follow: true, Done: ended}, func(l logs.Line) error {
		// A pusher who hangs up detaches; the deployment goes on.
		_, _ = fmt.Fprintln(out, l.Text)
		return nil
	})
	if err != nil {
		return fmt.Errorf("follow deployment: %w", err)
	}
	switch d.State {
	case landward.StateLive:
		return nil
	case landward.StateFailed:
		return &landward.Error{Code: landward.CodeFailed, Message: fmt.Sprintf("deployment #%d of %s failed", d.Number, app.Name)}
	case landward.StateSuperseded:
		return landward.Errorf(landward.CodeConflict, "deployment #%d was superseded by #%d", d.Number, d.SupersededBy).
			WithHint("landward deploys output %d shows the newer one", d.SupersededBy)
	}
	return landward.Errorf(landward.CodeCancelled, "deployment #%d was %s", d.Number, d.State)
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
