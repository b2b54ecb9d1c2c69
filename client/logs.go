package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// LogLine is one line that an app, the router or a deployment wrote.
type LogLine struct {
	At     time.Time `json:"at"`
	Source string    `json:"source" example:"web.1" doc:"Who wrote it: a unit, release, router, deploy"`
	Kind   string    `json:"kind" enum:"app,router,system,deploy" doc:"system: Landward about the app"`
	Stderr bool      `json:"stderr,omitempty"`
	Text   string    `json:"text" doc:"Without the newline"`
}

// LogQuery chooses lines of an app's log.
type LogQuery struct {
	Follow  bool
	Since   time.Time // zero: from the oldest kept
	Tail    int       // the last n that match; 0: all
	Process string    // "web", or a unit: "web.1"
	Grep    string    // part of the text, case ignored
	Router  bool      // the router's lines too
}

func (q LogQuery) values() url.Values {
	v := lineValues(q.Follow, q.Since, q.Tail)
	if q.Process != "" {
		v.Set("process", q.Process)
	}
	if q.Grep != "" {
		v.Set("grep", q.Grep)
	}
	if q.Router {
		v.Set("router", "true")
	}
	return v
}

// Logs returns an app's lines, oldest first; with Follow until ctx ends.
// An error is the last thing that it yields.
func (c *Client) Logs(ctx context.Context, app string, q LogQuery) iter.Seq2[LogLine, error] {
	items := c.stream(ctx, withQuery(path("apps", app, "logs"), q.values()))
	return only(items, func(i StreamItem) *LogLine { return i.Line })
}

// Event is something that happened and is worth remembering.
type Event struct {
	ID      int64             `json:"id"`
	At      time.Time         `json:"at"`
	App     string            `json:"app,omitempty"`
	Actor   Actor             `json:"actor"`
	Kind    string            `json:"kind" example:"deploy.live"`
	Message string            `json:"message"`
	Data    map[string]string `json:"data,omitempty"`
}

// EventList is events, newest first.
type EventList struct {
	Events []Event `json:"events"`
}

// EventQuery chooses events.
type EventQuery struct {
	App    string // "": all apps, which needs an administrator
	Before int64  // an event's id; 0: from the newest
	Limit  int    // 0: the server's own
}

// Events returns events, newest first.
func (c *Client) Events(ctx context.Context, q EventQuery) ([]Event, error) {
	p := path("events")
	if q.App != "" {
		p = path("apps", q.App, "events")
	}
	v := limitQuery(q.Limit)
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	var out EventList
	err := c.call(ctx, http.MethodGet, withQuery(p, v), nil, &out)
	return out.Events, err
}
