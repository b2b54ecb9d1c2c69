// Package config owns the settings of an installation: what there is to set,
// the defaults, and where values come from. It reads what it is handed and
// must never start, open or make anything.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"landward/internal/landward"
)

// Config is every setting of an installation. Each has one name in three
// spellings: the flag build-memory, the environment variable
// LANDWARD_BUILD_MEMORY, and build_memory in the YAML file.
type Config struct {
	Data   string // folder of everything that must survive; absolute
	Domain string // apps answer at APP.Domain
	Host   string // what users reach the server by: in URLs and SSH remotes
	HTTP   string // listening address
	HTTPS  string // listening address; empty: none
	SSH    string // listening address

	HTTP3          bool           // beside HTTPS, on the same port
	ACMEEmail      string         // for the certificate authority; empty: none is asked, unless ACMEDirectory is set
	ACMEDirectory  string         // of the certificate authority; empty: Let's Encrypt
	ACMERoots      string         // file with the roots of a private authority; empty: the system's
	ACMEProvider   string         // provider that DNS-01 uses: cloudflare, route53, rfc2136, own; empty: none
	ACMESettings   string         // file with the provider's settings
	LocalDomains   []string       // the installation's own authority signs for them
	DNS            string         // listening address; empty: none
	DNSAddresses   []netip.Addr   // that the apps' names lead to; empty: those of the host
	DNSForward     []string       // resolvers for all other names
	TrustedProxies []netip.Prefix // whose word about the client counts
	ProxyProtocol  bool           // trusted proxies begin each connection with the PROXY protocol

	Docker     string       // the Docker Engine's address
	Pool       netip.Prefix // the apps' networks are cut from it
	SubnetBits int          // prefix length of one app's network

	Builds        int   // at the same time
	BuildMemory   int64 // bytes, per build, as are the next ones
	BuildCPU      int   // thousandths of a core
	BuildPids     int
	BuildTimeout  time.Duration
	BuildDiskFree int64 // bytes that must stay free on the engine's disk
	BuildCache    int64 // bytes that the engine's whole build cache is kept to; 0: it is left alone

	AppMemory int64 // bytes, per container where the app says nothing, as are the next ones
	AppCPU    int   // thousandths of a core; 0: no quota
	AppPids   int

	KeepReleases int   // whose images are kept, per app
	DiskBudget   int64 // bytes for images of apps; 0: none
	MaxUpload    int64 // bytes of one push or archive
	MaxBody      int64 // bytes of one request to an app; 0: no limit

	DrainLimit     time.Duration // for requests in flight when a version is retired
	Warm           time.Duration // how long the version before stays ready to take over again
	DeployTimeout  time.Duration // for new containers to become healthy
	ReleaseTimeout time.Duration // for the release command

	LogBytes    int64 // per app
	AccessLog   bool
	AccessKeep  time.Duration // how long access logs are kept
	AccessBytes int64         // per app
	Egress      Egress
	LogLevel    slog.Level
	LogFormat   LogFormat

	file string // the YAML file
}

// Egress says what apps may connect to outside their own network.
type Egress string

// The egress rules.
const (
	EgressInternet Egress = "internet" // everything but private, link-local and the host's own addresses
	EgressAll      Egress = "all"
)

// LogFormat is how Landward's own log is written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Default returns the settings of an installation that sets nothing.
func Default() Config {
	return Config{
		Data: "/var/lib/landward", Domain: "localhost", HTTP: ":80", HTTPS: ":443", SSH: ":2222",
		Docker: "unix:///var/run/docker.sock", Pool: netip.MustParsePrefix("10.201.0.0/16"), SubnetBits: 26,
		Builds: 2, BuildMemory: 2 * gib, BuildCPU: allCores(), BuildPids: 4096,
		BuildTimeout: 20 * time.Minute, BuildDiskFree: 2 * gib, BuildCache: 10 * gib,
		AppMemory: 512 * mib, AppPids: 512,
		KeepReleases: 5, MaxUpload: gib, MaxBody: 512 * mib,
		DrainLimit: 30 * time.Second, Warm: 10 * time.Second,
		DeployTimeout: 10 * time.Minute, ReleaseTimeout: 10 * time.Minute,
		HTTP3: true, LocalDomains: []string{"localhost", "paas.local"},
		LogBytes: 64 * mib, AccessLog: true, AccessKeep: 14 * 24 * time.Hour, AccessBytes: 64 * mib, Egress: EgressInternet, LogLevel: slog.LevelInfo, LogFormat: LogText,
		file: "/etc/landward/landward.yaml",
	}
}

