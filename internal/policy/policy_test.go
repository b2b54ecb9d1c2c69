package policy_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/policy"
)

var limits = policy.Limits{
	NamePrefix:   "lw-test-",
	Network:      "lw-test-7",
	Subnet:       netip.MustParsePrefix("10.88.0.64/26"),
	VolumePrefix: "lw-test-7-",
	Max:          landward.Resources{Memory: 1 << 30, MilliCPU: 2000, Pids: 512},
}

// sound is a container that the policy lets through.
func sound() policy.Spec {
	s := policy.Profile("", landward.Resources{Memory: 256 << 20, MilliCPU: 500, Pids: 128}, policy.Bounds{LogSize: 10 << 20, LogFiles: 3, OpenFiles: 16384})
	s.Name = "lw-test-web-1"
	s.Image = "sha256:" + strings.Repeat("ab", 32)
	s.Cmd = []string{"./server", "--port", "$(id)"}
	s.Env = []string{"PORT=5000", "EMPTY=", "ODD=a=b\nc"}
	s.WorkDir = "/app"
	s.Hostname = "web-1"
	s.Labels = map[string]string{"landward.instance": "test"}
	s.NetworkMode = limits.Network
	s.Addr = netip.MustParseAddr("10.88.0.66")
	s.Mounts = []policy.Mount{{Type: "volume", Source: "lw-test-7-data", Target: "/data"}, {Type: "tmpfs", Target: "/tmp"}}
	s.Tmpfs = map[string]string{"/cache": "rw,nosuid,nodev,noexec,size=64m"}
	s.Restart = policy.RestartUnlessStopped
	return s
}

func TestSound(t *testing.T) {
	for _, user := range []string{"", "root", "0", "0:0", "1000", "1000:1000", "app", "www-data:www-data", "2147483647"} {
		s := sound()
		s.User = user
		if !policy.StartsAsRoot(user) {
			s.CapAdd = nil
		}
		if err := policy.Check(s, limits); err != nil {
			t.Errorf("user %q: %v", user, err)
		}
	}
}

