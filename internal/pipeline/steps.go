package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"landward/internal/build"
	"landward/internal/deploy"
	"landward/internal/failpoint"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/secret"
)

// advance takes the deployment through its steps. It reports whether a release
// was written.
func (p *Pipeline) advance(ctx context.Context, d landward.Deployment) (released bool, err error) {
	out := p.Deploy.Output(d)
	if d.State == landward.StateQueued {
		d, err = p.Store.Advance(ctx, d.ID, []landward.State{landward.StateQueued}, landward.StateChecking, p.Now().Add(checkingFor))
		if err != nil {
			return false, err
		}
	}
	plan, err := p.check(ctx, d, out)
	if err != nil {
		return false, err
	}
	failpoint.Hit("pipeline.checked")
	services, err := p.build(ctx, d, plan, out)
	if err != nil {
		return false, err
	}
	assets, err := p.assets(ctx, d, plan.Routes)
	if err != nil {
		return false, err
	}
	failpoint.Hit("pipeline.built")
	rel, err := p.Deploy.Release(ctx, d, deploy.Candidate{
		Services: services, ReleasePhase: plan.ReleasePhase, Cron: plan.Cron, Routing: plan.Routes, Assets: assets,
	})
	if err != nil {
		return false, err
	}
	failpoint.Hit("pipeline.released")
	out.Step("Releasing %s", rel.V())
	return true, nil
}

// check makes the plan, once, and gives the app the variables it declares.
func (p *Pipeline) check(ctx context.Context, d landward.Deployment, out *logs.Output) (landward.Plan, error) {
	var plan landward.Plan
	done, err := p.Store.Step(ctx, d.ID, "plan", &plan)
	if err != nil || done {
		return plan, err
	}
	if plan, err = p.plan(d); err != nil {
		return plan, err
	}
	if err := p.checkRouting(plan); err != nil {
		return plan, err
	}
	explain(out, plan, d.Source)
	if err := p.declare(ctx, d, plan.Env); err != nil {
		return plan, err
	}
	return plan, p.Store.FinishStep(ctx, d.ID, "plan", plan)
}

func (p *Pipeline) plan(d landward.Deployment) (landward.Plan, error) {
	switch d.Source.Kind {
	case landward.SourceImage, landward.SourceImageTar:
		return landward.Plan{Builder: "image", Why: d.Source.Short(), Services: []landward.ServicePlan{{
			Name: landward.DefaultService, Image: d.Source.Ref,
			Processes: []landward.Process{{Name: landward.WebProcess, Replicas: 1}},
		}}}, nil
	}
	f, err := p.openSource(d)
	if err != nil {
		return landward.Plan{}, err
	}
	return p.detect(f)
}

func (p *Pipeline) openSource(d landward.Deployment) (*os.File, error) {
	f, err := os.Open(p.sourceFile(d.ID))
	if errors.Is(err, os.ErrNotExist) {
		return nil, landward.Errorf(landward.CodeFailed, "Landward was restarted before the source was whole on disk").
			WithHint("push or upload it again")
	}
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	return f, nil
}

// checkRouting refuses rules that the edge could not follow, and paths that
// lead to no process.
func (p *Pipeline) checkRouting(plan landward.Plan) error {
	if err := p.CheckRouting(plan.Routes); err != nil {
		return err
	}
	for i, rule := range plan.Routes.Paths {
		if !slices.ContainsFunc(plan.Services, func(s landward.ServicePlan) bool {
			return slices.ContainsFunc(s.Processes, func(pr landward.Process) bool { return pr.Name == rule.Process })
		}) {
			return landward.Invalid(fmt.Sprintf("routes.paths[%d].process", i), "there is no process %q", landward.Printable(rule.Process)).
				WithHint("its processes are those of the Procfile and of `services` in landward.yaml")
		}
	}
	return nil
}

// explain tells the pusher what was found.
func explain(out *logs.Output, plan landward.Plan, src landward.Source) {
	const detected = " app detected: " // in a notice about a language
	switch {
	case plan.Builder == "image":
		out.Step("Image %s", src.Short())
	case plan.Builder == "dockerfile":
		out.Step("Dockerfile%s%s", detected, plan.Why)
	}
	for _, n := range plan.Notices {
		if strings.Contains(n, detected) {
			out.Step("%s", n)
		} else {
			out.Info("%s", n)
		}
	}
}

// declare sets the declared variables that the app does not have, and refuses
// where one must be set by its owner.
func (p *Pipeline) declare(ctx context.Context, d landward.Deployment, decls []landward.EnvDecl) error {
	if len(decls) == 0 {
		return nil
	}
	_, err := p.Store.UpdateSettings(ctx, d.AppID, func(s landward.Settings) (landward.Settings, error) {
		var missing []string
		for _, decl := range decls {
			has := slices.ContainsFunc(s.Env, func(v landward.Var) bool { return v.Name == decl.Name })
			switch {
			case has:
			case decl.Generate:
				s.Env = landward.SetVars(s.Env, landward.Var{Name: decl.Name, Value: rand.Text() + rand.Text(), Secret: true})
			case decl.Value != "":
				s.Env = landward.SetVars(s.Env, landward.Var{Name: decl.Name, Value: decl.Value})
			case decl.Required:
				missing = append(missing, decl.Name)
			}
		}
		if len(missing) > 0 {
			return s, landward.Invalid("app.json", "the app needs variables that are not set: %s", strings.Join(missing, ", ")).
				WithHint("landward config set %s=…", strings.Join(missing, "=… "))
		}
		return s, nil
	})
	return err
}

