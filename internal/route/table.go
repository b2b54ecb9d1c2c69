package route

import (
	"net/netip"
	"time"
)

// Table is everything that the edge knows about where traffic goes: always
// whole, never patched. A table with a lower generation than the one in use
// is refused.
type Table struct {
	Generation int64     `json:"generation"`
	MadeAt     time.Time `json:"made_at"`
	Routes     []Route   `json:"routes"`
}

// Route is one app's share of the table.
type Route struct {
	App     string   `json:"app"`
	AppID   int64    `json:"app_id"`
	Release int      `json:"release"`
	Hosts   []string `json:"hosts"` // normalised, unique over the table
	State   State    `json:"state"`
	Targets []Target `json:"targets,omitempty"`
	// Socket is a unix socket instead of Targets: Landward's own API.
	Socket string `json:"socket,omitempty"`
	Limits Limits `json:"limits,omitzero"`
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
)

// Limits bound one app's requests. Zero means the edge's default.
type Limits struct {
	MaxBody      int64         `json:"max_body,omitempty"`      // bytes; negative: none
	ReadTimeout  time.Duration `json:"read_timeout,omitempty"`  // between two reads of a request's body
	AnswerWithin time.Duration `json:"answer_within,omitempty"` // until the app's first byte of answer
}
