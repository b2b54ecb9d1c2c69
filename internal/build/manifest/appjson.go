package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"landward/internal/landward"
)

// AppJSONName is the file of Heroku's and Dokku's app manifest.
const AppJSONName = "app.json"

// AppJSON is what Landward takes from an app.json. Keys it has no use for are
// passed over: other platforms own the format.
type AppJSON struct {
	Env       []landward.EnvDecl
	Formation map[string]int             // process name → replicas
	Health    map[string]landward.Health // process name → rule
	Release   landward.Command           // scripts.dokku.predeploy
	Cron      []landward.Cron
	Notices   []string // what was read but will not happen
}

// ParseAppJSON reads an app.json.
func ParseAppJSON(data []byte) (AppJSON, error) {
	a := appJSONReader{reader: reader{file: AppJSONName}}
	root, err := a.parseJSON(data)
	if err != nil {
		return AppJSON{}, err
	}
	if root.kind != kindMapping {
		return AppJSON{}, a.wrong(root, AppJSONName, "a mapping")
	}
	err = a.some(root, AppJSONName, fields{
		"env":          a.env,
		"formation":    a.formation,
		"healthchecks": a.health,
		"scripts":      a.scripts,
		"cron":         a.cron,
	})
	if err != nil {
		return AppJSON{}, err
	}
	return a.out, nil
}

type appJSONReader struct {
	reader
	out AppJSON
}

func (a *appJSONReader) notice(line int, format string, args ...any) {
	a.out.Notices = append(a.out.Notices, a.at(line)+": "+fmt.Sprintf(format, args...))
}

