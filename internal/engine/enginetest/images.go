package enginetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"landward/internal/landward"
)

func images(t *testing.T, s *suite) {
	img, err := s.Images.Image(ctx(t), s.Image)
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != s.Image || !slices.Equal(img.Exposed, []int{8080, 9090}) || img.Size <= 0 {
		t.Errorf("image %+v", img)
	}
	for _, ref := range []string{"landward-enginetest/none:none", "sha256:" + strings.Repeat("1", 64), "BAD ref"} {
		_, err = s.Images.Image(ctx(t), ref)
		wantCode(t, err, landward.CodeNotFound)
	}
}

// savedImage makes an archive as `docker save` does, of one image per name,
// that holds one file.
func savedImage(t *testing.T, names ...string) []byte {
	t.Helper()
	var layer bytes.Buffer
	lw := tar.NewWriter(&layer)
	put(t, lw, "hello.txt", []byte("hello "+strings.Join(names, ",")))
	if err := lw.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []entry
	for _, name := range names {
		sum := sha256.Sum256(layer.Bytes())
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
			"config": map[string]any{
				"User": "1000", "Cmd": []string{"/hello"}, "Labels": map[string]string{"name": name},
				"ExposedPorts": map[string]any{"9000/tcp": struct{}{}, "80/tcp": struct{}{}, "53/udp": struct{}{}},
			},
			"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
			"history": []any{map[string]any{"created": "2026-01-02T03:04:05Z"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		id := sha256.Sum256(config)
		file := hex.EncodeToString(id[:]) + ".json"
		put(t, w, file, config)
		manifest = append(manifest, entry{Config: file, RepoTags: []string{name}, Layers: []string{"layer/layer.tar"}})
	}
	put(t, w, "layer/layer.tar", layer.Bytes())
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	put(t, w, "manifest.json", text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func put(t *testing.T, w *tar.Writer, name string, data []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *suite) {
	const name = "landward-enginetest/uploaded:1"
	img, err := s.Images.Load(ctx(t), bytes.NewReader(savedImage(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Ref != name || img.User != "1000" || !slices.Equal(img.Exposed, []int{80, 9000}) || !strings.HasPrefix(img.ID, "sha256:") {
		t.Errorf("loaded %+v", img)
	}
	if again, err := s.Images.Image(ctx(t), img.ID); err != nil || again.ID != img.ID {
		t.Errorf("image %+v, %v", again, err)
	}
	_, err = s.Images.Image(ctx(t), name)
	wantCode(t, err, landward.CodeNotFound) // the archive may not choose names
	s.dropImage(t, img.ID)

	for what, bad := range map[string][]byte{
		"two images":  savedImage(t, name, "landward-enginetest/other:1"),
		"not a tar":   []byte("certainly not an archive of any kind, but long enough to be read as one"),
		"empty":       nil,
		"cut short":   savedImage(t, name)[:2000],
		"no manifest": savedImage(t),
	} {
		_, err := s.Images.Load(ctx(t), bytes.NewReader(bad))
		if landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%s: %v, want code invalid", what, err)
		}
	}
}

// dropImage keeps and collects the image, which removes it.
func (s *suite) dropImage(t *testing.T, id string) {
	t.Helper()
	app := s.app(t)
	if err := s.Images.Keep(ctx(t), id, app, "drop", 1, "app"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Images.Collect(ctx(t), app, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Images.Image(ctx(t), id)
	wantCode(t, err, landward.CodeNotFound)
}

func collect(t *testing.T, s *suite) {
	app, other := s.app(t), s.app(t)
	var ids []string
	for _, name := range []string{"landward-enginetest/c:1", "landward-enginetest/c:2", "landward-enginetest/c:3"} {
		img, err := s.Images.Load(ctx(t), bytes.NewReader(savedImage(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, img.ID)
	}
	keep := func(i int, app int64, version int) {
		t.Helper()
		for range 2 { // idempotent
			if err := s.Images.Keep(ctx(t), ids[i], app, "my-app", version, "app"); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep(0, app, 1)
	keep(1, app, 2)
	keep(2, app, 3)
	keep(1, other, 1) // a second app has the second image too
	freed, err := s.Images.Collect(ctx(t), app, []int{3})
	if err != nil || freed <= 0 {
		t.Fatalf("collect freed %d, %v", freed, err)
	}
	for i, want := range []bool{false, true, true} {
		if _, err := s.Images.Image(ctx(t), ids[i]); (err == nil) != want {
			t.Errorf("image %d is there: %v, want %v", i+1, err == nil, want)
		}
	}
	for _, a := range []int64{app, other} {
		if _, err := s.Images.Collect(ctx(t), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ids {
		_, err := s.Images.Image(ctx(t), ids[i])
		wantCode(t, err, landward.CodeNotFound)
	}
	err = s.Images.Keep(ctx(t), "sha256:"+strings.Repeat("2", 64), app, "my-app", 1, "app")
	wantCode(t, err, landward.CodeNotFound)
	if _, err := s.Images.Image(ctx(t), s.Image); err != nil {
		t.Errorf("a foreign image is gone: %v", err)
	}
}

func info(t *testing.T, s *suite) {
	i, err := s.Engine.Info(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if i.Name == "" || i.Version == "" || i.CPUs < 1 || i.Memory < 1 || i.Firewall == "" {
		t.Errorf("info %+v", i)
	}
}
