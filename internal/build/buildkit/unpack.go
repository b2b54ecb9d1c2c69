package buildkit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"landward/internal/landward"
)

// Limits on a source archive, beside its size.
const (
	maxEntries = 200_000
	maxPath    = 4096 // bytes
	maxLevels  = 100  // folders in folders
)

// unpack makes dir the tree that the tar says. A file whose content is the same
// keeps its time of change, so that BuildKit sends only what differs. limit is
// how many bytes of files there may be, 0 for any number.
func unpack(ctx context.Context, dir string, source io.Reader, limit int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make source folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open source folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{root: root, seen: map[string]fs.FileMode{}, left: limit, bounded: limit > 0, limit: limit}
	if err := u.readAll(ctx, tar.NewReader(source)); err != nil {
		return err
	}
	return u.removeRest()
}

// unpacker writes one archive over what the last one left. It works inside an
// os.Root, so nothing that it does can leave the folder.
type unpacker struct {
	root    *os.Root
	seen    map[string]fs.FileMode // what this archive has, with its type
	left    int64                  // bytes that may still come
	bounded bool
	limit   int64
	// To compare a file with what is there: what the archive says, what is
	// there, and the part of chunk from a difference on.
	chunk, old [64 << 10]byte
	rest       []byte
}

func (u *unpacker) readAll(ctx context.Context, r *tar.Reader) error {
	for entries := 0; ; entries++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errArchive(err)
		}
		if entries >= maxEntries {
			return landward.Errorf(landward.CodeTooLarge, "the source has more than %d files", maxEntries).
				WithHint("leave out what the build does not need, such as node_modules")
		}
		if err := u.entry(h, r); err != nil {
			return err
		}
	}
}

func errArchive(err error) error {
	return landward.Errorf(landward.CodeInvalid, "the source archive is damaged").Wrap(err)
}

func refuse(name, format string, args ...any) error {
	return landward.Errorf(landward.CodeInvalid, "the source cannot be used: %s %s", landward.Printable(name), fmt.Sprintf(format, args...))
}

// entry writes one entry of the archive.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := entryName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(name)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		return u.link(name, h.Linkname)
	case tar.TypeLink:
		return refuse(h.Name, "is a hard link")
	}
	return refuse(h.Name, "is neither a file, a folder nor a link")
}

// entryName returns an entry's path inside the tree.
func entryName(raw string) (string, error) {
	name := path.Clean(strings.TrimSuffix(raw, "/"))
	switch {
	case raw == "" || path.IsAbs(raw) || strings.ContainsRune(raw, 0) || !fs.ValidPath(name):
		return "", refuse(raw, "is not a path inside the tree")
	case len(name) > maxPath:
		return "", refuse(raw, "has a path of more than %d bytes", maxPath)
	case strings.Count(name, "/") >= maxLevels:
		return "", refuse(raw, "lies more than %d folders deep", maxLevels)
	}
	return name, nil
}

// folder makes sure that name and everything above it are real folders.
func (u *unpacker) folder(name string) error {
	if name == "." {
		return nil
	}
	if kind, ok := u.seen[name]; ok {
		if !kind.IsDir() {
			return refuse(name, "is a folder and something else at once")
		}
		return nil
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	u.seen[name] = fs.ModeDir
	info, err := u.root.Lstat(name)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		if err := u.root.Remove(name); err != nil {
			return fmt.Errorf("remove old entry: %w", err)
		}
	}
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return u.chmod(name, 0o755)
}

// chmod sets a mode whatever the umask is.
func (u *unpacker) chmod(name string, mode fs.FileMode) error {
	if err := u.root.Chmod(name, mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// claim notes that the archive has name, which must not be a folder of it, and
// clears away what of another type was there before.
func (u *unpacker) claim(name string, kind fs.FileMode) error {
	if was, ok := u.seen[name]; ok && was.IsDir() {
		return refuse(name, "is a folder and something else at once")
	}
	u.seen[name] = kind
	info, err := u.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && kind == 0 && info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at old entry: %w", err)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return fmt.Errorf("remove old entry: %w", err)
	}
	return nil
}

// file writes a file unless its content is what is there already. Only the
// execute bit of the mode is taken: it is all that git knows.
func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if u.bounded {
		if u.left -= h.Size; u.left < 0 {
			return landward.Errorf(landward.CodeTooLarge, "the source is larger than %d MiB", u.limit>>20).
				WithHint("leave out what the build does not need")
		}
	}
	if err := u.claim(name, 0); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	if err := u.write(name, h.Size, content); err != nil {
		return err
	}
	info, err := u.root.Lstat(name)
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	if info.Mode().Perm() == mode {
		return nil
	}
	return u.chmod(name, mode)
}

// write makes the file's content what the archive says, from the first byte
// that differs on: a file that is the same is not touched.
func (u *unpacker) write(name string, size int64, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	err = u.overwrite(f, size, content)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close file: %w", closeErr)
	}
	return err
}

func (u *unpacker) overwrite(f *os.File, size int64, content io.Reader) error {
	old, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	if old.Size() == size {
		same, err := u.skipSame(f, content)
		if err != nil || same == size {
			return err
		}
		if _, err := f.Seek(same, io.SeekStart); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
		content = io.MultiReader(bytes.NewReader(u.rest), content)
	} else if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if _, err := io.Copy(f, content); err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			return fmt.Errorf("write file: %w", err)
		}
		return errArchive(err)
	}
	return nil
}

// skipSame reads content and what the file has until they differ. It returns
// how much is the same, and leaves in u.rest what was read beyond that.
func (u *unpacker) skipSame(f io.Reader, content io.Reader) (int64, error) {
	var same int64
	for {
		n, err := io.ReadFull(content, u.chunk[:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, errArchive(err)
		}
		if n == 0 {
			return same, nil
		}
		if _, err := io.ReadFull(f, u.old[:n]); err != nil {
			return 0, fmt.Errorf("read old file: %w", err)
		}
		if !bytes.Equal(u.chunk[:n], u.old[:n]) {
			u.rest = u.chunk[:n]
			return same, nil
		}
		same += int64(n)
	}
}

// link makes a symbolic link, which must stay inside the tree. It may only
// begin with "..": after another link, ".." is not where it seems to be.
func (u *unpacker) link(name, target string) error {
	climbs := strings.Contains(target, "..") && path.Clean(target) != strings.TrimSuffix(target, "/")
	if target == "" || climbs || path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(name), target)) {
		return refuse(name, "is a link that leads out of the tree, to %s", landward.Printable(target))
	}
	if old, err := u.root.Readlink(name); err == nil && old == target && u.seen[name] == 0 {
		u.seen[name] = fs.ModeSymlink
		return nil
	}
	if err := u.claim(name, fs.ModeSymlink); err != nil {
		return err
	}
	if err := u.root.Symlink(target, name); err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	return nil
}

// removeRest removes what this archive does not have.
func (u *unpacker) removeRest() error {
	var rest []string
	err := fs.WalkDir(u.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, ok := u.seen[name]; ok || name == "." {
			return nil
		}
		rest = append(rest, name)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk source folder: %w", err)
	}
	for _, name := range rest {
		if err := u.root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove old entry: %w", err)
		}
	}
	return nil
}
