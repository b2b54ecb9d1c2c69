package config

import (
	"cmp"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"landward/internal/landward"
)

// setting is one field of a Config with its name.
type setting struct {
	name  string // the flag's: build-memory
	usage string
	value pflag.Value
}

func (s setting) env() string {
	return "LANDWARD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}
func (s setting) yaml() string { return strings.ReplaceAll(s.name, "-", "_") }

// settings is the list of everything that can be set.
func (c *Config) settings() []setting {
	const large = 1 << 50 // bytes; more is a slip of the finger
	return []setting{
		{"data", "folder of everything that must survive", text(&c.Data)},
		{"domain", "apps answer at APP.DOMAIN", domain(&c.Domain)},
		{"host", "name that users reach the server by (default: the domain)", domain(&c.Host)},
		{"http", "address to listen on for HTTP", address(&c.HTTP)},
		{"https", "address to listen on for HTTPS, or off", orOff(address(&c.HTTPS))},
		{"http3", "HTTP/3 beside HTTPS: on or off", onOff(&c.HTTP3)},
		{"acme-email", "address that the certificate authority writes to; sets automatic certificates going", text(&c.ACMEEmail).as("email")},
		{"acme-directory", "directory URL of the certificate authority (default: Let's Encrypt)", httpsURL(&c.ACMEDirectory)},
		{"acme-roots", "file with the root certificates of a private certificate authority", text(&c.ACMERoots)},
		{"acme-provider", "who proves names in the DNS: cloudflare, route53, rfc2136, own, or off", choice(&c.ACMEProvider, "", "off", "cloudflare", "route53", "rfc2136", "own")},
		{"acme-settings", "file with the settings of that DNS provider, KEY=VALUE lines", text(&c.ACMESettings)},
		{"local-domains", "domains that the installation's own certificate authority signs for", list(&c.LocalDomains, "names", domainOf)},
		{"dns", "address to answer DNS on, or off", orOff(address(&c.DNS))},
		{"dns-addresses", "addresses that the apps' names lead to (default: those of this host)", list(&c.DNSAddresses, "addresses", addrOf)},
		{"dns-forward", "resolvers for all other names", list(&c.DNSForward, "addresses", resolverOf)},
		{"trusted-proxies", "networks of front proxies whose word about the client counts", list(&c.TrustedProxies, "networks", prefixOf)},
		{"proxy-protocol", "trusted proxies send the PROXY protocol: on or off", onOff(&c.ProxyProtocol)},
		{"ssh", "address to listen on for git and the CLI over SSH", address(&c.SSH)},
		{"docker", "address of the Docker Engine", dockerAddress(&c.Docker)},
		{"pool", "private IPv4 network that the apps' networks are cut from", pool(&c.Pool)},
		{"subnet-bits", "prefix length of one app's network", count(&c.SubnetBits, 9, 29)},
		{"builds", "builds at the same time", count(&c.Builds, 1, 64)},
		{"build-memory", "memory of one build", size(&c.BuildMemory, 64*mib, large)},
		{"build-cpu", "cores of one build", cores(&c.BuildCPU, 100)},
		{"build-pids", "processes of one build", count(&c.BuildPids, 32, 1<<22)},
		{"build-timeout", "longest time of one build", duration(&c.BuildTimeout, time.Second)},
		{"build-disk-free", "disk space that builds must leave free", size(&c.BuildDiskFree, 0, large)},
		{"build-cache", "disk space that Docker's build cache is kept to, 0 to leave it alone", size(&c.BuildCache, 0, large)},
		{"app-memory", "memory of a container whose app does not say", size(&c.AppMemory, 16*mib, large)},
		{"app-cpu", "cores of a container whose app does not say, 0 for all", cores(&c.AppCPU, 0)},
		{"app-pids", "processes of a container whose app does not say", count(&c.AppPids, 8, 1<<22)},
		{"keep-releases", "releases of an app whose images are kept", count(&c.KeepReleases, 1, 1000)},
		{"disk-budget", "disk space for images of apps, 0 for no limit", size(&c.DiskBudget, 0, large)},
		{"max-upload", "largest push or archive", size(&c.MaxUpload, mib, large)},
		{"max-body", "largest request to an app, 0 for no limit", size(&c.MaxBody, 0, large)},
		{"drain-limit", "time for requests in flight when a version is retired", duration(&c.DrainLimit, 0)},
		{"warm", "how long the version before stays ready to take over again", duration(&c.Warm, 0)},
		{"deploy-timeout", "time for new containers to become healthy", duration(&c.DeployTimeout, time.Second)},
		{"release-timeout", "time for the release command", duration(&c.ReleaseTimeout, time.Second)},
		{"log-bytes", "disk space for the logs of one app", size(&c.LogBytes, mib, large)},
		{"access-log", "log requests: on or off", onOff(&c.AccessLog)},
		{"access-keep", "how long access logs are kept", duration(&c.AccessKeep, time.Hour)},
		{"access-bytes", "disk space for the access logs of one app", size(&c.AccessBytes, mib, large)},
		{"egress", "what apps may reach: internet (no private networks) or all", choice(&c.Egress, EgressInternet, EgressAll)},
		{"log-level", "debug, info, warn or error", level(&c.LogLevel)},
		{"log-format", "text or json", choice(&c.LogFormat, LogText, LogJSON)},
	}
}

// Flags adds a flag for every setting, and --config. What is parsed goes
// straight into c; call Load after that.
func (c *Config) Flags(fs *pflag.FlagSet) {
	for _, s := range c.settings() {
		fs.Var(named{s.value, "--" + s.name}, s.name, s.usage)
	}
	fs.StringVar(&c.file, fileFlag, c.file, "YAML file with settings")
}

// named puts the name of the setting on an error: what the user wrote.
type named struct {
	pflag.Value
	name string
}

func (n named) Set(text string) error { return setFrom(n.Value, text, n.name) }

// setFrom sets a value and says where a wrong one came from.
func setFrom(v pflag.Value, text, origin string) error {
	err := v.Set(text)
	if err == nil {
		return nil
	}
	e := landward.Invalid(origin, "%q is not %s", landward.Printable(text), landward.AsError(err).Message)
	return e.WithHint("%s", landward.AsError(err).Hint)
}

// finish fills in what follows from other settings, and checks what no
// setting can check alone.
func (c *Config) finish() error {
	c.Host = cmp.Or(c.Host, c.Domain)
	abs, err := filepath.Abs(c.Data)
	if err != nil || c.Data == "" || abs == "/" {
		return landward.Invalid("data", "%q cannot be the data folder", landward.Printable(c.Data)).
			WithHint("name a folder of its own, such as /var/lib/landward")
	}
	c.Data = abs
	if c.SubnetBits <= c.Pool.Bits() {
		return landward.Invalid("subnet-bits", "a network of /%d does not fit into the pool %s", c.SubnetBits, c.Pool).
			WithHint("take a larger pool or a longer prefix: 26 gives each app 64 addresses")
	}
	listeners := map[string]string{}
	for _, l := range []struct{ name, addr string }{{"http", c.HTTP}, {"https", c.HTTPS}, {"ssh", c.SSH}} {
		_, port, err := net.SplitHostPort(l.addr)
		if err != nil || port == "0" {
			continue // off, or a port that the system chooses
		}
		if other, taken := listeners[l.addr]; taken {
			return landward.Invalid(l.name, "%s is the address of %s as well", l.addr, other).
				WithHint("give each its own port")
		}
		listeners[l.addr] = l.name
	}
	return nil
}
