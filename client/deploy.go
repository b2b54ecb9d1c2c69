package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Deployment is one try to make a release current.
type Deployment struct {
	App    string `json:"app"`
	Number int    `json:"number" doc:"Counts up per app"`
	// State is where it stands. It has ended in "live", "failed", "cancelled",
	// "superseded" and "rejected".
	State        string    `json:"state" doc:"Where it stands" example:"building"`
	Ended        bool      `json:"ended" doc:"Whether the state is an end"`
	Source       Source    `json:"source"`
	Actor        Actor     `json:"actor"`
	Release      int       `json:"release,omitempty" doc:"Version of the release, once it is written"`
	Failure      *Failure  `json:"failure,omitempty" doc:"Why it failed"`
	Warning      string    `json:"warning,omitempty" doc:"Of a deployment that is live all the same"`
	Canary       *Canary   `json:"canary,omitempty" doc:"How its canary stands, while it runs"`
	SupersededBy int       `json:"superseded_by,omitempty" doc:"Number of the deployment that took its place"`
	Deadline     time.Time `json:"deadline,omitzero" doc:"Of the state that it is in"`
	CreatedAt    time.Time `json:"created_at"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	FinishedAt   time.Time `json:"finished_at,omitzero"`
}

// Live reports whether the deployment serves, or did until the next one.
func (d Deployment) Live() bool { return d.State == "live" }

// Err says why the deployment did not become live, or returns nil where it is
// live or has not ended.
func (d Deployment) Err() error {
	switch {
	case !d.Ended || d.Live():
		return nil
	case d.Failure != nil:
		return &Error{Code: d.Failure.Code, Detail: d.Failure.Message, Cause: d.Failure.Cause, Hint: d.Failure.Hint}
	case d.SupersededBy != 0:
		return &Error{Code: CodeConflict, Detail: fmt.Sprintf("deployment %d took the place of deployment %d", d.SupersededBy, d.Number)}
	}
	return &Error{Code: CodeCancelled, Detail: fmt.Sprintf("deployment %d was %s", d.Number, d.State)}
}

// Source is where a release's code came from.
type Source struct {
	Kind   string `json:"kind" enum:"git,archive,image,imagetar,change" doc:"How the change came in"`
	Ref    string `json:"ref,omitempty" doc:"The git ref or the image reference"`
	Commit string `json:"commit,omitempty"`
	Title  string `json:"title,omitempty" doc:"First line of the commit message"`
}

// Actor is who did something.
type Actor struct {
	Kind string `json:"kind" enum:"user,token,local,system"`
	Name string `json:"name"`
}

// Failure is why a deployment failed.
type Failure struct {
	Step    string `json:"step" doc:"The step that it failed in"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Cause   string `json:"cause,omitempty" doc:"Why; may be several lines, such as the app's last words"`
	Hint    string `json:"hint,omitempty" doc:"What to do next"`
}

// Explain returns what a person reads, as lines: what happened, why, what to do.
func (f *Failure) Explain() []string {
	return (&Error{Detail: f.Message, Cause: f.Cause, Hint: f.Hint}).Explain()
}

// DeploymentList is deployments, newest first.
type DeploymentList struct {
	Deployments []Deployment `json:"deployments"`
}

// Changed is the answer to a change of settings.
type Changed struct {
	Deployment *Deployment `json:"deployment,omitempty" doc:"What carries the change out; none where nothing changed or nothing was deployed yet"`
}

// DeployOptions say how to deploy a source tree or image.
type DeployOptions struct {
	NoCache bool // build every step anew
}

func (o DeployOptions) query() url.Values {
	q := url.Values{}
	if o.NoCache {
		q.Set("no_cache", "true")
	}
	return q
}

// ImageRef is the request to deploy an image.
type ImageRef struct {
	Ref string `json:"ref" doc:"Image reference" example:"ghcr.io/acme/shop:1.4" maxLength:"1000"`
}

// Deployments returns an app's deployments, newest first. Limit 0 is the
// server's own.
func (c *Client) Deployments(ctx context.Context, app string, limit int) ([]Deployment, error) {
	var out DeploymentList
	err := c.call(ctx, http.MethodGet, withQuery(path("apps", app, "deploys"), limitQuery(limit)), nil, &out)
	return out.Deployments, err
}

// Deployment returns one deployment.
func (c *Client) Deployment(ctx context.Context, app string, number int) (Deployment, error) {
	var out Deployment
	err := c.call(ctx, http.MethodGet, path("apps", app, "deploys", strconv.Itoa(number)), nil, &out)
	return out, err
}

