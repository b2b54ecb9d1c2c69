package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"landward/internal/build"
	"landward/internal/landward"
)

const (
	cpuPeriod    = 100_000                // microseconds
	wardenPeriod = 20 * time.Millisecond  // how soon a new container is found
	diskPeriod   = 500 * time.Millisecond // how often free space is looked at
)

// checkDisk refuses to start when too little space is free.
func checkDisk(root string, keep int64) error {
	free, err := freeSpace(root)
	if err != nil || free >= keep {
		return nil // an Engine whose disk we cannot see is its owner's to watch
	}
	return errDisk("the build was not started", free, keep)
}

// watchDisk cancels the build when it leaves too little space free.
func watchDisk(ctx context.Context, root string, keep int64, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(diskPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if free, err := freeSpace(root); err == nil && free < keep {
			cancel(errDisk("the build was stopped", free, keep))
			return
		}
	}
}

func errDisk(what string, free, keep int64) error {
	return landward.Errorf(landward.CodeFailed, "%s: only %d MiB are free on the server's disk, and %d MiB must stay free", what, free>>20, keep>>20).
		WithHint("free some space: `landward doctor` shows what takes it")
}

// freeSpace is what an unprivileged program could still write to path's disk.
func freeSpace(path string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// warden puts a build's limits on each container that BuildKit runs for it, as
// soon as it appears. Older Engines have no way to ask for limits, so it writes
// them into the container's control groups, which takes root. The limits hold
// for each step by itself.
type warden struct {
	containers string // where BuildKit keeps its containers' specs
	host       string // what this build's are called
	knobs      []knob
	log        *slog.Logger
	done       map[string]bool
}

// newWarden returns nil if there is nothing to limit or no right to do it.
func newWarden(root, host string, limits build.Limits, log *slog.Logger) *warden {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	w := &warden{
		containers: filepath.Join(root, "buildkit", "executor"),
		host:       host, knobs: knobs(limits, err == nil), log: log, done: map[string]bool{},
	}
	if len(w.knobs) == 0 {
		return nil
	}
	if _, err := os.ReadDir(w.containers); err != nil {
		log.Warn("build limits are left to the engine", "err", err)
		return nil
	}
	return w
}

// run watches until ctx ends.
func (w *warden) run(ctx context.Context) {
	tick := time.NewTicker(wardenPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

func (w *warden) look() {
	entries, err := os.ReadDir(w.containers)
	if err != nil {
		return // between two builds the folder may be swept
	}
	for _, e := range entries {
		id := e.Name()
		if !e.IsDir() || w.done[id] {
			continue
		}
		mine, known := w.mine(id)
		if !known {
			continue
		}
		if !mine {
			w.done[id] = true
			continue
		}
		groups := controlGroups(id)
		if !w.complete(groups) {
			continue // it has not started yet
		}
		w.done[id] = true
		for _, k := range w.knobs {
			if err := k.turn(groups); err != nil {
				w.log.Warn("build step is not limited", "container", id, "limit", k.file, "err", err)
			}
		}
	}
}

// mine reports whether a container belongs to this build. known is false as
// long as its spec is not written.
func (w *warden) mine(id string) (mine, known bool) {
	data, err := os.ReadFile(filepath.Join(w.containers, id, "config.json"))
	if err != nil {
		return false, false
	}
	var spec struct {
		Hostname string `json:"hostname"`
	}
	if json.Unmarshal(data, &spec) != nil {
		return false, false
	}
	return spec.Hostname == w.host, true
}

// controlGroups finds the folders of a running container's control groups:
// controller → folder, "" for the one of version 2.
func controlGroups(id string) map[string]string {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(text), id) {
			continue
		}
		groups := map[string]string{}
		for line := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 || !strings.Contains(parts[2], id) {
				continue
			}
			for controller := range strings.SplitSeq(parts[1], ",") {
				groups[controller] = filepath.Join("/sys/fs/cgroup", controller, parts[2])
			}
		}
		return groups
	}
	return nil
}

// complete reports whether a container is in all the control groups that
// matter: it joins one after the other.
func (w *warden) complete(groups map[string]string) bool {
	for _, k := range w.knobs {
		if _, ok := groups[k.controller]; !ok {
			return false
		}
	}
	return true
}

// knob is one file of a control group and what is written into it.
type knob struct {
	controller, file, value string
	optional                bool // kernels may lack it
}

// knobs says limits in the files of either version of control groups.
func knobs(l build.Limits, v2 bool) []knob {
	var out []knob
	memory, pids := strconv.FormatInt(l.Memory, 10), strconv.Itoa(l.Pids)
	quota, period := strconv.Itoa(l.MilliCPU*cpuPeriod/1000), strconv.Itoa(cpuPeriod)
	if l.Memory > 0 && v2 {
		out = append(out, knob{"", "memory.max", memory, false}, knob{"", "memory.swap.max", "0", true})
	} else if l.Memory > 0 {
		out = append(out, knob{"memory", "memory.limit_in_bytes", memory, false}, knob{"memory", "memory.memsw.limit_in_bytes", memory, true})
	}
	if l.Pids > 0 && v2 {
		out = append(out, knob{"", "pids.max", pids, false})
	} else if l.Pids > 0 {
		out = append(out, knob{"pids", "pids.max", pids, false})
	}
	if l.MilliCPU > 0 && v2 {
		out = append(out, knob{"", "cpu.max", quota + " " + period, false})
	} else if l.MilliCPU > 0 {
		out = append(out, knob{"cpu", "cpu.cfs_period_us", period, false}, knob{"cpu", "cpu.cfs_quota_us", quota, false})
	}
	return out
}

func (k knob) turn(groups map[string]string) error {
	f, err := os.OpenFile(filepath.Join(groups[k.controller], k.file), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && k.optional {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(k.value)
	return errors.Join(err, f.Close())
}
