package detect_test

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/rogpeppe/go-internal/txtar"

	"landward/internal/build/detect"
	"landward/internal/landward"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// tree is the files of an archive.
func tree(a *txtar.Archive) fstest.MapFS {
	out := fstest.MapFS{}
	for _, f := range a.Files {
		out[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
	}
	return out
}

// golden describes a plan for people: JSON, then the Dockerfiles.
func golden(t *testing.T, p landward.Plan) string {
	t.Helper()
	var files strings.Builder
	for i, s := range p.Services {
		if s.Build == nil || s.Build.Generated == "" {
			continue
		}
		files.WriteString("\n--- Dockerfile of " + s.Name + "\n" + s.Build.Generated)
		b := *s.Build
		b.Generated = "(below)"
		p.Services[i].Build = &b
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		t.Fatal(err)
	}
	return text.String() + files.String()
}

// TestDetect compares the plan of each testdata/*.txtar with the file beside it.
func TestDetect(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		base := strings.TrimSuffix(name, ".txtar")
		t.Run(filepath.Base(base), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := detect.Detect(tree(a))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range plan.Services {
				if s.Build == nil || s.Build.Generated == "" {
					continue
				}
				if _, err := parser.Parse(strings.NewReader(s.Build.Generated)); err != nil {
					t.Errorf("the Dockerfile is not one: %v", err)
				}
			}
			got := golden(t, plan)
			if *update {
				if err := os.WriteFile(base+".golden", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(base + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		field string
		want  string // part of what Explain says
	}{
		{"nothing", map[string]string{"README.md": ""}, "", "looked for: Dockerfile; go.mod (Go)"},
		{"bad Procfile", map[string]string{"Dockerfile": "", "Procfile": "web: x\nhello\n"}, "Procfile:2", "not a process"},
		{"bad landward.yaml", map[string]string{"Dockerfile": "", "landward.yaml": "build:\n  nope: x\n"}, "landward.yaml:2", "unknown key"},
		{"bad app.json", map[string]string{"Dockerfile": "", "app.json": "{\n"}, "app.json:1", "not valid JSON"},
		{"landward.yml", map[string]string{"Dockerfile": "", "landward.yml": ""}, "landward.yml", "must be named landward.yaml"},
		{"no such Dockerfile", map[string]string{"Dockerfile": "", "landward.yaml": "build:\n  target: x\n  dockerfile: other\n"}, "landward.yaml:3", `there is no file "other"`},
		{"no such context", map[string]string{"Dockerfile": "", "landward.yaml": "build: {context: api}\n"}, "landward.yaml:1", `there is no folder "api"`},
		{"context is a file", map[string]string{"Dockerfile": "", "landward.yaml": "build: {context: Dockerfile}\n"}, "landward.yaml:1", "there is no folder"},
		{"empty context", map[string]string{"api/x": "", "landward.yaml": "build: {context: api}\n"}, "", "nothing in api says how to build it"},
		{"path outside", map[string]string{"Dockerfile": "", "landward.yaml": "build: {context: ../x}\n"}, "landward.yaml:1", "inside the source tree"},
		{"target without Dockerfile", map[string]string{"index.html": "", "landward.yaml": "build: {target: x}\n"}, "landward.yaml:1", "there is no Dockerfile"},
		{"process without command", map[string]string{"Dockerfile": "", "landward.yaml": "services:\n  worker: {replicas: 2}\n"}, "landward.yaml:2", `process "worker" has no command`},
		{"process and service", map[string]string{"Dockerfile": "", "Procfile": "db: x\n", "landward.yaml": "services:\n  db: {image: x}\n"}, "landward.yaml:2", "is a process of the Procfile"},
		{"volumes that clash", map[string]string{"Dockerfile": "", "landward.yaml": "services:\n  a: {command: x, volumes: [\"v:/x\"]}\n  b: {command: x, volumes: [\"w:/x\"]}\n"}, "landward.yaml:3", `another process mounts "v" at /x`},
		{"release without a tree", map[string]string{"landward.yaml": "release: x\nservices: {web: {image: x}}\n"}, "landward.yaml", "this tree builds none"},
		{"two webs", map[string]string{"landward.yaml": "build: {}\nservices:\n  web: {image: x}\n", "Dockerfile": ""}, "landward.yaml:3", "web is a service of its own"},
		{"Go without module", map[string]string{"go.mod": "go 1.22\n"}, "go.mod:1", "no module line"},
		{"Go without main", map[string]string{"go.mod": "module x\n", "x.go": "package x\n"}, "go.mod", "no main package"},
		{"Go with several mains", map[string]string{"go.mod": "module x\n", "cmd/a/a.go": "package main\n", "cmd/b/b.go": "package main\n"}, "go.mod", "several main packages: ./cmd/a, ./cmd/b"},
		{"Node without start", map[string]string{"package.json": "{}"}, "package.json", "nothing says how to start"},
		{"Node with bad JSON", map[string]string{"package.json": "{\n\"scripts\": [\n]}"}, "package.json:2", "not a valid package.json"},
		{"Python without start", map[string]string{"requirements.txt": "requests\n", "app.py": "print()\n"}, "requirements.txt", "web: gunicorn app:app"},
		{"below a context", map[string]string{"api/package.json": "{}", "landward.yaml": "build: {context: api}\n"}, "api/package.json", "nothing says how to start"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range tt.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			_, err := detect.Detect(files)
			e := landward.AsError(err)
			if err == nil || e.Code != landward.CodeInvalid || e.Field != tt.field {
				t.Fatalf("err = %v, field %q, want %q", err, e.Field, tt.field)
			}
			if text := strings.Join(e.Explain(), "\n"); !strings.Contains(text, tt.want) {
				t.Errorf("got:\n%s\nwant %q", text, tt.want)
			}
		})
	}
}

// TestDetectFollowsNoLinks puts a link where a file or folder is expected.
func TestDetectFollowsNoLinks(t *testing.T) {
	link := func(target string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
	}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := map[string]fstest.MapFS{
		"landward.yaml": {"landward.yaml": link("x"), "x": file(""), "Dockerfile": file("")},
		"Procfile":      {"Procfile": link("x"), "x": file("web: x"), "Dockerfile": file("")},
		"Dockerfile":    {"Dockerfile": link("x"), "x": file("")},
		"go.mod":        {"go.mod": link("x"), "x": file("module x")},
		"package.json":  {"package.json": link("x"), "x": file("{}")},
		"context":       {"landward.yaml": file("build: {context: l}"), "l": link("d"), "d/Dockerfile": file("")},
		"in context":    {"landward.yaml": file("build: {context: l/e}"), "l": link("d"), "d/e/Dockerfile": file("")},
		"dockerfile":    {"landward.yaml": file("build: {dockerfile: l/Dockerfile}"), "l": link("d"), "d/Dockerfile": file("")},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			if plan, err := detect.Detect(files); landward.CodeOf(err) != landward.CodeInvalid {
				t.Errorf("plan = %+v, err = %v", plan, err)
			}
		})
	}
}

func TestDetectReadsRealFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "Procfile")); err != nil {
		t.Fatal(err)
	}
	if _, err := detect.Detect(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "plain file, not a link") {
		t.Errorf("err = %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "Procfile")); err != nil {
		t.Fatal(err)
	}
	if plan, err := detect.Detect(os.DirFS(dir)); err != nil || plan.Builder != "dockerfile" {
		t.Errorf("plan = %+v, %v", plan, err)
	}
}

