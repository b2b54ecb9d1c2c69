package detect

import (
	"slices"
	"strings"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// run decides which processes there are, and everything else that is not the
// build. landward.yaml is laid over the Procfile, both over app.json.
func (d *detector) run() error {
	for _, s := range d.manifest.Services {
		if !s.Own() {
			continue
		}
		own, ok, err := d.ownService(s)
		if err != nil {
			return err
		}
		if ok {
			d.plan.Services = append(d.plan.Services, own)
		}
	}
	d.release()
	d.cron()
	if d.app != nil {
		if err := d.appService(); err != nil {
			return err
		}
		d.plan.Services = slices.Insert(d.plan.Services, 0, *d.app)
	} else if !d.plan.ReleasePhase.IsZero() || len(d.plan.Cron) > 0 {
		return landward.Invalid(manifest.FileName, "release and cron commands run in the image that is built from the tree, and this tree builds none").
			WithHint("add a Dockerfile, or run the command in the service that needs it")
	}
	if d.plan.Builder == "" {
		d.plan.Builder = "image"
	}
	d.plan.Routes = d.manifest.Routes
	d.plan.Env = d.appJSON.Env
	d.plan.Notices = append(d.plan.Notices, d.appJSON.Notices...)
	d.checkNames()
	return nil
}

// ownService is a service with an image or a build of its own. ok is false for
// one that is only files.
func (d *detector) ownService(s manifest.Service) (p landward.ServicePlan, ok bool, err error) {
	p = landward.ServicePlan{Name: s.Name, Image: s.Image, Volumes: s.Volumes}
	process := landward.Process{Name: s.Name, Replicas: 1}
	if d.procfile.Has(s.Name) {
		return p, false, landward.Invalid(s.Where, "%q is a process of the Procfile and cannot have an image or build of its own", s.Name)
	}
	if s.Build != nil {
		f, err := d.recipe(s.Build)
		if err != nil {
			return p, false, err
		}
		if f.static != "" {
			return p, false, d.ownFiles(s, f)
		}
		p.Build, process.Command = buildPlan(s.Build, f), f.web
		if d.plan.Builder == "" {
			d.plan.Builder = f.builder
		}
		if f.title != "" {
			d.notice("%s app detected: %s", f.title, f.why)
		}
		d.plan.Notices = append(d.plan.Notices, f.notices...)
	}
	lay(&process, s)
	p.Processes = []landward.Process{process}
	return p, true, nil
}

// appService gives the default service its processes: those that the Procfile
// and landward.yaml name, or, when they name none, web with the image's own
// command.
func (d *detector) appService() error {
	for _, line := range d.procfile.Processes {
		d.app.Processes = append(d.app.Processes, landward.Process{Name: line.Name, Command: line.Command, Replicas: 1})
	}
	for _, s := range d.manifest.Services {
		if s.Own() {
			continue
		}
		p := d.process(s.Name)
		lay(p, s)
		if p.Command.IsZero() && s.Name != landward.WebProcess {
			return landward.Invalid(s.Where, "process %q has no command", s.Name).
				WithHint("add command: to it, or a line for it to the Procfile; or give it an image")
		}
		if err := d.mount(s); err != nil {
			return err
		}
	}
	if len(d.app.Processes) == 0 {
		for _, s := range d.manifest.Services {
			if s.Name == landward.WebProcess {
				return landward.Invalid(s.Where, "the image that is built from the tree has no process: web is a service of its own").
					WithHint("name a process of it in services or in the Procfile, or drop the build section")
			}
		}
		d.process(landward.WebProcess)
	}
	for i := range d.app.Processes {
		p := &d.app.Processes[i]
		if p.Name == landward.WebProcess && p.Command.IsZero() {
			p.Command = d.web
		}
		d.layAppJSON(p)
	}
	// web first: it is what people look for.
	slices.SortStableFunc(d.app.Processes, func(a, b landward.Process) int {
		return strings.Compare(webFirst(a.Name), webFirst(b.Name))
	})
	return nil
}

func webFirst(name string) string {
	if name == landward.WebProcess {
		return "0"
	}
	return "1"
}

// process returns the default service's process of that name, made if need be.
func (d *detector) process(name string) *landward.Process {
	i := slices.IndexFunc(d.app.Processes, func(p landward.Process) bool { return p.Name == name })
	if i < 0 {
		i = len(d.app.Processes)
		d.app.Processes = append(d.app.Processes, landward.Process{Name: name, Replicas: 1})
	}
	return &d.app.Processes[i]
}

// lay puts what landward.yaml says over a process.
func lay(p *landward.Process, s manifest.Service) {
	if !s.Command.IsZero() {
		p.Command = s.Command
	}
	if s.Replicas != nil {
		p.Replicas = *s.Replicas
	}
	if s.Port != 0 {
		p.Port = s.Port
	}
	if s.StopTimeout != 0 {
		p.StopTimeout = s.StopTimeout
	}
	p.Health = s.Health
	p.Resources = s.Resources
}

// layAppJSON puts what app.json says under a process.
func (d *detector) layAppJSON(p *landward.Process) {
	if n, ok := d.appJSON.Formation[p.Name]; ok && !d.setsReplicas(p.Name) {
		p.Replicas = n
	}
	if h, ok := d.appJSON.Health[p.Name]; ok && p.Health == (landward.Health{}) {
		p.Health = h
	}
}

func (d *detector) setsReplicas(name string) bool {
	return slices.ContainsFunc(d.manifest.Services, func(s manifest.Service) bool { return s.Name == name && s.Replicas != nil })
}

// mount adds a process's volumes to the service: all processes of an image
// see the same ones.
func (d *detector) mount(s manifest.Service) error {
	for _, v := range s.Volumes {
		i := slices.IndexFunc(d.app.Volumes, func(o landward.VolumeMount) bool { return o.Path == v.Path })
		switch {
		case i < 0:
			d.app.Volumes = append(d.app.Volumes, v)
		case d.app.Volumes[i] != v:
			return landward.Invalid(s.Where, "another process mounts %q at %s", d.app.Volumes[i].Name, landward.Printable(v.Path)).
				WithHint("processes of one image share their volumes")
		}
	}
	return nil
}

// release takes the release command from the first file that has one.
func (d *detector) release() {
	choices := []struct {
		file    string
		command landward.Command
	}{
		{manifest.FileName, d.manifest.Release},
		{manifest.ProcfileName, d.procfile.Release},
		{manifest.AppJSONName, d.appJSON.Release},
	}
	taken := ""
	for _, c := range choices {
		switch {
		case c.command.IsZero():
		case taken == "":
			d.plan.ReleasePhase, taken = c.command, c.file
		default:
			d.notice("the release command of %s is not used: %s has one", c.file, taken)
		}
	}
}

func (d *detector) cron() {
	d.plan.Cron = d.manifest.Cron
	if len(d.plan.Cron) == 0 {
		d.plan.Cron = d.appJSON.Cron
	} else if len(d.appJSON.Cron) > 0 {
		d.notice("the cron jobs of %s are not used: %s has some", manifest.AppJSONName, manifest.FileName)
	}
}

// checkNames tells about what points to a process that is not there.
func (d *detector) checkNames() {
	var names []string
	for _, s := range d.plan.Services {
		for _, p := range s.Processes {
			names = append(names, p.Name)
		}
	}
	var lost []string
	for name := range d.appJSON.Formation {
		lost = append(lost, name)
	}
	for name := range d.appJSON.Health {
		lost = append(lost, name)
	}
	slices.Sort(lost)
	for _, name := range slices.Compact(lost) {
		if !slices.Contains(names, name) {
			d.notice("%s speaks of process %q, which does not exist", manifest.AppJSONName, name)
		}
	}
	if !slices.Contains(names, landward.WebProcess) {
		d.notice("there is no process named web: nothing will answer HTTP requests")
	}
}
