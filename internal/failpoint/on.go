//go:build failpoints

package failpoint

import (
	"os"
	"syscall"
)

// Hit kills the process, as kill -9 would, when LANDWARD_FAILPOINT names this
// place and the file that LANDWARD_FAILPOINT_ONCE names can be removed: so a
// restarted process gets past the place where its predecessor died.
func Hit(name string) {
	if os.Getenv("LANDWARD_FAILPOINT") != name {
		return
	}
	if once := os.Getenv("LANDWARD_FAILPOINT_ONCE"); once != "" && os.Remove(once) != nil {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
