package route

import (
	"net/netip"
	"time"
)

// Entry is what the edge knows about one finished request. Its slices are only
// good during the call that hands it over.
type Entry struct {
	At     time.Time // when the request's first byte was there
	AppID  int64     // 0: no app, or Landward's own API
	Unit   string    // which target answered, "" for none
	Method []byte
	Path   []byte // without the query, which may hold secrets
	Host   []byte // normalised
	ID     []byte // X-Request-Id
	IP     netip.Addr
	Minor  int // HTTP/1.Minor
	// Proto is what the client speaks where that is not HTTP/1.Minor:
	// "HTTP/2.0", "HTTP/3.0".
	Proto   string
	TLS     bool
	Agent   []byte // User-Agent
	Referer []byte
	Status  int  // 0: the connection ended before an answer
	Code    Code // "" for an answer of the app's
	In, Out int64
	Total   time.Duration // until the last byte of the answer
	Connect time.Duration // until there was a connection to the target
	Service time.Duration // from then until the answer's head
}

// Code is why the edge answered itself, or why an answer is not whole.
type Code string

// The codes.
const (
	CodeBadRequest   Code = "bad_request"
	CodeTooLarge     Code = "too_large"     // body
	CodeHeaderLarge  Code = "header_large"  // head
	CodeSlow         Code = "slow_client"   // the client took too long
	CodeClientGone   Code = "client_gone"   // the client went away
	CodeUnknownHost  Code = "unknown_host"  // no route for it
	CodeNoTarget     Code = "no_target"     // the app has no unit that answers; State says why
	CodeRefused      Code = "refused"       // no connection to any target
	CodeReset        Code = "reset"         // the app closed before it had answered
	CodeTimeout      Code = "timeout"       // the app took too long
	CodeBadAnswer    Code = "bad_answer"    // what the app sent is not HTTP
	CodeCut          Code = "cut"           // ended by us at the drain limit
	CodeBusy         Code = "busy"          // too many connections
	CodeInternal     Code = "internal"      // our fault
	CodeShuttingDown Code = "shutting_down" // the edge is going away
	CodeHeld         Code = "held"          // the app slept or was paused for too long
	CodeMaintenance  Code = "maintenance"   // its owner says so
	CodeForbidden    Code = "forbidden"     // not from this address
	CodeUnauthorized Code = "unauthorized"  // without a user that may
	CodeRateLimited  Code = "rate_limited"  // too many requests
	CodeNotFound     Code = "not_found"     // no such file
	CodeMisdirected  Code = "misdirected"   // another host than the connection's certificate
	CodeRedirected   Code = "redirected"    // sent elsewhere
	CodeUpstream     Code = "upstream_auth" // the service that says who may in does not answer
)

// Fault is an answer that the edge makes itself.
type Fault struct {
	Status     int
	Code       Code
	App        string // "" where none is known, or where the client need not know
	State      State  // with CodeNoTarget: how the app stands
	Reason     string // one line more for the curious, such as what was malformed
	RequestID  string
	RetryAfter int // seconds; 0: say nothing
	// Header holds further lines of the answer's head, each with its CRLF.
	Header []byte
}

// DrainReport says how the requests on retired targets ended.
type DrainReport struct {
	InFlight int           `json:"in_flight"`         // requests and upgraded connections at the start
	Finished int           `json:"finished"`          // ended by themselves
	Closed   int           `json:"closed"`            // upgraded connections that were closed at the limit
	Cut      int           `json:"cut"`               // requests that were cut off at the limit
	Serving  []string      `json:"serving,omitempty"` // targets still in the table: not drained
	Took     time.Duration `json:"took"`
}
