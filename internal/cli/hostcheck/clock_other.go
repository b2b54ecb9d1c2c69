//go:build !linux

package hostcheck

import "landward/client"

// clock cannot be asked here.
func clock() client.Check {
	return ok("clock", "not checked on this system")
}
