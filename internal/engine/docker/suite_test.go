package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"landward/internal/engine/docker"
	"landward/internal/engine/enginetest"
)

func TestSuite(t *testing.T) {
	needDocker(t)
	enginetest.Run(t, func(t *testing.T, instance string) enginetest.Subject {
		d := newDocker(t, instance)
		return enginetest.Subject{Engine: d, Runner: d, Images: d, Image: probeImage(t)}
	})
}

// needDocker fails the test where there is no Docker: these tests are the
// adapter's only proof. -short leaves them out.
func needDocker(t testing.TB) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Docker")
	}
	api, err := client.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	if _, err := api.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("this test needs Docker: %v", err)
	}
	return api
}

// newDocker makes an engine of an instance of its own, and purges it when the
// test ends.
func newDocker(t testing.TB, name string, change ...func(*docker.Options)) *docker.Docker {
	t.Helper()
	o := docker.Options{
		Instance: "test-" + strings.ToLower(rand.Text()[:8]) + "-" + name,
		Log:      slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&o)
	}
	d, err := docker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Purge(context.Background(), true); err != nil {
			t.Errorf("purge: %v", err)
		}
		d.Close()
	})
	return d
}

// probe is the image of package probe, made once for all tests of the binary.
var probe struct {
	sync.Mutex
	id string
}

const probeTag = "landward-enginetest/probe"

func TestMain(m *testing.M) {
	code := m.Run()
	if probe.id != "" {
		if api, err := client.New(); err == nil {
			_, _ = api.ImageRemove(context.Background(), probe.id, client.ImageRemoveOptions{Force: true})
			api.Close()
		}
	}
	os.Exit(code)
}

func probeImage(t testing.TB) string {
	t.Helper()
	probe.Lock()
	defer probe.Unlock()
	if probe.id == "" {
		probe.id = importImage(t, probeTag+":"+strings.ToLower(rand.Text()), "CMD [\"/probe\"]", "EXPOSE 9090/tcp 8080/tcp 53/udp")
	}
	return probe.id
}

// importImage makes an image that has the probe, and the changes.
func importImage(t testing.TB, tag string, changes ...string) string {
	t.Helper()
	api := needDocker(t)
	res, err := api.ImageImport(t.Context(), client.ImageImportSource{Source: rootFS(t), SourceName: "-"}, tag, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
	res.Close()
	img, err := api.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	return img.ID
}

// rootFS is a file system with the probe and the users root and app.
func rootFS(t testing.TB) io.Reader {
	t.Helper()
	program, err := os.ReadFile(probeBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{
		{"probe", 0o755, program},
		{"etc/passwd", 0o644, []byte("root:x:0:0::/:/\napp:x:1000:1000::/:/\n")},
		{"etc/group", 0o644, []byte("root:x:0:\napp:x:1000:\n")},
		{"plain.txt", 0o644, []byte("not a program\n")},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}
