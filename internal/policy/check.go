package policy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"landward/internal/landward"
)

// Check refuses s where any field is not what l and the runtime profile allow.
// The error is CodePolicy and names the field.
func Check(s Spec, l Limits) error {
	for _, r := range rules() {
		if why := r.why(&s, &l); why != "" {
			return &landward.Error{
				Code:    landward.CodePolicy,
				Field:   r.field,
				Message: "the container policy refuses it: " + why,
				Hint:    "remove the setting; the allowed ones are listed in the documentation of the container profile",
			}
		}
	}
	return nil
}

// rule says what one field of Spec may be. why is "" where it is allowed.
type rule struct {
	field string
	why   func(*Spec, *Limits) string
}

// rules has one rule for every field of Spec; a test holds that.
func rules() []rule {
	return slices.Concat(identityRules(), privilegeRules(), namespaceRules(), networkRules(), storageRules(), resourceRules())
}

func identityRules() []rule {
	return []rule{
		{"Name", func(s *Spec, l *Limits) string {
			return unless(strings.HasPrefix(s.Name, l.NamePrefix) && l.NamePrefix != "" && objectName.MatchString(s.Name), "name %q is not one of ours", s.Name)
		}},
		{"Image", func(s *Spec, _ *Limits) string {
			return unless(imageID.MatchString(s.Image), "an image is started by its content address only")
		}},
		{"Entrypoint", func(s *Spec, _ *Limits) string { return noNUL(s.Entrypoint) }},
		{"Cmd", func(s *Spec, _ *Limits) string { return noNUL(s.Cmd) }},
		{"Env", func(s *Spec, _ *Limits) string { return checkEnv(s.Env) }},
		{"User", func(s *Spec, _ *Limits) string { return checkUser(s.User) }},
		{"WorkDir", func(s *Spec, _ *Limits) string {
			// /proc/self/fd/N as a working directory has been a way out of runc.
			return unless(s.WorkDir == "" || path.IsAbs(s.WorkDir) && path.Clean(s.WorkDir) == s.WorkDir && !under(s.WorkDir, "/proc", "/sys", "/dev"),
				"working directory %q", s.WorkDir)
		}},
		{"Hostname", func(s *Spec, _ *Limits) string {
			return unless(s.Hostname == "" || hostname.MatchString(s.Hostname), "host name %q", s.Hostname)
		}},
		{"Domainname", func(s *Spec, _ *Limits) string { return unless(s.Domainname == "", "a domain name") }},
		{"Labels", func(s *Spec, _ *Limits) string {
			for k := range s.Labels {
				if !strings.HasPrefix(k, "landward.") {
					return fmt.Sprintf("label %q", landward.Printable(k))
				}
			}
			return ""
		}},
		{"TTY", free}, {"OpenStdin", free},
		{"StopSignal", func(s *Spec, _ *Limits) string { return unless(s.StopSignal == "", "a stop signal of its own") }},
		{"StopTimeout", func(s *Spec, _ *Limits) string {
			return unless(s.StopTimeout >= 0 && s.StopTimeout <= 3600, "stop timeout of %d s", s.StopTimeout)
		}},
		// Landward probes from outside; an engine's own checks run inside.
		{"Healthcheck", func(s *Spec, _ *Limits) string {
			return unless(slices.Equal(s.Healthcheck, []string{"NONE"}) || len(s.Healthcheck) == 0, "a health check run by the engine")
		}},
	}
}

func privilegeRules() []rule {
	return []rule{
		{"Privileged", func(s *Spec, _ *Limits) string { return unless(!s.Privileged, "privileged containers") }},
		{"CapAdd", func(s *Spec, _ *Limits) string { return checkCaps(s.User, s.CapAdd) }},
		{"CapDrop", func(s *Spec, _ *Limits) string {
			return unless(slices.Equal(s.CapDrop, []string{"ALL"}), "all capabilities must be dropped first")
		}},
		{"SecurityOpt", func(s *Spec, _ *Limits) string {
			return unless(slices.Equal(s.SecurityOpt, []string{NoNewPrivileges}), "security options other than %s", NoNewPrivileges)
		}},
		{"MaskedPaths", func(s *Spec, _ *Limits) string {
			return unless(s.MaskedPaths == nil, "a change of the hidden kernel files")
		}},
		{"ReadonlyPaths", func(s *Spec, _ *Limits) string {
			return unless(s.ReadonlyPaths == nil, "a change of the read-only kernel files")
		}},
		{"ReadonlyRoot", free},
		{"Devices", func(s *Spec, _ *Limits) string { return none("devices", s.Devices) }},
		{"DeviceRules", func(s *Spec, _ *Limits) string { return none("device rules", s.DeviceRules) }},
		{"DeviceRequest", func(s *Spec, _ *Limits) string { return none("device requests", s.DeviceRequest) }},
		{"GroupAdd", func(s *Spec, _ *Limits) string { return none("additional groups", s.GroupAdd) }},
		{"Sysctls", func(s *Spec, _ *Limits) string { return unless(len(s.Sysctls) == 0, "kernel settings") }},
		{"Runtime", func(s *Spec, _ *Limits) string { return unless(s.Runtime == "", "another runtime") }},
		{"Annotations", func(s *Spec, _ *Limits) string { return unless(len(s.Annotations) == 0, "annotations for the runtime") }},
		{"StorageOpt", func(s *Spec, _ *Limits) string { return unless(len(s.StorageOpt) == 0, "storage options") }},
	}
}

