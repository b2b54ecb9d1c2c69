package landward

import "time"

// Deployment is one try to make a release current, from the moment that it is
// asked for to its named end. Numbers count up per app.
type Deployment struct {
	ID       int64
	AppID    int64
	Number   int
	State    State
	Source   Source
	Actor    Actor
	Release  int // version, 0 until the release is written
	Failure  *Failure
	Warning  string    // of a deployment that is live all the same
	Deadline time.Time // of the state it is in
	// SupersededBy is the number of the deployment that took its place.
	SupersededBy int
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time // zero while it runs
}

// State is where a deployment stands.
type State string

// The states, in order, and the named ends.
const (
	StateQueued     State = "queued"
	StateChecking   State = "checking"
	StateBuilding   State = "building"
	StateScanning   State = "scanning"
	StatePublishing State = "publishing"
	StateWaiting    State = "waiting"
	StateReleasing  State = "releasing"
	StateStarting   State = "starting"

	StateLive       State = "live"
	StateFailed     State = "failed"
	StateCancelled  State = "cancelled"
	StateSuperseded State = "superseded"
	StateRejected   State = "rejected"
)

// Ended reports whether s is a named end.
func (s State) Ended() bool {
	switch s {
	case StateLive, StateFailed, StateCancelled, StateSuperseded, StateRejected:
		return true
	}
	return false
}

// Reconciling reports whether the deployment is the reconciler's: its release
// is written and it waits to become current.
func (s State) Reconciling() bool { return s == StateReleasing || s == StateStarting }

// Failure is why a deployment failed: the same text in push output, CLI, API
// and dashboard.
type Failure struct {
	Step    string `json:"step"` // the state or build step it failed in
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Cause   string `json:"cause,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// FailureOf turns an error into the failure of a step.
func FailureOf(step string, err error) *Failure {
	e := AsError(err)
	msg := e.Message
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	return &Failure{Step: step, Code: e.Code, Message: msg, Cause: e.Cause, Hint: e.Hint}
}

// Err turns the failure back into an error.
func (f *Failure) Err() *Error {
	return &Error{Code: f.Code, Message: f.Message, Cause: f.Cause, Hint: f.Hint}
}

// Plan is what a source tree says about how to build and run it.
type Plan struct {
	// Builder names how the default service is built: "dockerfile", "go",
	// "node", "python", "static" or "image".
	Builder string `json:"builder"`
	// Why is what gave it away: "go.mod", "Dockerfile", "landward.yaml".
	Why          string        `json:"why"`
	Services     []ServicePlan `json:"services"`
	ReleasePhase Command       `json:"release,omitzero"`
	Cron         []Cron        `json:"cron,omitempty"`
	Routes       Routing       `json:"routes,omitzero"`
	// Env are the variables that app.json declares; those without a value and
	// Required must be set before a deploy.
	Env []EnvDecl `json:"env,omitempty"`
	// Notices are things worth telling the pusher, a line each.
	Notices []string `json:"notices,omitempty"`
}

// ServicePlan is one service before it has an image.
type ServicePlan struct {
	Name      string        `json:"name"`
	Build     *BuildPlan    `json:"build,omitempty"` // nil: Image is used as it is
	Image     string        `json:"image,omitempty"`
	Processes []Process     `json:"processes"`
	Volumes   []VolumeMount `json:"volumes,omitempty"`
}

// BuildPlan is how to make one image.
type BuildPlan struct {
	Context    string            `json:"context,omitempty"`    // path in the tree; "": its root
	Dockerfile string            `json:"dockerfile,omitempty"` // path in the context
	Generated  string            `json:"generated,omitempty"`  // a Dockerfile's text where we wrote it
	Target     string            `json:"target,omitempty"`
	Args       map[string]string `json:"args,omitempty"`
	Secrets    []string          `json:"secrets,omitempty"` // names of the app's variables
}

// EnvDecl is a variable that a source tree asks for.
type EnvDecl struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Value       string `json:"value,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Generate    bool   `json:"generate,omitempty"` // a random value, made once
}
