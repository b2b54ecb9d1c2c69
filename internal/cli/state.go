// Package cli is the command line: one file a command, each an options struct,
// a constructor and a run function. It owns how things are asked for and shown,
// and must never know how the server does them: it speaks to the public API
// through package client, and is handed the serving commands as functions.
package cli

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"landward/internal/config"
)

// State is everything that a command may know of the process around it. No
// command reaches for package os: tests hand in a State of their own.
type State struct {
	Args      []string // without the program's name
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Env       func(name string) string
	Dir       string // the working directory
	ConfigDir string // of the user: $XDG_CONFIG_HOME/landward
	Version   string
	Now       func() time.Time
	Terminal  Terminal
	// Open opens a file for reading; the name is absolute.
	Open func(name string) (io.ReadCloser, error)
	// Git runs git in a folder and returns what it printed.
	Git func(ctx context.Context, dir string, args ...string) (string, error)
	// Machine is what trust needs of the machine.
	Machine Machine
}

// Machine is what commands know of the machine and may do to it.
type Machine struct {
	OS   string // as runtime.GOOS has it
	Root string // what stands for / in the names of the system's files
	Home string // the user's folder, "" where there is none
	UID  int    // 0 is root
	// Run runs one of the tools of this package with input as its standard
	// input, and returns what it printed with an error that says why it failed.
	Run func(ctx context.Context, input string, tool Tool, args ...string) (string, error)
	// Has reports whether a tool is installed.
	Has func(tool Tool) bool
}

// path makes a file's name from the command line absolute.
func (s State) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(s.Dir, name)
}

// Terminal is what commands know of the terminal.
type Terminal struct {
	In, Out bool // whether standard input and output are one
	Color   bool // whether standard output may be coloured
	// Size returns the terminal's size in cells, 80 by 24 where there is none.
	Size func() (width, height int)
	// Secret reads a line from the terminal without showing it.
	Secret func(ctx context.Context) (string, error)
	// Raw hands every key to the program until restore is called.
	Raw func() (restore func(), err error)
	// Resized sends something each time that the size changes, until ctx ends.
	Resized func(ctx context.Context) <-chan struct{}
}

// Tool is a program of the machine that a command may start.
type Tool string

// The tools. Those of the system are named by their place: root's path may lack
// it, and a user's may lead to others of the same name first.
const (
	ToolCACertificates Tool = "/usr/sbin/update-ca-certificates"
	ToolCATrust        Tool = "/usr/bin/update-ca-trust"
	ToolKeychain       Tool = "/usr/bin/security"
	ToolNSS            Tool = "certutil"
)

// Servers are what the program can do that no client of the API can. The first
// four block until ctx ends. cmd/landward wires them, so that this package
// imports nothing of the server.
type Servers struct {
	Serve, Edge, Control, Engine func(ctx context.Context, c config.Config) error
	// Purge removes everything that the installation made, and nothing else.
	Purge func(ctx context.Context, c config.Config) error
	// Schema returns the JSON Schema of landward.yaml.
	Schema func() []byte
}
