package buildkit_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"landward/internal/build"
	"landward/internal/build/buildkit"
	"landward/internal/landward"
)

func TestBuild(t *testing.T) {
	b := newBench(t)
	files := map[string]string{
		"Dockerfile": "FROM " + base + "\nCOPY a.txt b.txt /src/\nRUN cat /src/*\nEXPOSE 9000 53/udp 8080\nUSER 10001\n",
		"a.txt":      "first\n", "b.txt": "second\n",
	}
	image, out := b.mustBuild(t, files)
	if image.Ref != b.req.Tag || image.User != "10001" || image.Size == 0 {
		t.Errorf("image = %+v", image)
	}
	if len(image.Exposed) != 2 || image.Exposed[0] != 8080 || image.Exposed[1] != 9000 {
		t.Errorf("exposed = %v, want 8080 and 9000", image.Exposed)
	}
	seen, err := b.docker.ImageInspect(t.Context(), b.req.Tag)
	if err != nil {
		t.Fatal(err)
	}
	if seen.ID != image.ID || !strings.HasPrefix(image.ID, "sha256:") {
		t.Errorf("ID = %s, docker says %s", image.ID, seen.ID)
	}
	if seen.Config.Labels[testLabel] != scope {
		t.Errorf("labels = %v", seen.Config.Labels)
	}
	has(t, "output", out.text(), "[3/3] RUN cat /src/*\n")
	has(t, "output", out.text(), "first\nsecond\n")

	again, out := b.mustBuild(t, files)
	if again.ID != image.ID {
		t.Errorf("the same tree became another image: %s, %s", image.ID, again.ID)
	}
	has(t, "output", out.text(), "[3/3] RUN cat /src/* (cached)\n")

	files["b.txt"] = "changed\n"
	changed, out := b.mustBuild(t, files)
	if changed.ID == image.ID {
		t.Error("a changed file did not change the image")
	}
	has(t, "output", out.text(), "first\nchanged\n")

	delete(files, "b.txt")
	e := b.mustFail(t, files)
	has(t, "error after a file was removed", e.Message, `b.txt`)
}

func TestHeadlinesComeOnce(t *testing.T) {
	b := newBench(t)
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "FROM " + base + " AS one\nRUN echo a; sleep 0.3; echo b\nFROM " + base + "\nCOPY --from=one /etc/hostname /\n",
	})
	count := map[string]int{}
	for _, l := range out.lines {
		if l.Headline {
			count[strings.TrimSuffix(l.Text, " (cached)")]++
		}
	}
	if count["[one 2/2] RUN echo a; sleep 0.3; echo b"] != 1 {
		t.Errorf("headlines = %v", count)
	}
	for text, n := range count {
		if n != 1 || strings.Contains(text, "[internal]") {
			t.Errorf("headline %q came %d times", text, n)
		}
	}
}

func TestModernDockerfile(t *testing.T) {
	b := newBench(t)
	b.req.Plan.Args = map[string]string{"GREETING": "hello there"}
	b.req.Plan.Target = "wanted"
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "# syntax=docker/dockerfile:1\nFROM " + base + ` AS wanted
ARG GREETING
COPY --link --chmod=755 run.sh /run.sh
COPY <<EOF /text
heredoc says $GREETING
EOF
RUN <<EOF
/run.sh
cat /text
EOF
FROM wanted
RUN echo not this one; false
`,
		"run.sh": "#!/bin/sh\necho script ran\n",
	})
	has(t, "output", out.text(), "script ran\nheredoc says hello there\n")
	if strings.Contains(out.text(), "not this one\n") {
		t.Error("a stage after the target ran")
	}
}

func TestContextAndNames(t *testing.T) {
	b := newBench(t)
	b.req.Plan = landward.BuildPlan{Context: "sub/dir", Dockerfile: "docker/Prod.Dockerfile"}
	_, out := b.mustBuild(t, map[string]string{
		"sub/dir/docker/Prod.Dockerfile":              "FROM " + base + "\nCOPY . /src\nRUN ls -A /src\n",
		"sub/dir/docker/Prod.Dockerfile.dockerignore": "secret.txt\n",
		"sub/dir/.dockerignore":                       "mine.txt\n",
		"sub/dir/mine.txt":                            "x", "sub/dir/secret.txt": "x", "outside.txt": "x",
	})
	has(t, "output", out.text(), "mine.txt\n")
	for _, name := range []string{"secret.txt\n", "outside.txt\n"} {
		if strings.Contains(out.text(), name) {
			t.Errorf("%q was sent", name)
		}
	}
}

func TestIgnoredFiles(t *testing.T) {
	b := newBench(t)
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile":    "FROM " + base + "\nCOPY . /src\nRUN ls -A /src\n",
		".dockerignore": "*.log\n!keep.log\ndist\n",
		"a.log":         "x", "keep.log": "x", "dist/big": "x", "b.txt": "x",
	})
	has(t, "output", out.text(), "b.txt\nkeep.log\n")
	if strings.Contains(out.text(), "a.log") || strings.Contains(out.text(), "dist\n") {
		t.Errorf("ignored files were sent:\n%s", out.text())
	}
}

func TestGeneratedDockerfile(t *testing.T) {
	b := newBench(t)
	b.req.Plan = landward.BuildPlan{Generated: "FROM " + base + "\nCOPY . /src\nRUN ls -A /src; cat /src/Dockerfile\n"}
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "not the one\n", ".env": "x", "a/node_modules/m.js": "x", "main.go": "x",
	})
	has(t, "output", out.text(), "main.go\nnot the one\n")
	if strings.Contains(out.text(), ".env\n") {
		t.Error(".env was sent")
	}
}

