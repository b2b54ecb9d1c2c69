package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"landward/internal/landward"
)

// imageConfig is what an image says about how it runs.
type imageConfig struct {
	user    string
	workDir string
}

// imageCache remembers configs by image id. They never change, so entries are
// only dropped to bound it. The zero value is ready.
type imageCache struct {
	mu    sync.Mutex
	known map[string]imageConfig
}

const maxCachedImages = 1000

func (c *imageCache) get(id string) (imageConfig, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cfg, ok := c.known[id]
	return cfg, ok
}

func (c *imageCache) put(id string, cfg imageConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCachedImages {
		c.known = map[string]imageConfig{}
	}
	c.known[id] = cfg
}

func (d *Docker) imageConfig(ctx context.Context, id string) (imageConfig, error) {
	if cfg, ok := d.images.get(id); ok {
		return cfg, nil
	}
	res, err := d.inspectImage(ctx, id)
	if err != nil {
		return imageConfig{}, err
	}
	var cfg imageConfig
	if res.Config != nil {
		cfg = imageConfig{user: res.Config.User, workDir: res.Config.WorkingDir}
	}
	if res.ID == id { // a name may mean another image tomorrow
		d.images.put(id, cfg)
	}
	return cfg, nil
}

func (d *Docker) inspectImage(ctx context.Context, ref string) (image.InspectResponse, error) {
	res, err := d.api.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) || cerrdefs.IsInvalidArgument(err) {
		return image.InspectResponse{}, landward.Errorf(landward.CodeNotFound, "there is no image %s here", landward.Printable(ref)).
			WithHint("deploy again to build or pull it").Wrap(err)
	}
	if err != nil {
		return image.InspectResponse{}, explain("inspect image", err)
	}
	return res.InspectResponse, nil
}

// Image implements engine.Images.
func (d *Docker) Image(ctx context.Context, ref string) (landward.Image, error) {
	res, err := d.inspectImage(ctx, ref)
	if err != nil {
		return landward.Image{}, err
	}
	return toImage(ref, res), nil
}

func toImage(ref string, res image.InspectResponse) landward.Image {
	out := landward.Image{Ref: ref, ID: res.ID, Size: res.Size}
	if res.Config == nil {
		return out
	}
	out.User = res.Config.User
	for p := range res.Config.ExposedPorts {
		number, proto, _ := strings.Cut(p, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && n > 0 && (proto == "" || proto == "tcp") {
			out.Exposed = append(out.Exposed, int(n))
		}
	}
	slices.Sort(out.Exposed)
	return out
}

// Pull implements engine.Images.
func (d *Docker) Pull(ctx context.Context, ref string, out func(line string)) (landward.Image, error) {
	res, err := d.api.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err != nil {
		return landward.Image{}, pullError(ref, err)
	}
	defer res.Close()
	var last map[string]string
	for m, err := range res.JSONMessages(ctx) {
		if err != nil {
			return landward.Image{}, explain("read pull progress", err)
		}
		if m.Error != nil {
			return landward.Image{}, pullError(ref, m.Error)
		}
		if last == nil {
			last = map[string]string{}
		}
		if line, ok := progressLine(m, last); ok && out != nil {
			out(line)
		}
	}
	return d.Image(ctx, ref)
}

// progressLine turns a pull message into a line, one for each thing that a
// layer begins, not one for each block that arrives.
func progressLine(m jsonstream.Message, last map[string]string) (string, bool) {
	status := landward.CleanLine(strings.TrimSpace(m.Status))
	if status == "" || last[m.ID] == status || strings.HasPrefix(status, "Waiting") {
		return "", false
	}
	last[m.ID] = status
	if m.ID == "" {
		return status, true
	}
	return landward.CleanLine(m.ID) + ": " + status, true
}

func pullError(ref string, err error) error {
	words := runtimeWords(err)
	show := landward.Printable(ref)
	for _, sign := range []string{"not found", "manifest unknown", "pull access denied", "repository does not exist", "name unknown"} {
		if strings.Contains(words, sign) {
			return landward.Errorf(landward.CodeNotFound, "cannot pull %s", show).WithCause(words).
				WithHint("check the name and the tag, and that the registry may be read without signing in").Wrap(err)
		}
	}
	if strings.Contains(words, "invalid reference format") {
		return landward.Invalid("image", "%q is not an image reference", show).Wrap(err)
	}
	if e := explain("pull image", err); landward.CodeOf(e) != landward.CodeInternal {
		return e
	}
	return landward.Errorf(landward.CodeUnavailable, "cannot pull %s", show).WithCause(words).
		WithHint("the registry did not answer as it should; try again, or upload the image with --image-archive").Wrap(err)
}

// Load implements engine.Images. The archive's own names are not used: an
// upload must not replace an image that others start from. It gets a name of
// ours until Keep gives it another; Collect drops one that nobody kept for a day.
func (d *Docker) Load(ctx context.Context, r io.Reader) (landward.Image, error) {
	tag := d.names.imagePrefix() + incoming + ":" + strconv.FormatInt(d.o.Now().UnixNano(), 16)
	pr, pw := io.Pipe()
	renamed := make(chan renameResult, 1)
	go func() {
		res := renameArchive(pw, r, tag, d.o.MaxImage)
		_ = pw.CloseWithError(res.err) // nil: end of file
		renamed <- res
	}()
	loadErr := d.loadStream(ctx, pr)
	_ = pr.CloseWithError(errors.New("load ended")) // frees the writer where Docker read no further
	res := <-renamed
	var bad *landward.Error
	switch {
	case errors.As(res.err, &bad):
		return landward.Image{}, bad
	case loadErr != nil:
		return landward.Image{}, loadErr
	case res.err != nil:
		return landward.Image{}, fmt.Errorf("read image archive: %w", res.err)
	}
	img, err := d.Image(ctx, tag)
	if err != nil {
		return landward.Image{}, err
	}
	img.Ref = res.name
	return img, nil
}

func (d *Docker) loadStream(ctx context.Context, r io.Reader) error {
	res, err := d.api.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		if cerrdefs.IsInvalidArgument(err) || cerrdefs.IsInternal(err) {
			return badArchive(runtimeWords(err)).Wrap(err)
		}
		return explain("load image", err)
	}
	defer res.Close()
	words, err := loadOutcome(res)
	if err != nil {
		return explain("read load progress", err)
	}
	if words != "" {
		return badArchive(words)
	}
	return nil
}

