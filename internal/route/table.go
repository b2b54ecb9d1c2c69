package route

import (
	"net/netip"
	"time"

	"landward/internal/landward"
)

// Table is everything that the edge knows about where traffic goes: always
// whole, never patched. A table with a lower generation than the one in use
// is refused. Its routes never change: the same pointer in two tables is the
// same route.
type Table struct {
	Generation int64
	MadeAt     time.Time
	Routes     []*Route
}

// Route is one app's share of the table, or a part of it: the routes of one
// app have the same hosts and differ in Prefix.
type Route struct {
	App     string   `json:"app"`
	AppID   int64    `json:"app_id"`
	Release int      `json:"release"`
	Hosts   []string `json:"hosts"`            // normalised; "*.example.com" is every host one label below
	Prefix  string   `json:"prefix,omitempty"` // of the path, "/api"; empty: all that no other route takes
	Strip   bool     `json:"strip,omitempty"`  // the app gets the path without Prefix
	State   State    `json:"state"`
	Targets []Target `json:"targets,omitempty"`
	// Socket is a unix socket instead of Targets: Landward's own API.
	Socket string `json:"socket,omitempty"`
	Limits Limits `json:"limits,omitzero"`

	HTTPS       landward.HTTPSMode  `json:"https,omitempty"`
	Redirects   []landward.Redirect `json:"redirects,omitempty"`
	Headers     landward.Headers    `json:"headers,omitzero"`
	Auth        landward.Auth       `json:"auth,omitzero"`
	Rate        landward.Rate       `json:"rate,omitzero"`
	Compress    landward.Switch     `json:"compress,omitempty"`
	Sticky      bool                `json:"sticky,omitempty"`
	Protocol    landward.Protocol   `json:"protocol,omitempty"`
	Pages       Pages               `json:"pages,omitzero"`
	Static      *Static             `json:"static,omitempty"`
	Maintenance *Maintenance        `json:"maintenance,omitempty"`
	Canary      *Canary             `json:"canary,omitempty"`
	// Idle is how long without a request until control is told that the app
	// may sleep; 0: never.
	Idle time.Duration `json:"idle,omitempty"`
	// Ready is a path that must answer 2xx or 3xx before an app that was woken
	// gets a request, and ReadyWithin how long one such answer may take [5 s];
	// empty: it is enough that it listens.
	Ready       string        `json:"ready,omitempty"`
	ReadyWithin time.Duration `json:"ready_within,omitempty"`

	// Networks are where the app's containers are, and Names what they find
	// each other by: whole names, of one label ("db") or below "internal"
	// ("web.shop.internal"), and the addresses in Networks that they lead to
	// now. They are on one route of the app, the one without a prefix.
	Networks []netip.Prefix          `json:"networks,omitempty"`
	Names    map[string][]netip.Addr `json:"names,omitempty"`
}

// Target is one container's address. Unit names it in logs ("web.1"); ID is
// the unit's identity.
type Target struct {
	Addr netip.AddrPort `json:"addr"`
	Unit string         `json:"unit"`
	ID   string         `json:"id"`
}

// State is how the app stands, so that the edge can say the right thing when
// no target answers.
type State string

// The states of a route.
const (
	StateUp       State = "up"
	StateStarting State = "starting" // first deployment under way
	StateDown     State = "down"     // no healthy unit
	StateStopped  State = "stopped"  // by its owner
	StateEmpty    State = "empty"    // nothing deployed yet
	StateAsleep   State = "asleep"   // the first request wakes it, and is held until then
	StatePaused   State = "paused"   // requests are held until its owner resumes it
)

// Limits bound one app's requests. Zero means the edge's default.
type Limits struct {
	MaxBody      int64         `json:"max_body,omitempty"`      // bytes; negative: none
	ReadTimeout  time.Duration `json:"read_timeout,omitempty"`  // between two reads of a request's body
	AnswerWithin time.Duration `json:"answer_within,omitempty"` // until the app's first byte of answer
	Hold         time.Duration `json:"hold,omitempty"`          // a request waits for an app asleep or paused [60 s]
}

// Pages are an app's own error pages.
type Pages struct {
	Dir string `json:"dir,omitempty"` // absolute: 404.html, 4xx.html, 5xx.html, maintenance.html
	// Replace shows them in place of the bodies of the app's own errors too.
	Replace bool `json:"replace,omitempty"`
}

// Static is a folder that the edge serves itself.
type Static struct {
	Dir       string   `json:"dir"`                // absolute
	Fallback  string   `json:"fallback,omitempty"` // file that answers for what is not there
	Immutable []string `json:"immutable,omitempty"`
}

// Maintenance answers every request with a page that says so.
type Maintenance struct {
	Message string `json:"message,omitempty"`
}

// Trial compares the two versions of an app while a canary runs, as the edge
// has counted.
type Trial struct {
	Canary Counts `json:"canary"`
	Stable Counts `json:"stable"`
}

// Counts are what became of some requests.
type Counts struct {
	Answers uint64        `json:"answers"`
	Errors  uint64        `json:"errors"` // 5xx, and answers that were not whole
	P95     time.Duration `json:"p95"`    // at most this for 95 of 100; an upper bound
}

// Canary is a second set of targets that gets a share of the requests.
type Canary struct {
	Release int      `json:"release"`
	Percent int      `json:"percent"`          // of requests without the cookie
	Cookie  string   `json:"cookie,omitempty"` // a request that has it goes to the canary
	Targets []Target `json:"targets"`
}
