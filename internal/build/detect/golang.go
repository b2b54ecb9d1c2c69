package detect

import (
	"bytes"
	"encoding/json"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"landward/internal/landward"
)

var (
	goModule    = regexp.MustCompile(`(?m)^module[ \t]+"?([^\s"]+)"?`)
	goDirective = regexp.MustCompile(`(?m)^go[ \t]+1\.(\d+)`)
	goToolchain = regexp.MustCompile(`(?m)^toolchain[ \t]+go1\.(\d+)`)
	majorSuffix = regexp.MustCompile(`^v[0-9]+$`)
	programName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// oldestGo is the oldest compiler worth choosing: older modules build with it.
const oldestGo = 21

// golang recognises a Go module.
func (s source) golang() (found, bool, error) {
	mod, ok, err := readFile(s.tree, "go.mod")
	if err != nil || !ok {
		return found{}, false, err
	}
	m := goModule.FindSubmatch(mod)
	if m == nil {
		return found{}, false, landward.Invalid(s.where("go.mod")+":1", "there is no module line")
	}
	programs := s.goPrograms(moduleName(string(m[1])))
	if len(programs) == 0 {
		return found{}, false, landward.Invalid(s.where("go.mod"), "no main package was found").
			WithCause("looked for package main in the root of the module and in the folders of cmd/").
			WithHint("put the program there, or add a Dockerfile")
	}
	main, ok := mainProgram(programs, moduleName(string(m[1])))
	if !ok && !s.startsWeb() {
		var names []string
		for _, p := range programs {
			names = append(names, p.dir)
		}
		return found{}, false, landward.Invalid(s.where("go.mod"), "there are several main packages: %s", strings.Join(names, ", ")).
			WithHint("say which one serves, with a line in the Procfile: web: %s", programs[0].name)
	}
	f := found{builder: "go", title: "Go", why: "go.mod"}
	if ok && !s.namesProcesses() {
		programs = []program{main}
	}
	for _, p := range programs {
		f.notices = append(f.notices, "Building "+p.dir+" as /app/bin/"+p.name)
	}
	if !ok {
		main = program{}
	}
	f.generated = s.goDockerfile(goImage(mod), programs, main.name)
	return f, true, nil
}

// program is a main package.
type program struct {
	dir  string // "." or "./cmd/web"
	name string // what its binary is called
}

// goPrograms finds the main packages in the root and in cmd/.
func (s source) goPrograms(module string) []program {
	var out []program
	if isMain(s.tree, ".") {
		out = append(out, program{dir: ".", name: module})
	}
	entries, _ := fs.ReadDir(s.tree, "cmd") // no folder, no programs
	for _, e := range entries {
		dir := path.Join("cmd", e.Name())
		if e.IsDir() && programName.MatchString(e.Name()) && isMain(s.tree, dir) {
			out = append(out, program{dir: "./" + dir, name: e.Name()})
		}
	}
	return out
}

// mainProgram is the one that serves: the root's, the only one, or the one
// that is named like the module.
func mainProgram(programs []program, module string) (program, bool) {
	if programs[0].dir == "." || len(programs) == 1 {
		return programs[0], true
	}
	i := slices.IndexFunc(programs, func(p program) bool { return p.name == module })
	if i < 0 {
		return program{}, false
	}
	return programs[i], true
}

// isMain reports whether a folder holds package main. Tests and files that no
// build includes do not count.
func isMain(tree fs.FS, dir string) bool {
	for _, name := range glob(tree, path.Join(dir, "*.go")) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, ok, err := readFile(tree, name)
		if err != nil || !ok || ignored(text) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly)
		if err == nil {
			return f.Name.Name == "main"
		}
	}
	return false
}

// ignored reports whether a file's build constraint keeps it out of a build on
// Linux.
func ignored(text []byte) bool {
	for line := range bytes.Lines(text) {
		line := strings.TrimSpace(string(line))
		if strings.HasPrefix(line, "package ") {
			return false
		}
		if !constraint.IsGoBuild(line) {
			continue
		}
		expr, err := constraint.Parse(line)
		return err == nil && !expr.Eval(func(tag string) bool {
			return tag == "linux" || tag == "unix" || tag == "cgo" || tag == "gc" || tag == "amd64" || tag == "arm64" ||
				strings.HasPrefix(tag, "go1.")
		})
	}
	return false
}

// moduleName is the last element of a module's path that is a name.
func moduleName(module string) string {
	name := path.Base(module)
	if majorSuffix.MatchString(name) && path.Dir(module) != "." {
		name = path.Base(path.Dir(module))
	}
	if !programName.MatchString(name) {
		return "app"
	}
	return name
}

// goImage chooses a compiler that is new enough for what go.mod asks.
func goImage(mod []byte) string {
	minor := 0
	for _, m := range [][][]byte{goDirective.FindSubmatch(mod), goToolchain.FindSubmatch(mod)} {
		if m == nil {
			continue
		}
		if n, err := strconv.Atoi(string(m[1])); err == nil {
			minor = max(minor, n)
		}
	}
	if minor == 0 {
		return "golang:1-bookworm"
	}
	return "golang:1." + strconv.Itoa(max(minor, oldestGo)) + "-bookworm"
}

func (s source) goDockerfile(image string, programs []program, main string) string {
	d := &dockerfile{}
	d.line("ARG GO_IMAGE=%s", image)
	d.line("ARG RUNTIME_IMAGE=debian:bookworm-slim")
	d.line("")
	d.line("FROM ${GO_IMAGE} AS build")
	d.line("WORKDIR /src")
	d.line("# The runtime image has no CA certificates of its own.")
	d.line("RUN mkdir -p /out/bin /out/certs && \\\n    if [ -f %[1]s ]; then cp %[1]s /out/certs/; fi", "/etc/ssl/certs/ca-certificates.crt")
	d.line("COPY . .")
	for _, p := range programs {
		d.run([]string{"/go/pkg/mod", "/root/.cache/go-build"}, s.secrets,
			"go build -trimpath -o /out/bin/"+p.name+" "+p.dir)
	}
	d.line("")
	d.line("FROM ${RUNTIME_IMAGE}")
	d.line("COPY --from=build /out/certs/ /etc/ssl/certs/")
	d.line("WORKDIR /app")
	d.line("RUN chown %s:%s /app", appUser, appUser)
	d.line("ENV HOME=/app PATH=/app/bin:$PATH")
	d.line("# Templates, migrations and static files are found where they are in the tree.")
	d.line("COPY --chown=%s:%s . .", appUser, appUser)
	d.line("COPY --from=build /out/bin/ /app/bin/")
	d.line("USER %s", appUser)
	if main != "" {
		d.exec("/app/bin/" + main)
	}
	return d.String()
}

// quoteJSON writes a word of an exec-form instruction.
func quoteJSON(s string) string {
	b := &bytes.Buffer{}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimSpace(b.String())
}