func TestSecretsStayOut(t *testing.T) {
	b := newBench(t)
	const secret = "s3cr3t-value-1f2e3d"
	b.req.Plan.Secrets = []string{"TOKEN"}
	b.req.Secrets = map[string]string{"TOKEN": secret}
	image, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "FROM " + base + "\nRUN --mount=type=secret,id=TOKEN,required=true wc -c </run/secrets/TOKEN\n" +
			"RUN ls /run/secrets | wc -l; grep -rlF value-1f2e3d --exclude-dir=proc --exclude-dir=sys / || echo nowhere\n",
	})
	has(t, "output", out.text(), strconv.Itoa(len(secret))+"\n")
	has(t, "output", out.text(), "\n0\nnowhere\n")
	history, err := b.docker.ImageHistory(t.Context(), image.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range history.Items {
		if strings.Contains(h.CreatedBy+h.Comment, secret) {
			t.Errorf("the secret is in the history: %s", h.CreatedBy)
		}
	}
}

func TestCacheMountsAreSeparate(t *testing.T) {
	b := newBench(t)
	files := func(n string) map[string]string {
		return map[string]string{
			"Dockerfile": "FROM " + base + "\nCOPY n /\nRUN --mount=type=cache,target=/cache cat /n; ls /cache; touch /cache/mark\n", "n": n,
		}
	}
	b.req.CacheScope = scope + "-a"
	_, first := b.mustBuild(t, files("1\n"))
	_, second := b.mustBuild(t, files("2\n"))
	b.req.CacheScope = scope + "-b"
	_, other := b.mustBuild(t, files("3\n"))
	has(t, "output of a second build", second.text(), "2\nmark\n")
	for _, out := range []*output{first, other} {
		if strings.Contains(out.text(), "\nmark\n") {
			t.Errorf("the cache was not empty:\n%s", out.text())
		}
	}
}

func TestNoCache(t *testing.T) {
	b := newBench(t)
	files := map[string]string{"Dockerfile": "FROM " + base + "\nRUN date +%N\n"}
	b.mustBuild(t, files)
	b.req.NoCache = true
	_, out := b.mustBuild(t, files)
	if strings.Contains(out.text(), "date +%N (cached)") {
		t.Errorf("a step came from the cache:\n%s", out.text())
	}
}

func TestOutputIsClean(t *testing.T) {
	b := newBench(t)
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "FROM " + base + "\n" +
			`RUN printf '\033[31mred\033[0m\n10%%\r100%%\r\n\033]0;title\007x\177\n'; printf 'the end'` + "\n",
	})
	has(t, "output", out.text(), "\nred\n100%\nx\uFFFD\nthe end\n")
	if strings.ContainsAny(out.text(), "\x1b\r\x07\x7f") {
		t.Errorf("the output has control characters: %q", out.text())
	}
}

func TestWaitsForItsTurn(t *testing.T) {
	b := newBench(t)
	type result struct {
		image landward.Image
		err   error
	}
	results := make(chan result, 2)
	for _, n := range []string{"1", "2"} {
		files := map[string]string{"Dockerfile": "FROM " + base + "\nCOPY n /\nRUN sleep 0.2\n", "n": n}
		source := tarOf(t, files)
		go func() {
			image, err := b.Build(t.Context(), b.req, source, func(build.Line) {})
			results <- result{image, err}
		}()
	}
	one, two := <-results, <-results
	if err := errors.Join(one.err, two.err); err != nil {
		t.Fatal(err)
	}
	if one.image.ID == two.image.ID {
		t.Error("two builds at once used the same source")
	}
}

func TestReconnects(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	p := startProxy(t, socket)
	b := newBench(t, func(o *buildkit.Options) { o.Host = "unix://" + socket })
	files := map[string]string{"Dockerfile": "FROM " + base + "\nCOPY Dockerfile /\n"}
	b.mustBuild(t, files)
	p.stop()
	if e := b.mustFail(t, files); e.Code != landward.CodeUnavailable {
		t.Errorf("err without an Engine = %v", e)
	}
	startProxy(t, socket)
	b.mustBuild(t, files)
}

// proxy stands for an Engine that goes away and comes back.
type proxy struct {
	listener net.Listener
	cancel   context.CancelFunc
}

func startProxy(t *testing.T, socket string) *proxy {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{listener: l, cancel: cancel}
	t.Cleanup(p.stop)
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", "/var/run/docker.sock")
			if err != nil {
				_ = down.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _ = down.Close(); _ = up.Close() })
			go func() { _, _ = io.Copy(up, down); _ = up.(*net.UnixConn).CloseWrite() }()
			go func() { _, _ = io.Copy(down, up); _ = down.(*net.UnixConn).CloseWrite() }()
		}
	}()
	return p
}

func (p *proxy) stop() {
	_ = p.listener.Close()
	p.cancel()
}

func TestForget(t *testing.T) {
	b := newBench(t)
	b.mustBuild(t, map[string]string{"Dockerfile": "FROM " + base + "\n"})
	if err := os.Mkdir(filepath.Join(b.opt.Dir, "77-app"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Forget(t.Context(), b.req.AppID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(b.opt.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "77-app" {
		t.Errorf("left = %v, %v", left, err)
	}
}

// TestPrune asks for nothing to go: the cache is that of everybody who builds
// on this Engine.
func TestPrune(t *testing.T) {
	b := newBench(t)
	files := map[string]string{"Dockerfile": "FROM " + base + "\nRUN echo prune test\n"}
	b.mustBuild(t, files)
	if err := b.Prune(t.Context(), 1<<50); err != nil {
		t.Fatal(err)
	}
	_, out := b.mustBuild(t, files)
	has(t, "output after a prune that keeps all", out.text(), "RUN echo prune test (cached)")
}
