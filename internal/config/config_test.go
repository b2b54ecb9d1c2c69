package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"landward/internal/config"
	"landward/internal/landward"
)

// sources is where one Load reads from.
type sources struct {
	flags []string
	env   map[string]string
	files map[string]string
}

func (s sources) load(t *testing.T) (config.Config, error) {
	t.Helper()
	c := config.Default()
	flags := pflag.NewFlagSet("landward", pflag.ContinueOnError)
	c.Flags(flags)
	if err := flags.Parse(s.flags); err != nil {
		return c, err
	}
	err := c.Load(flags, func(name string) string { return s.env[name] }, func(path string) ([]byte, error) {
		text, ok := s.files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	})
	return c, err
}

// file returns sources with one settings file at the usual place.
func file(text string) sources {
	return sources{files: map[string]string{"/etc/landward/landward.yaml": text}}
}

// other holds, for every field, a value that is not the default: as it is
// written, and as it ends up.
var other = map[string]struct {
	text string
	want any
}{
	"Data":           {"/srv/landward", "/srv/landward"},
	"Domain":         {"Apps.Example.COM.", "apps.example.com"},
	"Host":           {"git.example.com", "git.example.com"},
	"HTTP":           {":8080", ":8080"},
	"HTTPS":          {"off", ""},
	"SSH":            {"127.0.0.1:22", "127.0.0.1:22"},
	"Docker":         {"tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"},
	"Pool":           {"172.20.0.0/14", netip.MustParsePrefix("172.20.0.0/14")},
	"SubnetBits":     {"28", 28},
	"Builds":         {"4", 4},
	"BuildMemory":    {"1.5g", int64(1.5 * (1 << 30))},
	"BuildCPU":       {"0.5", 500},
	"BuildPids":      {"100", 100},
	"BuildTimeout":   {"1h30m", 90 * time.Minute},
	"BuildDiskFree":  {"0", int64(0)},
	"BuildCache":     {"5G", int64(5 << 30)},
	"AppMemory":      {"256MiB", int64(256 << 20)},
	"AppCPU":         {"1500m", 1500},
	"AppPids":        {"99", 99},
	"KeepReleases":   {"9", 9},
	"DiskBudget":     {"1T", int64(1 << 40)},
	"MaxUpload":      {"2097152", int64(2 << 20)},
	"MaxBody":        {"10M", int64(10 << 20)},
	"DrainLimit":     {"5s", 5 * time.Second},
	"Warm":           {"0", time.Duration(0)},
	"DeployTimeout":  {"2m", 2 * time.Minute},
	"ReleaseTimeout": {"3m", 3 * time.Minute},
	"LogBytes":       {"8M", int64(8 << 20)},
	"HTTP3":          {"off", false},
	"ACMEEmail":      {"ops@example.com", "ops@example.com"},
	"ACMEDirectory":  {"https://ca.example.com/dir", "https://ca.example.com/dir"},
	"ACMERoots":      {"/etc/ca.pem", "/etc/ca.pem"},
	"ACMEProvider":   {"rfc2136", "rfc2136"},
	"ACMESettings":   {"/etc/landward/dns", "/etc/landward/dns"},
	"LocalDomains":   {"localhost,lan.example", []string{"localhost", "lan.example"}},
	"DNS":            {":53", ":53"},
	"DNSAddresses":   {"203.0.113.7,2001:db8::7", []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}},
	"DNSForward":     {"1.1.1.1", []string{"1.1.1.1:53"}},
	"TrustedProxies": {"10.0.0.0/8,192.0.2.7", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32")}},
	"ProxyProtocol":  {"on", true},
	"AccessKeep":     {"48h", 48 * time.Hour},
	"AccessBytes":    {"9M", int64(9 << 20)},
	"AccessLog":      {"off", false},
	"Egress":         {"all", config.EgressAll},
	"LogLevel":       {"debug", slog.LevelDebug},
	"LogFormat":      {"json", config.LogJSON},
}

