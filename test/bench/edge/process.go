package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that the benchmark has started.
type process struct {
	cmd  *exec.Cmd
	log  string // file with what it says
	done chan struct{}
}

// stopWithin is how long a program has to end before it is killed.
const stopWithin = 5 * time.Second

// command prepares a program: it works in dir, sees no settings of this
// machine's, and does not outlive us. Servers have a core of their own with -pin.
func (b *bench) command(ctx context.Context, isServer bool, dir, name string, args ...string) *exec.Cmd {
	if b.s.pin && runtime.NumCPU() > 1 {
		cores := "1-" + strconv.Itoa(runtime.NumCPU()-1)
		if isServer {
			cores = "0"
		}
		name, args = "taskset", append([]string{"-c", cores, name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir, "TMPDIR=" + dir}
	// A group of its own, so that Ctrl-C reaches us alone and we stop the rest in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	return cmd
}

// spawn starts a program that runs until it is stopped.
func (b *bench) spawn(isServer bool, dir, name string, args ...string) (*process, error) {
	p := &process{
		cmd: b.command(context.Background(), isServer, dir, name, args...),
		log: filepath.Join(dir, filepath.Base(name)+".out"), done: make(chan struct{}),
	}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	err = p.cmd.Start()
	_ = f.Close() // the program has its own
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter: that it did is seen
		close(p.done)
	}()
	b.procs = append(b.procs, p)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the program and what it has started.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.done
	}
}

// ended reports whether the program has.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// said returns the end of what the program has said.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	return strings.TrimSpace(string(b[max(0, len(b)-most):]))
}

// act runs this program in another role until it ends, and returns what it
// printed.
func (b *bench) act(ctx context.Context, role string, args ...string) ([]byte, error) {
	return output(b.command(ctx, false, b.dir, b.self, append([]string{role}, args...)...))
}

// output runs a command and returns what it printed, or as an error what it
// complained about.
func output(cmd *exec.Cmd) ([]byte, error) {
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// freeAddr returns an address of loopback that nothing listens on, outside the
// range that outgoing connections take their ports from.
func freeAddr() (netip.AddrPort, error) {
	low := 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(b), &low); err != nil {
			return netip.AddrPort{}, fmt.Errorf("read port range: %w", err)
		}
	}
	const first = 10000
	for range 100 {
		port := first + rand.IntN(max(low-first, 1000)) //nolint:gosec // any will do
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return netip.AddrPort{}, err
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), nil
	}
	return netip.AddrPort{}, errors.New("no free port")
}

// raiseFileLimit allows this process and those that it starts as many open
// files as the machine lets it, and returns how many.
func raiseFileLimit() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise limit of open files: %w", err)
	}
	return int(min(l.Max, 1<<20)), nil
}

// copyFile copies a small file.
func copyFile(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
