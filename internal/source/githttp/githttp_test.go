package githttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
	"landward/internal/source/git/gittest"
	"landward/internal/source/githttp"
	"landward/internal/waittest"
)

func TestMain(m *testing.M) { gittest.Main(m) }

const token = "lw_secret"

type ground struct {
	*gittest.Fixture
	url string
	web *httptest.Server
}

func newGround(t testing.TB, limits git.Limits, tune func(*githttp.Options)) *ground {
	t.Helper()
	g := &ground{Fixture: gittest.New(t, limits)}
	o := githttp.Options{
		Authenticate: func(_ context.Context, _, password string) (landward.Actor, error) {
			switch password {
			case token:
				return landward.Actor{Kind: landward.ActorToken, Name: "ci"}, nil
			case "broken":
				return landward.Actor{}, errors.New("database is on fire")
			}
			return landward.Actor{}, landward.Errorf(landward.CodeUnauthenticated, "no such token %q", password)
		},
		Intake: g.Intake, Git: g.Server, Log: g.Log,
	}
	if tune != nil {
		tune(&o)
	}
	g.web = httptest.NewServer(http.StripPrefix("/git", githttp.New(o)))
	t.Cleanup(g.web.Close)
	g.url = strings.Replace(g.web.URL, "http://", "http://x:"+token+"@", 1) + "/git/"
	return g
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func TestPushCloneFetch(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.OnPush = func(_ context.Context, _ source.Push, out io.Writer) error {
		_, err := io.WriteString(out, "-----> Building\n=====> Deployed\n")
		return err
	}
	w := gittest.NewWork(t)
	// Bigger than git's post buffer, so that it comes in chunks.
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise)
	w.Commit("big", string(noise))
	out, err := w.Run("push", g.url+"my-app.git", "main")
	if err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	contains(t, out, "remote: -----> Building", "remote: =====> Deployed", "main -> main")
	if p := g.Intake.Pushes(); len(p) != 1 || p[0].Actor.Name != "ci" {
		t.Errorf("pushes = %+v", p)
	}
	for _, version := range []string{"0", "1", "2"} {
		dir := filepath.Join(t.TempDir(), "clone")
		w.Must("-c", "protocol.version="+version, "clone", "-q", g.url+"my-app.git", dir)
		if got, want := w.At(dir).Must("rev-parse", "HEAD"), w.Must("rev-parse", "main"); got != want {
			t.Errorf("version %s: cloned %s, want %s", version, got, want)
		}
	}
	// A client with many commits of its own sends a long, gzipped list of them.
	for i := range 60 {
		w.Commit("n", fmt.Sprint(i))
	}
	other := gittest.NewWork(t)
	other.Must("fetch", "-q", g.url+"my-app.git", "main")
	w.Must("fetch", "-q", g.url+"my-app.git", "main")
	w.Must("push", "-q", g.url+"my-app.git", "main")
}

func TestDeclined(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.OnPush = func(context.Context, source.Push, io.Writer) error {
		return landward.Errorf(landward.CodeFailed, "the build failed")
	}
	w := gittest.NewWork(t)
	out, err := w.Run("push", g.url+"my-app.git", "main")
	if err == nil {
		t.Error("the push went through")
	}
	contains(t, out, "remote:  !     the build failed", "pre-receive hook declined")
}

// Lines arrive while the deployment runs, and it goes on without its pusher.
func TestPusherHangsUp(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	release, ended := make(chan struct{}), make(chan error, 1)
	g.Intake.OnPush = func(ctx context.Context, _ source.Push, out io.Writer) error {
		_, _ = io.WriteString(out, "-----> Building\n")
		<-release
		for range 1000 {
			_, _ = io.WriteString(out, strings.Repeat("x", 1000)+"\n")
		}
		ended <- ctx.Err()
		return nil
	}
	w := gittest.NewWork(t)
	cmd := w.Cmd("push", g.url+"my-app.git", "main")
	pipe, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	var seen bytes.Buffer
	buf := make([]byte, 256)
	for !strings.Contains(seen.String(), "-----> Building") {
		n, err := pipe.Read(buf)
		check(t, err)
		seen.Write(buf[:n])
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the deployment's context ended: %v", err)
	}
	waittest.Eventually(t, "the ref moves", func() bool {
		_, err := os.Stat(filepath.Join(g.Intake.Repo("my-app").Dir, "refs", "heads", "main"))
		return err == nil
	})
}

