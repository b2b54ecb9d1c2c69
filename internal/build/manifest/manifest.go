// Package manifest reads the files with which an app describes itself:
// Procfile, app.json and landward.yaml, to values, with errors that name file
// and line. It must never know where the bytes come from, what else is in the
// tree, or how anything is built.
package manifest

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"landward/internal/landward"
)

// FileName is the name of Landward's own file.
const FileName = "landward.yaml"

// Limits on what a file may ask for.
const (
	maxReplicas = 100
	maxCron     = 50
	maxArgs     = 100
	maxVolumes  = 20
	maxPids     = 32768
	maxCPUs     = 128
	minMemory   = 8 << 20
	maxWait     = time.Hour
)

// Manifest is a parsed landward.yaml.
type Manifest struct {
	Build    *Build // nil: not given
	Release  landward.Command
	Services []Service // in file order
	Cron     []landward.Cron
	// Routes is what the sections routes and deploy say. Each value is checked
	// by itself: whether a process or a folder exists is for who has the tree.
	Routes landward.Routing

	lines map[string]int // of the keys of routes and deploy
}

// Build says how an image is made. Its zero values mean "not given".
type Build struct {
	Context    string // path in the tree, "" for its root
	Dockerfile string // path in the context
	Target     string
	Args       map[string]string
	Secrets    []string

	lines map[string]int
}

// Where returns the place of one of the section's keys, or "" if it is not there.
func (b *Build) Where(key string) string {
	if line, ok := b.lines[key]; ok {
		return reader{file: FileName}.at(line)
	}
	return ""
}

// Service is one entry of services. Without Image and Build it is a process of
// the default service; with one of them it is a service of its own, with one
// process of the same name. Zero values mean "not given".
type Service struct {
	Name        string
	Image       string
	Build       *Build
	Command     landward.Command
	Port        int
	Health      landward.Health
	Replicas    *int
	Resources   landward.Resources
	StopTimeout time.Duration
	Volumes     []landward.VolumeMount
	Where       string // "landward.yaml:7"
}

// Own reports whether the entry is a service of its own.
func (s Service) Own() bool { return s.Image != "" || s.Build != nil }

// Parse reads a landward.yaml.
func Parse(data []byte) (Manifest, error) {
	m := manifestReader{reader: reader{file: FileName}}
	root, err := m.parseYAML(data)
	if err != nil || root == nil {
		return Manifest{}, err
	}
	err = m.mapping(root, FileName, fields{
		"build":    func(n *node) (err error) { m.out.Build, err = m.build(n, "build"); return err },
		"release":  func(n *node) (err error) { m.out.Release, err = m.command(n, "release"); return err },
		"services": m.services,
		"cron":     m.cron,
		"routes":   m.routes,
		"deploy":   m.deploy,
	})
	if err != nil {
		return Manifest{}, err
	}
	return m.out, nil
}

type manifestReader struct {
	reader
	out Manifest
}

func (m *manifestReader) build(n *node, name string) (*Build, error) {
	b := &Build{Args: map[string]string{}, lines: map[string]int{}}
	err := m.mapping(n, name, fields{
		"context": func(n *node) (err error) {
			b.Context, err = m.treePath(n, name+".context")
			return err
		},
		"dockerfile": func(n *node) (err error) {
			b.Dockerfile, err = m.treePath(n, name+".dockerfile")
			if err == nil && b.Dockerfile == "" {
				err = m.errorf(n.line, "%s.dockerfile must name a file", name)
			}
			return err
		},
		"target": func(n *node) (err error) {
			b.Target, err = m.str(n, name+".target")
			return err
		},
		"args": func(n *node) error { return m.args(n, name+".args", b.Args) },
		"secrets": func(n *node) (err error) {
			b.Secrets, err = m.strings(n, name+".secrets", maxArgs, landward.CheckVarName)
			return err
		},
	})
	if err == nil {
		for _, e := range n.entries {
			b.lines[e.key] = e.value.line
		}
	}
	return b, err
}

// args reads build arguments. Numbers and booleans are taken as written, so
// that 1.20 stays 1.20.
func (m *manifestReader) args(n *node, name string, into map[string]string) error {
	if n.kind != kindMapping {
		return m.wrong(n, name, "a mapping")
	}
	if len(n.entries) > maxArgs {
		return m.errorf(n.line, "%s has %d entries; at most %d are allowed", name, len(n.entries), maxArgs)
	}
	for _, e := range n.entries {
		if err := landward.CheckVarName(e.key); err != nil {
			return m.rename(e.line, err)
		}
		if strings.HasPrefix(e.key, "BUILDKIT_") {
			return m.errorf(e.line, "build argument %s is not yours to set: it steers the builder itself", e.key)
		}
		switch e.value.kind {
		case kindText, kindNumber, kindBool:
			into[e.key] = e.value.text
		default:
			return m.wrong(e.value, name+"."+e.key, "text")
		}
	}
	return nil
}

