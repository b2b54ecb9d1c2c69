package buildkit_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"landward/internal/build"
)

// BenchmarkOneFileChange is a build of 200 files of which one has changed, and
// the same by hand: docker build with BuildKit in a folder.
func BenchmarkOneFileChange(b *testing.B) {
	files := map[string]string{
		"Dockerfile": "FROM " + base + "\nRUN true\nCOPY . /app\nWORKDIR /app\nCMD [\"./run\"]\n",
	}
	for i := range 200 {
		files[fmt.Sprintf("src/d%d/file%d.txt", i%10, i)] = fmt.Sprintf("content of file %d\n", i)
	}
	b.Run("landward", func(b *testing.B) {
		w := newBench(b)
		n := 0
		run := func() {
			n++
			files["src/changed.txt"] = fmt.Sprintf("%s %d\n", scope, n)
			if _, err := w.Build(b.Context(), w.req, tarOf(b, files), func(build.Line) {}); err != nil {
				b.Fatal(err)
			}
		}
		run()
		for b.Loop() {
			run()
		}
	})
	b.Run("docker", func(b *testing.B) {
		d := docker(b)
		dir := b.TempDir()
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		tag := "landward-build-test/by-hand:v1"
		b.Cleanup(func() { removeImages(b, d) })
		n := 0
		run := func() {
			n++
			if err := os.WriteFile(filepath.Join(dir, "src/changed.txt"), fmt.Appendf(nil, "%s hand %d\n", scope, n), 0o600); err != nil {
				b.Fatal(err)
			}
			c := exec.CommandContext(b.Context(), "/usr/bin/docker", "build", "--tag", tag, "--label", testLabel+"="+scope, "--", dir)
			c.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
			if out, err := c.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
		run()
		for b.Loop() {
			run()
		}
	})
}
