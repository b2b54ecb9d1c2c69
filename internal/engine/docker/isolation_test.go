package docker_test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"landward/internal/engine"
	"landward/internal/engine/docker"
	"landward/internal/landward"
)

// testUnit is a unit that runs the probe with args.
func testUnit(t testing.TB, app int64, id string, args ...string) engine.Unit {
	u := engine.Unit{
		ID: id, AppID: app, App: fmt.Sprintf("app%d", app), Service: "app", Process: "web", Index: 1,
		Kind: engine.KindProcess, Release: 1, Image: probeImage(t), Restart: engine.RestartNever,
		Resources: landward.Resources{Memory: 64 << 20, MilliCPU: 500, Pids: 64},
	}
	if len(args) > 0 {
		u.Command = append([]string{"/probe"}, args...)
	}
	return u
}

func apply(t testing.TB, d *docker.Docker, u engine.Unit) engine.Container {
	t.Helper()
	c, err := d.Apply(t.Context(), u)
	if err != nil {
		t.Fatalf("apply %s: %v", u.ID, err)
	}
	return c
}

// output runs the unit and returns what it printed.
func output(t testing.TB, d *docker.Docker, u engine.Unit) string {
	t.Helper()
	var out bytes.Buffer
	code, err := d.Run(t.Context(), u, engine.Streams{Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		t.Fatalf("run %s: exit %d, %v\n%s", u.ID, code, err, out.String())
	}
	return out.String()
}

// untilReady waits for the probe's first line.
func untilReady(t testing.TB, d *docker.Docker, id string) {
	t.Helper()
	ready := fmt.Errorf("ready")
	err := d.Logs(t.Context(), id, engine.LogOptions{Follow: true}, func(l engine.LogLine) error {
		if l.Text == "ready" {
			return ready
		}
		return nil
	})
	if err != ready {
		t.Fatalf("%s is not ready: %v", id, err)
	}
}

func TestProfileFromInside(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "profile")
	for _, c := range []struct {
		user, caps string
	}{
		{"", "00000000000004eb"}, // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, NET_BIND_SERVICE
		{"1000", "0000000000000000"},
		{"app", "0000000000000000"},
	} {
		u := testUnit(t, 1, "a1-inside-"+c.user+"x", "cat", "/proc/self/status", "/proc/self/limits")
		u.User = c.user
		text := output(t, d, u)
		for _, want := range []string{"CapEff:\t" + c.caps, "CapBnd:\t" + c.caps, "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("user %q: no %q in\n%s", c.user, want, text)
			}
		}
		if c.user != "" && strings.Contains(text, "CapPrm:\t00000000000004eb") {
			t.Errorf("user %q keeps capabilities", c.user)
		}
	}
	u := testUnit(t, 1, "a1-files", "write", "/proc/sys/kernel/core_pattern", "|/x")
	if code, err := d.Run(t.Context(), u, engine.Streams{}); err != nil || code == 0 {
		t.Errorf("a container wrote to /proc/sys: exit %d, %v", code, err)
	}
}

func TestAppsAreApart(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "apart")
	a := apply(t, d, testUnit(t, 1, "a1-a", "serve", "0.0.0.0:8080"))
	b := apply(t, d, testUnit(t, 2, "a2-b", "serve", "0.0.0.0:8080"))
	untilReady(t, d, "a1-a")
	untilReady(t, d, "a2-b")

	// A listener of the host, on all its addresses.
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	gateway := netip.PrefixFrom(a.Addr, 26).Masked().Addr().Next()
	targets := []string{fmt.Sprintf("%s:8080", a.Addr), fmt.Sprintf("%s:8080", b.Addr), fmt.Sprintf("%s:%d", gateway, port)}
	for _, ip := range hostIPv4(t) {
		targets = append(targets, fmt.Sprintf("%s:%d", ip, port))
	}
	got := dialled(t, d, testUnit(t, 1, "a1-dial", append([]string{"dial"}, targets...)...))
	for i, target := range targets {
		if want := i == 0; got[target] != want {
			t.Errorf("from app 1, %s answers: %v, want %v", target, got[target], want)
		}
	}
	// The host, and so the edge, reaches both.
	for _, c := range []engine.Container{a, b} {
		conn, err := net.Dial("tcp", fmt.Sprintf("%s:8080", c.Addr))
		if err != nil {
			t.Errorf("the host cannot reach %s: %v", c.Unit, err)
			continue
		}
		conn.Close()
	}
}

