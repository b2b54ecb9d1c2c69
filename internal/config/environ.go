package config

import (
	"os"
	"path/filepath"
)

// Environ returns every setting as LANDWARD_NAME=value: how one process of an
// installation hands its settings to another.
func (c Config) Environ() []string {
	var env []string
	for _, s := range c.settings() {
		env = append(env, s.env()+"="+s.value.String())
	}
	// The file has been read: what it said is among the settings.
	return append(env, fileEnv+"="+os.DevNull)
}

// APISocket returns the path of the socket that the edge forwards the API's
// own host to. It is not the command line's: who comes through it is not root.
func (c Config) APISocket() string { return filepath.Join(c.RunDir(), "api.sock") }
