package detect

import (
	"path"
	"strings"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// static recognises a site of plain files. It gets no image: the edge serves
// the files.
func (s source) static() (found, bool, error) {
	for _, root := range []string{".", "public"} {
		index := strings.TrimPrefix(root+"/index.html", "./")
		if !exists(s.tree, index) {
			continue
		}
		if s.namesProcesses() {
			return found{}, false, landward.Errorf(landward.CodeInvalid, "%s makes this a static site, which has no image for a process to run in", s.where(index)).
				WithHint("add a Dockerfile for the processes; routes: {static: {dir: %s}} in landward.yaml then serves the files beside them", path.Join(s.context, root))
		}
		f := found{builder: "static", title: "Static", why: index, static: path.Join(s.context, root)}
		if root == "." {
			f.notices = []string{"Serving every file of the tree but hidden ones and Landward's own. Move the site to public/ to serve only that."}
		}
		return f, true, nil
	}
	return found{}, false, nil
}

// onlyFiles reports whether landward.yaml names a folder of files to serve and
// nothing else in the tree says how to build something.
func (d *detector) onlyFiles() bool {
	return d.manifest.Routes.Static.Dir != "" && d.manifest.Build == nil && len(d.procfile.Processes) == 0 &&
		len(d.manifest.Services) == 0 && !exists(d.tree, "Dockerfile")
}

// serveFiles makes the app a static site.
func (d *detector) serveFiles(f found) {
	d.plan.Builder, d.plan.Why = "static", f.why
	if d.manifest.Routes.Static.Dir == "" {
		d.manifest.Routes.Static.Dir = f.static
	}
	d.notice("Static app detected: %s", f.why)
	d.plan.Notices = append(d.plan.Notices, f.notices...)
}

// ownFiles is a service of landward.yaml whose folder is a static site: it can
// only be the one that everybody sees.
func (d *detector) ownFiles(s manifest.Service, f found) error {
	if s.Name != landward.WebProcess {
		return landward.Invalid(s.Where, "%s is a static site, and only web can be one", landward.Printable(s.Name)).
			WithHint("name the folder in routes: {static: {dir: %s}}, or give it a Dockerfile", f.static)
	}
	d.serveFiles(f)
	return nil
}
