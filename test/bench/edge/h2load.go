package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// h2Settings are the load of HTTP/2.
type h2Settings struct {
	path    string
	clients int
	streams int     // at once on each
	rate    float64 // requests a second; 0: as fast as they can
}

// http2Turn is a turn of h2load.
func (b *bench) http2Turn(program string, h h2Settings) func(context.Context, *server, time.Duration) (sample, error) {
	return func(ctx context.Context, on *server, window time.Duration) (sample, error) {
		times := filepath.Join(b.dir, "h2load.times")
		args := []string{
			"-t", "1", "-c", strconv.Itoa(h.clients), "-m", strconv.Itoa(h.streams),
			"-D", strconv.FormatInt(window.Milliseconds(), 10) + "ms",
			"--connect-to", on.https.String(), "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519",
		}
		if h.rate > 0 {
			args = append(args, "--rps", strconv.FormatFloat(h.rate/float64(h.clients), 'f', 2, 64), "--log-file", times)
		}
		args = append(args, "https://"+benchHost+h.path)
		before, err := cpuTime(on.proc.pid())
		if err != nil {
			return sample{}, err
		}
		out, err := output(b.command(ctx, false, b.dir, program, args...))
		if err != nil {
			return sample{}, err
		}
		after, err := cpuTime(on.proc.pid())
		if err != nil {
			return sample{}, err
		}
		s, err := parseH2Load(string(out))
		if err != nil {
			return sample{}, err
		}
		s.CPU = after - before
		if h.rate > 0 {
			s.P50, s.P99, err = parseTimes(times)
		}
		return s, errors.Join(err, remove(times))
	}
}

var (
	h2Finished = regexp.MustCompile(`finished in ([\d.]+(?:us|ms|s|m)),`)
	h2Requests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
)

func parseH2Load(out string) (sample, error) {
	var s sample
	finished, requests := h2Finished.FindStringSubmatch(out), h2Requests.FindStringSubmatch(out)
	if finished == nil || requests == nil {
		return s, fmt.Errorf("h2load said something else: %q", out)
	}
	var err error
	if s.Elapsed, err = time.ParseDuration(finished[1]); err != nil {
		return s, fmt.Errorf("read h2load: %w", err)
	}
	for i, digits := range requests[1:] {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return s, fmt.Errorf("read h2load: %w", err)
		}
		if i == 0 {
			s.Requests = n
		} else if i < 2 {
			s.Wrong += n // errored and timed out are among the failed
		}
	}
	if s.Requests == 0 || s.Elapsed == 0 {
		return s, fmt.Errorf("no request was answered: %q", out)
	}
	if s.Wrong > 0 {
		s.Trouble = "failed, says h2load"
	}
	return s, nil
}

// parseTimes reads h2load's list of requests: when, status, microseconds.
func parseTimes(path string) (p50, p99 time.Duration, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, fmt.Errorf("read latencies: %w", err)
	}
	var list []time.Duration
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			return 0, 0, fmt.Errorf("read latencies: %q", line)
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read latencies: %w", err)
		}
		list = append(list, time.Duration(n)*time.Microsecond)
	}
	return percentile(list, 50), percentile(list, 99), nil
}

// remove is os.Remove for what may not be there.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
