package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
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
	z, err := zip.NewReader(tmp, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // we look at every name ourselves
		return err
	}
	for _, f := range z.File {
		if err := addZip(out, f); err != nil {
			return err
		}
	}
	return nil
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
