// Package detect turns a source tree into a plan: what is built, how, and which
// processes run from it. It is pure: a tree in, a plan or an error that names
// file and line out. It must never know about an app's settings, Docker, or
// where the tree came from.
package detect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// maxFile is how much of a file of the tree is read.
const maxFile = 1 << 20

// Detect reads what the tree says about itself and returns the plan. The first
// of these decides how the default service is built: landward.yaml's build
// section, a Dockerfile, go.mod, package.json, a Python project, index.html.
func Detect(tree fs.FS) (landward.Plan, error) {
	d := detector{tree: tree}
	if err := d.read(); err != nil {
		return landward.Plan{}, err
	}
	if err := d.build(); err != nil {
		return landward.Plan{}, err
	}
	if err := d.run(); err != nil {
		return landward.Plan{}, err
	}
	return d.plan, nil
}

// detector holds what is known so far of one tree.
type detector struct {
	tree     fs.FS
	manifest manifest.Manifest
	procfile manifest.Procfile
	appJSON  manifest.AppJSON

	plan landward.Plan
	app  *landward.ServicePlan // the default service; nil if the tree builds none
	web  landward.Command      // what the recipe found for web; empty: the image's own
}

// read parses the files that describe the app.
func (d *detector) read() error {
	if _, ok, err := d.file("landward.yml"); err != nil {
		return err
	} else if ok {
		return landward.Invalid("landward.yml", "the file must be named %s", manifest.FileName)
	}
	steps := []struct {
		name  string
		parse func(data []byte) error
	}{
		{manifest.FileName, func(data []byte) (err error) { d.manifest, err = manifest.Parse(data); return err }},
		{manifest.ProcfileName, func(data []byte) (err error) { d.procfile, err = manifest.ParseProcfile(data); return err }},
		{manifest.AppJSONName, func(data []byte) (err error) { d.appJSON, err = manifest.ParseAppJSON(data); return err }},
	}
	for _, s := range steps {
		data, ok, err := d.file(s.name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := s.parse(data); err != nil {
			return err
		}
	}
	return nil
}

// build decides how images are made.
func (d *detector) build() error {
	b := d.manifest.Build
	if b == nil && d.onlyOwn() {
		d.plan.Why = manifest.FileName
		return nil
	}
	if d.onlyFiles() {
		d.serveFiles(found{why: manifest.FileName})
		return nil
	}
	if b == nil {
		b = &manifest.Build{}
	}
	found, err := d.recipe(b)
	if err != nil {
		return err
	}
	if found.static != "" {
		d.serveFiles(found)
		return nil
	}
	d.plan.Builder, d.plan.Why, d.web = found.builder, found.why, found.web
	d.app = &landward.ServicePlan{Name: landward.DefaultService, Build: buildPlan(b, found)}
	if found.title != "" {
		d.notice("%s app detected: %s", found.title, found.why)
	}
	d.plan.Notices = append(d.plan.Notices, found.notices...)
	return nil
}

// onlyOwn reports whether landward.yaml's services are all there is: each is
// its own, and either one of them is web or nothing else in the tree could be
// built.
func (d *detector) onlyOwn() bool {
	if len(d.manifest.Services) == 0 || len(d.procfile.Processes) > 0 {
		return false
	}
	web := false
	for _, s := range d.manifest.Services {
		if !s.Own() {
			return false
		}
		web = web || s.Name == landward.WebProcess
	}
	return web || !slices.ContainsFunc(signs(), func(s string) bool { return exists(d.tree, s) })
}

// found is how one image can be made.
type found struct {
	builder    string // Plan.Builder
	title      string // "Go"; empty for a Dockerfile
	why        string // the file that gave it away
	dockerfile string // path of an existing Dockerfile in the context
	generated  string // or the text of one
	static     string // or the folder of files that needs no image
	web        landward.Command
	notices    []string
}

// recipe finds how to build what a build section says.
func (d *detector) recipe(b *manifest.Build) (found, error) {
	sub := d.tree
	if b.Context != "" {
		if info, err := lstat(d.tree, b.Context); err != nil || !info.IsDir() {
			return found{}, landward.Invalid(b.Where("context"), "there is no folder %q in the tree", b.Context)
		}
		var err error
		if sub, err = fs.Sub(d.tree, b.Context); err != nil {
			return found{}, fmt.Errorf("open build context: %w", err)
		}
	}
	if b.Dockerfile != "" {
		if info, err := lstat(sub, b.Dockerfile); err != nil || !info.Mode().IsRegular() {
			return found{}, landward.Invalid(b.Where("dockerfile"), "there is no file %q in the tree", path.Join(b.Context, b.Dockerfile)).
				WithHint("the path is relative to build.context, or to the root of the tree")
		}
		return found{builder: "dockerfile", why: path.Join(b.Context, b.Dockerfile), dockerfile: b.Dockerfile}, nil
	}
	if exists(sub, "Dockerfile") {
		if info, err := lstat(sub, "Dockerfile"); err != nil || !info.Mode().IsRegular() {
			return found{}, landward.Invalid(path.Join(b.Context, "Dockerfile"), "the Dockerfile must be a plain file")
		}
		return found{builder: "dockerfile", why: path.Join(b.Context, "Dockerfile"), dockerfile: "Dockerfile"}, nil
	}
	if b.Target != "" {
		return found{}, landward.Invalid(b.Where("target"), "build.target names a stage of a Dockerfile, and there is no Dockerfile")
	}
	s := source{tree: sub, context: b.Context, procfile: d.procfile, manifest: d.manifest, secrets: b.Secrets}
	return s.language()
}

// buildPlan says a build section and what was found in the words of a plan.
func buildPlan(b *manifest.Build, f found) *landward.BuildPlan {
	p := &landward.BuildPlan{
		Context: b.Context, Dockerfile: f.dockerfile, Generated: f.generated,
		Target: b.Target, Secrets: b.Secrets,
	}
	if len(b.Args) > 0 {
		p.Args = b.Args
	}
	return p
}

func (d *detector) notice(format string, args ...any) {
	d.plan.Notices = append(d.plan.Notices, fmt.Sprintf(format, args...))
}

// signs are the files that make a tree one that can be built.
func signs() []string {
	return []string{
		"Dockerfile", "go.mod", "package.json", "requirements.txt", "pyproject.toml", "Pipfile", "setup.py",
		"manage.py", "index.html", "public/index.html",
	}
}

// file reads a plain file of the tree. ok is false if there is none.
func (d *detector) file(name string) (data []byte, ok bool, err error) {
	return readFile(d.tree, name)
}

// readFile never follows a symbolic link: what a tree says about itself is in
// the tree.
func readFile(tree fs.FS, name string) (data []byte, ok bool, err error) {
	info, err := lstat(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look at %s: %w", name, err)
	}
	switch {
	case info.IsDir():
		return nil, false, nil
	case !info.Mode().IsRegular():
		return nil, false, landward.Invalid(name, "%s must be a plain file, not a link", name)
	case info.Size() > maxFile:
		return nil, false, landward.Invalid(name, "%s is larger than %d KiB", name, maxFile>>10)
	}
	f, err := tree.Open(name)
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return data, true, nil
}

// lstat looks at a path without following a link in any of its elements.
func lstat(tree fs.FS, name string) (fs.FileInfo, error) {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if info, err := fs.Lstat(tree, name[:i]); err != nil || !info.IsDir() {
			return nil, fs.ErrNotExist
		}
	}
	return fs.Lstat(tree, name)
}

// exists reports whether there is anything of that name.
func exists(tree fs.FS, name string) bool {
	_, err := lstat(tree, name)
	return err == nil
}

// glob returns the paths that match, slash patterns in order, none for none.
func glob(tree fs.FS, patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		if found, err := fs.Glob(tree, p); err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// contains reports whether a file of the tree has any of the texts.
func contains(tree fs.FS, name string, texts ...string) bool {
	data, ok, err := readFile(tree, name)
	return err == nil && ok && slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(string(data), t) })
}