// some reads the keys of n that are known and passes over the others.
func (a *appJSONReader) some(n *node, name string, known fields) error {
	if n.kind != kindMapping {
		return a.wrong(n, name, "a mapping")
	}
	for _, e := range n.entries {
		if read, ok := known[e.key]; ok {
			if err := read(e.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// perProcess reads a mapping from process names.
func (a *appJSONReader) perProcess(n *node, name string, read func(process string, n *node) error) error {
	if n.kind != kindMapping {
		return a.wrong(n, name, "a mapping")
	}
	for _, e := range n.entries {
		if err := landward.CheckProcessName(e.key); err != nil {
			return a.rename(e.line, err)
		}
		if err := read(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

func (a *appJSONReader) env(n *node) error {
	if n.kind != kindMapping {
		return a.wrong(n, "env", "a mapping")
	}
	for _, e := range n.entries {
		if err := landward.CheckVarName(e.key); err != nil {
			return a.rename(e.line, err)
		}
		decl, err := a.declaration(e)
		if err != nil {
			return err
		}
		a.out.Env = append(a.out.Env, decl)
	}
	return nil
}

// declaration reads one variable. As everywhere that reads app.json, a
// variable is required unless it says otherwise.
func (a *appJSONReader) declaration(e entry) (landward.EnvDecl, error) {
	d := landward.EnvDecl{Name: e.key, Required: true}
	if e.value.kind == kindText {
		d.Value = e.value.text
		return d, nil
	}
	if e.value.kind != kindMapping {
		return d, a.wrong(e.value, "env."+e.key, "text or a mapping")
	}
	text := func(into *string, name string) func(*node) error {
		return func(n *node) error {
			if n.kind != kindText {
				return a.wrong(n, "env."+e.key+"."+name, "text")
			}
			*into = n.text
			return nil
		}
	}
	err := a.some(e.value, "env."+e.key, fields{
		"description": text(&d.Description, "description"),
		"value":       text(&d.Value, "value"),
		"required": func(n *node) (err error) {
			if n.kind != kindBool {
				return a.wrong(n, "env."+e.key+".required", "true or false")
			}
			d.Required = n.text == "true"
			return nil
		},
		"generator": func(n *node) error {
			if n.kind != kindText || n.text != "secret" {
				return a.errorf(n.line, `env.%s.generator must be "secret"`, e.key)
			}
			d.Generate = true
			return nil
		},
	})
	d.Description = landward.Printable(d.Description)
	return d, err
}

func (a *appJSONReader) formation(n *node) error {
	a.out.Formation = map[string]int{}
	return a.perProcess(n, "formation", func(process string, n *node) error {
		return a.some(n, "formation."+process, fields{"quantity": func(n *node) error {
			count, err := a.integer(n, "formation."+process+".quantity", 0, maxReplicas)
			a.out.Formation[process] = count
			return err
		}})
	})
}

func (a *appJSONReader) health(n *node) error {
	a.out.Health = map[string]landward.Health{}
	return a.perProcess(n, "healthchecks", func(process string, n *node) error {
		name := "healthchecks." + process
		return a.list(n, name, maxProcesses, func(n *node) error {
			check, err := a.check(n, name)
			if err != nil {
				return err
			}
			_, have := a.out.Health[process]
			switch {
			case check.kind != "startup" && check.kind != "readiness":
				a.notice(n.line, "a healthcheck of type %q has no use here", landward.Printable(check.kind))
			case check.command:
				a.notice(n.line, "a healthcheck that runs a command has no use here; give it a path")
			case have && check.kind != "startup":
				a.notice(n.line, "process %s has a healthcheck already; this one is passed over", process)
			default:
				a.out.Health[process] = check.rule()
			}
			return nil
		})
	})
}

// healthcheck is one check as app.json says it.
type healthcheck struct {
	kind                         string
	path                         string
	command                      bool
	attempts                     int
	wait, timeout, delay         time.Duration
	hasAttempts, hasDelay, timed bool
}

// rule says the check in our terms: attempts that are wait apart, after a delay,
// are a grace period.
func (c healthcheck) rule() landward.Health {
	h := landward.Health{Path: c.path}
	if c.timed {
		h.Interval, h.Timeout = c.wait, c.timeout
	}
	if c.hasAttempts || c.hasDelay {
		h.Grace = c.delay + time.Duration(c.attempts)*(c.wait+c.timeout)
	}
	return h
}

func (a *appJSONReader) check(n *node, name string) (healthcheck, error) {
	c := healthcheck{kind: "startup", attempts: 3, wait: 5 * time.Second, timeout: 5 * time.Second}
	seconds := func(into *time.Duration, given *bool, key string) func(*node) error {
		return func(n *node) error {
			if n.kind != kindNumber {
				return a.wrong(n, name+"."+key, "a number of seconds")
			}
			v, err := strconv.ParseFloat(n.text, 64)
			if err != nil || v < 0 || v > maxWait.Seconds() {
				return a.errorf(n.line, "%s.%s is %s; it must be from 0 to %.0f seconds", name, key, n.text, maxWait.Seconds())
			}
			*into, *given = time.Duration(v*float64(time.Second)), true
			return nil
		}
	}
	err := a.some(n, name, fields{
		"type":    func(n *node) (err error) { c.kind, err = a.str(n, name+".type"); return err },
		"path":    func(n *node) (err error) { c.path, err = a.healthPath(n, name+".path"); return err },
		"command": func(*node) error { c.command = true; return nil },
		"attempts": func(n *node) (err error) {
			c.hasAttempts = true
			c.attempts, err = a.integer(n, name+".attempts", 1, 1000)
			return err
		},
		"wait":         seconds(&c.wait, &c.timed, "wait"),
		"timeout":      seconds(&c.timeout, &c.timed, "timeout"),
		"initialDelay": seconds(&c.delay, &c.hasDelay, "initialDelay"),
	})
	return c, err
}

func (a *appJSONReader) scripts(n *node) error {
	return a.some(n, "scripts", fields{
		"postdeploy": a.notRun("scripts.postdeploy"),
		"dokku": func(n *node) error {
			return a.some(n, "scripts.dokku", fields{
				"predeploy": func(n *node) (err error) {
					a.out.Release, err = a.command(n, "scripts.dokku.predeploy")
					a.notice(n.line, "scripts.dokku.predeploy runs as the release command, in a container of its own")
					return err
				},
				"prebuild":   a.notRun("scripts.dokku.prebuild"),
				"postdeploy": a.notRun("scripts.dokku.postdeploy"),
			})
		},
	})
}

func (a *appJSONReader) notRun(name string) func(*node) error {
	return func(n *node) error {
		a.notice(n.line, "%s is not run; use a release command for what must happen once per release", name)
		return nil
	}
}

func (a *appJSONReader) cron(n *node) error {
	return a.list(n, "cron", maxCron, func(n *node) error {
		job := landward.Cron{Name: cronName(len(a.out.Cron)), Overlap: landward.OverlapAllow}
		var line int
		err := a.some(n, "a cron job", fields{
			"command": func(n *node) (err error) { job.Command, err = a.command(n, "command"); return err },
			"schedule": func(n *node) (err error) {
				line = n.line
				job.Schedule, err = a.schedule(n, "schedule")
				return err
			},
			"concurrency_policy": func(n *node) (err error) { job.Overlap, err = a.overlap(n, "concurrency_policy"); return err },
		})
		if err == nil && (job.Command.IsZero() || line == 0) {
			err = a.errorf(n.line, "a cron job needs both schedule and command")
		}
		a.out.Cron = append(a.out.Cron, job)
		return err
	})
}

// overlap reads what happens when a job is due while it runs.
func (r reader) overlap(n *node, name string) (landward.Overlap, error) {
	known := []landward.Overlap{landward.OverlapForbid, landward.OverlapAllow, landward.OverlapReplace}
	s, err := r.str(n, name)
	if err == nil && !slices.Contains(known, landward.Overlap(s)) {
		err = r.errorf(n.line, "%s is %q; it must be forbid, allow or replace", name, landward.Printable(s))
	}
	return landward.Overlap(s), err
}