func namespaceRules() []rule {
	return []rule{
		{"PidMode", func(s *Spec, _ *Limits) string { return unless(s.PidMode == "", "process namespace %q", s.PidMode) }},
		{"IpcMode", func(s *Spec, _ *Limits) string { return unless(s.IpcMode == Private, "IPC namespace %q", s.IpcMode) }},
		{"UTSMode", func(s *Spec, _ *Limits) string { return unless(s.UTSMode == "", "UTS namespace %q", s.UTSMode) }},
		{"UsernsMode", func(s *Spec, _ *Limits) string { return unless(s.UsernsMode == "", "user namespace %q", s.UsernsMode) }},
		{"CgroupnsMode", func(s *Spec, _ *Limits) string {
			return unless(s.CgroupnsMode == Private, "cgroup namespace %q", s.CgroupnsMode)
		}},
		{"CgroupParent", func(s *Spec, _ *Limits) string { return unless(s.CgroupParent == "", "another cgroup parent") }},
		{"Cgroup", func(s *Spec, _ *Limits) string { return unless(s.Cgroup == "", "another container's cgroup") }},
	}
}

func networkRules() []rule {
	return []rule{
		{"NetworkMode", func(s *Spec, l *Limits) string {
			return unless(s.NetworkMode == l.Network && l.Network != "", "network %q; an app has its own", s.NetworkMode)
		}},
		{"Addr", func(s *Spec, l *Limits) string {
			return unless(l.Subnet.Contains(s.Addr), "address %s outside the app's network", s.Addr)
		}},
		{"Aliases", func(s *Spec, _ *Limits) string { return none("network aliases", s.Aliases) }},
		{"Links", func(s *Spec, _ *Limits) string { return none("links", s.Links) }},
		{"DNS", func(s *Spec, l *Limits) string { return unless(slices.Equal(s.DNS, l.DNS), "name servers of its own") }},
		{"DNSSearch", func(s *Spec, _ *Limits) string { return none("search domains", s.DNSSearch) }},
		{"DNSOptions", func(s *Spec, l *Limits) string {
			return unless(len(s.DNSOptions) == 0 || len(l.DNS) > 0 && slices.Equal(s.DNSOptions, ResolverOptions()), "resolver options")
		}},
		{"ExtraHosts", func(s *Spec, _ *Limits) string { return none("extra hosts", s.ExtraHosts) }},
		{"MacAddress", func(s *Spec, _ *Limits) string { return unless(s.MacAddress == "", "a hardware address") }},
		{"Ports", func(s *Spec, _ *Limits) string {
			return none("ports published on the host; traffic comes through the edge", s.Ports)
		}},
		{"PublishAll", func(s *Spec, _ *Limits) string { return unless(!s.PublishAll, "ports published on the host") }},
	}
}