// kebab turns BuildDiskFree into build-disk-free, and HTTPS into https.
func kebab(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		begins := i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsUpper(runes[i-1]) && unicode.IsLower(runes[i+1]))
		if unicode.IsUpper(r) && begins {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func fields() []string {
	var names []string
	for f := range reflect.TypeFor[config.Config]().Fields() {
		if f.IsExported() {
			names = append(names, f.Name)
		}
	}
	return names
}

func TestEveryFieldHasFlagEnvironmentAndYAML(t *testing.T) {
	for _, field := range fields() {
		set, ok := other[field]
		if !ok {
			t.Errorf("no test value for %s", field)
			continue
		}
		flag := kebab(field)
		under := strings.ReplaceAll(flag, "-", "_")
		ways := map[string]sources{
			"flag":        {flags: []string{"--" + flag, set.text}},
			"environment": {env: map[string]string{"LANDWARD_" + strings.ToUpper(under): set.text}},
			"yaml":        file(under + ": " + set.text + "\n"),
		}
		for way, from := range ways {
			t.Run(field+" by "+way, func(t *testing.T) {
				c, err := from.load(t)
				if err != nil {
					t.Fatal(err)
				}
				got := reflect.ValueOf(c).FieldByName(field).Interface()
				if !reflect.DeepEqual(got, set.want) {
					t.Errorf("%s = %v, want %v", field, got, set.want)
				}
				def := reflect.ValueOf(config.Default()).FieldByName(field).Interface()
				if reflect.DeepEqual(got, def) {
					t.Errorf("the test value of %s is the default: the test proves nothing", field)
				}
			})
		}
	}
}

func TestOrderOfSources(t *testing.T) {
	all := sources{
		flags: []string{"--builds", "11"},
		env:   map[string]string{"LANDWARD_BUILDS": "12", "LANDWARD_CONFIG": "/my.yaml"},
		files: map[string]string{"/my.yaml": "builds: 13"},
	}
	for _, test := range []struct {
		name string
		drop func(*sources)
		want int
	}{
		{"a flag wins", func(*sources) {}, 11},
		{"then the environment", func(s *sources) { s.flags = nil }, 12},
		{"then the file", func(s *sources) { s.flags, s.env = nil, map[string]string{"LANDWARD_CONFIG": "/my.yaml"} }, 13},
		{"then the default", func(s *sources) { *s = sources{} }, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := all
			test.drop(&s)
			c, err := s.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if c.Builds != test.want {
				t.Errorf("builds = %d, want %d", c.Builds, test.want)
			}
		})
	}
}

