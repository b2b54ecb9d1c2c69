package buildkit_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"landward/internal/build"
	"landward/internal/build/buildkit"
	"landward/internal/landward"
)

const base = "debian:bookworm-slim"

// docker returns a client of the real Engine. Tests that need one are left out
// in short mode; otherwise it must be there.
func docker(t testing.TB) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Docker")
	}
	c, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.ImageInspect(t.Context(), base); err != nil {
		t.Fatalf("the image %s must be there: %v", base, err)
	}
	return c
}

// bench is a builder with everything that a test wants to vary.
type bench struct {
	*buildkit.Builder
	docker *client.Client
	opt    buildkit.Options
	req    build.Request
}

// scope is another one for each run of the tests, so that none of their
// commands comes from the cache of an earlier run.
var scope = strconv.FormatInt(time.Now().UnixNano(), 36)

// newBench makes a builder whose images are removed when the test ends.
func newBench(t testing.TB, change ...func(*buildkit.Options)) *bench {
	t.Helper()
	d := docker(t)
	opt := buildkit.Options{
		Dir: t.TempDir(), Instance: "test-" + strings.ToLower(t.Name()), Private: "landward-build-test/",
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&opt)
	}
	name, _, _ := strings.Cut(strings.ToLower(t.Name()), "/")
	builder, err := buildkit.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Builder: builder, docker: d, opt: opt, req: build.Request{
		AppID: 7, App: "hello", Service: "app", CacheScope: scope, Tag: "landward-build-test/" + name + ":v1",
		Plan:   landward.BuildPlan{Dockerfile: "Dockerfile"},
		Labels: map[string]string{testLabel: scope},
	}}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		removeImages(t, d)
	})
	return b
}

// testLabel is on every image that these tests make.
const testLabel = "landward.build.test"

// removeImages removes the images of this run of the tests, those included that
// have lost their tag to a later one.
func removeImages(t testing.TB, d *client.Client) {
	t.Helper()
	ctx := context.Background() // the test's own has ended
	list, err := d.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("label", testLabel+"="+scope)})
	if err != nil {
		t.Errorf("list images: %v", err)
	}
	for _, image := range list.Items {
		if _, err := d.ImageRemove(ctx, image.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil {
			t.Errorf("remove image: %v", err)
		}
	}
}

// output collects lines.
type output struct {
	mu    sync.Mutex
	lines []build.Line
}

func (o *output) add(l build.Line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, l)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, l := range o.lines {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

func (b *bench) build(t *testing.T, files map[string]string) (landward.Image, *output, error) {
	t.Helper()
	out := &output{}
	image, err := b.Build(t.Context(), b.req, tarOf(t, files), out.add)
	return image, out, err
}

func (b *bench) mustBuild(t *testing.T, files map[string]string) (landward.Image, *output) {
	t.Helper()
	image, out, err := b.build(t, files)
	if err != nil {
		t.Fatalf("build: %v\n%s\n%s", err, strings.Join(landward.AsError(err).Explain(), "\n"), out.text())
	}
	return image, out
}

// mustFail builds what must not build and returns why it did not.
func (b *bench) mustFail(t *testing.T, files map[string]string) *landward.Error {
	t.Helper()
	_, out, err := b.build(t, files)
	if err == nil {
		t.Fatalf("the build worked:\n%s", out.text())
	}
	return landward.AsError(err)
}

// tarOf makes an archive of plain files, in order of their names. A name that
// ends in "*" is a file that may be run, one with " -> target" a link.
func tarOf(t testing.TB, files map[string]string) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg, ModTime: time.Unix(1, 0)}
		if link, target, ok := strings.Cut(name, " -> "); ok {
			h = &tar.Header{Name: link, Linkname: target, Typeflag: tar.TypeSymlink}
		} else if strings.HasSuffix(name, "*") {
			h.Name, h.Mode = strings.TrimSuffix(name, "*"), 0o755
		}
		write(t, w, h, files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func write(t testing.TB, w *tar.Writer, h *tar.Header, text string) {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
}

// has fails the test unless text has part in it.
func has(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		if len(text) > 4000 {
			text = text[:2000] + "\n...\n" + text[len(text)-2000:]
		}
		t.Errorf("%s has no %q:\n%s", what, part, text)
	}
}
