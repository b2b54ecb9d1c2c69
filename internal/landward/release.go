package landward

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Release is one version of an app, whole and immutable: what runs, with which
// settings. Going back to it needs nothing else.
type Release struct {
	AppID        int64
	Version      int // 1, 2, … shown as v1, v2, …
	Services     []Service
	ReleasePhase Command // runs once before traffic; empty for none
	Cron         []Cron
	Settings     Settings
	Routing      Routing
	// Assets is the folder, below the app's own, of the files that the edge
	// serves for this release; empty for none.
	Assets      string
	Source      Source
	Actor       Actor
	Description string // "Deploy 1a2b3c4", "Set DATABASE_URL", "Roll back to v3"
	CreatedAt   time.Time
	// Phase says how the release command stands; it is the one thing that
	// changes after a release was written.
	Phase PhaseState
}

// PhaseState is how a release's release command stands.
type PhaseState string

// The states of a release command.
const (
	PhasePending PhaseState = "pending"
	PhaseDone    PhaseState = "done"
	PhaseFailed  PhaseState = "failed"
)

// Service is one image and the processes that run from it. Most apps have one,
// DefaultService.
type Service struct {
	Name      string        `json:"name"`
	Image     Image         `json:"image"`
	Processes []Process     `json:"processes"`
	Volumes   []VolumeMount `json:"volumes,omitempty"`
}

// DefaultService is the service that an app's own source is built into.
const DefaultService = "app"

// WebProcess is the process type that gets traffic.
const WebProcess = "web"

// Image is a built or pulled image. ID is the engine's own content address
// ("sha256:…") and is what containers are started from; Ref is for people.
type Image struct {
	Ref string `json:"ref"`
	ID  string `json:"id"`
	// What the image itself says, read once when it was built or pulled.
	Exposed []int  `json:"exposed,omitempty"` // TCP ports, ascending
	User    string `json:"user,omitempty"`
	Size    int64  `json:"size,omitempty"` // bytes
}

// Process is one way to run a service's image.
type Process struct {
	Name        string        `json:"name"`
	Command     Command       `json:"command,omitzero"` // empty: the image's own
	Replicas    int           `json:"replicas"`
	Port        int           `json:"port,omitempty"` // 0: PORT, then the only EXPOSE, then what it listens on
	Health      Health        `json:"health,omitzero"`
	Resources   Resources     `json:"resources,omitzero"`
	StopTimeout time.Duration `json:"stop_timeout,omitempty"` // from SIGTERM to SIGKILL; 0: 30 s
}

// Health says when a process counts as healthy.
type Health struct {
	Path     string        `json:"path,omitempty"`     // GET must answer 2xx or 3xx; empty: a TCP connect is enough
	Interval time.Duration `json:"interval,omitempty"` // between probes; 0: 1 s
	Timeout  time.Duration `json:"timeout,omitempty"`  // of one probe; 0: 5 s
	Grace    time.Duration `json:"grace,omitempty"`    // from start until it must be healthy; 0: 60 s
}

// HealthAgent is the User-Agent of who asks a health path.
const HealthAgent = "Landward-Health/1"

// Resources are a process's limits, per container. Zero means the default of
// the installation, never "no limit".
type Resources struct {
	Memory   int64 `json:"memory,omitempty"` // bytes
	MilliCPU int   `json:"cpu,omitempty"`    // thousandths of a core
	Pids     int   `json:"pids,omitempty"`
}

// Command is what to run. Argv is run as it is, with $NAME and ${NAME} filled in
// from the container's environment. Shell is a line that needs the
// container's own /bin/sh; it never meets a shell of the host.
type Command struct {
	Argv  []string `json:"argv,omitempty"`
	Shell string   `json:"shell,omitempty"`
}

// IsZero reports whether there is no command.
func (c Command) IsZero() bool { return len(c.Argv) == 0 && c.Shell == "" }

// Args returns the argv that the container is started with.
func (c Command) Args() []string {
	if c.Shell != "" {
		return []string{"/bin/sh", "-c", c.Shell}
	}
	return c.Argv
}

// Cron is a command on a schedule, in a new container of the default service.
type Cron struct {
	Name     string  `json:"name"`
	Schedule string  `json:"schedule"` // five fields or @daily and its like, UTC
	Command  Command `json:"command"`
	Overlap  Overlap `json:"overlap"`
}

