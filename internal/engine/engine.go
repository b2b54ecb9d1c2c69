// Package engine is the contract between the reconciler and whatever runs
// containers. Adapters live below it: docker (the real one), remote (the same
// contract over a unix socket), fake (for unit tests); enginetest is the one
// suite that all of them pass. It owns the words Unit and Container and must
// never know about apps' history, routes or users.
package engine

import (
	"context"
	"io"
	"net/netip"
	"time"

	"landward/internal/landward"
)

// Engine runs units as containers. Every method is idempotent and safe for
// concurrent use. The engine keeps no state of its own: labels on its objects
// are the state, so it may be killed at any instruction.
//
// An engine touches only objects that carry its own instance label; it never
// lists, changes or removes another's.
type Engine interface {
	// Apply makes the unit exist and, unless u.Hold, run: its app's network
	// and volumes, then the container, then its secret files, then the start.
	// A container with the same unit ID is taken as it is, started where it
	// is stopped, and its restart rule set to u.Restart; its other fields are
	// immutable. The final spec is checked against package policy before
	// every create and update.
	//
	// Errors carry landward codes: CodePolicy, CodeNotFound (no such image),
	// CodeUnavailable (engine down), CodeFailed (it cannot start: the cause is
	// the runtime's own words).
	Apply(ctx context.Context, u Unit) (Container, error)

	// Remove stops the unit's container (SIGTERM, then SIGKILL after grace)
	// and removes it with its anonymous leftovers. Named volumes stay.
	// A unit that does not exist is no error.
	Remove(ctx context.Context, id string, grace time.Duration) error

	// List returns this instance's containers, of one app or of all (appID 0).
	List(ctx context.Context, appID int64) ([]Container, error)

	// Inspect returns one container, with Listening and Memory filled in.
	// CodeNotFound where there is none.
	Inspect(ctx context.Context, id string) (Container, error)

	// Watch sends an Event each time something happens to one of this
	// instance's containers, until ctx ends or the connection to the engine is lost;
	// then the channel is closed. It is closed, too, where the reader is so slow that
	// an event would be lost: while it is open, nothing has happened that was not told.
	Watch(ctx context.Context) (<-chan Event, error)

	// Logs sends the unit's output, oldest first, to fn until it ends, or with
	// Follow until the container stops or ctx ends. An error from fn stops it
	// and is returned.
	Logs(ctx context.Context, id string, o LogOptions, fn func(LogLine) error) error

	// RemoveApp removes the app's containers, its network, and with volumes
	// its volumes too.
	RemoveApp(ctx context.Context, appID int64, volumes bool) error

	// Info says what the engine is and how it is: for doctor and status.
	Info(ctx context.Context) (Info, error)
}

// Runner runs commands that somebody waits for.
type Runner interface {
	// Run makes the unit's container, attaches s before it starts, waits for
	// its end and returns its exit code. The container is removed afterwards.
	// When ctx ends the container is stopped.
	Run(ctx context.Context, u Unit, s Streams) (exit int, err error)
	// Exec runs argv inside the running unit.
	Exec(ctx context.Context, id string, argv []string, s Streams) (exit int, err error)
}

// Images keeps images.
type Images interface {
	// Pull fetches a reference, reporting progress lines to out.
	Pull(ctx context.Context, ref string, out func(line string)) (landward.Image, error)
	// Load reads a `docker save` stream and returns the one image in it.
	Load(ctx context.Context, r io.Reader) (landward.Image, error)
	// Image returns an image that the engine has, by reference or ID;
	// CodeNotFound otherwise.
	Image(ctx context.Context, ref string) (landward.Image, error)
	// Keep tags the image as release version of the app so that nothing else collects it.
	Keep(ctx context.Context, id string, appID int64, app string, version int, service string) error
	// Collect removes this instance's release tags (and, when nothing else
	// uses them, the images) of the app, but those of the versions in keep. It returns the bytes freed.
	Collect(ctx context.Context, appID int64, keep []int) (freed int64, err error)
}