// TestDoors: of the host, apps reach what the public may reach, and nothing else.
func TestDoors(t *testing.T) {
	needDocker(t)
	var ports []uint16
	for range 3 {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
	}
	everywhere, at, closed := ports[0], ports[1], ports[2]
	hosts := hostIPv4(t)
	if len(hosts) == 0 {
		t.Skip("the host has no address of its own")
	}
	host := netip.MustParseAddr(hosts[0])
	d := newDocker(t, "doors", func(o *docker.Options) {
		o.Doors = []docker.Door{
			{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), everywhere)},
			{Addr: netip.AddrPortFrom(host, at)},
			{UDP: true, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), closed)},
		}
	})
	a := apply(t, d, testUnit(t, 1, "a1-a", "serve", "0.0.0.0:8080"))
	gateway := netip.PrefixFrom(a.Addr, 26).Masked().Addr().Next()
	want := map[string]bool{
		fmt.Sprint(gateway, ":", everywhere): true, fmt.Sprint(host, ":", everywhere): true,
		fmt.Sprint(gateway, ":", at): false, fmt.Sprint(host, ":", at): true,
		fmt.Sprint(gateway, ":", closed): false, fmt.Sprint(host, ":", closed): false,
	}
	got := dialled(t, d, testUnit(t, 1, "a1-dial", append([]string{"dial"}, slices.Collect(maps.Keys(want))...)...))
	for target, is := range want {
		if got[target] != is {
			t.Errorf("from an app, %s answers: %v, want %v", target, got[target], is)
		}
	}
}

// dialled runs a probe that dials and says which targets answered.
func dialled(t testing.TB, d *docker.Docker, u engine.Unit) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	for line := range strings.Lines(output(t, d, u)) {
		target, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[target] = word == "ok"
	}
	return got
}

// hostIPv4 are the host's addresses outside Docker's bridges.
func hostIPv4(t *testing.T) []string {
	t.Helper()
	c, err := net.Dial("udp", "192.0.2.200:9") // sends nothing: it picks an address
	if err != nil {
		return nil
	}
	defer c.Close()
	return []string{c.LocalAddr().(*net.UDPAddr).IP.String()}
}

// TestEgress puts a small internet behind the host: one public address, a
// private one, and that of a cloud's metadata service.
func TestEgress(t *testing.T) {
	needDocker(t)
	const public, private, metadata = "198.51.100.2", "10.211.211.2", "169.254.169.254"
	outside(t, public, private, metadata)
	targets := []string{"dial", public + ":7777", private + ":7777", metadata + ":7777"}
	for egress, want := range map[docker.Egress]map[string]bool{
		docker.EgressInternet: {public + ":7777": true, private + ":7777": false, metadata + ":7777": false},
		docker.EgressAny:      {public + ":7777": true, private + ":7777": true, metadata + ":7777": false},
	} {
		d := newDocker(t, "egress", func(o *docker.Options) { o.Egress = egress })
		got := dialled(t, d, testUnit(t, 1, "a1-dial", targets...))
		for target := range want {
			if got[target] != want[target] {
				t.Errorf("egress %s: %s answers: %v, want %v", egress, target, got[target], want[target])
			}
		}
	}
}

// outside makes a network namespace with addrs, routed to by way of the host,
// with a listener on port 7777.
func outside(t *testing.T, first string, more ...string) {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ns := fmt.Sprintf("lwt%d", os.Getpid())
	ip("netns", "add", ns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", ns).Run() })
	ip("link", "add", ns+"a", "type", "veth", "peer", "name", ns+"b", "netns", ns)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", ns+"a").Run() })
	ip("addr", "add", "198.51.100.1/30", "dev", ns+"a")
	ip("link", "set", ns+"a", "up")
	ip("-n", ns, "addr", "add", first+"/30", "dev", ns+"b")
	ip("-n", ns, "link", "set", ns+"b", "up")
	ip("-n", ns, "link", "set", "lo", "up")
	ip("-n", ns, "route", "add", "default", "via", "198.51.100.1")
	for _, a := range more {
		ip("-n", ns, "addr", "add", a+"/32", "dev", "lo")
		ip("route", "add", a+"/32", "via", first)
	}
	listener := exec.Command("ip", "netns", "exec", ns, probeBinary(t), "serve", "0.0.0.0:7777")
	out, err := listener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Process.Kill()
		_ = listener.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil { // "ready"
		t.Fatalf("the listener outside: %v", err)
	}
}

// probeBinary compiles the probe.
func probeBinary(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "landward/internal/engine/enginetest/probe/cmd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v\n%s", err, out)
	}
	return bin
}
