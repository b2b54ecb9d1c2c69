package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// measured is what wrk saw.
type measured struct {
	requests int64
	rps      float64
	p99      time.Duration
	wrong    int64
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in `)
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkP99    = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	wrkErrors = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkNon2xx = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// load drives one proxy for some seconds.
func (b *bench) load(ctx context.Context, p *proxy, seconds int) (measured, error) {
	args := []string{b.s.wrk, "-t1", "-c" + strconv.Itoa(b.s.conns), "-d" + strconv.Itoa(seconds) + "s",
		"--latency", "-H", "Host: " + benchHost, "http://" + p.addr + "/some/path?with=query"}
	if b.s.pin && runtime.NumCPU() > 1 {
		args = append([]string{"taskset", "-c", b.cores(false)}, args...)
	}
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return measured{}, fmt.Errorf("wrk: %w", err)
	}
	return parseWrk(string(out))
}

func parseWrk(out string) (measured, error) {
	var m measured
	total, rate, p99 := wrkTotal.FindStringSubmatch(out), wrkRate.FindStringSubmatch(out), wrkP99.FindStringSubmatch(out)
	if total == nil || rate == nil || p99 == nil {
		return m, fmt.Errorf("wrk said something else: %q", out)
	}
	var err error
	if m.requests, err = strconv.ParseInt(total[1], 10, 64); err != nil {
		return m, err
	}
	if m.rps, err = strconv.ParseFloat(rate[1], 64); err != nil {
		return m, err
	}
	if m.p99, err = time.ParseDuration(p99[1] + p99[2]); err != nil {
		return m, err
	}
	numbers := wrkErrors.FindStringSubmatch(out)
	if len(numbers) > 0 {
		numbers = numbers[1:]
	}
	if n := wrkNon2xx.FindStringSubmatch(out); n != nil {
		numbers = append(numbers, n[1])
	}
	for _, s := range numbers {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return m, err
		}
		m.wrong += n
	}
	return m, nil
}

// cpuTime is the processor time of a process and its children so far.
func cpuTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	const perSecond = 100 // USER_HZ, the same on every Linux
	var sum int64
	for _, p := range tree(pid) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "stat"))
		if err != nil {
			return 0, err
		}
		// The fields after the command, which is in parentheses.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, s := range f[11:13] { // utime, stime
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return time.Duration(sum) * time.Second / perSecond, nil
}

// tree is a process and those below it.
func tree(pid int) []int {
	list := []int{pid}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return list
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, s := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(s); err == nil {
				list = append(list, tree(child)...)
			}
		}
	}
	return list
}

// residentBytes is the resident memory of a process tree.
func residentBytes(pid int) int64 {
	if pid == 0 {
		return 0
	}
	var sum int64
	for _, p := range tree(pid) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "statm"))
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b)); len(f) > 1 {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				sum += n * int64(os.Getpagesize())
			}
		}
	}
	return sum
}
