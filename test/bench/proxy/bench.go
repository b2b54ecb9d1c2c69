package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"landward/internal/route"
	"landward/internal/route/edge"
)

// benchHost is the host that all requests are for.
const benchHost = "bench.localhost"

// bench owns the processes and the folder that they work in.
type bench struct {
	s       settings
	dir     string
	self    string
	backend string // address
	procs   []*exec.Cmd
	proxies []*proxy
}

// proxy is one thing to measure.
type proxy struct {
	name string
	addr string
	pid  int // 0: none of its own
}

func newBench(s settings) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "landward-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{s: s, dir: dir, self: self}
	if err := b.start(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) wants(name string) bool {
	if b.s.only == "" {
		return true
	}
	for n := range strings.SplitSeq(b.s.only, ",") {
		if n == name {
			return true
		}
	}
	return false
}

// start brings everything up.
func (b *bench) start() error {
	b.backend = freeAddr()
	if _, err := b.spawn(false, b.self, "backend", "-addr", b.backend, "-size", strconv.Itoa(b.s.size)); err != nil {
		return err
	}
	for _, n := range []struct {
		name   string
		config func(addr, backend, dir string) string
	}{{"nginx-common", nginxCommon}, {"nginx-tuned", nginxTuned}} {
		if !b.wants(n.name) {
			continue
		}
		addr := freeAddr()
		file := filepath.Join(b.dir, n.name+".conf")
		if err := os.WriteFile(file, []byte(n.config(addr, b.backend, b.dir)), 0o600); err != nil {
			return err
		}
		pid, err := b.spawn(true, b.s.nginx, "-c", file, "-e", filepath.Join(b.dir, n.name+".err"))
		if err != nil {
			return err
		}
		b.proxies = append(b.proxies, &proxy{name: n.name, addr: addr, pid: pid})
	}
	if b.wants("edge") {
		if err := b.startEdge(); err != nil {
			return err
		}
	}
	if b.wants("direct") {
		b.proxies = append(b.proxies, &proxy{name: "direct", addr: b.backend})
	}
	for _, p := range b.proxies {
		if err := waitAnswer(p.addr); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) startEdge() error {
	addr, socket := freeAddr(), filepath.Join(b.dir, "edge.sock")
	args := []string{"edge", "-addr", addr, "-socket", socket, "-dir", b.dir}
	if b.s.profile != "" {
		args = append(args, "-profile", b.s.profile)
	}
	pid, err := b.spawn(true, b.self, args...)
	if err != nil {
		return err
	}
	target, err := netipAddr(b.backend)
	if err != nil {
		return err
	}
	c := edge.NewClient(socket)
	defer c.Close()
	table := route.Table{Generation: 1, MadeAt: time.Now(), Routes: []*route.Route{{
		App: "bench", AppID: 1, Release: 1, Hosts: []string{benchHost}, State: route.StateUp,
		Targets: []route.Target{{Addr: target, Unit: "web.1", ID: "bench-web-1"}},
	}}}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = c.PutTable(context.Background(), table.Text()); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("edge takes no table: %w", err)
		}
	}
	b.proxies = append(b.proxies, &proxy{name: "edge", addr: addr, pid: pid})
	return nil
}

// spawn starts a process on the proxies' core or on the others.
func (b *bench) spawn(isProxy bool, name string, args ...string) (int, error) {
	cmd := exec.Command(name, args...)
	if b.s.pin && runtime.NumCPU() > 1 {
		cmd = exec.Command("taskset", append([]string{"-c", b.cores(isProxy), name}, args...)...)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	b.procs = append(b.procs, cmd)
	return cmd.Process.Pid, nil
}

func (b *bench) cores(isProxy bool) string {
	if isProxy {
		return "0"
	}
	return "1-" + strconv.Itoa(runtime.NumCPU()-1)
}

// close ends what was started.
func (b *bench) close() {
	for _, c := range b.procs {
		_ = c.Process.Signal(syscall.SIGTERM)
	}
	for _, c := range b.procs {
		_ = c.Wait()
	}
	_ = os.RemoveAll(b.dir)
}

// run gives every proxy its turn in each round.
func (b *bench) run(ctx context.Context) ([]*result, error) {
	var results []*result
	for _, p := range b.proxies {
		results = append(results, &result{name: p.name})
		if _, err := b.load(ctx, p, 1); err != nil { // warm up
			return nil, err
		}
	}
	for range b.s.rounds {
		for i, p := range b.proxies {
			before, err := cpuTime(p.pid)
			if err != nil {
				return nil, err
			}
			m, err := b.load(ctx, p, b.s.seconds)
			if err != nil {
				return nil, err
			}
			after, err := cpuTime(p.pid)
			if err != nil {
				return nil, err
			}
			r := results[i]
			r.cpu = append(r.cpu, float64((after-before).Microseconds())/float64(max(m.requests, 1)))
			r.rps = append(r.rps, m.rps)
			r.p99 = append(r.p99, m.p99)
			r.wrong += m.wrong
			r.rss = residentBytes(p.pid)
		}
	}
	return results, nil
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// waitAnswer waits until a proxy answers as it should.
func waitAnswer(addr string) error {
	var last error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			return err
		}
		req.Host = benchHost
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last = err
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = errors.New(resp.Status)
	}
	return last
}
