package detect

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// source is a tree without a Dockerfile, to be recognised and given one.
type source struct {
	tree     fs.FS
	context  string // where tree is in the whole tree, for messages
	procfile manifest.Procfile
	manifest manifest.Manifest
	secrets  []string
}

// language recognises the tree and writes its Dockerfile.
func (s source) language() (found, error) {
	recipes := []func() (found, bool, error){s.golang, s.node, s.python, s.static}
	for _, recipe := range recipes {
		f, ok, err := recipe()
		if err != nil {
			return found{}, err
		}
		if ok {
			f.why = s.where(f.why)
			return f, nil
		}
	}
	place := "the source tree"
	if s.context != "" {
		place = s.context
	}
	return found{}, landward.Errorf(landward.CodeInvalid, "nothing in %s says how to build it", place).
		WithCause("looked for: Dockerfile; go.mod (Go); package.json (Node); requirements.txt, pyproject.toml, Pipfile, " +
			"setup.py or manage.py (Python); index.html or public/index.html (static site)").
		WithHint("add a Dockerfile, or name one in landward.yaml: build: {dockerfile: path/to/Dockerfile}")
}

// where names a file of the tree as the pusher knows it.
func (s source) where(name string) string { return path.Join(s.context, name) }

// startsWeb reports whether the Procfile or landward.yaml says how web starts.
func (s source) startsWeb() bool {
	for _, svc := range s.manifest.Services {
		if svc.Name == landward.WebProcess && !svc.Own() && !svc.Command.IsZero() {
			return true
		}
	}
	return s.procfile.Has(landward.WebProcess)
}

// namesProcesses reports whether any process but web may run other programs.
func (s source) namesProcesses() bool {
	return len(s.procfile.Processes) > 0 || len(s.manifest.Services) > 0 ||
		!s.procfile.Release.IsZero() || !s.manifest.Release.IsZero() || len(s.manifest.Cron) > 0
}

// dockerfile is the text of a Dockerfile as it grows.
type dockerfile struct{ strings.Builder }

func (d *dockerfile) line(format string, args ...any) {
	fmt.Fprintf(d, format+"\n", args...)
}

// run writes a RUN line with mounts: cache folders, and the build's secrets as
// environment variables of this one command.
func (d *dockerfile) run(caches, secrets []string, command string) {
	d.WriteString("RUN ")
	for _, c := range caches {
		d.WriteString("--mount=type=cache,sharing=locked,target=" + c + " \\\n    ")
	}
	for _, s := range secrets {
		d.WriteString("--mount=type=secret,id=" + s + ",required=true \\\n    ")
	}
	for _, s := range secrets {
		fmt.Fprintf(d, "export %s=\"$(cat /run/secrets/%s)\" && \\\n    ", s, s)
	}
	d.line("%s", command)
}

// appUser writes what every generated image ends with: a user that is not root
// and owns its home, /app. The number is what policy can check.
const appUser = "10001"

// exec writes a CMD that no shell is needed for.
func (d *dockerfile) exec(words ...string) {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quoteJSON(w)
	}
	d.line("CMD [%s]", strings.Join(quoted, ", "))
}
