package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
)

// AccessQuery chooses lines of an app's access log.
type AccessQuery struct {
	Since     time.Time // zero: from the oldest kept
	Tail      int       // only the last so many that match; 0: all
	Follow    bool      // then go on with what is written, until the context ends
	MinStatus int       // 0: no bound
	MaxStatus int       // 0: no bound
}

// AccessLogs gives back the requests that came for an app.
type AccessLogs interface {
	// Read calls fn with each line that q asks for, one JSON object without a
	// newline, in the order in which they were written. The line is good during
	// the call alone. An error from fn ends the read and is returned.
	Read(ctx context.Context, appID int64, q AccessQuery, fn func(line []byte) error) error
}

func (a *API) registerAccessLog() {
	handle(a, "Logs and events", endpoint{
		"get-access-log", http.MethodGet, "/apps/{app}/access-log", auth.AppLogs,
		"The requests that came for the app, in the order in which they ended", with(streams()),
	}, a.getAccessLog)
}

type accessLogInput struct {
	OnApp
	Follow bool      `query:"follow" doc:"Go on with what is written from now on"`
	Since  time.Time `query:"since" doc:"Only requests that began since then"`
	Tail   int       `query:"tail" minimum:"0" maximum:"10000" doc:"Only the last n that match"`
	Status string    `query:"status" maxLength:"3" pattern:"^[1-5]([0-9][0-9]|xx)$" patternDescription:"a status like 404, or a class like 5xx" doc:"Only answers with this status (404) or of this class (5xx)"`
}

func (a *API) getAccessLog(ctx context.Context, in *accessLogInput) (*streamed, error) {
	if a.Access == nil {
		return nil, notAvailable("this server keeps no access log that can be read here")
	}
	app := callOf(ctx).app
	q := AccessQuery{Since: in.Since, Tail: in.Tail, Follow: in.Follow}
	q.MinStatus, q.MaxStatus = statusRange(in.Status)
	return a.stream(in.Follow, func(ctx context.Context, send func(client.StreamItem) error) error {
		return a.Access.Read(ctx, app.ID, q, func(line []byte) error {
			var l client.AccessLine
			if json.Unmarshal(line, &l) != nil {
				return nil // cut off by a crash: there is nothing to show
			}
			return send(client.StreamItem{Access: &l})
		})
	}), nil
}

// statusRange turns "404" and "5xx", which the schema has checked, into bounds.
func statusRange(s string) (least, most int) {
	if s == "" {
		return 0, 0
	}
	if n, err := strconv.Atoi(s); err == nil {
		return n, n
	}
	class := int(s[0]-'0') * 100
	return class, class + 99
}

// notAvailable is the answer where the installation lacks the part that the
// operation is about.
func notAvailable(format string, args ...any) error {
	return landward.Errorf(landward.CodeUnavailable, format, args...).
		WithHint("this installation runs without that part; its administrator can turn it on")
}