func TestWrongValuesNameTheSetting(t *testing.T) {
	tests := []struct {
		from  sources
		field string
		says  string
	}{
		{sources{flags: []string{"--warm", "30"}}, "--warm", "no unit"},
		{sources{env: map[string]string{"LANDWARD_WARM": "30"}}, "LANDWARD_WARM", "no unit"},
		{file("# mine\nwarm: 30\n"), "/etc/landward/landward.yaml:2", "no unit"},
		{file("warm: 10s\nwarm: 20s\n"), "/etc/landward/landward.yaml:2", "twice"},
		{file("builds: 2\n\nbuild_memroy: 1G\n"), "/etc/landward/landward.yaml:3", "not a setting"},
		{file("build-memory: 1G\n"), "/etc/landward/landward.yaml:1", "not a setting"},
		{file("builds: [1, 2]\n"), "/etc/landward/landward.yaml:1", "one plain value"},
		{file("builds:\n"), "/etc/landward/landward.yaml:1", "one plain value"},
		{file("builds: 2\n\t- x\n"), "/etc/landward/landward.yaml:2", ""},
		{file("just words\n"), "/etc/landward/landward.yaml:1", "settings are missing"},
		{file("builds: 2\n---\nbuilds: 3\n"), "/etc/landward/landward.yaml", "more than one document"},
		{file("a: &a [1]\nbuilds: *a\n"), "/etc/landward/landward.yaml:1", "not a setting"},
		{file("domain: &a x.org\nhost: *a\n"), "/etc/landward/landward.yaml:2", "one plain value"},
		{sources{flags: []string{"--config", "/none.yaml"}}, "--config", "no file"},
		{sources{env: map[string]string{"LANDWARD_CONFIG": "/none.yaml"}}, "LANDWARD_CONFIG", "no file"},
		{sources{flags: []string{"--builds", "0"}}, "--builds", "1 to 64"},
		{sources{flags: []string{"--build-memory", "1M"}}, "--build-memory", "64M"},
		{sources{flags: []string{"--build-memory", "many"}}, "--build-memory", "a size"},
		{sources{flags: []string{"--build-memory", "-1G"}}, "--build-memory", "a size"},
		{sources{flags: []string{"--build-memory", "99999999999999999999T"}}, "--build-memory", "a size"},
		{sources{flags: []string{"--build-cpu", "NaN"}}, "--build-cpu", "cores"},
		{sources{flags: []string{"--build-cpu", "0"}}, "--build-cpu", "cores"},
		{sources{flags: []string{"--build-timeout", "0s"}}, "--build-timeout", "a time"},
		{sources{flags: []string{"--drain-limit", "-1s"}}, "--drain-limit", "a time"},
		{sources{flags: []string{"--access-log", "maybe"}}, "--access-log", "on or off"},
		{sources{flags: []string{"--egress", "none"}}, "--egress", "choices"},
		{sources{flags: []string{"--log-level", "loud"}}, "--log-level", "log level"},
		{sources{flags: []string{"--http", "off"}}, "--http", "address"},
		{sources{flags: []string{"--http", "80"}}, "--http", "address"},
		{sources{flags: []string{"--http", ":70000"}}, "--http", "address"},
		{sources{flags: []string{"--ssh", "example.com:22"}}, "--ssh", "address"},
		{sources{flags: []string{"--domain", "10.0.0.1"}}, "--domain", "an address"},
		{sources{flags: []string{"--domain", "http://x.org"}}, "--domain", "domain name"},
		{sources{flags: []string{"--docker", "npipe://x"}}, "--docker", "Docker Engine"},
		{sources{flags: []string{"--docker", "unix://"}}, "--docker", "Docker Engine"},
		{sources{flags: []string{"--pool", "8.8.0.0/16"}}, "--pool", "private"},
		{sources{flags: []string{"--pool", "10.0.0.0/7"}}, "--pool", "private"},
		{sources{flags: []string{"--pool", "10.201.0.1/16"}}, "--pool", "private"},
		{sources{flags: []string{"--pool", "fd00::/48"}}, "--pool", "private"},
		{sources{flags: []string{"--data", ""}}, "data", "data folder"},
		{sources{flags: []string{"--data", "/"}}, "data", "data folder"},
		{sources{flags: []string{"--subnet-bits", "16"}}, "subnet-bits", "does not fit"},
		{sources{flags: []string{"--ssh", ":80"}}, "ssh", "http as well"},
	}
	for _, test := range tests {
		t.Run(test.field+" "+test.says, func(t *testing.T) {
			_, err := test.from.load(t)
			var e *landward.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v, want a readable one", err)
			}
			if e.Code != landward.CodeInvalid || e.Field != test.field || !strings.Contains(e.Message, test.says) || e.Hint == "" {
				t.Errorf("code %q, field %q, message %q, hint %q; want field %q, a message with %q, and a hint",
					e.Code, e.Field, e.Message, e.Hint, test.field, test.says)
			}
		})
	}
}

