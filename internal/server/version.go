package server

import (
	"runtime"
	"runtime/debug"

	"landward/client"
)

// version is set by the linker: -X landward/internal/server.version=v1.2.3.
var version = "dev"

// Version says what this program was built from.
func Version() client.Version {
	v := client.Version{Version: version, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}