func allCores() int { return runtime.NumCPU() * 1000 }

// AppLimits returns the limits of a container whose app sets none. All fields
// are set.
func (c Config) AppLimits() landward.Resources {
	cpu := c.AppCPU
	if cpu == 0 {
		cpu = allCores()
	}
	return landward.Resources{Memory: c.AppMemory, MilliCPU: cpu, Pids: c.AppPids}
}

// PublicHTTPPort returns the port that apps answer on.
func (c Config) PublicHTTPPort() int { return portOf(c.HTTP) }

// PublicHTTPSPort returns the port that apps answer on with HTTPS, 0 for none.
func (c Config) PublicHTTPSPort() int { return portOf(c.HTTPS) }

func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// DBPath returns the path of the database.
func (c Config) DBPath() string { return filepath.Join(c.Data, "landward.db") }

// ReposDir returns the folder of the bare git repositories.
func (c Config) ReposDir() string { return filepath.Join(c.Data, "repos") }

// LogsDir returns the folder of the apps' logs.
func (c Config) LogsDir() string { return filepath.Join(c.Data, "logs") }

// KeysDir returns the folder of the master keys and of the SSH host key.
func (c Config) KeysDir() string { return filepath.Join(c.Data, "keys") }

// WorkDir returns the folder of what may be lost: checkouts, uploads.
func (c Config) WorkDir() string { return filepath.Join(c.Data, "work") }

// CertsDir returns the folder of the certificates.
func (c Config) CertsDir() string { return filepath.Join(c.Data, "certs") }

// SitesDir returns the folder of what the edge serves from files: static sites
// and apps' own error pages, one folder for each release.
func (c Config) SitesDir() string { return filepath.Join(c.Data, "sites") }

// RoutesFile returns the path of the edge's last route table.
func (c Config) RoutesFile() string { return filepath.Join(c.Data, "routes.jsonl") }

// InstanceFile returns the path of the file that holds the installation's id.
func (c Config) InstanceFile() string { return filepath.Join(c.Data, "instance") }

// maxSocketPath is below what the kernel allows for a unix socket's path (107
// bytes on Linux), to leave room for temporary names beside it.
const maxSocketPath = 100

// RunDir returns the folder of the unix sockets: in the data folder, or, where
// their paths would be too long for the kernel, one under /run that only this data
// folder leads to.
func (c Config) RunDir() string {
	dir := filepath.Join(c.Data, "run")
	if len(filepath.Join(dir, controlSocket)) <= maxSocketPath {
		return dir
	}
	sum := sha256.Sum256([]byte(c.Data))
	return "/run/landward-" + hex.EncodeToString(sum[:6])
}

// controlSocket has the longest name of the sockets.
const controlSocket = "control.sock"

// ControlSocket returns the path of the API's socket.
func (c Config) ControlSocket() string { return filepath.Join(c.RunDir(), controlSocket) }

// EngineSocket returns the path of the engine's socket.
func (c Config) EngineSocket() string { return filepath.Join(c.RunDir(), "engine.sock") }

// EdgeSocket returns the path of the socket that the edge takes tables from.
func (c Config) EdgeSocket() string { return filepath.Join(c.RunDir(), "edge.sock") }

// HookSocket returns the path of the socket that git hooks talk to.
func (c Config) HookSocket() string { return filepath.Join(c.RunDir(), "hook.sock") }