func TestUnknownSettingSuggestsTheRightOne(t *testing.T) {
	for wrote, meant := range map[string]string{"BuildMemory": "build_memory", "keep-releases": "keep_releases", "log": "log_bytes"} {
		_, err := file(wrote + ": 1\n").load(t)
		if hint := landward.AsError(err).Hint; !strings.Contains(hint, meant) {
			t.Errorf("%s: hint %q does not name %s", wrote, hint, meant)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	c := config.Default()
	flags := pflag.NewFlagSet("landward", pflag.ContinueOnError)
	c.Flags(flags)
	err := c.Load(flags, func(string) string { return "" }, func(string) ([]byte, error) { return nil, os.ErrPermission })
	if !errors.Is(err, os.ErrPermission) || landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("error = %v, want a readable one about the permission", err)
	}
}

func TestEmptyFileIsNoFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "null\n", "{}\n"} {
		if _, err := file(text).load(t); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatFollowsFromOtherSettings(t *testing.T) {
	c, err := sources{flags: []string{"--domain", "apps.example.com", "--http", "127.0.0.1:8080", "--data", "here"}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "apps.example.com" {
		t.Errorf("host = %q, want the domain", c.Host)
	}
	if c.PublicHTTPPort() != 8080 {
		t.Errorf("port = %d, want 8080", c.PublicHTTPPort())
	}
	if wd, _ := os.Getwd(); c.Data != filepath.Join(wd, "here") {
		t.Errorf("data = %q, want it below %q", c.Data, wd)
	}
	l := c.AppLimits()
	if l.Memory != 512<<20 || l.Pids != 512 || l.MilliCPU < 1000 {
		t.Errorf("limits = %+v, want all of them set", l)
	}
}

func TestEnvironCarriesEverything(t *testing.T) {
	var flags []string
	for _, field := range fields() {
		flags = append(flags, "--"+kebab(field), other[field].text)
	}
	first, err := sources{flags: flags}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, line := range first.Environ() {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	// The file of before must not be read again: meanwhile it is broken.
	second, err := sources{env: env, files: map[string]string{"/etc/landward/landward.yaml": "x", os.DevNull: ""}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields() {
		a, b := reflect.ValueOf(first).FieldByName(field).Interface(), reflect.ValueOf(second).FieldByName(field).Interface()
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %v became %v", field, a, b)
		}
	}
}

func TestPaths(t *testing.T) {
	c := config.Default()
	got := []string{
		c.DBPath(), c.ReposDir(), c.LogsDir(), c.KeysDir(), c.WorkDir(), c.RoutesFile(), c.InstanceFile(),
		c.CertsDir(), c.SitesDir(), c.RunDir(), c.ControlSocket(), c.EngineSocket(), c.EdgeSocket(), c.HookSocket(), c.APISocket(),
	}
	for i, path := range got {
		if !strings.HasPrefix(path, c.Data+"/") {
			t.Errorf("%s is not in the data folder", path)
		}
		if slices.Contains(got[:i], path) {
			t.Errorf("%s is used twice", path)
		}
	}
}

func TestLongDataFoldersHaveShortSockets(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		c := config.Default()
		c.Data = "/" + strings.Repeat("long/", 30) + name
		for _, path := range []string{c.ControlSocket(), c.EngineSocket(), c.EdgeSocket(), c.HookSocket(), c.APISocket()} {
			if len(path) > 100 {
				t.Errorf("%s has %d bytes", path, len(path))
			}
			if seen[path] {
				t.Errorf("two data folders share %s", path)
			}
			seen[path] = true
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c, err := sources{}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	// Writing each default and reading it back must change nothing.
	flags := pflag.NewFlagSet("landward", pflag.ContinueOnError)
	c.Flags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		before := f.Value.String()
		if err := f.Value.Set(before); err != nil {
			t.Errorf("--%s refuses its own value %q: %v", f.Name, before, err)
		}
		if after := f.Value.String(); after != before {
			t.Errorf("--%s: %q became %q", f.Name, before, after)
		}
		if f.Usage == "" || f.Value.Type() == "" {
			t.Errorf("--%s has no usage", f.Name)
		}
	})
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{"", "builds: 2", "a: &a [*a]", "? [x]\n: y", "builds: 2\n---\n", "\t", "warm: !!binary aGk="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := file(text).load(t)
		var e *landward.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error %v is not readable", err)
		}
	})
}

func FuzzValues(f *testing.F) {
	for _, seed := range []string{"512M", "1.5g", "30", "1h", ":80", "10.0.0.0/8", "0x1p4", "1e9", "off", strings.Repeat("9", 400)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := config.Default()
		flags := pflag.NewFlagSet("landward", pflag.ContinueOnError)
		c.Flags(flags)
		flags.VisitAll(func(fl *pflag.Flag) {
			if fl.Name == "config" || fl.Value.Set(text) != nil {
				return
			}
			// What was accepted must mean the same when it is written and read again.
			shown := fl.Value.String()
			if err := fl.Value.Set(shown); err != nil || fl.Value.String() != shown {
				t.Errorf("--%s %q is shown as %q, which becomes %q (%v)", fl.Name, text, shown, fl.Value.String(), err)
			}
		})
	})
}

func ExampleConfig_Environ() {
	c := config.Default()
	for _, line := range c.Environ() {
		if strings.HasPrefix(line, "LANDWARD_BUILD_MEMORY") {
			fmt.Println(line)
		}
	}
	// Output: LANDWARD_BUILD_MEMORY=2G
}