// Overlap says what happens when a cron job is due while it still runs.
type Overlap string

// The overlap rules.
const (
	OverlapForbid  Overlap = "forbid"  // skip the new one
	OverlapAllow   Overlap = "allow"   // run both
	OverlapReplace Overlap = "replace" // stop the old one
)

// VolumeMount is a named volume of the app at a path in its containers.
type VolumeMount struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Effective returns the release's services with its settings laid over them:
// scale, limits and health rules. The receiver is unchanged.
func (r Release) Effective() []Service {
	out := make([]Service, len(r.Services))
	for i, s := range r.Services {
		s.Processes = slices.Clone(s.Processes)
		for j := range s.Processes {
			p := &s.Processes[j]
			if n, ok := r.Settings.Scale[p.Name]; ok {
				p.Replicas = n
			}
			if l, ok := r.Settings.Resources[p.Name]; ok {
				p.Resources = p.Resources.Merge(l)
			}
			if h, ok := r.Settings.Health[p.Name]; ok {
				p.Health = h
			}
		}
		out[i] = s
	}
	return out
}

// Merge returns r with every field that over sets.
func (r Resources) Merge(over Resources) Resources {
	if over.Memory != 0 {
		r.Memory = over.Memory
	}
	if over.MilliCPU != 0 {
		r.MilliCPU = over.MilliCPU
	}
	if over.Pids != 0 {
		r.Pids = over.Pids
	}
	return r
}

// Process returns the effective process of that name and its service.
func (r Release) Process(name string) (Process, Service, bool) {
	for _, s := range r.Effective() {
		for _, p := range s.Processes {
			if p.Name == name {
				return p, s, true
			}
		}
	}
	return Process{}, Service{}, false
}

// V returns the version as people write it.
func (r Release) V() string { return fmt.Sprintf("v%d", r.Version) }

// Source is where a release's code came from.
type Source struct {
	Kind   SourceKind `json:"kind"`
	Ref    string     `json:"ref,omitempty"`    // refs/heads/main, or the image reference
	Commit string     `json:"commit,omitempty"` // full hash
	Title  string     `json:"title,omitempty"`  // first line of the commit message, cleaned
}

// SourceKind is how a change came in.
type SourceKind string

// The ways in.
const (
	SourceGit      SourceKind = "git"
	SourceArchive  SourceKind = "archive"
	SourceImage    SourceKind = "image"    // by reference
	SourceImageTar SourceKind = "imagetar" // over standard input
	SourceChange   SourceKind = "change"   // settings, scale, rollback: no new code
)

// Short names the source for a person: a short commit, an image, or the kind.
func (s Source) Short() string {
	switch {
	case len(s.Commit) >= 7:
		return s.Commit[:7]
	case s.Ref != "":
		return s.Ref
	}
	return string(s.Kind)
}

// Actor is who did something.
type Actor struct {
	Kind  ActorKind `json:"kind"`
	ID    int64     `json:"id,omitempty"`
	Name  string    `json:"name"`
	Admin bool      `json:"admin,omitempty"`
	// Apps are what a token that is bound to apps may touch: app id → role.
	Apps map[int64]Role `json:"-"`
}

// ActorKind tells people from machines.
type ActorKind string

// The kinds of actor.
const (
	ActorUser   ActorKind = "user"
	ActorToken  ActorKind = "token"
	ActorLocal  ActorKind = "local"  // the server's own root, over the unix socket
	ActorSystem ActorKind = "system" // Landward itself
)

// System is Landward itself as an actor.
var System = Actor{Kind: ActorSystem, Name: "landward", Admin: true}

// Role is what somebody may do on one app.
type Role string

// The first roles. Administrators are marked on the Actor.
const (
	RoleViewer   Role = "viewer"   // read, no secrets
	RoleDeployer Role = "deployer" // viewer, and deploy, roll back, read logs
	RoleOwner    Role = "owner"    // everything on the app
)

// ParseJSON is json.Unmarshal for the columns that hold a noun of this package.
func ParseJSON[T any](data []byte) (T, error) {
	var v T
	if len(data) == 0 {
		return v, nil
	}
	err := json.Unmarshal(data, &v)
	return v, err
}
