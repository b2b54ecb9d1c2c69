// Package source is how code comes in. Adapters below it speak a protocol:
// gitssh, githttp, archive. They find out who is asking and what they bring,
// and hand both to an Intake. It must never know how an app is built or run.
package source

import (
	"context"
	"io"

	"landward/internal/landward"
)

// Intake is what the adapters hand their finds to. The server wires it.
type Intake interface {
	// OpenRepo answers whether actor may read (write: push to) the app's
	// repository and returns it. With write, an app that does not exist is
	// made where the actor may make one. CodeNotFound hides what the actor
	// may not see.
	OpenRepo(ctx context.Context, actor landward.Actor, app string, write bool) (Repo, error)

	// Push is asked once per push, before any ref moves, while the new objects
	// are in quarantine. It runs the deployment when the deploy branch is
	// among the refs, and returns when it has ended: nil lets every ref move,
	// an error declines the whole push. Lines for the pusher go to out.
	//
	// ctx ends when Landward stops, not when the pusher hangs up: somebody
	// who presses Ctrl-C detaches, the deployment goes on.
	Push(ctx context.Context, p Push, out io.Writer) error
}

// Repo is an app's bare repository.
type Repo struct {
	AppID int64
	App   string
	Dir   string // absolute
}

// Push is a set of ref updates that a pusher asks for.
type Push struct {
	Repo  Repo
	Actor landward.Actor
	Refs  []RefUpdate
	// Options are git's push options ("ci.skip").
	Options []string
	// Env are the variables that let git see the quarantined objects
	// (GIT_OBJECT_DIRECTORY and GIT_ALTERNATE_OBJECT_DIRECTORIES).
	Env []string
}

// RefUpdate is one ref's move. Old or New is all zeros for a ref that is made
// or deleted.
type RefUpdate struct {
	Old, New, Name string
}

// Deletes reports whether the update deletes the ref.
func (r RefUpdate) Deletes() bool {
	for _, c := range r.New {
		if c != '0' {
			return false
		}
	}
	return true
}
