package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// AccessLine is one request that came for an app.
type AccessLine struct {
	At        time.Time `json:"at" doc:"When it began"`
	Method    string    `json:"method"`
	Path      string    `json:"path" doc:"Without the query"`
	Host      string    `json:"host"`
	Status    int       `json:"status" doc:"0: the connection ended before an answer"`
	Code      string    `json:"code,omitempty" doc:"Why the router answered itself, or cut the answer"`
	Unit      string    `json:"unit,omitempty" doc:"Who answered" example:"web.1"`
	In        int64     `json:"in" doc:"Bytes of the request's body"`
	Out       int64     `json:"out" doc:"Bytes of the answer"`
	MS        float64   `json:"ms" doc:"Milliseconds until the answer's last byte"`
	ConnectMS float64   `json:"connect_ms" doc:"Milliseconds until there was a connection to the app"`
	ServiceMS float64   `json:"service_ms" doc:"Milliseconds from then to the answer's head"`
	ID        string    `json:"id" doc:"Of the request"`
	IP        string    `json:"ip" doc:"Of the client"`
	Proto     string    `json:"proto" example:"HTTP/2.0"`
	Scheme    string    `json:"scheme" enum:"http,https"`
	Agent     string    `json:"user_agent,omitempty"`
	Referer   string    `json:"referer,omitempty" doc:"Without the query"`
}

// AccessQuery chooses lines of an app's access log.
type AccessQuery struct {
	Follow bool
	Since  time.Time // zero: from the oldest kept
	Tail   int       // the last n that match; 0: all
	Status string    // "404", or "5xx" for all of a class; "": any
}

func (q AccessQuery) values() url.Values {
	v := lineValues(q.Follow, q.Since, q.Tail)
	if q.Status != "" {
		v.Set("status", q.Status)
	}
	return v
}

// AccessLog returns the requests that came for an app, in the order in which
// they ended; with Follow until ctx ends. An error is the last thing that it
// yields.
func (c *Client) AccessLog(ctx context.Context, app string, q AccessQuery) iter.Seq2[AccessLine, error] {
	items := c.stream(ctx, withQuery(path("apps", app, "access-log"), q.values()))
	return only(items, func(i StreamItem) *AccessLine { return i.Access })
}