// build makes or fetches each service's image. It waits for one of the host's
// slots; an image that a run before a restart has finished is not made again.
func (p *Pipeline) build(ctx context.Context, d landward.Deployment, plan landward.Plan, out *logs.Output) ([]landward.Service, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		out.Step("Waiting for a build slot (%d at once on this host)", cap(p.slots))
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { <-p.slots }()
	deadline := p.Now().Add(p.Limits.Timeout)
	d, err := p.Store.Advance(ctx, d.ID, []landward.State{landward.StateChecking, landward.StateBuilding}, landward.StateBuilding, deadline)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.Limits.Timeout,
		landward.Errorf(landward.CodeTimeout, "the build ran longer than %s", p.Limits.Timeout).WithHint("make it shorter, or raise build-timeout"))
	defer cancel()
	var services []landward.Service
	for _, s := range plan.Services {
		var img landward.Image
		done, err := p.Store.Step(ctx, d.ID, "image "+s.Name, &img)
		if err == nil && !done {
			if img, err = p.image(ctx, d, s, out); err == nil {
				err = p.Store.FinishStep(ctx, d.ID, "image "+s.Name, img)
			}
		}
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(ctx.Err(), context.DeadlineExceeded) && cause != nil {
				return nil, cause
			}
			return nil, err
		}
		services = append(services, landward.Service{Name: s.Name, Image: img, Processes: s.Processes, Volumes: s.Volumes})
	}
	return services, nil
}

func (p *Pipeline) image(ctx context.Context, d landward.Deployment, s landward.ServicePlan, out *logs.Output) (landward.Image, error) {
	switch {
	case d.Source.Kind == landward.SourceImageTar:
		out.Step("Loading image")
		f, err := p.openSource(d)
		if err != nil {
			return landward.Image{}, err
		}
		defer f.Close() //nolint:errcheck // only read
		return p.Images.Load(ctx, f)
	case s.Build == nil:
		return p.pull(ctx, s.Image, out)
	}
	return p.buildOne(ctx, d, s, out)
}

// pull fetches an image. Where that fails and this host has one of that name,
// it is taken: as a build would, and as people without a registry expect.
func (p *Pipeline) pull(ctx context.Context, ref string, out *logs.Output) (landward.Image, error) {
	out.Step("Pulling %s", ref)
	img, err := p.Images.Pull(ctx, ref, func(line string) { out.Info("%s", line) })
	if err == nil || ctx.Err() != nil {
		return img, err
	}
	local, localErr := p.Images.Image(ctx, ref)
	if localErr != nil {
		return img, err
	}
	out.Warn("It could not be pulled (%s); the copy on this host is used.", landward.AsError(err).Message)
	return local, nil
}

func (p *Pipeline) buildOne(ctx context.Context, d landward.Deployment, s landward.ServicePlan, out *logs.Output) (landward.Image, error) {
	app, err := p.Store.App(ctx, d.AppID)
	if err != nil {
		return landward.Image{}, err
	}
	secrets, err := buildSecrets(app.Settings.Env, s.Build.Secrets)
	if err != nil {
		return landward.Image{}, err
	}
	var opts options
	if _, err := p.Store.Step(ctx, d.ID, "options", &opts); err != nil {
		return landward.Image{}, err
	}
	f, err := p.openSource(d)
	if err != nil {
		return landward.Image{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	out.Step("Building %s", s.Name)
	redact := secret.NewRedactor(slices.Collect(maps.Values(secrets))...)
	return p.Builder.Build(ctx, build.Request{
		AppID: d.AppID, App: app.Name, Service: s.Name, Plan: *s.Build,
		CacheScope: fmt.Sprintf("%s/%d/deploy", p.Instance, d.AppID),
		// The engine's name for images that no release keeps yet.
		Tag:     fmt.Sprintf("landward/%s/incoming:%x", p.Instance, p.Now().UnixNano()),
		Secrets: secrets, NoCache: opts.NoCache, Limits: p.Limits,
	}, io.Reader(f), func(l build.Line) {
		out.Info("%s", redact.Line(l.Text))
	})
}

// buildSecrets are the app's variables that a build may read: those marked so,
// and those that the plan names.
func buildSecrets(vars []landward.Var, named []string) (map[string]string, error) {
	secrets := map[string]string{}
	for _, v := range vars {
		if v.Build || slices.Contains(named, v.Name) {
			secrets[v.Name] = v.Value
		}
	}
	for _, name := range named {
		if _, ok := secrets[name]; !ok {
			return nil, landward.Invalid("landward.yaml", "the build wants the secret %q, which is not set", name).
				WithHint("landward config set --secret --build %s=…", name)
		}
	}
	return secrets, nil
}