// DeployOutput hands each line of a deployment's output to line and returns the
// deployment as it stands at the end of it: ended, with follow. An error from
// line stops it and is returned.
func (c *Client) DeployOutput(ctx context.Context, app string, number int, follow bool, line func(LogLine) error) (Deployment, error) {
	q := url.Values{}
	if follow {
		q.Set("follow", "true")
	}
	p := withQuery(path("apps", app, "deploys", strconv.Itoa(number), "output"), q)
	for item, err := range c.stream(ctx, p) {
		switch {
		case err != nil:
			return Deployment{}, err
		case item.Deployment != nil:
			return *item.Deployment, nil
		case item.Line != nil:
			if err := line(*item.Line); err != nil {
				return Deployment{}, err
			}
		}
	}
	return Deployment{}, fmt.Errorf("read output of deployment %d: %w", number, io.ErrUnexpectedEOF)
}

// CancelDeployment stops a deployment that has not ended.
func (c *Client) CancelDeployment(ctx context.Context, app string, number int) (Deployment, error) {
	var out Deployment
	err := c.call(ctx, http.MethodPost, path("apps", app, "deploys", strconv.Itoa(number), "cancel"), nil, &out)
	return out, err
}

// PromoteDeployment has a deployment's canary take over now.
func (c *Client) PromoteDeployment(ctx context.Context, app string, number int) (Deployment, error) {
	var out Deployment
	err := c.call(ctx, http.MethodPost, path("apps", app, "deploys", strconv.Itoa(number), "promote"), nil, &out)
	return out, err
}

// DeployArchive deploys a source tree: a tar, tar.gz or zip file.
func (c *Client) DeployArchive(ctx context.Context, app string, archive io.Reader, o DeployOptions) (Deployment, error) {
	var out Deployment
	p := withQuery(path("apps", app, "deploys", "archive"), o.query())
	err := c.upload(ctx, p, "application/octet-stream", archive, &out)
	return out, err
}

// DeployImage deploys an image by reference.
func (c *Client) DeployImage(ctx context.Context, app, ref string) (Deployment, error) {
	var out Deployment
	err := c.call(ctx, http.MethodPost, path("apps", app, "deploys", "image"), ImageRef{Ref: ref}, &out)
	return out, err
}

// DeployImageArchive deploys the image in a `docker save` stream.
func (c *Client) DeployImageArchive(ctx context.Context, app string, archive io.Reader) (Deployment, error) {
	var out Deployment
	err := c.upload(ctx, path("apps", app, "deploys", "image-archive"), "application/octet-stream", archive, &out)
	return out, err
}

// change makes a call that answers Changed.
func (c *Client) change(ctx context.Context, method, p string, in any) (*Deployment, error) {
	var out Changed
	err := c.call(ctx, method, p, in, &out)
	return out.Deployment, err
}

func limitQuery(limit int) url.Values {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

// Plan is what a source tree says about how to build and run it.
type Plan struct {
	Builder  string        `json:"builder" doc:"How the app is built" example:"go"`
	Why      string        `json:"why" doc:"What gave it away" example:"go.mod"`
	Services []ServicePlan `json:"services"`
	Release  *Command      `json:"release,omitempty" doc:"Runs once per release, before traffic"`
	Cron     []CronJob     `json:"cron,omitempty"`
	Env      []EnvDecl     `json:"env,omitempty" doc:"Variables that the tree asks for"`
	Notices  []string      `json:"notices,omitempty" doc:"Things worth knowing, a line each"`
}

// ServicePlan is one service before it has an image.
type ServicePlan struct {
	Name      string     `json:"name"`
	Build     *BuildPlan `json:"build,omitempty"`
	Image     string     `json:"image,omitempty" doc:"Used as it is, where there is nothing to build"`
	Processes []Process  `json:"processes"`
}

// BuildPlan is how to make one image.
type BuildPlan struct {
	Context    string            `json:"context,omitempty" doc:"Path in the tree"`
	Dockerfile string            `json:"dockerfile,omitempty" doc:"Path in the context"`
	Generated  string            `json:"generated,omitempty" doc:"Text of the Dockerfile, where Landward wrote it"`
	Target     string            `json:"target,omitempty"`
	Args       map[string]string `json:"args,omitempty"`
	Secrets    []string          `json:"secrets,omitempty" doc:"Names of variables that the build may read"`
}

// EnvDecl is a variable that a source tree asks for.
type EnvDecl struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Value       string `json:"value,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Generate    bool   `json:"generate,omitempty" doc:"A random value, made once"`
}

// Command is what to run: Argv as it is, or Shell by the container's own shell.
type Command struct {
	Argv  []string `json:"argv,omitempty"`
	Shell string   `json:"shell,omitempty"`
}

// String returns the command as a person would type it.
func (c Command) String() string {
	if c.Shell != "" {
		return c.Shell
	}
	return strings.Join(c.Argv, " ")
}

// Plan returns what a deploy of the archive (tar, tar.gz or zip) would do.
func (c *Client) Plan(ctx context.Context, archive io.Reader) (Plan, error) {
	var out Plan
	err := c.upload(ctx, path("plan"), "application/octet-stream", archive, &out)
	return out, err
}
