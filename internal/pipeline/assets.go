package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"landward/internal/landward"
)

// Bounds of the error pages of one app.
const (
	maxPages    = 64
	maxPageSize = 256 << 10
)

// assets copies what the edge serves itself out of the source: a static site's
// files and the app's own error pages. It returns the name of the release's
// folder, "" where there is nothing to copy. A run that is repeated after a
// crash starts over.
func (p *Pipeline) assets(ctx context.Context, d landward.Deployment, r landward.Routing) (string, error) {
	if r.Static.Dir == "" && r.Errors.Dir == "" {
		return "", nil
	}
	f, err := p.openSource(d)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	tree, err := p.OpenTree(f)
	if err != nil {
		return "", err
	}
	name := strconv.FormatInt(d.ID, 10)
	parent := filepath.Join(p.SitesDir, strconv.FormatInt(d.AppID, 10))
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // the edge may be another user
		return "", fmt.Errorf("make folder of the site: %w", err)
	}
	dir, tmp := filepath.Join(parent, name), filepath.Join(parent, ".new-"+name)
	if err := errors.Join(os.RemoveAll(tmp), os.RemoveAll(dir)); err != nil {
		return "", fmt.Errorf("clear folder of the site: %w", err)
	}
	if err := copyAssets(ctx, tree, r, tmp); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("keep the site: %w", err)
	}
	return name, syncAll(parent)
}

func copyAssets(ctx context.Context, tree fs.FS, r landward.Routing, dst string) error {
	if r.Static.Dir != "" {
		if err := copyTree(ctx, tree, "routes.static.dir", r.Static.Dir, filepath.Join(dst, landward.AssetStatic), isPublic); err != nil {
			return err
		}
	}
	if r.Errors.Dir == "" {
		return nil
	}
	pages := 0
	return copyTree(ctx, tree, "routes.errors.dir", r.Errors.Dir, filepath.Join(dst, landward.AssetPages), func(name string, d fs.DirEntry) bool {
		info, err := d.Info()
		if err != nil || path.Ext(name) != ".html" || strings.Contains(name, "/") || info.Size() > maxPageSize {
			return d.IsDir() && name == "."
		}
		pages++
		return pages <= maxPages
	})
}

// isPublic reports whether a file of a static site may be seen: not hidden ones,
// and not those that tell Landward what to do.
func isPublic(name string, _ fs.DirEntry) bool {
	base := path.Base(name)
	if name != "." && strings.HasPrefix(base, ".") && base != ".well-known" {
		return false
	}
	return !slices.Contains([]string{"Procfile", "Dockerfile", "app.json", "landward.yaml"}, name)
}

// copyTree copies the folder root of a tree, but for what wanted says no to.
func copyTree(ctx context.Context, tree fs.FS, field, root, dst string, wanted func(name string, d fs.DirEntry) bool) error {
	root = path.Clean(root)
	sub, err := fs.Sub(tree, root)
	if err == nil {
		var info fs.FileInfo
		if info, err = fs.Stat(sub, "."); err == nil && !info.IsDir() {
			err = fs.ErrInvalid
		}
	}
	if err != nil {
		return landward.Invalid(field, "%s is not a folder of the source", landward.Printable(root)).
			WithHint("name a folder that is in the repository; what a build makes is not there")
	}
	return fs.WalkDir(sub, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !wanted(name, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dst, name), 0o755) //nolint:gosec // the edge may be another user
		}
		return copyFile(sub, name, filepath.Join(dst, name))
	})
}

// copyFile copies a plain file, or the one that a link leads to inside the tree.
func copyFile(tree fs.FS, name, dst string) error {
	info, err := fs.Stat(tree, name)
	if err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // a link to nowhere or to a folder is no page
	}
	in, err := tree.Open(name)
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	defer in.Close()                                                       //nolint:errcheck // only read
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // the edge may be another user
	if err != nil {
		return fmt.Errorf("write site: %w", err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// syncAll makes all that was written below dir survive a power cut, in one go.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("keep the site: %w", err)
	}
	defer f.Close()                                  //nolint:errcheck // only a handle
	if err := unix.Syncfs(int(f.Fd())); err != nil { //nolint:gosec // a descriptor fits
		return fmt.Errorf("keep the site: %w", err)
	}
	return nil
}