// Keep implements engine.Images.
func (d *Docker) Keep(ctx context.Context, id string, appID int64, app string, version int, service string) error {
	if err := errors.Join(landward.CheckAppName(app), landward.CheckProcessName(service)); err != nil {
		return err
	}
	tag := fmt.Sprintf("%s:%s%s", d.names.imageRepo(appID, app), versionTag(version), service)
	_, err := d.api.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: tag})
	if cerrdefs.IsNotFound(err) {
		return landward.Errorf(landward.CodeNotFound, "there is no image %s here", short(id)).Wrap(err)
	}
	if err != nil {
		return explain("tag image", err)
	}
	return d.dropUploadNames(ctx, id)
}

// dropUploadNames removes the names that Load gave the image.
func (d *Docker) dropUploadNames(ctx context.Context, id string) error {
	res, err := d.inspectImage(ctx, id)
	if err != nil {
		return err
	}
	for _, tag := range res.RepoTags {
		if r, ok := parseTag(d.names.imagePrefix(), tag); !ok || !r.incoming {
			continue
		}
		if _, err := d.api.ImageRemove(ctx, tag, client.ImageRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
			return explain("drop name of upload", err)
		}
	}
	return nil
}

func versionTag(version int) string { return fmt.Sprintf("v%d-", version) }

// Collect implements engine.Images. The bytes are what the images took beside
// layers that Docker says they share; older Dockers do not say, and then the
// sum is an upper bound.
func (d *Docker) Collect(ctx context.Context, appID int64, keep []int) (int64, error) {
	kept := map[int]bool{}
	for _, v := range keep {
		kept[v] = true
	}
	return d.collect(ctx, d.names.imagePrefix(), func(r release) bool {
		if r.incoming {
			return d.o.Now().Sub(r.at) < 24*time.Hour
		}
		return r.app != appID || kept[r.version]
	})
}

// incoming is the repository of uploaded images that no release has yet.
const incoming = "incoming"

// release is what one tag of ours says.
type release struct {
	app      int64
	version  int
	incoming bool
	at       time.Time // of an incoming one
}

// parseTag reads a tag that Keep or Load made.
func parseTag(prefix, tag string) (release, bool) {
	rest, ok := strings.CutPrefix(tag, prefix)
	repo, name, okTag := strings.Cut(rest, ":")
	if !ok || !okTag {
		return release{}, false
	}
	if repo == incoming {
		nanos, err := strconv.ParseInt(name, 16, 64)
		return release{incoming: true, at: time.Unix(0, nanos)}, err == nil
	}
	id, _, ok1 := strings.Cut(repo, "/")
	app, err1 := strconv.ParseInt(id, 10, 64)
	v, _, ok2 := strings.Cut(strings.TrimPrefix(name, "v"), "-")
	version, err2 := strconv.Atoi(v)
	return release{app: app, version: version}, ok1 && ok2 && err1 == nil && err2 == nil
}

// collect drops the tags of ours that keep does not want. Docker removes an
// image with its last tag, unless a container still has it; then the tag stays
// for the next time.
func (d *Docker) collect(ctx context.Context, prefix string, keep func(release) bool) (freed int64, err error) {
	list, err := d.api.ImageList(ctx, client.ImageListOptions{
		SharedSize: true, Filters: make(client.Filters).Add("reference", prefix+"*", prefix+"*/*"),
	})
	if err != nil {
		return 0, explain("list images", err)
	}
	var errs []error
	for _, img := range list.Items {
		for _, tag := range img.RepoTags {
			if r, ok := parseTag(prefix, tag); !ok || keep(r) {
				continue
			}
			res, err := d.api.ImageRemove(ctx, tag, client.ImageRemoveOptions{})
			if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
				errs = append(errs, explain("remove image", err))
			}
			if slices.ContainsFunc(res.Items, func(r image.DeleteResponse) bool { return r.Deleted == img.ID }) {
				freed += img.Size - max(0, img.SharedSize)
			}
		}
	}
	return freed, errors.Join(errs...)
}