// Each spelling of each way out of a container that we know of is refused, and
// the error names the field.
func TestEscapes(t *testing.T) {
	volume := func(m policy.Mount) func(*policy.Spec) {
		return func(s *policy.Spec) { s.Mounts = append(s.Mounts, m) }
	}
	for _, c := range []struct {
		name  string
		field string
		set   func(*policy.Spec)
	}{
		{"privileged", "Privileged", func(s *policy.Spec) { s.Privileged = true }},
		{"cap SYS_ADMIN", "CapAdd", func(s *policy.Spec) { s.CapAdd = append(s.CapAdd, "SYS_ADMIN") }},
		{"cap ALL", "CapAdd", func(s *policy.Spec) { s.CapAdd = []string{"ALL"} }},
		{"cap with prefix", "CapAdd", func(s *policy.Spec) { s.CapAdd = []string{"CAP_SYS_PTRACE"} }},
		{"cap lower case", "CapAdd", func(s *policy.Spec) { s.CapAdd = []string{"net_raw"} }},
		{"cap NET_RAW", "CapAdd", func(s *policy.Spec) { s.CapAdd = []string{"NET_RAW"} }},
		{"cap MKNOD", "CapAdd", func(s *policy.Spec) { s.CapAdd = []string{"MKNOD"} }},
		{"caps of a plain user", "CapAdd", func(s *policy.Spec) { s.User = "1000" }},
		{"caps of a named user", "CapAdd", func(s *policy.Spec) { s.User = "app" }},
		{"caps kept", "CapDrop", func(s *policy.Spec) { s.CapDrop = nil }},
		{"caps half dropped", "CapDrop", func(s *policy.Spec) { s.CapDrop = []string{"NET_RAW"} }},
		{"seccomp off", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = append(s.SecurityOpt, "seccomp=unconfined") }},
		{"seccomp off, old spelling", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = []string{policy.NoNewPrivileges, "seccomp:unconfined"} }},
		{"apparmor off", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = append(s.SecurityOpt, "apparmor=unconfined") }},
		{"label off", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = append(s.SecurityOpt, "label=disable") }},
		{"system paths", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = append(s.SecurityOpt, "systempaths=unconfined") }},
		{"new privileges", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = []string{"no-new-privileges:false"} }},
		{"new privileges by omission", "SecurityOpt", func(s *policy.Spec) { s.SecurityOpt = nil }},
		{"masked paths", "MaskedPaths", func(s *policy.Spec) { s.MaskedPaths = []string{"/x"} }},
		{"masked paths, empty list", "MaskedPaths", func(s *policy.Spec) { s.MaskedPaths = []string{} }},
		{"read-only paths, empty list", "ReadonlyPaths", func(s *policy.Spec) { s.ReadonlyPaths = []string{} }},
		{"bind of the socket", "Binds", func(s *policy.Spec) { s.Binds = []string{"/var/run/docker.sock:/var/run/docker.sock"} }},
		{"bind of the root", "Binds", func(s *policy.Spec) { s.Binds = []string{"/:/host:ro"} }},
		{"bind of our own volume", "Binds", func(s *policy.Spec) { s.Binds = []string{"lw-test-7-data:/data"} }},
		{"mount of type bind", "Mounts", volume(policy.Mount{Type: "bind", Source: "/", Target: "/host"})},
		{"mount of the socket's folder", "Mounts", volume(policy.Mount{Type: "bind", Source: "/var/run", Target: "/host"})},
		{"mount of type npipe", "Mounts", volume(policy.Mount{Type: "npipe", Source: "x", Target: "/x"})},
		{"mount of type image", "Mounts", volume(policy.Mount{Type: "image", Source: "debian", Target: "/x"})},
		{"mount of type cluster", "Mounts", volume(policy.Mount{Type: "cluster", Source: "x", Target: "/x"})},
		{"mount without a type", "Mounts", volume(policy.Mount{Source: "lw-test-7-x", Target: "/x"})},
		{"volume that is a path", "Mounts", volume(policy.Mount{Type: "volume", Source: "/etc", Target: "/x"})},
		{"volume with dots", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-../../etc", Target: "/x"})},
		{"volume of another app", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-71-data", Target: "/x"})},
		{"volume of another instance", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-other-7-data", Target: "/x"})},
		{"volume of somebody", "Mounts", volume(policy.Mount{Type: "volume", Source: "postgres", Target: "/x"})},
		{"volume without a name", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-", Target: "/x"})},
		{"anonymous volume", "Mounts", volume(policy.Mount{Type: "volume", Target: "/x"})},
		{"volume driver options", "Mounts", volume(policy.Mount{
			Type: "volume", Source: "lw-test-7-x", Target: "/x",
			DriverOpts: map[string]string{"type": "none", "o": "bind", "device": "/"},
		})},
		{"volume driver", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/x", Driver: "evil"})},
		{"volume subpath", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/x", Subpath: "../.."})},
		{"propagation", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/x", Propagation: "rshared"})},
		{"tmpfs with a source", "Mounts", volume(policy.Mount{Type: "tmpfs", Source: "/etc", Target: "/x"})},
		{"tmpfs options", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/x", Options: "exec,dev"})},
		{"mount over /proc", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/proc"})},
		{"mount over /proc/sys", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/proc/sys"})},
		{"mount over /sys", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/sys/fs/cgroup"})},
		{"mount over /dev", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/dev/shm"})},
		{"mount over the root", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/"})},
		{"mount over the secrets", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/run/secrets"})},
		{"mount above the secrets", "Mounts", volume(policy.Mount{Type: "volume", Source: "lw-test-7-x", Target: "/run"})},
		{"mount by dots", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/data/../proc"})},
		{"mount at a relative path", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "proc"})},
		{"mount with options in the path", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/x:exec"})},
		{"two mounts at one path", "Mounts", volume(policy.Mount{Type: "tmpfs", Target: "/data"})},
		{"volumes_from", "VolumesFrom", func(s *policy.Spec) { s.VolumesFrom = []string{"control"} }},
		{"volume driver of all", "VolumeDriver", func(s *policy.Spec) { s.VolumeDriver = "evil" }},
		{"tmpfs exec", "Tmpfs", func(s *policy.Spec) { s.Tmpfs = map[string]string{"/x": "exec,size=1m"} }},
		{"tmpfs without size", "Tmpfs", func(s *policy.Spec) { s.Tmpfs = map[string]string{"/x": "nosuid,nodev,noexec"} }},
		{"tmpfs over /proc", "Tmpfs", func(s *policy.Spec) { s.Tmpfs = map[string]string{"/proc": "nosuid,nodev,noexec,size=1m"} }},
		{"device", "Devices", func(s *policy.Spec) { s.Devices = []string{"/dev/sda"} }},
		{"device rule", "DeviceRules", func(s *policy.Spec) { s.DeviceRules = []string{"a *:* rwm"} }},
		{"gpu", "DeviceRequest", func(s *policy.Spec) { s.DeviceRequest = []string{"gpu"} }},
		{"host processes", "PidMode", func(s *policy.Spec) { s.PidMode = "host" }},
		{"another's processes", "PidMode", func(s *policy.Spec) { s.PidMode = "container:control" }},
		{"host ipc", "IpcMode", func(s *policy.Spec) { s.IpcMode = "host" }},
		{"shareable ipc", "IpcMode", func(s *policy.Spec) { s.IpcMode = "shareable" }},
		{"default ipc", "IpcMode", func(s *policy.Spec) { s.IpcMode = "" }},
		{"host uts", "UTSMode", func(s *policy.Spec) { s.UTSMode = "host" }},
		{"host users", "UsernsMode", func(s *policy.Spec) { s.UsernsMode = "host" }},
		{"host cgroups", "CgroupnsMode", func(s *policy.Spec) { s.CgroupnsMode = "host" }},
		{"cgroup parent", "CgroupParent", func(s *policy.Spec) { s.CgroupParent = "/" }},
		{"another's cgroup", "Cgroup", func(s *policy.Spec) { s.Cgroup = "container:x" }},
		{"host network", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "host" }},
		{"default network", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "default" }},
		{"bridge network", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "bridge" }},
		{"no network", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "" }},
		{"another's network", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "container:control" }},
		{"network of another app", "NetworkMode", func(s *policy.Spec) { s.NetworkMode = "lw-test-8" }},
		{"address elsewhere", "Addr", func(s *policy.Spec) { s.Addr = netip.MustParseAddr("10.88.0.2") }},
		{"no address", "Addr", func(s *policy.Spec) { s.Addr = netip.Addr{} }},
		{"published port", "Ports", func(s *policy.Spec) { s.Ports = []string{"0.0.0.0:80:80"} }},
		{"all ports published", "PublishAll", func(s *policy.Spec) { s.PublishAll = true }},
		{"host gateway", "ExtraHosts", func(s *policy.Spec) { s.ExtraHosts = []string{"host.docker.internal:host-gateway"} }},
		{"links", "Links", func(s *policy.Spec) { s.Links = []string{"db"} }},
		{"name server", "DNS", func(s *policy.Spec) { s.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.66")} }},
		{"resolver options", "DNSOptions", func(s *policy.Spec) { s.DNSOptions = policy.ResolverOptions() }},
		{"sysctl", "Sysctls", func(s *policy.Spec) { s.Sysctls = map[string]string{"kernel.core_pattern": "|/x"} }},
		{"runtime", "Runtime", func(s *policy.Spec) { s.Runtime = "evil" }},
		{"group", "GroupAdd", func(s *policy.Spec) { s.GroupAdd = []string{"docker"} }},
		{"user above 2^31", "User", func(s *policy.Spec) { s.User = "2147483648" }},
		{"user that wraps to 0", "User", func(s *policy.Spec) { s.User = "4294967296" }},
		{"group that wraps to 0", "User", func(s *policy.Spec) { s.User = "1000:4294967296" }},
		{"user as octal", "User", func(s *policy.Spec) { s.User = "00" }},
		{"user with a sign", "User", func(s *policy.Spec) { s.User = "+0" }},
		{"negative user", "User", func(s *policy.Spec) { s.User = "-1" }},
		{"user in hex", "User", func(s *policy.Spec) { s.User = "0x0" }},
		{"empty group", "User", func(s *policy.Spec) { s.User = "app:" }},
		{"work dir in /proc", "WorkDir", func(s *policy.Spec) { s.WorkDir = "/proc/self/fd/8" }},
		{"work dir by dots", "WorkDir", func(s *policy.Spec) { s.WorkDir = "/app/../proc/self/fd/8" }},
		{"image by name", "Image", func(s *policy.Spec) { s.Image = "debian:latest" }},
		{"foreign name", "Name", func(s *policy.Spec) { s.Name = "postgres" }},
		{"foreign label", "Labels", func(s *policy.Spec) { s.Labels["com.docker.compose.project"] = "x" }},
		{"no memory limit", "Memory", func(s *policy.Spec) { s.Memory = 0 }},
		{"unlimited memory", "Memory", func(s *policy.Spec) { s.Memory = -1 }},
		{"too much memory", "Memory", func(s *policy.Spec) { s.Memory, s.MemorySwap = 2<<30, 2<<30 }},
		{"unlimited swap", "MemorySwap", func(s *policy.Spec) { s.MemorySwap = -1 }},
		{"default swap", "MemorySwap", func(s *policy.Spec) { s.MemorySwap = 0 }},
		{"no cpu limit", "NanoCPUs", func(s *policy.Spec) { s.NanoCPUs = 0 }},
		{"too many cpus", "NanoCPUs", func(s *policy.Spec) { s.NanoCPUs = 3e9 }},
		{"no pids limit", "Pids", func(s *policy.Spec) { s.Pids = 0 }},
		{"unlimited pids", "Pids", func(s *policy.Spec) { s.Pids = -1 }},
		{"oom off", "OomKillOff", func(s *policy.Spec) { s.OomKillOff = true }},
		{"oom score", "OomScoreAdj", func(s *policy.Spec) { s.OomScoreAdj = -1000 }},
		{"core files", "Ulimits", func(s *policy.Spec) { s.Ulimits = append(s.Ulimits, policy.Ulimit{Name: "core", Soft: -1, Hard: -1}) }},
		{"unbounded log", "LogOptions", func(s *policy.Spec) { s.LogOptions = nil }},
		{"log elsewhere", "LogDriver", func(s *policy.Spec) { s.LogDriver = "syslog" }},
		{"log address", "LogOptions", func(s *policy.Spec) { s.LogOptions["syslog-address"] = "tcp://x" }},
		{"no init", "Init", func(s *policy.Spec) { s.Init = false }},
		{"restart for ever", "Restart", func(s *policy.Spec) { s.Restart = "always" }},
		{"health check", "Healthcheck", func(s *policy.Spec) { s.Healthcheck = []string{"CMD-SHELL", "id"} }},
		{"NUL in a variable", "Env", func(s *policy.Spec) { s.Env = []string{"A=b\x00C=d"} }},
		{"variable without a name", "Env", func(s *policy.Spec) { s.Env = []string{"=x"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sound()
			c.set(&s)
			err := policy.Check(s, limits)
			e := landward.AsError(err)
			if e == nil || e.Code != landward.CodePolicy || e.Field != c.field {
				t.Errorf("got %v, want a refusal of %s", err, c.field)
			}
		})
	}
}

// The name servers are the installation's, all of them and in its order.
func TestNameServers(t *testing.T) {
	one, two := netip.MustParseAddr("10.88.0.65"), netip.MustParseAddr("192.0.2.53")
	given := limits
	given.DNS = []netip.Addr{one, two}
	s := sound()
	s.DNS, s.DNSOptions = given.DNS, policy.ResolverOptions()
	if err := policy.Check(s, given); err != nil {
		t.Error(err)
	}
	for _, list := range [][]netip.Addr{nil, {one}, {two, one}, {one, two, netip.MustParseAddr("192.0.2.66")}} {
		s.DNS = list
		if e := landward.AsError(policy.Check(s, given)); e == nil || e.Field != "DNS" {
			t.Errorf("%v: %v", list, e)
		}
	}
	s.DNS, s.DNSOptions = given.DNS, []string{"ndots:9"}
	if e := landward.AsError(policy.Check(s, given)); e == nil || e.Field != "DNSOptions" {
		t.Errorf("options: %v", e)
	}
}

// Nothing slips through by being forgotten: every field of Spec is refused for
// some value, but for those that are free to choose.
func TestEveryFieldHasARule(t *testing.T) {
	free := []string{"TTY", "OpenStdin", "ReadonlyRoot"}
	typ := reflect.TypeFor[policy.Spec]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if slices.Contains(free, name) {
			continue
		}
		refused := false
		for _, odd := range oddValues(typ.Field(i).Type) {
			s := sound()
			reflect.ValueOf(&s).Elem().Field(i).Set(odd)
			e := landward.AsError(policy.Check(s, limits))
			refused = refused || e != nil && e.Field == name
		}
		if !refused {
			t.Errorf("no value of field %s is refused", name)
		}
	}
}

// oddValues are values of a type that no rule should like.
func oddValues(t reflect.Type) []reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		return []reflect.Value{reflect.ValueOf(true), reflect.ValueOf(false)}
	case reflect.String:
		return []reflect.Value{reflect.ValueOf("../odd")}
	case reflect.Int, reflect.Int64:
		v.SetInt(-77)
	case reflect.Slice:
		v = reflect.MakeSlice(t, 1, 1)
		v.Index(0).Set(oddValues(t.Elem())[0])
		if t.Elem().Kind() == reflect.String {
			v.Index(0).SetString("odd\x00")
		}
	case reflect.Map:
		v = reflect.MakeMap(t)
		v.SetMapIndex(reflect.ValueOf("odd"), reflect.ValueOf("odd"))
	}
	return []reflect.Value{v}
}

func TestRootCapsAreFew(t *testing.T) {
	for _, never := range []string{"NET_RAW", "MKNOD", "AUDIT_WRITE", "SYS_CHROOT", "SETFCAP", "SETPCAP", "FSETID", "SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"} {
		if slices.Contains(policy.RootCaps(), never) {
			t.Errorf("%s is among them", never)
		}
	}
	if s := policy.Profile("1000", landward.Resources{}, policy.Bounds{}); len(s.CapAdd) != 0 {
		t.Errorf("a plain user gets %v", s.CapAdd)
	}
}

// Whatever a user asks for as its user, nothing but a plain name or a small
// number gets through.
func FuzzUser(f *testing.F) {
	for _, s := range []string{"", "0", "1000:1000", "4294967296", "-1", "root:", "a\x00b", "２"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		s := sound()
		s.User, s.CapAdd = user, nil
		if policy.Check(s, limits) != nil {
			return
		}
		for _, part := range strings.Split(user, ":") {
			if len(part) > 32 || strings.ContainsAny(part, "+ /\\\x00\n") {
				t.Errorf("user %q was let through", user)
			}
		}
	})
}

// A mount target that is let through never reaches the kernel's files.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/data", "/proc", "/data/../proc", "//proc", "/proc/", "/dev\n", "/run/secrets"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		s := sound()
		s.Mounts = []policy.Mount{{Type: "tmpfs", Target: target}}
		if policy.Check(s, limits) != nil {
			return
		}
		if !strings.HasPrefix(target, "/") || strings.Contains(target, "..") && strings.Contains(target, "/../") ||
			strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "//") || target == "/sys" {
			t.Errorf("target %q was let through", target)
		}
	})
}
