package api

import (
	"maps"
	"net"
	"strconv"
	"strings"

	"landward/client"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/store"
)

// This file turns nouns of the vocabulary into wire types. What is not copied
// here is not shown: secret values above all.

func (a *API) wireApp(app landward.App) client.App {
	out := client.App{
		Name: app.Name, State: client.AppEmpty, Release: app.Current,
		GitRemote:    "ssh://git@" + hostPort(a.Host, a.SSHPort, 22) + "/" + app.Name,
		GitHTTP:      "http://" + hostPort("landward."+a.Domain, a.HTTPPort, 80) + "/git/" + app.Name,
		DeployBranch: app.DeployBranch, Domains: list(app.Settings.Domains), Scale: map[string]int{},
		CreatedAt: app.CreatedAt, UpdatedAt: app.UpdatedAt,
	}
	maps.Copy(out.Scale, app.Settings.Scale)
	t := app.Traffic
	out.Maintenance, out.Message, out.Paused, out.Asleep = t.Maintenance, t.Message, t.Paused, t.Asleep
	out.MaxPause, out.Returned = client.Duration(t.MaxPause), t.Returned
	if app.Previous != 0 {
		out.Warm, out.WarmUntil = app.Previous, app.WarmUntil
	}
	switch {
	case app.Stopped:
		out.State = client.AppStopped
	case app.Current != 0:
		out.State = client.AppDeployed
	}
	for _, d := range a.wireDomains(app) {
		if strings.HasPrefix(d.Host, "*.") {
			continue // nobody can go there
		}
		out.URLs = append(out.URLs, "http://"+hostPort(d.Host, a.HTTPPort, 80))
	}
	return out
}

// wireDomains returns the app's hosts, its own domains first.
func (a *API) wireDomains(app landward.App) []client.Domain {
	var out []client.Domain
	for _, host := range app.Settings.Domains {
		out = append(out, client.Domain{Host: host, Custom: true})
	}
	return append(out, client.Domain{Host: app.Name + "." + a.Domain})
}

