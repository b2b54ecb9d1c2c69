package fake

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"landward/internal/landward"
)

type image struct {
	landward.Image
	tags    map[tag]bool
	foreign bool // AddImage's: never collected
}

type tag struct {
	app     int64
	version int
	service string
}

// AddImage gives the engine an image that it did not make, found by its ID and
// its Ref.
func (e *Engine) AddImage(img landward.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[img.ID] = &image{Image: img, tags: map[tag]bool{}, foreign: true}
}

// AddRemote makes an image that Pull finds under its Ref.
func (e *Engine) AddRemote(img landward.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remote[img.Ref] = img
}

// ImageID makes an image ID out of any text.
func ImageID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func noImage(ref string) error {
	return landward.Errorf(landward.CodeNotFound, "there is no image %s here", landward.Printable(ref))
}

// Pull implements engine.Images.
func (e *Engine) Pull(ctx context.Context, ref string, out func(line string)) (landward.Image, error) {
	if err := e.fail(ctx, "Pull"); err != nil {
		return landward.Image{}, err
	}
	e.mu.Lock()
	img, ok := e.remote[ref]
	e.mu.Unlock()
	if !ok {
		return landward.Image{}, landward.Errorf(landward.CodeNotFound, "cannot pull %s", landward.Printable(ref)).WithCause("manifest unknown")
	}
	if out != nil {
		out("Pulling from " + ref)
	}
	e.AddImage(img)
	return img, nil
}

// Image implements engine.Images.
func (e *Engine) Image(ctx context.Context, ref string) (landward.Image, error) {
	if err := e.fail(ctx, "Image"); err != nil {
		return landward.Image{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, img := range e.images {
		if img.ID == ref || img.foreign && img.Ref == ref {
			out := img.Image
			out.Ref = ref
			return out, nil
		}
	}
	return landward.Image{}, noImage(ref)
}

// Load implements engine.Images.
func (e *Engine) Load(ctx context.Context, r io.Reader) (landward.Image, error) {
	if err := e.fail(ctx, "Load"); err != nil {
		return landward.Image{}, err
	}
	img, err := readArchive(r)
	if err != nil {
		return landward.Image{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.images[img.ID] == nil {
		e.images[img.ID] = &image{Image: img, tags: map[tag]bool{}}
	}
	return img, nil
}

// readArchive reads what a `docker save` stream says about its one image.
func readArchive(r io.Reader) (landward.Image, error) {
	bad := func(cause string) error {
		return landward.Errorf(landward.CodeInvalid, "this is not an image archive").WithCause(cause)
	}
	files := map[string][]byte{}
	size := int64(0)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return landward.Image{}, bad(err.Error())
		}
		if files[h.Name], err = io.ReadAll(t); err != nil {
			return landward.Image{}, bad(err.Error())
		}
		size += h.Size
	}
	var manifest []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		return landward.Image{}, bad("it must have one image")
	}
	config := files[manifest[0].Config]
	var c struct {
		Config struct {
			User         string
			ExposedPorts map[string]struct{}
		} `json:"config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return landward.Image{}, bad(err.Error())
	}
	img := landward.Image{ID: ImageID(string(config)), User: c.Config.User, Size: size}
	if len(manifest[0].RepoTags) > 0 {
		img.Ref = manifest[0].RepoTags[0]
	}
	for p := range c.Config.ExposedPorts {
		if n, err := strconv.Atoi(strings.TrimSuffix(p, "/tcp")); err == nil {
			img.Exposed = append(img.Exposed, n)
		}
	}
	slices.Sort(img.Exposed)
	return img, nil
}

// Keep implements engine.Images.
func (e *Engine) Keep(ctx context.Context, id string, appID int64, app string, version int, service string) error {
	if err := e.fail(ctx, "Keep"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	img := e.images[id]
	if img == nil {
		return noImage(id)
	}
	img.tags[tag{appID, version, service}] = true
	return nil
}

// Kept returns the versions of the app whose images are kept, sorted.
func (e *Engine) Kept(appID int64) []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []int
	for _, img := range e.images {
		for t := range img.tags {
			if t.app == appID {
				out = append(out, t.version)
			}
		}
	}
	slices.SortFunc(out, cmp.Compare)
	return slices.Compact(out)
}

// Collect implements engine.Images.
func (e *Engine) Collect(ctx context.Context, appID int64, keep []int) (freed int64, err error) {
	if err := e.fail(ctx, "Collect"); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, img := range e.images {
		had := len(img.tags)
		for t := range img.tags {
			if t.app == appID && !slices.Contains(keep, t.version) && !e.uses(id) {
				delete(img.tags, t)
			}
		}
		if had > 0 && len(img.tags) == 0 && !img.foreign {
			delete(e.images, id)
			freed += img.Size
		}
	}
	return freed, nil
}

// uses reports whether a container has the image. e.mu is held.
func (e *Engine) uses(id string) bool {
	for _, c := range e.containers {
		if c.is.Image == id {
			return true
		}
	}
	return false
}
