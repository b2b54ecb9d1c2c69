package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"landward/internal/config"
	"landward/internal/route/edge"
	"landward/internal/route/h3"
	"landward/internal/waittest"
)

func faceConfig() config.Config {
	return config.Config{HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", HTTP3: true, DNS: "127.0.0.1:0"}
}

func opened(t *testing.T, cfg config.Config) *faces {
	t.Helper()
	f, err := openFaces(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func TestFaces(t *testing.T) {
	f := opened(t, faceConfig())
	want := []string{"http", "https", "h3-secret", "dns-udp-0", "dns-tcp-0", "h3-5"}
	files, names := f.of(5)
	if !slices.Equal(names, want) || len(files) != len(want) {
		t.Fatalf("%q, want %q", names, want)
	}
	addrs := map[string]string{}
	for i, file := range files {
		if l, err := net.FileListener(file); err == nil {
			addrs[names[i]] = l.Addr().String()
			_ = l.Close()
		} else if c, err := net.FilePacketConn(file); err == nil {
			addrs[names[i]] = c.LocalAddr().String()
			_ = c.Close()
		}
	}
	if addrs["https"] == "" || addrs["https"] != addrs["h3-5"] || addrs["dns-udp-0"] == "" || addrs["dns-udp-0"] != addrs["dns-tcp-0"] || addrs["http"] == "" {
		t.Errorf("addresses: %q", addrs)
	}
	secret := make([]byte, edge.SecretSize)
	for range 2 { // each edge reads it
		if n, err := files[2].ReadAt(secret, 0); n != len(secret) || err != nil || slices.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("secret: %d bytes, %v", n, err)
		}
	}
	cfg := faceConfig()
	cfg.HTTPS, cfg.DNS = "", ""
	if _, names := opened(t, cfg).of(0); !slices.Equal(names, []string{"http"}) {
		t.Errorf("without HTTPS and DNS: %q", names)
	}
}

// TestFacesTaken: what the edge can do without for a while is no reason not to
// start; HTTP is.
func TestFacesTaken(t *testing.T) {
	f := opened(t, faceConfig())
	http, err := localAddr(f.files[0])
	if err != nil {
		t.Fatal(err)
	}
	https, _ := localAddr(f.files[1])
	dns, _ := localAddr(f.files[4])
	cfg := faceConfig()
	cfg.HTTP = http
	if _, err := openFaces(cfg, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an address of HTTP that is taken is no error")
	}
	_ = f.files[1].Close() // the port is free for TCP, not for UDP
	cfg = faceConfig()
	cfg.HTTPS, cfg.DNS = https, dns
	if _, names := opened(t, cfg).of(1); !slices.Equal(names, []string{"http", "https"}) {
		t.Errorf("%q", names)
	}
}

// TestHeld: that another process is started changes nothing for those who read
// the sockets already. A read that blocks could not be ended.
func TestHeld(t *testing.T) {
	f := opened(t, faceConfig())
	files, names := f.of(0)
	for i, file := range files {
		if names[i] == edge.NameSecret {
			continue
		}
		var done func() error
		if l, err := net.FileListener(file); err == nil {
			done = l.Close
		} else if c, err := net.FilePacketConn(file); err == nil {
			done = c.Close
		} else {
			t.Fatalf("%s: %v", names[i], err)
		}
		flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0) // as starting a process asks
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("%s blocks its reader (%v)", names[i], err)
		}
		_ = done()
	}
}

// stub is a program that notes its process id, and that it was told to end,
// which it does when there is no file "hold".
const stub = `#!/bin/sh
cd "$1" || exit 1
trap ': > told; while [ -e hold ]; do sleep 0.02; done; exit 0' TERM
echo "$$ $LISTEN_FDNAMES" >> pids
while :; do sleep 0.02; done
`

// kept is a keeper of stubs.
type kept struct {
	t    *testing.T
	dir  string
	roll chan os.Signal
	*keeper
}

func keep(t *testing.T, f *faces) *kept {
	t.Helper()
	dir := t.TempDir()
	self := filepath.Join(dir, "stub")
	if err := os.WriteFile(self, []byte(stub), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	y := &kept{t: t, dir: dir, roll: make(chan os.Signal, 1)}
	y.keeper = &keeper{role: dir, self: self, log: slog.New(slog.DiscardHandler), faces: f, roll: y.roll,
		ready: func(_ context.Context, pid int) bool { return slices.Contains(y.pids(), pid) }}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := y.run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		y.hold(false)
		stop()
		all.Wait()
	})
	return y
}

// lines are what the stubs have noted.
func (y *kept) lines() []string {
	b, _ := os.ReadFile(filepath.Join(y.dir, "pids"))
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// pids are the processes that were started, in order.
func (y *kept) pids() []int {
	var list []int
	for _, l := range y.lines() {
		word, _, _ := strings.Cut(l, " ")
		if pid, err := strconv.Atoi(word); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// hold has processes that are told to end wait.
func (y *kept) hold(on bool) {
	path := filepath.Join(y.dir, "hold")
	if !on {
		_ = os.Remove(path)
	} else if err := os.WriteFile(path, nil, 0o600); err != nil {
		y.t.Fatal(err)
	}
}

func (y *kept) started(n int) int {
	y.t.Helper()
	waittest.Succeeds(y.t, fmt.Sprintf("process %d", n), func() error {
		if have := len(y.pids()); have < n {
			return fmt.Errorf("%d were started", have)
		}
		return nil
	})
	return y.pids()[n-1]
}

func runs(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// TestKeeperCrash: a process that ends is started again at once, although one
// that it has replaced still ends its work.
func TestKeeperCrash(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	y := keep(t, opened(t, faceConfig()))
	first := y.started(1)
	y.hold(true)
	y.roll <- syscall.SIGUSR2
	second := y.started(2)
	waittest.Succeeds(t, "the first one is told to end", func() error {
		_, err := os.Stat(filepath.Join(y.dir, "told"))
		return err
	})
	if err := syscall.Kill(second, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	y.started(3)
	if !runs(first) {
		t.Fatal("the replaced process did not hold on")
	}
	// Each has a slot of its own, the third that of the second.
	var slots []string
	for _, l := range y.lines() {
		slots = append(slots, l[strings.LastIndex(l, ":")+1:])
	}
	if want := []string{"h3-0", "h3-1", "h3-1"}; !slices.Equal(slots, want) {
		t.Errorf("slots %q, want %q", slots, want)
	}
	y.hold(false)
	waittest.Succeeds(t, "the replaced process ends", func() error {
		if runs(first) {
			return errors.New("it runs")
		}
		return nil
	})
}

// TestKeeperFull: with a process in each slot the next replacement waits until
// one has ended.
func TestKeeperFull(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	y := keep(t, opened(t, faceConfig()))
	y.hold(true)
	for n := 1; n < h3.Slots; n++ {
		y.started(n)
		y.roll <- syscall.SIGUSR2
	}
	y.started(h3.Slots)
	y.roll <- syscall.SIGUSR2
	waittest.Succeeds(t, "the wish is heard", func() error {
		if len(y.roll) > 0 {
			return errors.New("nobody has taken it")
		}
		return nil
	})
	if n := len(y.pids()); n != h3.Slots {
		t.Fatalf("%d processes", n)
	}
	y.hold(false)
	y.started(h3.Slots + 1)
}
