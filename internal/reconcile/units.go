package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"landward/internal/engine"
	"landward/internal/landward"
)

// Defaults are what a process gets where nobody said anything.
type Defaults struct {
	Resources   landward.Resources
	StopTimeout time.Duration
	Port        int // what PORT is where neither user nor image says
	Health      landward.Health
	Warm        time.Duration // how long the web units of the release before stay, for a quick way back
	Domain      string        // apps answer at APP.Domain
	Sites       string        // folder of the files that the edge serves
	Names       bool          // containers ask the edge for names
}

// Units returns the containers that a release wants, in order. A unit's ID
// comes from what it is, not from the release: a release that changes nothing
// about a process takes over its containers as they are.
func Units(app landward.App, rel landward.Release, def Defaults) []engine.Unit {
	var units []engine.Unit
	for _, svc := range rel.Effective() {
		for _, p := range svc.Processes {
			u := unit(app, rel, svc, def)
			u.Process, u.Kind = p.Name, engine.KindProcess
			u.Restart = engine.RestartAlways
			u.Resources = def.Resources.Merge(p.Resources)
			if p.StopTimeout > 0 {
				u.StopTimeout = p.StopTimeout
			}
			port := strconv.Itoa(Port(rel, svc, p, def))
			if rel.Routing.Serves(p.Name) || p.Port != 0 {
				if _, set := u.Env["PORT"]; !set {
					u.Env["PORT"] = port
				}
			}
			u.Command = command(p.Command, u.Env)
			u.Spec = specHash(u, rel.Settings.Restart)
			for i := 1; i <= p.Replicas; i++ {
				u.Index = i
				u.ID = fmt.Sprintf("a%d-%s-%s-%d", app.ID, p.Name, u.Spec, i)
				units = append(units, u)
			}
		}
	}
	return units
}

// PhaseUnit returns the container that runs the release command once.
func PhaseUnit(app landward.App, rel landward.Release, def Defaults) engine.Unit {
	u := OneOff(app, rel, rel.ReleasePhase, def)
	u.Process, u.Kind = "release", engine.KindRelease
	u.ID = fmt.Sprintf("a%d-release-v%d", app.ID, rel.Version)
	return u
}

// OneOff returns a container of the default service for a command that ends.
// The caller gives it its ID, process and kind.
func OneOff(app landward.App, rel landward.Release, cmd landward.Command, def Defaults) engine.Unit {
	var svc landward.Service // a static site has none
	for i, s := range rel.Services {
		if i == 0 || s.Name == landward.DefaultService {
			svc = s
		}
	}
	u := unit(app, rel, svc, def)
	u.Command = command(cmd, u.Env)
	u.Index = 1
	u.Restart = engine.RestartNever
	u.Resources = def.Resources
	u.Spec = specHash(u, "")
	return u
}

// unit fills in what all containers of a service share.
func unit(app landward.App, rel landward.Release, svc landward.Service, def Defaults) engine.Unit {
	u := engine.Unit{
		AppID: app.ID, App: app.Name, Service: svc.Name, Release: rel.Version,
		Image: svc.Image.ID, Volumes: svc.Volumes,
		Env: map[string]string{}, Files: map[string]string{},
		StopTimeout: def.StopTimeout,
	}
	for _, v := range rel.Settings.Env {
		if v.File {
			u.Files[v.Name] = v.Value
		} else {
			u.Env[v.Name] = v.Value
		}
	}
	u.Env["LANDWARD_APP"] = app.Name
	if rel.Source.Commit != "" {
		u.Env["GIT_REV"] = rel.Source.Commit
	}
	return u
}

// Port is where a process is expected to listen: the user's PORT, the port that its
// description names, the image's only EXPOSE, the installation's default.
func Port(rel landward.Release, svc landward.Service, p landward.Process, def Defaults) int {
	for _, v := range rel.Settings.Env {
		if v.Name == "PORT" && !v.File {
			if n, err := strconv.Atoi(v.Value); err == nil && n > 0 && n < 65536 {
				return n
			}
		}
	}
	switch {
	case p.Port != 0:
		return p.Port
	case len(svc.Image.Exposed) == 1:
		return svc.Image.Exposed[0]
	}
	return def.Port
}

// command fills $NAME and ${NAME} of an argv in from env, as a shell would; a
// shell line is the container's own shell's.
func command(c landward.Command, env map[string]string) []string {
	if c.Shell != "" {
		return c.Args()
	}
	out := make([]string, len(c.Argv))
	for i, a := range c.Argv {
		out[i] = os.Expand(a, func(name string) string { return env[name] })
	}
	return out
}

// specHash names what a container is made of. JSON writes maps in key order,
// so equal units have equal hashes.
func specHash(u engine.Unit, nonce string) string {
	u.Release, u.App, u.Index, u.ID = 0, "", 0, ""
	b, err := json.Marshal(struct {
		Unit  engine.Unit
		Nonce string
	}{u, nonce})
	if err != nil {
		panic(err) // strings, numbers and maps of strings always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