func TestRequestForm(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	const receive, upload = "application/x-git-receive-pack-request", "application/x-git-upload-pack-request"
	tests := []struct {
		name, method, path, contentType, password string
		want                                      int
	}{
		{"no password", "GET", "/my-app.git/info/refs?service=git-receive-pack", "", "", 401},
		{"wrong password", "GET", "/my-app.git/info/refs?service=git-receive-pack", "", "nope", 401},
		{"broken look-up", "GET", "/my-app.git/info/refs?service=git-receive-pack", "", "broken", 500},
		{"no password for a post", "POST", "/my-app.git/git-receive-pack", receive, "", 401},
		{"dumb", "GET", "/my-app.git/info/refs", "", token, 403},
		{"dumb file", "GET", "/my-app.git/HEAD", "", token, 404},
		{"object", "GET", "/my-app.git/objects/info/packs", "", token, 404},
		{"config", "GET", "/my-app.git/config", "", token, 404},
		{"two services", "GET", "/my-app.git/info/refs?service=git-upload-pack&service=git-receive-pack", "", token, 403},
		{"more in the query", "GET", "/my-app.git/info/refs?service=git-upload-pack&x=1", "", token, 403},
		{"unknown service", "GET", "/my-app.git/info/refs?service=git-upload-archive", "", token, 404},
		{"option as service", "GET", "/my-app.git/info/refs?service=--help", "", token, 404},
		{"post to refs", "POST", "/my-app.git/info/refs?service=git-upload-pack", "", token, 404},
		{"get of a service", "GET", "/my-app.git/git-upload-pack", "", token, 404},
		{"service in a post's query", "POST", "/my-app.git/git-receive-pack?service=git-upload-pack", receive, token, 404},
		{"content type of the other service", "POST", "/my-app.git/git-receive-pack", upload, token, 400},
		{"no content type", "POST", "/my-app.git/git-receive-pack", "", token, 400},
		{"up", "GET", "/../my-app.git/info/refs?service=git-upload-pack", "", token, 404},
		{"encoded slash", "GET", "/a%2fb.git/info/refs?service=git-upload-pack", "", token, 404},
		{"encoded dots", "GET", "/%2e%2e/%2e%2e/x.git/info/refs?service=git-upload-pack", "", token, 404},
		{"upper case", "GET", "/My-App.git/info/refs?service=git-upload-pack", "", token, 404},
		{"dash first", "GET", "/-x.git/info/refs?service=git-upload-pack", "", token, 404},
		{"below", "GET", "/a/b.git/info/refs?service=git-upload-pack", "", token, 404},
		{"no app", "GET", "/info/refs?service=git-upload-pack", "", token, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Not through a client, which would tidy the path.
			r := httptest.NewRequestWithContext(t.Context(), tt.method, g.web.URL+"/git"+tt.path, nil)
			r.RequestURI = ""
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			if tt.password != "" {
				r.SetBasicAuth("x", tt.password)
			}
			res, err := g.web.Client().Do(r)
			check(t, err)
			defer func() { _ = res.Body.Close() }()
			text, err := io.ReadAll(res.Body)
			check(t, err)
			if res.StatusCode != tt.want {
				t.Errorf("status %d, want %d: %s", res.StatusCode, tt.want, text)
			}
			if res.StatusCode == 401 && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Error("no challenge")
			}
			if !strings.Contains(res.Header.Get("Cache-Control"), "no-cache") {
				t.Error("may be cached")
			}
			if strings.Contains(string(text), "fire") || strings.Contains(string(text), "no such token") {
				t.Errorf("says too much: %s", text)
			}
		})
	}
	if opened := g.Intake.Opened(); len(opened) != 0 {
		t.Errorf("looked up before the form was checked: %v", opened)
	}
	if starts := g.Starts(t); len(starts) != 0 {
		t.Errorf("git was started: %v", starts)
	}
}

func TestRefusals(t *testing.T) {
	g := newGround(t, git.Limits{}, nil)
	g.Intake.MayOpen = func(_ landward.Actor, app string, write bool) error {
		switch {
		case app == "hidden":
			return landward.Errorf(landward.CodeNotFound, "there is no app %q", app)
		case write:
			return landward.Errorf(landward.CodeForbidden, "you may read %s, not push to it", app)
		}
		return nil
	}
	w := gittest.NewWork(t)
	out, err := w.Run("push", g.url+"my-app.git", "main")
	if err == nil {
		t.Error("accepted")
	}
	contains(t, out, "remote: you may read my-app, not push to it", "403")
	out, _ = w.Run("ls-remote", g.url+"hidden.git")
	contains(t, out, "not found")
}

