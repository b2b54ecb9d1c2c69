package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// quiet is the share of the machine that others may take of a round without it
// being measured again.
const quiet = 0.05

// clock is what the machine and this benchmark have used until a moment.
type clock struct {
	at   time.Time
	busy time.Duration // all processors, with what the hypervisor gave to others
	own  time.Duration // this process, all that it started, and theirs
}

// readClock reads the clock of now.
func readClock() (clock, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return clock{}, fmt.Errorf("read processor time: %w", err)
	}
	busy, err := parseBusy(string(b))
	if err != nil {
		return clock{}, err
	}
	c := clock{at: time.Now(), busy: busy}
	if c.own, err = cpuTime(os.Getpid()); err != nil {
		return clock{}, err
	}
	ended, err := endedTime()
	c.own += ended
	return c, err
}

// parseBusy reads the first line of proc_stat(5): user, nice, system, idle,
// iowait, irq, softirq, steal, in hundredths of a second.
func parseBusy(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("read processor time: %q", line)
	}
	var sum int64
	for i, s := range f[1:9] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		if i != 3 && i != 4 { // idle, and waiting for disks
			sum += n
		}
	}
	return time.Duration(sum) * time.Second / 100, nil
}

// foreign is the share of the machine that others have taken between two moments.
func foreign(from, to clock) float64 {
	whole := to.at.Sub(from.at) * time.Duration(runtime.NumCPU())
	if whole <= 0 {
		return 0
	}
	others := (to.busy - from.busy) - (to.own - from.own)
	return max(float64(others)/float64(whole), 0)
}