func FuzzDetect(f *testing.F) {
	f.Add("build: {args: {A: b}}", "web: ./server", "{}", "go.mod", "module x\ngo 1.24\n", "cmd/web/main.go", "package main\n")
	f.Add("services: {web: {port: 80}}", "", `{"formation": {"web": {"quantity": 2}}}`, "package.json", `{"scripts": {"start": "node a.js"}, "engines": {"node": ">=18 <21 || 22.x"}}`, "yarn.lock", "")
	f.Add("", "worker: a && b", "", "requirements.txt", "flask\n-r x\n", "app.py", "app = Flask(__name__)")
	f.Add("services: {redis: {image: x}}", "", "", "public/index.html", "", ".python-version", "3.9")
	f.Fuzz(func(t *testing.T, yaml, procfile, appJSON, name, text, other, otherText string) {
		files := fstest.MapFS{}
		for path, content := range map[string]string{
			"landward.yaml": yaml, "Procfile": procfile, "app.json": appJSON, name: text, other: otherText,
		} {
			if content != "" && fs.ValidPath(path) && path != "." {
				files[path] = &fstest.MapFile{Data: []byte(content)}
			}
		}
		plan, err := detect.Detect(files)
		if err != nil {
			if landward.CodeOf(err) == landward.CodeInternal {
				t.Errorf("err = %v", err)
			}
			return
		}
		names := map[string]bool{}
		for _, s := range plan.Services {
			for _, p := range s.Processes {
				if names[p.Name] {
					t.Errorf("process %q twice", p.Name)
				}
				names[p.Name] = true
			}
			if (s.Build == nil) == (s.Image == "") {
				t.Errorf("service %+v", s)
			}
			if s.Build != nil && s.Build.Generated != "" {
				if _, err := parser.Parse(strings.NewReader(s.Build.Generated)); err != nil {
					t.Errorf("the Dockerfile is not one: %v\n%s", err, s.Build.Generated)
				}
			}
		}
	})
}
