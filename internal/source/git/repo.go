package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"landward/internal/landward"
	"landward/internal/source"
)

// attributes take the two attributes away with which a tree could hide files
// from its own deployment or change their text. This file wins over any
// .gitattributes.
const attributes = "* -export-ignore -export-subst\n"

// leftoversAge is when temporary objects of a push that died are removed. No
// push runs this long.
const leftoversAge = 24 * time.Hour

// Create makes a bare repository at dir, an absolute path, with HEAD on main.
// It appears whole or not at all; one that exists stays as it is.
func (g *Git) Create(ctx context.Context, dir string) error {
	if Exists(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("create repository: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return fmt.Errorf("create repository: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // nothing there after the rename
	if _, err := g.output(ctx, tmp, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch=main"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(tmp, "info"), 0o700); err != nil {
		return fmt.Errorf("create repository: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "info", "attributes"), []byte(attributes), 0o600); err != nil {
		return fmt.Errorf("create repository: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil && !Exists(dir) { // two may create it at once
		return fmt.Errorf("create repository: %w", err)
	}
	return nil
}

// Exists reports whether there is a repository at dir.
func Exists(dir string) bool {
	head, err := os.Lstat(filepath.Join(dir, "HEAD"))
	return err == nil && head.Mode().IsRegular()
}

// SetHead makes branch ("main") the one that a clone checks out and that no
// push may delete.
func (g *Git) SetHead(ctx context.Context, repo source.Repo, branch string) error {
	ref := "refs/heads/" + branch
	if err := CheckRef(ref); err != nil {
		return err
	}
	_, err := g.output(ctx, repo.Dir, nil, "symbolic-ref", "HEAD", ref)
	return err
}

// head returns the ref that HEAD names.
func head(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	if err != nil {
		return "", fmt.Errorf("read HEAD: %w", err)
	}
	ref, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "ref: ")
	if !ok {
		return "", fmt.Errorf("read HEAD: not symbolic")
	}
	return ref, nil
}

// Maintain packs the repository and removes what pushes that died left behind
// before now. Pushes and fetches may run meanwhile. Git does none of this by
// itself, so that no pusher waits for it.
func (g *Git) Maintain(ctx context.Context, repo source.Repo, now time.Time) error {
	if err := sweep(filepath.Join(repo.Dir, "objects"), now.Add(-leftoversAge)); err != nil {
		return err
	}
	_, err := g.output(ctx, repo.Dir, nil, "gc", "--quiet", "--prune=1.day.ago")
	return err
}

// sweep removes quarantine folders that were last touched before then.
func sweep(objects string, before time.Time) error {
	entries, err := os.ReadDir(objects)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !isQuarantine(e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its push has just ended
		}
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if info.ModTime().Before(before) {
			if err := os.RemoveAll(filepath.Join(objects, e.Name())); err != nil {
				return fmt.Errorf("remove leftovers: %w", err)
			}
		}
	}
	return nil
}

func isQuarantine(name string) bool {
	return strings.HasPrefix(name, "tmp_objdir-") || strings.HasPrefix(name, "incoming-")
}

// quarantineEnv returns the variables that let git see the objects of a push
// that is not accepted yet. path is what the hook reported; it must be a
// quarantine of this repository. "" (a push without objects) needs none.
func quarantineEnv(repo source.Repo, path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("check quarantine: %w", err)
	}
	objects, err := filepath.EvalSymlinks(filepath.Join(repo.Dir, "objects"))
	if err != nil {
		return nil, fmt.Errorf("check quarantine: %w", err)
	}
	if filepath.Dir(real) != objects || !isQuarantine(filepath.Base(real)) {
		return nil, landward.Errorf(landward.CodeForbidden, "the push's objects are not in its repository")
	}
	return []string{
		"GIT_OBJECT_DIRECTORY=" + real,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + objects,
	}, nil
}