// hostPort leaves the port out where everybody assumes it.
func hostPort(host string, port, assumed int) string {
	if port == assumed {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func wireActor(a landward.Actor) client.Actor {
	return client.Actor{Kind: string(a.Kind), Name: a.Name}
}

func wireSource(s landward.Source) client.Source {
	return client.Source{Kind: string(s.Kind), Ref: s.Ref, Commit: s.Commit, Title: s.Title}
}

func wireDeployment(app string, d landward.Deployment) client.Deployment {
	out := client.Deployment{
		App: app, Number: d.Number, State: string(d.State), Ended: d.State.Ended(),
		Source: wireSource(d.Source), Actor: wireActor(d.Actor), Release: d.Release,
		Warning: d.Warning, SupersededBy: d.SupersededBy,
		CreatedAt: d.CreatedAt, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt,
	}
	if !out.Ended {
		out.Deadline = d.Deadline
	}
	if f := d.Failure; f != nil {
		out.Failure = &client.Failure{Step: f.Step, Code: string(f.Code), Message: f.Message, Cause: f.Cause, Hint: f.Hint}
	}
	return out
}

func wireRelease(app landward.App, r landward.Release) client.Release {
	out := client.Release{
		Version: r.Version, Description: r.Description, Current: r.Version == app.Current,
		Source: wireSource(r.Source), Actor: wireActor(r.Actor), Services: []client.Service{},
		Release: wireCommand(r.ReleasePhase), Phase: string(r.Phase), Cron: wireCron(r.Cron),
		Vars: []string{}, Domains: list(r.Settings.Domains), CreatedAt: r.CreatedAt,
	}
	if app.Previous == r.Version {
		out.WarmUntil = app.WarmUntil
	}
	for _, v := range r.Settings.Env {
		out.Vars = append(out.Vars, v.Name)
	}
	for _, s := range r.Effective() {
		out.Services = append(out.Services, client.Service{
			Name: s.Name, Image: client.Image{Ref: s.Image.Ref, ID: s.Image.ID, Size: s.Image.Size},
			Processes: wireProcesses(s.Processes),
		})
	}
	return out
}

func wireProcesses(processes []landward.Process) []client.Process {
	out := []client.Process{}
	for _, p := range processes {
		w := client.Process{
			Name: p.Name, Command: wireCommand(p.Command), Replicas: p.Replicas, Port: p.Port,
			StopTimeout: client.Duration(p.StopTimeout),
		}
		if p.Health != (landward.Health{}) {
			w.Health = &client.Health{
				Path: p.Health.Path, Interval: client.Duration(p.Health.Interval),
				Timeout: client.Duration(p.Health.Timeout), Grace: client.Duration(p.Health.Grace),
			}
		}
		if r := p.Resources; r != (landward.Resources{}) {
			w.Resources = &client.Resources{Memory: r.Memory, MilliCPU: r.MilliCPU, Pids: r.Pids}
		}
		out = append(out, w)
	}
	return out
}

func wireCommand(c landward.Command) *client.Command {
	if c.IsZero() {
		return nil
	}
	return &client.Command{Argv: c.Argv, Shell: c.Shell}
}

func wireCron(jobs []landward.Cron) []client.CronJob {
	var out []client.CronJob
	for _, j := range jobs {
		out = append(out, client.CronJob{
			Name: j.Name, Schedule: j.Schedule, Overlap: string(j.Overlap),
			Command: client.Command{Argv: j.Command.Argv, Shell: j.Command.Shell},
		})
	}
	return out
}

func wirePlan(p landward.Plan) client.Plan {
	out := client.Plan{
		Builder: p.Builder, Why: p.Why, Services: []client.ServicePlan{},
		Release: wireCommand(p.ReleasePhase), Cron: wireCron(p.Cron), Notices: p.Notices,
	}
	for _, s := range p.Services {
		w := client.ServicePlan{Name: s.Name, Image: s.Image, Processes: wireProcesses(s.Processes)}
		if b := s.Build; b != nil {
			w.Build = &client.BuildPlan{
				Context: b.Context, Dockerfile: b.Dockerfile, Generated: b.Generated,
				Target: b.Target, Args: b.Args, Secrets: b.Secrets,
			}
		}
		out.Services = append(out.Services, w)
	}
	for _, e := range p.Env {
		out.Env = append(out.Env, client.EnvDecl{
			Name: e.Name, Description: e.Description, Value: e.Value, Required: e.Required, Generate: e.Generate,
		})
	}
	return out
}

func wireLine(l logs.Line) *client.LogLine {
	return &client.LogLine{At: l.At, Source: l.Source, Kind: string(l.Kind), Stderr: l.Stderr, Text: l.Text}
}

func wireEvents(events []store.Event) []client.Event {
	out := []client.Event{}
	for _, e := range events {
		out = append(out, client.Event{
			ID: e.ID, At: e.At, App: e.App, Actor: wireActor(e.Actor), Kind: e.Kind, Message: e.Message, Data: e.Data,
		})
	}
	return out
}

func wireKey(k store.Key) client.Key {
	return client.Key{Fingerprint: k.Fingerprint, Name: k.Name, User: k.User, CreatedAt: k.CreatedAt, LastUsed: k.LastUsed}
}

func wireToken(t store.Token) client.Token {
	return client.Token{
		ID: t.ID, Name: t.Name, Prefix: t.Prefix, User: t.User, App: t.App, Role: string(t.Role),
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsed: t.LastUsed,
	}
}

func wireUser(u store.User) client.User {
	return client.User{Name: u.Name, Admin: u.Admin, Disabled: u.Disabled, CreatedAt: u.CreatedAt}
}

// list returns a copy of names that is an empty list and not null where there
// are none.
func list[T any](items []T) []T { return append([]T{}, items...) }