// treePath reads a path inside the tree and returns it clean, "" for the root.
// A ".." is refused also where it would not lead out: the schema cannot count.
func (r reader) treePath(n *node, name string) (string, error) {
	s, err := r.str(n, name)
	if err != nil {
		return "", err
	}
	clean := path.Clean(s)
	if path.IsAbs(s) || strings.ContainsRune(s, '\\') || !fs.ValidPath(clean) || slices.Contains(strings.Split(s, "/"), "..") {
		return "", r.errorf(n.line, "%s is %q; it must be a path inside the source tree", name, landward.Printable(s))
	}
	if clean == "." {
		clean = ""
	}
	return clean, nil
}

func (m *manifestReader) services(n *node) error {
	if n.kind != kindMapping {
		return m.wrong(n, "services", "a mapping")
	}
	if len(n.entries) > maxProcesses {
		return m.errorf(n.line, "there are more than %d services", maxProcesses)
	}
	for _, e := range n.entries {
		if err := landward.CheckProcessName(e.key); err != nil {
			return m.rename(e.line, err)
		}
		s, err := m.service(e)
		if err != nil {
			return err
		}
		switch {
		case s.Name == "release":
			return m.errorf(e.line, "a service cannot be named release").WithHint(`use the key "release" beside "services"`)
		case s.Image != "" && s.Build != nil:
			return m.errorf(e.line, "services.%s has both image and build; it needs one of them", s.Name)
		case s.Own() && s.Name == landward.DefaultService:
			return m.errorf(e.line, "%q is the name of the service that this tree itself is built into; choose another", s.Name)
		}
		m.out.Services = append(m.out.Services, s)
	}
	return nil
}

func (m *manifestReader) service(e entry) (Service, error) {
	s := Service{Name: e.key, Where: m.at(e.line)}
	name := "services." + e.key
	err := m.mapping(e.value, name, fields{
		"image":   func(n *node) (err error) { s.Image, err = m.image(n, name+".image"); return err },
		"build":   func(n *node) (err error) { s.Build, err = m.build(n, name+".build"); return err },
		"command": func(n *node) (err error) { s.Command, err = m.command(n, name+".command"); return err },
		"port":    func(n *node) (err error) { s.Port, err = m.integer(n, name+".port", 1, 65535); return err },
		"health":  func(n *node) error { return m.health(n, name+".health", &s.Health) },
		"replicas": func(n *node) error {
			count, err := m.integer(n, name+".replicas", 0, maxReplicas)
			s.Replicas = &count
			return err
		},
		"memory": func(n *node) (err error) {
			s.Resources.Memory, err = m.size(n, name+".memory", minMemory, "8M")
			return err
		},
		"cpus": func(n *node) (err error) { s.Resources.MilliCPU, err = m.cpus(n, name+".cpus"); return err },
		"pids": func(n *node) (err error) { s.Resources.Pids, err = m.integer(n, name+".pids", 8, maxPids); return err },
		"stop_timeout": func(n *node) (err error) {
			s.StopTimeout, err = m.duration(n, name+".stop_timeout", maxWait)
			return err
		},
		"volumes": func(n *node) (err error) { s.Volumes, err = m.volumes(n, name+".volumes"); return err },
	})
	return s, err
}

func (m *manifestReader) image(n *node, name string) (string, error) {
	s, err := m.str(n, name)
	if err == nil && (!imageForm.MatchString(s) || len(s) > 512) {
		err = m.errorf(n.line, "%q is not an image reference", landward.Printable(s)).WithHint("write redis:7 or registry.example.com/team/app:1.2")
	}
	return s, err
}

func (m *manifestReader) health(n *node, name string, h *landward.Health) error {
	wait := func(into *time.Duration, key string) func(*node) error {
		return func(n *node) (err error) {
			*into, err = m.duration(n, name+"."+key, maxWait)
			return err
		}
	}
	return m.mapping(n, name, fields{
		"path":     func(n *node) (err error) { h.Path, err = m.healthPath(n, name+".path"); return err },
		"interval": wait(&h.Interval, "interval"),
		"timeout":  wait(&h.Timeout, "timeout"),
		"grace":    wait(&h.Grace, "grace"),
	})
}

