package landward

import (
	"fmt"
	"io"
	"time"
)

// Unit is one copy of a process, or a one-off command, as people see it.
type Unit struct {
	ID        string // its identity to the engine
	Process   string // "web", "run", "release", "cron-NAME"
	Index     int    // 1 for web.1
	OneOff    bool   // it ends by itself
	Release   int    // the version that first asked for it
	State     string // what its container is doing: "running", "exited", …
	ExitCode  int
	OOMKilled bool
	Restarts  int
	CreatedAt time.Time
	StartedAt time.Time
}

// States of a unit that somebody asks for.
const (
	UnitCreated = "created" // made, and never started
	UnitRunning = "running"
)

// Name is the unit's name within its app: "web.1".
func (u Unit) Name() string { return fmt.Sprintf("%s.%d", u.Process, u.Index) }

// Streams are what an attached command reads and writes. With a terminal, all
// output is on Stdout.
type Streams struct {
	Stdin  io.Reader // nil: none
	Stdout io.Writer
	Stderr io.Writer
	TTY    bool
	Resize <-chan Size // nil: never
}

// Size is a terminal's, in cells.
type Size struct{ Width, Height uint16 }