// post sends a body to git-upload-pack and returns the status and the answer.
func (g *ground) post(t *testing.T, body io.Reader, encoding string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"my-app.git/git-upload-pack", body)
	check(t, err)
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	res, err := g.web.Client().Do(r)
	check(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	check(t, err)
	return res.StatusCode, string(text)
}

func TestBodies(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *githttp.Options) { o.MaxBody = 1 << 20 })
	w := gittest.NewWork(t)
	w.Must("push", "-q", g.url+"my-app.git", "main")
	want := fmt.Sprintf("0032want %s\n00000009done\n", w.Must("rev-parse", "main"))

	zip := func(text io.Reader) io.Reader {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		_, err := io.Copy(zw, text)
		check(t, err)
		check(t, zw.Close())
		return &z
	}
	if status, text := g.post(t, zip(strings.NewReader(want)), "gzip"); status != 200 || !strings.Contains(text, "PACK") {
		t.Errorf("gzip: %d %q", status, text)
	}
	if status, text := g.post(t, strings.NewReader(want), ""); status != 200 || !strings.Contains(text, "PACK") {
		t.Errorf("plain: %d %q", status, text)
	}
	if status, text := g.post(t, strings.NewReader(want), "gzip"); status != 400 {
		t.Errorf("not gzip: %d %q", status, text)
	}
	if status, text := g.post(t, strings.NewReader(want), "br"); status != 400 {
		t.Errorf("brotli: %d %q", status, text)
	}
	// Endless "have" lines, tiny on the wire.
	have := "0032have " + strings.Repeat("1", 40) + "\n"
	bomb := zip(io.MultiReader(strings.NewReader(want[:54]), io.LimitReader(repeat(have), 64<<20)))
	if status, text := g.post(t, bomb, "gzip"); status != 413 || !strings.Contains(text, "too large") {
		t.Errorf("bomb: %d %.100q", status, text)
	}
	// The connection is good for the next request.
	if status, _ := g.post(t, strings.NewReader(want), ""); status != 200 {
		t.Errorf("after a bomb: %d", status)
	}
	if status, text := g.post(t, strings.NewReader("what is this"), ""); status != 400 {
		t.Errorf("nonsense: %d %q", status, text)
	}
}

func repeat(s string) io.Reader { return &repeater{s: s} }

type repeater struct {
	s string
	n int
}

func (r *repeater) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], r.s[r.n:])
		r.n = (r.n + c) % len(r.s)
		n += c
	}
	return n, nil
}

// A client that sends half a request and stops is put out.
func TestSilentClient(t *testing.T) {
	g := newGround(t, git.Limits{}, func(o *githttp.Options) { o.Stall = 200 * time.Millisecond })
	w := gittest.NewWork(t)
	w.Must("push", "-q", g.url+"my-app.git", "main")
	half, feed := io.Pipe()
	go func() { _, _ = io.WriteString(feed, "0032want ") }()
	defer func() { _ = feed.Close() }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"my-app.git/git-upload-pack", half)
	check(t, err)
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	res, err := g.web.Client().Do(r)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	t.Logf("the client saw: %v", err) // an answer or a closed connection, but not silence
	w.Must("ls-remote", g.url+"my-app.git")
}

// BenchmarkPush is a push of a one-file change until the hook is asked, and
// until the client ends; next to it the same push between two folders.
func BenchmarkPush(b *testing.B) {
	g := newGround(b, git.Limits{}, nil)
	var started time.Time
	var asked time.Duration
	g.Intake.OnPush = func(context.Context, source.Push, io.Writer) error {
		asked += time.Since(started)
		return nil
	}
	w := gittest.NewWork(b)
	local := filepath.Join(b.TempDir(), "local")
	w.Must("init", "-q", "--bare", local)
	n := 0
	for name, url := range map[string]string{"http": g.url + "my-app.git", "folder": local} {
		b.Run(name, func(b *testing.B) {
			w.Must("push", "-q", url, "main")
			asked, started = 0, time.Now()
			for b.Loop() {
				b.StopTimer()
				n++
				w.Commit("a", fmt.Sprint(n))
				b.StartTimer()
				started = time.Now()
				w.Must("push", "-q", url, "main")
			}
			if name == "http" {
				b.ReportMetric(float64(asked.Milliseconds())/float64(b.N), "ms-until-asked/op")
			}
		})
	}
}