func resourceRules() []rule {
	return []rule{
		{"Memory", func(s *Spec, l *Limits) string { return bounded("memory", s.Memory, l.Max.Memory) }},
		{"MemorySwap", func(s *Spec, _ *Limits) string {
			return unless(s.MemorySwap == s.Memory, "memory and swap together must equal the memory limit")
		}},
		{"NanoCPUs", func(s *Spec, l *Limits) string { return bounded("CPU", s.NanoCPUs, int64(l.Max.MilliCPU)*1e6) }},
		{"CPUShares", func(s *Spec, _ *Limits) string { return unless(s.CPUShares == 0, "CPU shares") }},
		{"CPUQuota", func(s *Spec, _ *Limits) string { return unless(s.CPUQuota == 0, "a CPU quota beside the CPU limit") }},
		{"CPUPeriod", func(s *Spec, _ *Limits) string { return unless(s.CPUPeriod == 0, "a CPU period") }},
		{"CPURealtime", func(s *Spec, _ *Limits) string { return unless(s.CPURealtime == 0, "real-time scheduling") }},
		{"CpusetCpus", func(s *Spec, _ *Limits) string { return unless(s.CpusetCpus == "", "CPU pinning") }},
		{"CpusetMems", func(s *Spec, _ *Limits) string { return unless(s.CpusetMems == "", "memory pinning") }},
		{"Pids", func(s *Spec, l *Limits) string { return bounded("process", s.Pids, int64(l.Max.Pids)) }},
		{"Ulimits", func(s *Spec, _ *Limits) string { return checkUlimits(s.Ulimits) }},
		{"ShmSize", func(s *Spec, _ *Limits) string { return unless(s.ShmSize == 0, "a size of shared memory") }},
		{"BlkioWeight", func(s *Spec, _ *Limits) string { return unless(s.BlkioWeight == 0, "a disk weight") }},
		{"OomScoreAdj", func(s *Spec, _ *Limits) string {
			return unless(s.OomScoreAdj >= 0 && s.OomScoreAdj <= 1000, "protection from the out-of-memory killer")
		}},
		{"OomKillOff", func(s *Spec, _ *Limits) string {
			return unless(!s.OomKillOff, "protection from the out-of-memory killer")
		}},
		{"LogDriver", func(s *Spec, _ *Limits) string { return unless(s.LogDriver == LogDriver, "log driver %q", s.LogDriver) }},
		{"LogOptions", func(s *Spec, _ *Limits) string { return checkLogOptions(s.LogOptions) }},
		{"Init", func(s *Spec, _ *Limits) string { return unless(s.Init, "a container without an init process") }},
		{"Restart", func(s *Spec, _ *Limits) string {
			return unless(s.Restart == RestartNever || s.Restart == RestartUnlessStopped, "restart rule %q", s.Restart)
		}},
		{"RestartTries", func(s *Spec, _ *Limits) string { return unless(s.RestartTries == 0, "a number of restarts") }},
		{"AutoRemove", func(s *Spec, _ *Limits) string {
			return unless(!s.AutoRemove, "a container that removes itself")
		}},
	}
}

var (
	objectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,127}$`)
	imageID    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	hostname   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	number     = regexp.MustCompile(`^(0|[1-9][0-9]{0,18})$`)
	userName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]{0,31}$`)
)

func free(*Spec, *Limits) string { return "" }

func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func none(what string, list []string) string { return unless(len(list) == 0, "%s", what) }

func noNUL(list []string) string {
	for _, s := range list {
		if strings.ContainsRune(s, 0) {
			return "a NUL byte in an argument"
		}
	}
	return ""
}

func checkEnv(env []string) string {
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || landward.CheckVarName(name) != nil {
			return fmt.Sprintf("variable %q", landward.Printable(name))
		}
		if strings.ContainsRune(value, 0) {
			return fmt.Sprintf("a NUL byte in variable %s", name)
		}
	}
	return ""
}

// checkUser allows names and numbers as they are plainly written. Everything
// else ("-1", "+0", "4294967296") has been read differently by two programs.
func checkUser(user string) string {
	if user == "" {
		return ""
	}
	name, group, hasGroup := strings.Cut(user, ":")
	if !userPart(name) || hasGroup && !userPart(group) {
		return fmt.Sprintf("user %q; use a name or a number up to %d", landward.Printable(user), MaxUID)
	}
	return ""
}

func userPart(s string) bool {
	if number.MatchString(s) {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && n <= MaxUID
	}
	return userName.MatchString(s)
}

// StartsAsRoot reports whether a container with this effective user starts as
// root. A name that the image maps to 0 does not count: it is root without
// capabilities.
func StartsAsRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || name == "0"
}

func checkCaps(user string, add []string) string {
	allowed := RootCaps()
	if !StartsAsRoot(user) {
		allowed = nil
	}
	for _, c := range add {
		if !slices.Contains(allowed, c) {
			return fmt.Sprintf("capability %q for user %q", landward.Printable(c), user)
		}
	}
	return ""
}

func bounded(what string, value, limit int64) string {
	switch {
	case value <= 0:
		return fmt.Sprintf("there must be a %s limit", what)
	case limit > 0 && value > limit:
		return fmt.Sprintf("the %s limit is above what one container may have", what)
	}
	return ""
}

func checkUlimits(list []Ulimit) string {
	for _, u := range list {
		if u.Name != "nofile" || u.Soft <= 0 || u.Hard < u.Soft || u.Hard > MaxFiles {
			return fmt.Sprintf("limit %q", landward.Printable(u.Name))
		}
	}
	return ""
}

func (b Bounds) logOptions() map[string]string {
	return map[string]string{
		"max-size": strconv.FormatInt(b.LogSize, 10),
		"max-file": strconv.Itoa(b.LogFiles),
	}
}

func checkLogOptions(o map[string]string) string {
	size, err := strconv.ParseInt(o["max-size"], 10, 64)
	if err != nil || size <= 0 || size > 1<<30 {
		return "the log must have a size limit in bytes"
	}
	files, err := strconv.Atoi(o["max-file"])
	if err != nil || files < 1 || files > 20 {
		return "the log must have a limit of files"
	}
	return unless(len(o) == 2, "log options other than the limits")
}

// under reports whether p is one of roots or below one.
func under(p string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
}
