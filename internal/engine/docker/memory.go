package docker

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// memory reads how much memory a container uses, from its control group: all
// that it is charged for but file pages that were not used lately, as docker
// stats counts. 0 where the host does not let us see, or pid is not (or no
// longer) the container's.
func memory(root fs.FS, pid int, container string) int64 {
	if pid <= 0 {
		return 0
	}
	groups, err := fs.ReadFile(root, fmt.Sprintf("proc/%d/cgroup", pid))
	if err != nil || !bytes.Contains(groups, []byte(container)) {
		return 0
	}
	dir, usage, inactive := memoryGroup(groups)
	if dir == "" {
		return 0
	}
	used, err := fs.ReadFile(root, dir+"/"+usage)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(used)), 10, 64)
	if err != nil {
		return 0
	}
	stat, err := fs.ReadFile(root, dir+"/memory.stat")
	if err != nil {
		return n
	}
	for line := range bytes.Lines(stat) {
		if f := strings.Fields(string(line)); len(f) == 2 && f[0] == inactive {
			if cold, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				n -= cold
			}
		}
	}
	return max(n, 0)
}

// memoryGroup finds the folder of a process's memory control group, and the
// names of what to read there, in /proc/PID/cgroup: lines of
// hierarchy:controllers:path, which has the hierarchy 0 and no controllers for
// version 2. Version 1 wins, where a host has both.
func memoryGroup(groups []byte) (dir, usage, inactive string) {
	for line := range bytes.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(f) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(f[1], ",") {
			switch {
			case controller == "memory":
				return path.Join("sys/fs/cgroup/memory", f[2]), "memory.usage_in_bytes", "total_inactive_file"
			case f[0] == "0" && controller == "":
				dir, usage, inactive = path.Join("sys/fs/cgroup", f[2]), "memory.current", "inactive_file"
			}
		}
	}
	return dir, usage, inactive
}
