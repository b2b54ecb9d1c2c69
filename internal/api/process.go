package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/deploy"
	"landward/internal/landward"
)

func (a *API) registerProcesses() {
	const tag = "Processes"
	handle(a, tag, endpoint{"list-units", http.MethodGet, "/apps/{app}/ps", auth.AppRead, "The app's units", nil}, a.listUnits)
	handle(a, tag, endpoint{"scale", http.MethodPatch, "/apps/{app}/scale", auth.AppScale, "Set how many copies of each process run", nil}, a.scale)
	handle(a, tag, endpoint{"set-resources", http.MethodPatch, "/apps/{app}/resources", auth.AppScale, "Set limits by process", nil}, a.setResources)
	handle(a, tag, endpoint{"set-health", http.MethodPatch, "/apps/{app}/health", auth.AppScale, "Set health rules by process", nil}, a.setHealth)
	handle(a, tag, endpoint{"restart", http.MethodPost, "/apps/{app}/restart", auth.AppScale, "Replace every unit with a new one, without downtime", nil}, a.restart)
	handle(a, tag, endpoint{"get-cron", http.MethodGet, "/apps/{app}/cron", auth.AppRead, "The app's cron jobs and their latest runs", nil}, a.getCron)
}

func (a *API) listUnits(ctx context.Context, _ *OnApp) (*answer[client.UnitList], error) {
	app := callOf(ctx).app
	containers, err := a.Units.List(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(containers, byUse)
	out := client.UnitList{Units: []client.Unit{}}
	for _, c := range containers {
		if app.Traffic.Asleep && c.State == landward.UnitCreated {
			c.State = client.UnitAsleep
		}
		out.Units = append(out.Units, client.Unit{
			Name: c.Name(), Process: c.Process, Release: c.Release, State: c.State,
			ExitCode: c.ExitCode, OOMKilled: c.OOMKilled, Restarts: c.Restarts,
			CreatedAt: c.CreatedAt, StartedAt: c.StartedAt,
		})
	}
	return reply(out)
}

// byUse sorts web before the others, and these by name.
func byUse(a, b landward.Unit) int {
	order := func(c landward.Unit) string {
		if c.Process == landward.WebProcess {
			return ""
		}
		return c.Process
	}
	return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Index, b.Index), a.CreatedAt.Compare(b.CreatedAt))
}

type scaleInput struct {
	OnApp
	Body map[string]int `doc:"Copies by process" example:"{\"web\": 2}"`
}

func (a *API) scale(ctx context.Context, in *scaleInput) (*answer[client.Changed], error) {
	return a.configure(ctx, deploy.Change{Scale: in.Body})
}

type resourcesInput struct {
	OnApp
	Body map[string]client.Resources `doc:"Limits by process"`
}

func (a *API) setResources(ctx context.Context, in *resourcesInput) (*answer[client.Changed], error) {
	change := deploy.Change{Resources: map[string]landward.Resources{}}
	for name, r := range in.Body {
		change.Resources[name] = landward.Resources{Memory: r.Memory, MilliCPU: r.MilliCPU, Pids: r.Pids}
	}
	return a.configure(ctx, change)
}

type healthInput struct {
	OnApp
	Body map[string]client.Health `doc:"Health rules by process"`
}

func (a *API) setHealth(ctx context.Context, in *healthInput) (*answer[client.Changed], error) {
	change := deploy.Change{Health: map[string]landward.Health{}}
	for name, h := range in.Body {
		change.Health[name] = landward.Health{
			Path: h.Path, Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout), Grace: time.Duration(h.Grace),
		}
	}
	return a.configure(ctx, change)
}

func (a *API) restart(ctx context.Context, _ *OnApp) (*answer[client.Changed], error) {
	return a.configure(ctx, deploy.Change{Restart: true})
}

// cronRuns is how many past runs of an app's cron jobs are shown.
const cronRuns = 50

func (a *API) getCron(ctx context.Context, _ *OnApp) (*answer[client.CronStatus], error) {
	app := callOf(ctx).app
	out := client.CronStatus{Jobs: []client.CronJob{}, Runs: []client.CronRun{}}
	if app.Current != 0 {
		r, err := a.Store.Release(ctx, app.ID, app.Current)
		if err != nil {
			return nil, err
		}
		out.Jobs = append(out.Jobs, wireCron(r.Cron)...)
	}
	runs, err := a.Store.CronRuns(ctx, app.ID, cronRuns)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		out.Runs = append(out.Runs, client.CronRun{
			Name: r.Name, State: r.State, DueAt: r.DueAt, ExitCode: r.ExitCode, Message: r.Message,
			StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		})
	}
	return reply(out)
}