// Unit is a container as it should be. Its ID is its identity: two units with
// one ID are the same container.
type Unit struct {
	ID      string `json:"id"` // [a-z0-9-]{1,60}, unique in the instance
	AppID   int64  `json:"app_id"`
	App     string `json:"app"` // name, for people and for the container's name
	Service string `json:"service"`
	Process string `json:"process"` // "web", or for one-offs "run", "release", "cron-NAME"
	Index   int    `json:"index"`   // 1 for web.1
	Kind    Kind   `json:"kind"`
	Release int    `json:"release"` // the version that first asked for it
	Spec    string `json:"spec"`    // hash of all that makes it what it is

	Image       string                 `json:"image"`             // image ID
	Command     []string               `json:"command,omitempty"` // empty: the image's own
	Env         map[string]string      `json:"env,omitempty"`
	Files       map[string]string      `json:"files,omitempty"` // name under /run/secrets → contents
	User        string                 `json:"user,omitempty"`
	WorkDir     string                 `json:"workdir,omitempty"`
	TTY         bool                   `json:"tty,omitempty"`
	Volumes     []landward.VolumeMount `json:"volumes,omitempty"`
	Resources   landward.Resources     `json:"resources"` // all fields set
	Restart     Restart                `json:"restart"`
	StopTimeout time.Duration          `json:"stop_timeout,omitempty"`
	Hold        bool                   `json:"hold,omitempty"` // create, do not start
}

// Kind says what a unit is for.
type Kind string

// The kinds of unit.
const (
	KindProcess Kind = "process" // kept running
	KindRelease Kind = "release" // the release command, once
	KindRun     Kind = "run"     // landward run
	KindCron    Kind = "cron"
)

// Restart is who starts a container again when it ends.
type Restart string

// The restart rules.
const (
	RestartNever  Restart = "no"     // nobody: a unit on probation, a one-off
	RestartAlways Restart = "always" // the engine, with back-off, even while Landward is stopped
)

// Container is a unit as it is.
type Container struct {
	Unit       string         `json:"unit"`   // Unit.ID
	Engine     string         `json:"engine"` // the engine's own id
	AppID      int64          `json:"app_id"`
	App        string         `json:"app"`
	Service    string         `json:"service"`
	Process    string         `json:"process"`
	Index      int            `json:"index"`
	Kind       Kind           `json:"kind"`
	Release    int            `json:"release"`
	Spec       string         `json:"spec"`
	Image      string         `json:"image"`
	State      ContainerState `json:"state"`
	ExitCode   int            `json:"exit_code,omitempty"`
	OOMKilled  bool           `json:"oom_killed,omitempty"`
	Restarts   int            `json:"restarts,omitempty"`
	Restart    Restart        `json:"restart"`
	Addr       netip.Addr     `json:"addr"`             // chosen from the app's subnet; the same for the container's whole life
	Network    netip.Prefix   `json:"network,omitzero"` // that subnet, which no other app has; zero where it is gone
	CreatedAt  time.Time      `json:"created_at"`
	StartedAt  time.Time      `json:"started_at,omitzero"`
	FinishedAt time.Time      `json:"finished_at,omitzero"`
	// Listening are the TCP sockets that the container listens on, where the
	// host lets us see them. Only Inspect fills it in.
	Listening []netip.AddrPort `json:"listening,omitempty"`
	// Memory is what it uses now, in bytes, without what the kernel would give
	// up at once; 0 where the host does not let us see. Only Inspect fills it in.
	Memory int64 `json:"memory,omitempty"`
}

// ContainerState is what a container is doing.
type ContainerState string

// The states of a container.
const (
	Created    ContainerState = "created"
	Running    ContainerState = "running"
	Restarting ContainerState = "restarting" // it ended and waits for its next start
	Exited     ContainerState = "exited"
)

// Event says that something happened to a container.
type Event struct {
	Unit   string    `json:"unit"`
	AppID  int64     `json:"app_id"`
	Action string    `json:"action"` // "start", "die", "oom", "destroy"
	At     time.Time `json:"at"`
}

// LogOptions choose lines.
type LogOptions struct {
	Follow bool
	Since  time.Time // zero: from the beginning
	Tail   int       // last n lines; 0: all
}

// LogLine is one line of a unit's output.
type LogLine struct {
	At     time.Time `json:"at"`
	Stderr bool      `json:"stderr,omitempty"`
	Text   string    `json:"text"` // without the newline, at most 16 KiB
}

// Streams and Size are the vocabulary's, for those who speak of engines only.
type (
	Streams = landward.Streams
	Size    = landward.Size
)

// Info describes an engine.
type Info struct {
	Name       string   `json:"name"` // "docker"
	Version    string   `json:"version"`
	APIVersion string   `json:"api_version"`
	OS         string   `json:"os"`
	Arch       string   `json:"arch"`
	CPUs       int      `json:"cpus"`
	Memory     int64    `json:"memory"`    // bytes
	DiskFree   int64    `json:"disk_free"` // bytes, where images live; -1 unknown
	DiskTotal  int64    `json:"disk_total"`
	Firewall   string   `json:"firewall"` // "ok", or why apps are not fenced off
	Warnings   []string `json:"warnings,omitempty"`
}
