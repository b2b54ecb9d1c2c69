package hostcheck

import (
	"golang.org/x/sys/unix"

	"landward/client"
)

// clock asks the kernel whether something keeps its clock right.
func clock() client.Check {
	const name = "clock"
	var t unix.Timex // no modes: only a look
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return warn(name, "check that the time is right", "the kernel does not say whether the clock is kept right: %v", err)
	}
	if state == unix.TIME_ERROR {
		return warn(name, "switch it on: timedatectl set-ntp true", "nothing keeps the clock right; certificates and logs need the true time")
	}
	return ok(name, "kept right by the network")
}
