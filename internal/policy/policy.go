// Package policy is what a container may ask of the host: an allowlist over
// the final, effective specification, field by field. It is pure, and it must
// never know about Docker's types, a database, or why somebody wants a thing:
// what is not allowed here is refused, whoever asks.
package policy

import (
	"net/netip"

	"landward/internal/landward"
)

// Spec is a container as it would be created: everything that the engine would
// be told, and nothing that it would fill in by itself afterwards. Engines turn
// a Spec, and only a Spec, into their own calls, so a setting that is missing
// here cannot be made at all.
type Spec struct {
	// Name of the container.
	Name string
	// Image is a content address, "sha256:…".
	Image      string
	Entrypoint []string
	Cmd        []string
	Env        []string // "NAME=value"
	// User is "", a name or a number, each with an optional ":group". It is the
	// effective one: the image's own where nobody asked for another.
	User       string
	WorkDir    string
	Hostname   string
	Domainname string
	Labels     map[string]string
	TTY        bool
	OpenStdin  bool
	StopSignal string
	// StopTimeout is in seconds.
	StopTimeout int
	Healthcheck []string

	Privileged  bool
	CapAdd      []string
	CapDrop     []string
	SecurityOpt []string
	// MaskedPaths and ReadonlyPaths replace the engine's own lists of hidden
	// kernel files; even an empty, non-nil list would uncover them.
	MaskedPaths   []string
	ReadonlyPaths []string
	ReadonlyRoot  bool
	Devices       []string
	DeviceRules   []string
	DeviceRequest []string
	GroupAdd      []string
	Sysctls       map[string]string
	Runtime       string
	Annotations   map[string]string
	StorageOpt    map[string]string

	PidMode      string
	IpcMode      string
	UTSMode      string
	UsernsMode   string
	CgroupnsMode string
	CgroupParent string
	Cgroup       string

	// NetworkMode is the name of the one network that the container joins.
	NetworkMode string
	Addr        netip.Addr // fixed address in that network
	Aliases     []string
	Links       []string
	DNS         []netip.Addr
	DNSSearch   []string
	DNSOptions  []string
	ExtraHosts  []string
	MacAddress  string
	Ports       []string // published on the host
	PublishAll  bool

	Binds        []string // "source:target", the older way to mount
	Mounts       []Mount
	VolumesFrom  []string
	VolumeDriver string
	Tmpfs        map[string]string // target → options

	Memory       int64 // bytes
	MemorySwap   int64 // bytes, memory and swap together; -1 is unlimited
	NanoCPUs     int64
	CPUShares    int64
	CPUQuota     int64
	CPUPeriod    int64
	CPURealtime  int64
	CpusetCpus   string
	CpusetMems   string
	Pids         int64
	Ulimits      []Ulimit
	ShmSize      int64
	BlkioWeight  int
	OomScoreAdj  int
	OomKillOff   bool
	LogDriver    string
	LogOptions   map[string]string
	Init         bool
	Restart      string
	RestartTries int
	AutoRemove   bool
}

// Mount is one entry of the newer kind of mounts.
type Mount struct {
	Type        string // "volume" or "tmpfs"; everything else is refused
	Source      string
	Target      string
	ReadOnly    bool
	Driver      string
	DriverOpts  map[string]string
	Subpath     string
	Propagation string
	Options     string
}

// Ulimit is one resource limit of the container's processes.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Limits are what the installation allows one app's container.
type Limits struct {
	// NamePrefix starts the container's name.
	NamePrefix string
	// Network is the app's own network and Subnet its addresses.
	Network string
	Subnet  netip.Prefix
	// DNS are the name servers of the installation's containers; empty: the
	// engine's own choice.
	DNS []netip.Addr
	// VolumePrefix starts the names of the app's volumes.
	VolumePrefix string
	// Max caps the limits of one container. A zero field only demands that
	// there is some limit.
	Max landward.Resources
}

// The parts of the runtime profile that are the same for every container.
const (
	NoNewPrivileges = "no-new-privileges:true"
	LogDriver       = "local"
	Private         = "private" // IPC and cgroup namespaces
	// MaxUID is the highest user or group number. Above it some runtimes wrap
	// around to 0.
	MaxUID = 1<<31 - 1
	// MaxFiles is the highest limit of open files.
	MaxFiles = 1 << 20
)

// RootCaps are what a container has whose image starts as root, because
// ordinary images do so in order to prepare their data and then become
// somebody else. Each is here for a reason, and the absence of one breaks a
// stock image (PostgreSQL, Redis, nginx, MySQL):
//
//   - CHOWN, FOWNER, DAC_OVERRIDE: entry points give a fresh volume to the
//     service's own user, and find it 0700 and foreign on the next start.
//   - SETUID, SETGID: they then become that user.
//   - KILL: the init process and a root master (nginx, php-fpm) must pass a
//     stop on to children of that user. Without it the init cannot forward
//     SIGTERM and dies, and a database is killed instead of stopped.
//   - NET_BIND_SERVICE: ports below 1024.
//
// All act inside the container's own namespaces and files. Of Docker's default
// NET_RAW (spoofing on the network), MKNOD, AUDIT_WRITE, SYS_CHROOT, SETFCAP,
// SETPCAP and FSETID are absent. Who starts as another user gets nothing.
func RootCaps() []string {
	return []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
}

// Profile returns the runtime profile for a container that starts as user:
// what every container has. The caller adds what it is and what it mounts.
func Profile(user string, limits landward.Resources, b Bounds) Spec {
	s := Spec{
		User:         user,
		CapDrop:      []string{"ALL"},
		SecurityOpt:  []string{NoNewPrivileges},
		IpcMode:      Private,
		CgroupnsMode: Private,
		Memory:       limits.Memory,
		MemorySwap:   limits.Memory, // equal: no swap
		NanoCPUs:     int64(limits.MilliCPU) * 1e6,
		Pids:         int64(limits.Pids),
		Ulimits:      []Ulimit{{Name: "nofile", Soft: b.OpenFiles, Hard: b.OpenFiles}},
		LogDriver:    LogDriver,
		LogOptions:   b.logOptions(),
		Init:         true,
		Restart:      RestartNever,
	}
	if StartsAsRoot(user) {
		s.CapAdd = RootCaps()
	}
	return s
}

// Bounds are the limits that are the installation's rather than an app's.
type Bounds struct {
	LogSize  int64 // bytes of one log file
	LogFiles int
	// OpenFiles is for one process. The engine cannot set more than it has itself.
	OpenFiles int64
}

// ResolverOptions are those of containers that ask the installation's name
// servers: the usual ones of C libraries, in place of whatever the host has. Its
// ndots would keep names without a dot from being asked for at all, and a
// shorter timeout would end before a second name server is asked.
func ResolverOptions() []string { return []string{"timeout:5", "attempts:2"} }

// The restart rules.
const (
	RestartNever         = "no"
	RestartUnlessStopped = "unless-stopped"
)
