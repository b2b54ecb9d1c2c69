package docker

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"landward/internal/engine"
)

// Info implements engine.Engine.
func (d *Docker) Info(ctx context.Context) (engine.Info, error) {
	res, err := d.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return engine.Info{}, explain("ask Docker about itself", err)
	}
	version, err := d.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return engine.Info{}, explain("ask Docker's version", err)
	}
	out := engine.Info{
		Name:       "docker",
		Version:    res.Info.ServerVersion,
		APIVersion: d.api.ClientVersion(),
		OS:         res.Info.OperatingSystem,
		Arch:       res.Info.Architecture,
		CPUs:       res.Info.NCPU,
		Memory:     res.Info.MemTotal,
		DiskFree:   -1,
		DiskTotal:  -1,
		Firewall:   "not set up: Docker is on another host",
	}
	if d.local {
		out.Firewall = d.fence.status()
		out.DiskFree, out.DiskTotal = diskSpace(res.Info.DockerRootDir)
	}
	for _, c := range version.Components {
		if c.Name == "runc" {
			out.Warnings = append(out.Warnings, runcWarnings(c.Version)...)
		}
	}
	out.Warnings = append(out.Warnings, hostWarnings(res.Info)...)
	out.Warnings = append(out.Warnings, d.nameWarnings(resolvers())...)
	return out, nil
}

// diskSpace returns what is free and all there is where path lives, or -1.
func diskSpace(path string) (free, total int64) {
	var s syscall.Statfs_t
	if path == "" || syscall.Statfs(path, &s) != nil {
		return -1, -1
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize
}

func hostWarnings(i system.Info) []string {
	var out []string
	if !strings.Contains(strings.Join(i.SecurityOptions, " "), "name=seccomp") {
		out = append(out, "Docker runs without seccomp: containers may use every system call")
	}
	if !i.IPv4Forwarding {
		out = append(out, "IP forwarding is off: apps have no network")
	}
	if !i.PidsLimit || !i.MemoryLimit {
		out = append(out, "the kernel does not limit memory or processes: one app can take the host down")
	}
	if !i.LiveRestoreEnabled {
		out = append(out, `live-restore is off: apps stop while Docker restarts (set "live-restore": true in /etc/docker/daemon.json)`)
	}
	return out
}

// nameWarnings says why apps do not find each other by name though there is a
// DNS server for it.
func (d *Docker) nameWarnings(hosts []netip.Addr) []string {
	if !d.o.Resolver.IsValid() || d.nameServers(appNetwork{gateway: d.o.Pool.Addr()}, hosts) != nil {
		return nil
	}
	if !d.local {
		return []string{"apps do not ask Landward's DNS server: Docker is on another host"}
	}
	return []string{"apps do not ask Landward's DNS server, and so do not find each other by name: this host's own resolver is on a loopback address, so nobody would tell them names on the internet (name resolvers with --dns-forward)"}
}

var runcVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)`)

// runcFloors are the first versions without the known ways out of a container,
// by minor version; a lower minor version has them all.
var runcFloors = []struct {
	major, minor, patch int
}{{1, 4, 3}, {1, 3, 6}}

// runcWarnings says whether runc is older than the fixes that matter.
// Distributions port fixes back without a new number, hence the careful words.
func runcWarnings(version string) []string {
	m := runcVersion.FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	patch, _ := strconv.Atoi(m[3])
	for _, f := range runcFloors {
		if major == f.major && minor == f.minor && patch >= f.patch {
			return nil
		}
	}
	if newest := runcFloors[0]; major > newest.major || major == newest.major && minor > newest.minor {
		return nil
	}
	const fixed = "1.3.6 and 1.4.3"
	if strings.ContainsAny(version, "+~") || strings.Contains(version, "deb") || strings.Contains(version, "ubuntu") {
		return []string{fmt.Sprintf("runc %s is older than %s, which close ways out of containers; keep the distribution's security updates on, they bring the fixes under older numbers", version, fixed)}
	}
	return []string{fmt.Sprintf("runc %s has known ways out of containers: upgrade to %s or newer", version, fixed)}
}
