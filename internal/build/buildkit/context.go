package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"landward/internal/landward"
)

// maxDockerfile is how large a Dockerfile may be, in bytes.
const maxDockerfile = 1 << 20

// defaultIgnore is left out where we wrote the Dockerfile and the tree has no
// .dockerignore.
const defaultIgnore = ".git\n.gitignore\n**/node_modules\n**/__pycache__\n.venv\nvenv\n.env\n.env.*\n!.env.example\n"

// sourceTree is what BuildKit may ask us for.
type sourceTree struct {
	context    fsutil.FS
	dockerfile fsutil.FS // the Dockerfile and its own ignore file, nothing else
	name       string    // the Dockerfile's name in there
	shown      string    // what errors call it
}

// openContext opens the build context of a plan in the unpacked tree.
func openContext(dir string, p landward.BuildPlan) (sourceTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return sourceTree{}, fmt.Errorf("open source folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	contextDir := dir
	if p.Context != "" {
		if !realFolder(root, p.Context) {
			return sourceTree{}, landward.Errorf(landward.CodeFailed, "the build context %s is not a folder of the tree", landward.Printable(p.Context))
		}
		contextDir = dir + "/" + p.Context
	}
	t := sourceTree{name: "Dockerfile", shown: "Dockerfile"}
	if t.context, err = fsutil.NewFS(contextDir); err != nil {
		return sourceTree{}, fmt.Errorf("open build context: %w", err)
	}
	files := fileSet{staticfs.NewFS()}
	t.dockerfile = files
	if p.Generated != "" {
		addFile(files, t.name, []byte(p.Generated))
		if _, err := root.Lstat(path.Join(p.Context, ".dockerignore")); errors.Is(err, fs.ErrNotExist) {
			addFile(files, t.name+".dockerignore", []byte(defaultIgnore))
		}
		return t, nil
	}
	place := path.Join(p.Context, p.Dockerfile)
	t.name, t.shown = path.Base(place), place
	text, err := readPlain(root, place)
	if err != nil {
		return sourceTree{}, err
	}
	if err := checkSyntax(place, text); err != nil {
		return sourceTree{}, err
	}
	addFile(files, t.name, text)
	ignore, err := readPlain(root, place+".dockerignore")
	switch {
	case err == nil:
		addFile(files, t.name+".dockerignore", ignore)
	case landward.CodeOf(err) != landward.CodeFailed:
		return sourceTree{}, err
	}
	return t, nil
}

// realFolder reports whether no element of name is a link.
func realFolder(root *os.Root, name string) bool {
	for i := range name {
		if name[i] == '/' && !realFolder(root, name[:i]) {
			return false
		}
	}
	info, err := root.Lstat(name)
	return err == nil && info.IsDir()
}

// readPlain reads a file that must not be a link.
func readPlain(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	switch {
	case err != nil || !info.Mode().IsRegular() || path.Dir(name) != "." && !realFolder(root, path.Dir(name)):
		return nil, landward.Errorf(landward.CodeFailed, "there is no plain file %s in the tree", landward.Printable(name))
	case info.Size() > maxDockerfile:
		return nil, landward.Errorf(landward.CodeTooLarge, "%s is larger than %d KiB", landward.Printable(name), maxDockerfile>>10)
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// checkSyntax refuses a Dockerfile that asks for a frontend of its own: it would
// be a program from a registry that steers the build. The official one is what
// runs anyway.
func checkSyntax(name string, text []byte) error {
	ref, _, at, ok := parser.DetectSyntax(text)
	if !ok {
		return nil
	}
	image := strings.TrimPrefix(ref, "docker.io/")
	image, _, _ = strings.Cut(image, "@")
	image, _, _ = strings.Cut(image, ":")
	if image == "docker/dockerfile" || image == "docker/dockerfile-upstream" {
		return nil
	}
	line := 1
	if len(at) > 0 {
		line = at[0].Start.Line
	}
	return &landward.Error{
		Code: landward.CodeFailed, Field: name + ":" + strconv.Itoa(line),
		Message: fmt.Sprintf("the Dockerfile frontend %s is not allowed", landward.Printable(ref)),
		Hint:    "remove the syntax line, or use docker/dockerfile:1",
	}
}

// addFile adds a file whose time of change is drawn from its content, because
// BuildKit goes by name, size and time.
func addFile(files fileSet, name string, data []byte) {
	sum := sha256.Sum256(data)
	files.Add(name, &types.Stat{Mode: 0o644, ModTime: int64(binary.BigEndian.Uint64(sum[:8]) >> 2)}, data)
}

// fileSet is a few files in memory.
type fileSet struct{ *staticfs.FS }

// Walk visits what is below target. The embedded one takes the beginning of a
// file's name for a folder.
func (f fileSet) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	target = strings.TrimPrefix(path.Clean("/"+target), "/")
	return f.FS.Walk(ctx, target, func(name string, d fs.DirEntry, err error) error {
		if target != "" && name != target && !strings.HasPrefix(name, target+"/") {
			return nil
		}
		return fn(name, d, err)
	})
}
