package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"landward/internal/landward"
)

// copyZip passes each entry of a zip on. A zip is read from its end, so it has
// to be whole first.
func copyZip(out *writer, src io.Reader) error {
	tmp, err := os.CreateTemp("", "landward-zip-")
	if err != nil {
		return &writeError{fmt.Errorf("keep zip: %w", err)}
	}
	defer func() { _ = tmp.Close() }()
	if err := os.Remove(tmp.Name()); err != nil { // it lives as long as it is open
		return &writeError{fmt.Errorf("keep zip: %w", err)}
	}
	size, err := io.Copy(tmp, src)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			return &writeError{fmt.Errorf("keep zip: %w", err)}
		}
		return err
	}
	list := &thrifty{r: tmp, left: int64(out.lim.Entries)*listing + 1<<20}
	z, err := zip.NewReader(list, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // we look at every name ourselves
		return err
	}
	list.left = math.MaxInt64 // contents are counted elsewhere
	for _, f := range z.File {
		if err := addZip(out, f); err != nil {
			return err
		}
	}
	return nil
}

// listing is how long a zip's line about one of its files is on average.
const listing = 200

// thrifty bounds what is read of a zip's own list of files, which is kept in
// memory whole.
type thrifty struct {
	r    io.ReaderAt
	left int64
}

func (t *thrifty) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.r.ReadAt(p, off)
	if t.left -= int64(n); t.left < 0 {
		return 0, landward.Errorf(landward.CodeTooLarge, "the zip has too many files")
	}
	return n, err
}

func addZip(out *writer, f *zip.File) error {
	mode := f.Mode()
	e := entry{name: f.Name, size: int64(f.UncompressedSize64), exec: mode&0o111 != 0, time: f.Modified}
	switch {
	case mode.IsDir() || strings.HasSuffix(f.Name, "/"):
		e.kind = folder
		return out.add(e, nil)
	case mode&fs.ModeSymlink != 0:
		e.kind = symlink
	case mode.IsRegular():
		e.kind = file
	default:
		return refuse(f.Name, "is a device, pipe or socket")
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return refuse(f.Name, "is packed in a way that is not known here").WithHint("pack it with deflate")
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if f.Flags&1 != 0 {
		return refuse(f.Name, "is encrypted")
	}
	if e.kind == symlink {
		target, err := io.ReadAll(io.LimitReader(r, 4097))
		if err != nil {
			return err
		}
		e.target = string(target)
		return out.add(e, nil)
	}
	return out.add(e, r)
}