func (r reader) healthPath(n *node, name string) (string, error) {
	s, err := r.str(n, name)
	if err == nil && (!healthForm.MatchString(s) || len(s) > 1024) {
		err = r.errorf(n.line, "%s is %q; it must be a URL path that begins with /", name, landward.Printable(s))
	}
	return s, err
}

// size reads a number of bytes that is at least least, which is said as text.
func (m *manifestReader) size(n *node, name string, least int64, text string) (int64, error) {
	s, err := m.str(n, name)
	if err != nil {
		return 0, err
	}
	v, err := ParseSize(s)
	if err != nil {
		return 0, m.rename(n.line, err)
	}
	if v < least {
		return 0, m.errorf(n.line, "%s is %s; it must be at least %s", name, s, text)
	}
	return v, nil
}

func (m *manifestReader) cpus(n *node, name string) (int, error) {
	if n.kind != kindNumber {
		return 0, m.wrong(n, name, "a number")
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || !(v >= 0.01 && v <= maxCPUs) {
		return 0, m.errorf(n.line, "%s is %s; it must be from 0.01 to %d", name, n.text, maxCPUs)
	}
	return int(v*1000 + 0.5), nil
}

// volumes reads "name:/path" and "name:/path:ro".
func (m *manifestReader) volumes(n *node, name string) ([]landward.VolumeMount, error) {
	var out []landward.VolumeMount
	err := m.list(n, name, maxVolumes, func(n *node) error {
		s, err := m.str(n, "an entry of "+name)
		if err != nil {
			return err
		}
		parts := volumeForm.FindStringSubmatch(s)
		if parts == nil {
			return m.errorf(n.line, "%q is not a volume", landward.Printable(s)).
				WithHint("write a name and an absolute path: data:/var/lib/data, or data:/var/lib/data:ro; paths of the host cannot be mounted")
		}
		v := landward.VolumeMount{Name: parts[1], Path: parts[3], ReadOnly: parts[4] != ""}
		if path.Clean(v.Path) != v.Path || v.Path == "/" {
			return m.errorf(n.line, "%q is not a clean path below /", landward.Printable(v.Path))
		}
		for _, o := range out {
			if o.Path == v.Path {
				return m.errorf(n.line, "two volumes are mounted at %s", landward.Printable(v.Path))
			}
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

func (m *manifestReader) cron(n *node) error {
	return m.list(n, "cron", maxCron, func(n *node) error {
		job := landward.Cron{Name: cronName(len(m.out.Cron)), Overlap: landward.OverlapForbid}
		err := m.mapping(n, "a cron job", fields{
			"name": func(n *node) (err error) {
				if job.Name, err = m.str(n, "name"); err == nil {
					if err = landward.CheckProcessName(job.Name); err != nil {
						err = m.rename(n.line, err)
					}
				}
				return err
			},
			"schedule": func(n *node) (err error) { job.Schedule, err = m.schedule(n, "schedule"); return err },
			"command":  func(n *node) (err error) { job.Command, err = m.command(n, "command"); return err },
			"overlap":  func(n *node) (err error) { job.Overlap, err = m.overlap(n, "overlap"); return err },
		})
		if err == nil && (job.Command.IsZero() || job.Schedule == "") {
			err = m.errorf(n.line, "a cron job needs both schedule and command")
		}
		for _, o := range m.out.Cron {
			if err == nil && o.Name == job.Name {
				err = m.errorf(n.line, "two cron jobs are named %q", job.Name)
			}
		}
		m.out.Cron = append(m.out.Cron, job)
		return err
	})
}

// cronName names a job that has no name of its own by its place in the file.
func cronName(index int) string { return "cron-" + strconv.Itoa(index+1) }

// schedule reads five fields or @daily and its like.
func (r reader) schedule(n *node, name string) (string, error) {
	s, err := r.str(n, name)
	if err != nil {
		return "", err
	}
	hint := `write minute, hour, day, month and weekday: "0 3 * * *"; or @hourly, @daily, @weekly, @monthly`
	if !scheduleForm.MatchString(s) {
		return "", r.errorf(n.line, "%q is not a schedule", landward.Printable(s)).WithHint("%s", hint)
	}
	if _, err := cron.ParseStandard(s); err != nil {
		return "", r.errorf(n.line, "%q is not a schedule: %s", landward.Printable(s), landward.Printable(err.Error())).WithHint("%s", hint)
	}
	return s, nil
}
