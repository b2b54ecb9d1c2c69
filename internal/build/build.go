// Package build is the contract of turning a source tree into an image. Its
// parts: manifest (the files an app describes itself with), detect (a tree to
// a plan, pure), buildkit (a plan to an image). It must never know about
// deployments or users.
package build

import (
	"context"
	"io"
	"time"

	"landward/internal/landward"
)

// Builder makes images. It is safe for concurrent use.
type Builder interface {
	// Build builds req from source, an uncompressed tar of the tree (not read
	// when ctx ends early). Lines go to out in order, from one goroutine.
	// Cancelling ctx really ends the build.
	//
	// A failed build is CodeFailed: the message names the step and its exit
	// code, the cause is the step's last lines. A limit that was met is CodeFailed or
	// CodeTimeout and says which limit.
	Build(ctx context.Context, req Request, source io.Reader, out func(Line)) (landward.Image, error)
}

// Request is one image to build.
type Request struct {
	AppID   int64              `json:"app_id"`
	App     string             `json:"app"`
	Service string             `json:"service"`
	Plan    landward.BuildPlan `json:"plan"`
	// CacheScope separates cache mounts: one string per app and trust level.
	CacheScope string            `json:"cache_scope"`
	Tag        string            `json:"tag"`
	Labels     map[string]string `json:"labels,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"` // BuildKit secret id → value
	NoCache    bool              `json:"no_cache,omitempty"`
	Limits     Limits            `json:"limits"`
}

// Limits bound one build. Zero means the installation's default.
type Limits struct {
	Memory   int64         `json:"memory,omitempty"` // bytes
	MilliCPU int           `json:"cpu,omitempty"`
	Pids     int           `json:"pids,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
	Disk     int64         `json:"disk,omitempty"`    // bytes that must stay free on the engine's disk
	Context  int64         `json:"context,omitempty"` // bytes of source, unpacked
}

// Line is one line of a build's output.
type Line struct {
	// Headline lines are steps ("Building app", "[2/4] RUN go build"); the
	// others are a step's own output.
	Headline bool   `json:"headline,omitempty"`
	Text     string `json:"text"`
}
