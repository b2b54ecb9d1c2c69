// Package hostcheck looks at a machine as a host of Landward, from outside: it
// works while the server is down. It only looks, and must never change anything.
package hostcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"landward/client"
	"landward/internal/config"
)

// The oldest versions that are known to work.
const (
	minDockerAPI = "1.41"
	minGit       = "2.39"
)

const gib = 1 << 30

// Run looks at everything that Landward needs of the machine. serving says
// that a server runs here, so that its ports are taken with good reason.
func Run(ctx context.Context, c config.Config, serving bool) []client.Check {
	checks := []client.Check{
		Docker(ctx, c.Docker),
		Git(ctx),
		Disk(c.Data, c.BuildDiskFree),
		Data(c.Data),
		clock(),
	}
	if !serving {
		checks = append(checks, Port("port for HTTP", c.HTTP), Port("port for git over SSH", c.SSH))
	}
	return checks
}

func ok(name, format string, args ...any) client.Check {
	return client.Check{Name: name, State: "ok", Message: fmt.Sprintf(format, args...)}
}

func warn(name, hint, format string, args ...any) client.Check {
	return client.Check{Name: name, State: "warn", Message: fmt.Sprintf(format, args...), Hint: hint}
}

func fail(name, hint, format string, args ...any) client.Check {
	return client.Check{Name: name, State: "fail", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Docker asks the Docker Engine at a unix:// or tcp:// address for its version.
func Docker(ctx context.Context, address string) client.Check {
	const name = "docker"
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" && u.Scheme != "tcp" {
		return fail(name, "write it like unix:///var/run/docker.sock", "%q is not the address of a Docker Engine", address)
	}
	network, target := "unix", u.Path
	if u.Scheme == "tcp" {
		network, target = "tcp", u.Host
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	version, err := dockerVersion(ctx, network, target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(name, "install it: apt-get install docker.io", "there is no Docker Engine at %s", address)
	case errors.Is(err, fs.ErrPermission):
		return fail(name, "run this as root, or join the group: usermod -aG docker USER", "you may not use %s", target)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(name, "start it: systemctl start docker", "the Docker Engine at %s is not running", address)
	case err != nil:
		return fail(name, "look at its log: journalctl -u docker", "the Docker Engine at %s does not answer: %v", address, err)
	case older(version.APIVersion, minDockerAPI):
		return fail(name, "upgrade it to 20.10 or newer", "Docker Engine %s is too old: its API is %s, not %s", version.Version, version.APIVersion, minDockerAPI)
	}
	return ok(name, "Docker Engine %s, API %s", version.Version, version.APIVersion)
}

// dockerInfo is what we need of Docker's GET /version.
type dockerInfo struct {
	Version    string `json:"Version"`
	APIVersion string `json:"ApiVersion"`
}

func dockerVersion(ctx context.Context, network, target string) (dockerInfo, error) {
	var info dockerInfo
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, target)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/version", nil)
	if err != nil {
		return info, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return info, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return info, fmt.Errorf("it answers %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&info); err != nil {
		return info, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return info, nil
}

// Git asks git for its version.
func Git(ctx context.Context) client.Check {
	const name = "git"
	out, err := exec.CommandContext(ctx, "git", "version").Output()
	if err != nil {
		return fail(name, "install it: apt-get install git", "git does not run: %v", err)
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "git version ")
	if older(version, minGit) {
		return warn(name, "upgrade it", "git %s is older than %s, the oldest that is known to work", version, minGit)
	}
	return ok(name, "git %s", version)
}

// older reports whether version a comes before b: 2.9 before 2.39.
func older(a, b string) bool {
	var x, y [2]int
	_, _ = fmt.Sscanf(a, "%d.%d", &x[0], &x[1])
	_, _ = fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	return x[0] < y[0] || x[0] == y[0] && x[1] < y[1]
}

// Disk looks at the free space where dir is, or will be. need is what builds
// must leave free, in bytes.
func Disk(dir string, need int64) client.Check {
	const name = "disk"
	at := existing(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(at, &fs); err != nil {
		return warn(name, "check that the folder can be reached", "cannot see how full %s is: %v", at, err)
	}
	free, total := int64(fs.Bavail)*int64(fs.Bsize), int64(fs.Blocks)*int64(fs.Bsize) //nolint:gosec // a disk's size fits
	const hint = "make room: docker image prune, docker builder prune; or move the data folder with --data"
	text := fmt.Sprintf("%.1f of %.1f GiB free at %s", float64(free)/gib, float64(total)/gib, at)
	switch {
	case free < need:
		return fail(name, hint, "%s; builds need %.1f GiB", text, float64(need)/gib)
	case free < 2*need:
		return warn(name, hint, "%s", text)
	}
	return ok(name, "%s", text)
}

// existing returns dir or the nearest folder above it that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// Data looks at the rights of the data folder and of the keys in it.
func Data(dir string) client.Check {
	const name = "data folder"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if unix.Access(existing(dir), unix.W_OK) != nil {
			return fail(name, "run the server as root, or choose another folder with --data", "%s does not exist and you may not make it", dir)
		}
		return ok(name, "%s will be made by the first start", dir)
	case err != nil:
		return warn(name, "run this as the server's own user or root", "you may not look at %s", dir)
	case !info.IsDir():
		return fail(name, "choose a folder with --data", "%s is not a folder", dir)
	case unix.Access(dir, unix.W_OK) != nil:
		return warn(name, "run this as the server's own user or root", "you may not write to %s", dir)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil {
		return warn(name, "", "cannot list the keys in %s: %v", dir, err)
	}
	for _, key := range keys {
		if info, err := os.Stat(key); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(key, ".pub") {
			return fail(name, "chmod 400 "+key, "others can read the key %s", key)
		}
	}
	return ok(name, "%s", dir)
}

// Port looks whether a server could listen on an address; empty means that it
// need not.
func Port(name, address string) client.Check {
	if address == "" {
		return ok(name, "off")
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fail(name, "see what it is: ss -ltnp; or choose another address", "another program listens on %s", address)
	case errors.Is(err, fs.ErrPermission):
		return fail(name, "run the server as root, or choose a port above 1023", "you may not listen on %s", address)
	case err != nil:
		return fail(name, "check the address", "cannot listen on %s: %v", address, err)
	}
	if err := l.Close(); err != nil {
		return warn(name, "", "closing %s: %v", address, err)
	}
	return ok(name, "%s is free", address)
}
