// Package landward is the vocabulary: the nouns that every other package
// speaks of, and the rules that belong to a noun alone. It imports the standard
// library only, and must never know about a database, Docker, HTTP or a file.
package landward

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Team owns projects. Every installation has one, "default", from the start.
type Team struct {
	ID   int64
	Name string
}

// Project groups apps that belong together; it has environments.
type Project struct {
	ID     int64
	TeamID int64
	Name   string
}

// Environment is one place where a project's apps run: production, staging.
type Environment struct {
	ID        int64
	ProjectID int64
	Name      string
}

// App is a thing that is deployed. Its name is unique on the installation and
// is also the first label of its default host.
type App struct {
	ID            int64
	EnvironmentID int64
	Name          string
	DeployBranch  string // a push to it deploys; empty until the first push names it
	Current       int    // version of the release that serves; 0 for none yet
	// Previous is the release that served before Current. Its web units stay
	// warm until WarmUntil, so that going back is only a change of route.
	Previous  int
	WarmUntil time.Time
	Stopped   bool     // scaled to nothing by its owner: no units, a page that says so
	Traffic   Traffic  // what holds for its requests at the moment
	Settings  Settings // what the next release gets
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Settings are what a user sets on an app beside its source. Each release has
// a copy, so that a rollback restores them.
type Settings struct {
	Env       []Var                `json:"env,omitempty"`
	Scale     map[string]int       `json:"scale,omitempty"`     // process name → replicas
	Resources map[string]Resources `json:"resources,omitempty"` // process name → limits
	Health    map[string]Health    `json:"health,omitempty"`    // process name → rule
	Domains   []string             `json:"domains,omitempty"`   // custom hosts, normalised
	// Restart is a token that changes when the user asks for a restart: it makes
	// every unit a new one though nothing else changed.
	Restart string `json:"restart,omitempty"`
}

// Clone returns a deep copy.
func (s Settings) Clone() Settings {
	c := s
	c.Env = slices.Clone(s.Env)
	c.Domains = slices.Clone(s.Domains)
	c.Scale = cloneMap(s.Scale)
	c.Resources = cloneMap(s.Resources)
	c.Health = cloneMap(s.Health)
	return c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Var is one environment variable of an app.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Secret values are write-only: no API shows them again.
	Secret bool `json:"secret,omitempty"`
	// File puts the value into /run/secrets/NAME instead of the environment.
	File bool `json:"file,omitempty"`
	// Build makes the value a build secret with the id NAME as well.
	Build bool `json:"build,omitempty"`
}

// SetVars returns vars with each of changes set, sorted by name.
func SetVars(vars []Var, changes ...Var) []Var {
	out := slices.Clone(vars)
	for _, v := range changes {
		i := slices.IndexFunc(out, func(o Var) bool { return o.Name == v.Name })
		if i < 0 {
			out = append(out, v)
		} else {
			out[i] = v
		}
	}
	slices.SortFunc(out, func(a, b Var) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// UnsetVars returns vars without those named.
func UnsetVars(vars []Var, names ...string) []Var {
	return slices.DeleteFunc(slices.Clone(vars), func(v Var) bool { return slices.Contains(names, v.Name) })
}

var (
	appName     = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	processName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$`)
	varName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hostLabel   = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?$`)
)

// ReservedAppNames cannot be apps: they are hosts or paths of Landward's own.
var ReservedAppNames = []string{"landward", "www", "api", "git", "admin", "localhost", "registry", "metrics"}

// CheckAppName says what is wrong with an app's name, or nil.
func CheckAppName(name string) error {
	if !appName.MatchString(name) {
		return Invalid("name", "%q is not an app name", Printable(name)).
			WithHint("use 1 to 40 lower-case letters, digits and dashes, a letter first, no dash last: my-app")
	}
	if slices.Contains(ReservedAppNames, name) {
		return Invalid("name", "%q is reserved", name).WithHint("choose another name")
	}
	return nil
}

// NoApp is the error for an app that does not exist, and for one that the
// actor may not know of: the two must not differ.
func NoApp(name string) *Error {
	return Errorf(CodeNotFound, "there is no app %q", Printable(name)).WithHint("`landward apps` lists those that you may see")
}

// CheckProcessName says what is wrong with a process or service name, or nil.
func CheckProcessName(name string) error {
	if !processName.MatchString(name) {
		return Invalid("process", "%q is not a process name", Printable(name)).
			WithHint("use 1 to 30 lower-case letters, digits and dashes, a letter first: web, worker, mail-sender")
	}
	return nil
}

// CheckVarName says what is wrong with a variable's name, or nil.
func CheckVarName(name string) error {
	if !varName.MatchString(name) {
		return Invalid("name", "%q is not a variable name", Printable(name)).
			WithHint("use letters, digits and underscores, not a digit first: DATABASE_URL")
	}
	return nil
}

// NormalHost returns host in the one form that routes are keyed by: lower case,
// no port, no final dot. ok is false where it is not a host name.
func NormalHost(host string) (normal string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || len(host) > 253 {
		return "", false
	}
	for _, label := range strings.Split(host, ".") {
		if !hostLabel.MatchString(label) {
			return "", false
		}
	}
	return host, true
}

// NormalDomain is NormalHost for what may also be a wildcard: "*." in front
// stands for every host one label below.
func NormalDomain(domain string) (normal string, ok bool) {
	rest, wild := strings.CutPrefix(domain, "*.")
	normal, ok = NormalHost(rest)
	if wild && ok {
		normal = "*." + normal
	}
	return normal, ok
}

// Printable returns s cut to 120 bytes with control and format characters
// replaced, so that what a user typed can be shown in a terminal.
func Printable(s string) string {
	const limit = 120
	cut := s
	if len(cut) > limit {
		cut = strings.ToValidUTF8(cut[:limit], "") + "…"
	}
	return CleanLine(cut)
}

// CleanLine replaces everything in s that a terminal would act on (C0 and C1
// controls but tab, bidirectional overrides) with U+FFFD.
func CleanLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r < 0x20, r == 0x7f, r >= 0x80 && r < 0xa0,
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return '\uFFFD'
		}
		return r
	}, s)
}
