package deploy

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"landward/internal/landward"
)

// Change is one change of an app's settings: one release. Empty fields leave
// things as they are.
type Change struct {
	Set           []landward.Var
	Unset         []string
	Scale         map[string]int
	Resources     map[string]landward.Resources
	Health        map[string]landward.Health
	AddDomains    []string
	RemoveDomains []string
	Restart       bool
	Description   string // empty: made from the change
}

// Bounds of what a user may ask for.
const (
	maxVars     = 500
	maxVarBytes = 128 << 10 // the kernel's limit of one environment string
	maxEnvBytes = 1 << 20   // of all together
	maxReplicas = 20
	minMemory   = 16 << 20
	maxDomains  = 100
)

// Configure applies the change. While the app has no release it only changes
// the settings, and the returned deployment has no ID; so too when nothing changes.
func (d *Deployer) Configure(ctx context.Context, actor landward.Actor, appID int64, c Change) (landward.Deployment, error) {
	if err := d.check(c); err != nil {
		return landward.Deployment{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return landward.Deployment{}, err
	}
	base, err := d.base(ctx, app)
	if err != nil {
		return landward.Deployment{}, err
	}
	if err := c.checkProcesses(base); err != nil {
		return landward.Deployment{}, err
	}
	settings, err := c.apply(app.Settings)
	if err != nil {
		return landward.Deployment{}, err
	}
	if same(settings, app.Settings) {
		return landward.Deployment{}, nil
	}
	why := c.describe()
	if base.Version == 0 {
		_, err = d.Store.UpdateSettings(ctx, appID, c.apply)
		if err == nil {
			d.event(ctx, app, actor, "config.change", why)
			d.Notify.Publish(appID)
		}
		return landward.Deployment{}, err
	}
	return d.change(ctx, actor, app, base, &settings, why)
}

// same compares what JSON keeps: an empty map is as good as none.
func same(a, b landward.Settings) bool {
	return slices.Equal(a.Env, b.Env) && slices.Equal(a.Domains, b.Domains) && a.Restart == b.Restart &&
		maps.Equal(a.Scale, b.Scale) && maps.Equal(a.Resources, b.Resources) && maps.Equal(a.Health, b.Health)
}

// base is the release whose code a change keeps: the one that is about to be
// current, else the current one. Version 0 where there is none.
func (d *Deployer) base(ctx context.Context, app landward.App) (landward.Release, error) {
	open, err := d.Store.OpenDeployments(ctx)
	if err != nil {
		return landward.Release{}, err
	}
	version := app.Current
	for _, dep := range open {
		if dep.AppID == app.ID && dep.State.Reconciling() && dep.Release > version {
			version = dep.Release
		}
	}
	if version == 0 {
		return landward.Release{}, nil
	}
	return d.Store.Release(ctx, app.ID, version)
}

func (d *Deployer) check(c Change) error {
	if reflect.DeepEqual(c, Change{Description: c.Description}) {
		return landward.Invalid("", "there is nothing to change")
	}
	for i, v := range c.Set {
		if err := landward.CheckVarName(v.Name); err != nil {
			return at(err, "set[%d].name", i)
		}
		if strings.ContainsRune(v.Value, 0) {
			return landward.Invalid(fmt.Sprintf("set[%d].value", i), "the value of %s has a NUL byte", v.Name).
				WithHint("an environment cannot carry one; encode the value, for example with base64")
		}
		if !utf8.ValidString(v.Value) {
			return landward.Invalid(fmt.Sprintf("set[%d].value", i), "the value of %s is not UTF-8 text", v.Name).
				WithHint("encode it, for example with base64")
		}
		if len(v.Name)+len(v.Value) > maxVarBytes-2 {
			return landward.Invalid(fmt.Sprintf("set[%d].value", i), "the value of %s is larger than %d KiB", v.Name, maxVarBytes>>10).
				WithHint("put large data into a volume or into the image")
		}
	}
	for name, n := range c.Scale {
		if err := landward.CheckProcessName(name); err != nil {
			return at(err, "scale")
		}
		if n < 0 || n > maxReplicas {
			return landward.Invalid("scale."+name, "%d is not a number of containers", n).WithHint("use 0 to %d", maxReplicas)
		}
	}
	for name, r := range c.Resources {
		if err := checkResources(name, r); err != nil {
			return err
		}
	}
	for name, h := range c.Health {
		if err := checkHealth(name, h); err != nil {
			return err
		}
	}
	for i, host := range c.AddDomains {
		if err := d.checkDomain(host); err != nil {
			return at(err, "domains[%d]", i)
		}
	}
	return nil
}

func checkResources(name string, r landward.Resources) error {
	field := "resources." + name
	switch {
	case landward.CheckProcessName(name) != nil:
		return at(landward.CheckProcessName(name), "resources")
	case r.Memory != 0 && r.Memory < minMemory:
		return landward.Invalid(field+".memory", "%d bytes of memory are too few", r.Memory).WithHint("give at least %dM", minMemory>>20)
	case r.MilliCPU < 0 || r.MilliCPU > 1_000_000:
		return landward.Invalid(field+".cpu", "%d is not a number of thousandths of a core", r.MilliCPU)
	case r.Pids < 0 || r.Pids > 0 && r.Pids < 8 || r.Pids > 100_000:
		return landward.Invalid(field+".pids", "%d is not a limit of processes", r.Pids).WithHint("use 8 to 100000")
	}
	return nil
}

func checkHealth(name string, h landward.Health) error {
	field := "health." + name
	if err := landward.CheckProcessName(name); err != nil {
		return at(err, "health")
	}
	bad := strings.ContainsFunc(h.Path, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if h.Path != "" && (!strings.HasPrefix(h.Path, "/") || bad || len(h.Path) > 1024) {
		return landward.Invalid(field+".path", "%q is not a path", landward.Printable(h.Path)).WithHint("it starts with / and has no spaces: /up")
	}
	if h.Interval < 0 || h.Timeout < 0 || h.Grace < 0 {
		return landward.Invalid(field, "a time is negative")
	}
	return nil
}

// checkDomain says what is wrong with a host that an app is to have, or nil. One
// that begins with "*." stands for all hosts one label below the rest, which may
// not be a top-level domain.
func (d *Deployer) checkDomain(host string) error {
	rest, wild := strings.CutPrefix(host, "*.")
	normal, ok := landward.NormalHost(rest)
	switch {
	case !ok && strings.Contains(host, "*"):
		return landward.Invalid("domain", "%q is not a domain name", landward.Printable(host)).
			WithHint("a * stands for one whole label and comes first: *.example.com")
	case !ok || !wild && !strings.Contains(normal, "."):
		return landward.Invalid("domain", "%q is not a domain name", landward.Printable(host)).
			WithHint("write it without scheme, port and path: www.example.com; write an international name in its xn-- form")
	case wild && !strings.Contains(normal, "."):
		return landward.Invalid("domain", "%q stands for every domain below %s", landward.Printable(host), normal).
			WithHint("write a domain of your own after the *: *.example.com")
	}
	if normal == d.Domain || strings.HasSuffix(normal, "."+d.Domain) {
		return landward.Invalid("domain", "%q belongs to this installation", normal).
			WithHint("an app has its own name under %s already; add domains of your own", d.Domain)
	}
	return nil
}

// checkProcesses refuses settings for processes that the app does not have,
// once it has any.
func (c Change) checkProcesses(base landward.Release) error {
	if base.Version == 0 {
		return nil
	}
	var known []string
	for _, s := range base.Services {
		for _, p := range s.Processes {
			known = append(known, p.Name)
		}
	}
	asked := slices.Concat(slices.Collect(maps.Keys(c.Scale)), slices.Collect(maps.Keys(c.Resources)), slices.Collect(maps.Keys(c.Health)))
	for _, name := range asked {
		if !slices.Contains(known, name) {
			return landward.Invalid("process", "the app has no process %q", name).
				WithHint("it has: %s", strings.Join(known, ", "))
		}
	}
	return nil
}

func (c Change) apply(s landward.Settings) (landward.Settings, error) {
	s = s.Clone()
	for _, name := range c.Unset {
		if !slices.ContainsFunc(s.Env, func(v landward.Var) bool { return v.Name == name }) {
			return s, landward.Errorf(landward.CodeNotFound, "there is no variable %q", landward.Printable(name)).
				WithHint("`landward config` lists them")
		}
	}
	s.Env = landward.SetVars(landward.UnsetVars(s.Env, c.Unset...), c.Set...)
	total := 0
	for _, v := range s.Env {
		total += len(v.Name) + len(v.Value) + 2
	}
	if len(s.Env) > maxVars || total > maxEnvBytes {
		return s, landward.Invalid("set", "the app would have %d variables of %d bytes together", len(s.Env), total).
			WithHint("the limits are %d variables and %d bytes", maxVars, maxEnvBytes)
	}
	maps.Copy(s.Scale, c.Scale)
	for name, r := range c.Resources {
		s.Resources[name] = s.Resources[name].Merge(r)
	}
	maps.Copy(s.Health, c.Health)
	if err := c.applyDomains(&s); err != nil {
		return s, err
	}
	if c.Restart {
		s.Restart = rand.Text()
	}
	return s, nil
}

func (c Change) applyDomains(s *landward.Settings) error {
	for _, host := range c.AddDomains {
		host, _ = landward.NormalDomain(host)
		if !slices.Contains(s.Domains, host) {
			s.Domains = append(s.Domains, host)
		}
	}
	for _, host := range c.RemoveDomains {
		normal, _ := landward.NormalDomain(host)
		i := slices.Index(s.Domains, normal)
		if i < 0 {
			return landward.Errorf(landward.CodeNotFound, "the app has no domain %q", landward.Printable(host)).
				WithHint("`landward domains` lists them")
		}
		s.Domains = slices.Delete(s.Domains, i, i+1)
	}
	if len(s.Domains) > maxDomains {
		return landward.Invalid("domains", "an app can have %d domains", maxDomains)
	}
	slices.Sort(s.Domains)
	return nil
}

// describe says what the change does, without any value.
func (c Change) describe() string {
	if c.Description != "" {
		return c.Description
	}
	var parts []string
	add := func(verb string, names []string) {
		if len(names) > 0 {
			parts = append(parts, verb+" "+strings.Join(names, ", "))
		}
	}
	var set []string
	for _, v := range c.Set {
		set = append(set, v.Name)
	}
	add("Set", set)
	add("Unset", c.Unset)
	var scale []string
	for _, name := range slices.Sorted(maps.Keys(c.Scale)) {
		scale = append(scale, fmt.Sprintf("%s=%d", name, c.Scale[name]))
	}
	add("Scale", scale)
	add("Limit", slices.Sorted(maps.Keys(c.Resources)))
	add("Change health of", slices.Sorted(maps.Keys(c.Health)))
	add("Add domain", c.AddDomains)
	add("Remove domain", c.RemoveDomains)
	if c.Restart {
		parts = append(parts, "Restart")
	}
	return strings.Join(parts, "; ")
}

// at moves an error to the field that it is about.
func at(err error, format string, args ...any) error {
	e := *landward.AsError(err)
	e.Field = fmt.Sprintf(format, args...)
	return &e
}
