package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpuTime is the processor time that a process and those below it have used,
// user and system. No process: none.
func cpuTime(pid int) (time.Duration, error) {
	var sum time.Duration
	for _, p := range tree(pid) {
		d, err := statTime(p, 11, 12) // utime, stime
		if errors.Is(err, os.ErrNotExist) && p != pid {
			continue // ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// endedTime is the processor time of processes that this one has started and
// that have ended.
func endedTime() (time.Duration, error) { return statTime(os.Getpid(), 13, 14) } // cutime, cstime

// statTime adds up fields of /proc/PID/stat that are times, by proc_pid_stat(5),
// counted from the field after the command.
func statTime(pid int, fields ...int) (time.Duration, error) {
	const perSecond = 100 // USER_HZ, the same on every Linux
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // a command may hold anything
	var sum int64
	for _, i := range fields {
		if i >= len(f) {
			return 0, fmt.Errorf("read processor time: %q", b)
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / perSecond, nil
}

// tree is a process and those below it.
func tree(pid int) []int {
	if pid == 0 {
		return nil
	}
	list := []int{pid}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return list
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for s := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(s); err == nil {
				list = append(list, tree(child)...)
			}
		}
	}
	return list
}

// resident is the memory in bytes that a process and those below it have in
// RAM. Pages that several share are counted once, in parts (Pss).
func resident(pid int) (int64, error) {
	var sum int64
	for _, p := range tree(pid) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "smaps_rollup"))
		if err != nil {
			return 0, fmt.Errorf("read memory: %w", err)
		}
		n, err := parsePss(string(b))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func parsePss(text string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read memory: %w", err)
		}
		return n << 10, nil
	}
	return 0, errors.New("read memory: the kernel says nothing of it")
}

// percentile returns the smallest value that p percent of the list do not
// exceed. It sorts the list.
func percentile[T ~int64 | ~float64](list []T, p int) T {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[max((len(list)*p+99)/100, 1)-1]
}

// median leaves the list as it is.
func median(list []float64) float64 { return percentile(slices.Clone(list), 50) }

// comparison is one measure of ours against the same of a peer's.
type comparison struct {
	ours, theirs []float64 // one a round
}

// ratios are ours over theirs, round by round: what disturbs a round disturbs
// both sides of its ratio.
func (c comparison) ratios() []float64 {
	var list []float64
	for i := range min(len(c.ours), len(c.theirs)) {
		if c.theirs[i] > 0 {
			list = append(list, c.ours[i]/c.theirs[i])
		}
	}
	return list
}
