package buildkit_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"landward/internal/build/detect"
)

// TestDetectedTrees builds the Dockerfiles that detect writes, with base images
// under the names that they use.
func TestDetectedTrees(t *testing.T) {
	tests := []struct {
		name  string
		base  string
		files map[string]string
		want  string // the image's command, or its web process's
	}{
		{"go", "golang:1.26-bookworm", map[string]string{
			"go.mod": "module example.com/hello\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n", "page.html": "x",
		}, "/app/bin/hello"},
		{"node", "node:22-bookworm-slim", map[string]string{
			"package.json": `{"name": "x", "version": "1.0.0", "scripts": {"start": "node server.js", "build": "node -e 1"}}`, "server.js": "1",
			"package-lock.json": `{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x", "version": "1.0.0"}}}`,
		}, "node server.js"},
		{"python", "python:3.12-slim", map[string]string{
			"requirements.txt": "", "Procfile": "web: python -m http.server $PORT\n",
		}, "python -m http.server $PORT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if _, err := b.docker.ImageInspect(t.Context(), tt.base); err != nil {
				t.Fatalf("the image %s must be there: %v", tt.base, err)
			}
			tree := fstest.MapFS{}
			for name, text := range tt.files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			plan, err := detect.Detect(tree)
			if err != nil {
				t.Fatal(err)
			}
			// Compiling Go afresh in every run would prove nothing more.
			b.req.CacheScope = "detected"
			b.req.Plan = *plan.Services[0].Build
			image, _ := b.mustBuild(t, tt.files)
			if image.User != "10001" {
				t.Errorf("user = %q", image.User)
			}
			seen, err := b.docker.ImageInspect(t.Context(), image.ID)
			if err != nil {
				t.Fatal(err)
			}
			command := seen.Config.Cmd
			if web := plan.Services[0].Processes[0].Command; !web.IsZero() {
				command = web.Args()
			}
			if got := strings.Join(command, " "); !strings.Contains(got, tt.want) {
				t.Errorf("command = %q, want %q", got, tt.want)
			}
		})
	}
}
