package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Unit is one running copy of a process.
type Unit struct {
	Name      string    `json:"name" example:"web.1"`
	Process   string    `json:"process"`
	Release   int       `json:"release" doc:"The version that it runs"`
	State     string    `json:"state" enum:"created,running,restarting,exited,asleep" doc:"asleep: it is made and waits for a request to start it"`
	ExitCode  int       `json:"exit_code,omitempty" doc:"Of the last end"`
	OOMKilled bool      `json:"oom_killed,omitempty" doc:"It was killed for want of memory"`
	Restarts  int       `json:"restarts,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
}

// UnitAsleep is the state of a unit that waits for a request to start it.
const UnitAsleep = "asleep"

// UnitList is the units of an app, by name.
type UnitList struct {
	Units []Unit `json:"units"`
}

// Resources are limits of a process, per container. Zero means the default of
// the installation.
type Resources struct {
	Memory   int64 `json:"memory,omitempty" minimum:"0" doc:"Bytes"`
	MilliCPU int   `json:"milli_cpu,omitempty" minimum:"0" doc:"Thousandths of a core"`
	Pids     int   `json:"pids,omitempty" minimum:"0"`
}

// Health says when a process counts as healthy. Zero means the default.
type Health struct {
	Path     string   `json:"path,omitempty" doc:"GET must answer 2xx or 3xx; empty: a TCP connect is enough" maxLength:"2000" example:"/up"`
	Interval Duration `json:"interval,omitempty" doc:"Between probes" example:"1s"`
	Timeout  Duration `json:"timeout,omitempty" doc:"Of one probe" example:"5s"`
	Grace    Duration `json:"grace,omitempty" doc:"From start until it must be healthy" example:"1m0s"`
}

// Duration is a time.Duration that reads and writes as "1m30s".
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.40q is not a duration such as 30s or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// Units returns the units of an app.
func (c *Client) Units(ctx context.Context, app string) ([]Unit, error) {
	var out UnitList
	err := c.call(ctx, http.MethodGet, path("apps", app, "ps"), nil, &out)
	return out.Units, err
}

// Scale sets how many copies of each process run.
func (c *Client) Scale(ctx context.Context, app string, scale map[string]int) (*Deployment, error) {
	return c.change(ctx, http.MethodPatch, path("apps", app, "scale"), scale)
}

// SetResources sets limits by process.
func (c *Client) SetResources(ctx context.Context, app string, r map[string]Resources) (*Deployment, error) {
	return c.change(ctx, http.MethodPatch, path("apps", app, "resources"), r)
}

// SetHealth sets health rules by process.
func (c *Client) SetHealth(ctx context.Context, app string, h map[string]Health) (*Deployment, error) {
	return c.change(ctx, http.MethodPatch, path("apps", app, "health"), h)
}

// Restart replaces every unit of an app with a new one, without downtime.
func (c *Client) Restart(ctx context.Context, app string) (*Deployment, error) {
	return c.change(ctx, http.MethodPost, path("apps", app, "restart"), nil)
}

// Stop takes every unit of an app away. Its route stays, with a page that says so.
func (c *Client) Stop(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, path("apps", app, "stop"), nil, nil)
}

// Start brings a stopped app back.
func (c *Client) Start(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, path("apps", app, "start"), nil, nil)
}

// CronJob is a command on a schedule.
type CronJob struct {
	Name     string  `json:"name"`
	Schedule string  `json:"schedule" doc:"Five fields or @daily and its like, UTC" example:"0 3 * * *"`
	Command  Command `json:"command"`
	Overlap  string  `json:"overlap" enum:"forbid,allow,replace" doc:"What happens when it is due while it still runs"`
}

// CronRun is one run of a job.
type CronRun struct {
	Name       string    `json:"name"`
	State      string    `json:"state" enum:"running,done,failed,skipped,lost"`
	DueAt      time.Time `json:"due_at"`
	ExitCode   int       `json:"exit_code,omitempty"`
	Message    string    `json:"message,omitempty"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// CronStatus is an app's jobs and their latest runs, newest first.
type CronStatus struct {
	Jobs []CronJob `json:"jobs"`
	Runs []CronRun `json:"runs"`
}

// Cron returns an app's jobs and their latest runs.
func (c *Client) Cron(ctx context.Context, app string) (CronStatus, error) {
	var out CronStatus
	err := c.call(ctx, http.MethodGet, path("apps", app, "cron"), nil, &out)
	return out, err
}
