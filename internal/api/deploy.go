package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/logs"
)

func (a *API) registerDeploys() {
	const tag = "Deployments"
	handle(a, tag, endpoint{"list-deploys", http.MethodGet, "/apps/{app}/deploys", auth.AppRead, "The app's deployments, newest first", nil}, a.listDeploys)
	handle(a, tag, endpoint{"get-deploy", http.MethodGet, "/apps/{app}/deploys/{number}", auth.AppRead, "One deployment", nil}, a.getDeploy)
	handle(a, tag, endpoint{"get-deploy-output", http.MethodGet, "/apps/{app}/deploys/{number}/output", auth.AppLogs, "A deployment's output; the last item is the deployment as it stands", with(streams())}, a.deployOutput)
	handle(a, tag, endpoint{"cancel-deploy", http.MethodPost, "/apps/{app}/deploys/{number}/cancel", auth.AppDeploy, "Stop a deployment that has not ended; where a canary runs, end it", nil}, a.cancelDeploy)
	handle(a, tag, endpoint{"promote-deploy", http.MethodPost, "/apps/{app}/deploys/{number}/promote", auth.AppDeploy, "Have a deployment's canary take over now", nil}, a.promoteDeploy)
}

func (a *API) listDeploys(ctx context.Context, in *pageInput) (*answer[client.DeploymentList], error) {
	app := callOf(ctx).app
	deployments, err := a.Store.Deployments(ctx, app.ID, in.Limit)
	if err != nil {
		return nil, err
	}
	out := client.DeploymentList{Deployments: []client.Deployment{}}
	for _, d := range deployments {
		out.Deployments = append(out.Deployments, a.deployment(ctx, app, d))
	}
	return reply(out)
}

// deployment is a deployment with its canary, where it has one.
func (a *API) deployment(ctx context.Context, app landward.App, d landward.Deployment) client.Deployment {
	out := wireDeployment(app.Name, d)
	if d.State != landward.StateStarting {
		return out
	}
	if c := a.canary(ctx, app); c != nil && c.Deployment == d.Number {
		out.Canary = c
	}
	return out
}

// OnDeploy is the input of an operation about a deployment.
type OnDeploy struct {
	OnApp
	Number int `path:"number" minimum:"1" doc:"The deployment's number"`
}

func (a *API) getDeploy(ctx context.Context, in *OnDeploy) (*answer[client.Deployment], error) {
	app := callOf(ctx).app
	d, err := a.Store.DeploymentByNumber(ctx, app.ID, in.Number)
	if err != nil {
		return nil, err
	}
	return reply(a.deployment(ctx, app, d))
}

type outputInput struct {
	OnDeploy
	Follow bool `query:"follow" doc:"Until the deployment has ended"`
}

func (a *API) deployOutput(ctx context.Context, in *outputInput) (*streamed, error) {
	app := callOf(ctx).app
	d, err := a.Store.DeploymentByNumber(ctx, app.ID, in.Number)
	if err != nil {
		return nil, err
	}
	return a.stream(in.Follow, func(ctx context.Context, send func(client.StreamItem) error) error {
		// A deployment that cannot be read counts as ended: what is wrong is
		// said when it is read for the last item.
		q := logs.Query{Follow: in.Follow, Done: func() bool {
			now, err := a.Store.Deployment(ctx, d.ID)
			return err != nil || now.State.Ended()
		}}
		err := a.Logs.Deploy(ctx, app.ID, d.ID, q, func(l logs.Line) error {
			return send(client.StreamItem{Line: wireLine(l)})
		})
		if err != nil {
			return err
		}
		end, err := a.Store.Deployment(ctx, d.ID)
		if err != nil {
			return err
		}
		w := a.deployment(ctx, app, end)
		return send(client.StreamItem{Deployment: &w})
	}), nil
}

func (a *API) cancelDeploy(ctx context.Context, in *OnDeploy) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	d, err := a.Changes.Cancel(ctx, c.actor, c.app.ID, in.Number)
	if err != nil {
		return nil, err
	}
	return reply(wireDeployment(c.app.Name, d))
}

func (a *API) promoteDeploy(ctx context.Context, in *OnDeploy) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	d, err := a.Changes.Promote(ctx, c.actor, c.app.ID, in.Number)
	return accepted(c.app.Name, d, err)
}

// accepted answers with a deployment that was queued.
func accepted(app string, d landward.Deployment, err error) (*answer[client.Deployment], error) {
	if err != nil {
		return nil, err
	}
	return reply(wireDeployment(app, d))
}

// streams describes a stream of items in the OpenAPI document.
func streams() func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.Responses["200"] = &huma.Response{
			Description: "Newline-delimited JSON, one StreamItem a line; empty lines only keep the connection alive",
			Content:     map[string]*huma.MediaType{streamType: {Schema: &huma.Schema{Ref: "#/components/schemas/StreamItem"}}},
		}
	}
}
