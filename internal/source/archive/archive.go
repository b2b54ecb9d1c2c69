// Package archive turns what somebody uploads (tar, tar.gz or zip) into a clean
// tar of a source tree, and shows a tar as a file system. Every entry is an
// attacker's until it is checked here. The package must never write a file of
// an archive to disk, and never know who sent it or what it is built into.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"landward/internal/landward"
)

// Limits bound an archive. A zero field means the default that its comment
// names.
type Limits struct {
	Packed   int64 // bytes as they come in; 1 GiB
	Unpacked int64 // bytes of all files together; 4 GiB
	Entries  int   // files, folders and links; 200,000
	Ratio    int64 // unpacked to packed, once 32 MiB are unpacked; 200
	File     int64 // bytes of a file that FS reads whole; 1 MiB
	// StripTop takes away the one folder that everything is in, as archives
	// of a forge have it. An archive without such a folder is refused.
	StripTop bool
}

// ratioFloor is how much may be unpacked whatever the ratio: source code with
// generated files packs very well.
const ratioFloor = 32 << 20

func (l Limits) withDefaults() Limits {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Packed, 1<<30)
	set(&l.Unpacked, 4<<30)
	set(&l.Ratio, 200)
	set(&l.File, 1<<20)
	if l.Entries == 0 {
		l.Entries = 200_000
	}
	return l
}

// Tar reads a tar, a gzipped tar or a zip and writes an uncompressed tar with
// nothing in it but folders, files and links that stay inside. Owners, times
// of access, extended attributes and set-user-id bits are dropped. The first
// entry that is not in order refuses the whole archive; what was written to dst
// until then is to be thrown away.
//
// A zip is kept in a temporary file without a name while it is read.
func Tar(dst io.Writer, src io.Reader, lim Limits) error {
	lim = lim.withDefaults()
	in := &meter{r: src, limit: lim.Packed}
	buffered := bufio.NewReaderSize(in, 64<<10)
	head, err := buffered.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return readError(err)
	}
	out := newWriter(dst, lim, in)
	switch {
	case len(head) == 0:
		return landward.Errorf(landward.CodeInvalid, "the archive is empty")
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		var z *gzip.Reader
		if z, err = gzip.NewReader(buffered); err == nil {
			err = copyTar(out, z)
		}
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		err = copyZip(out, buffered)
	default:
		err = copyTar(out, buffered)
	}
	if err != nil {
		return readError(err)
	}
	return out.close()
}

// readError keeps errors that are for people; what else comes from reading
// means that the archive is damaged.
func readError(err error) error {
	var e *landward.Error
	if errors.As(err, &e) {
		return e
	}
	var w *writeError
	if errors.As(err, &w) {
		return w.err
	}
	return landward.Errorf(landward.CodeInvalid, "the archive is damaged or not an archive").
		WithHint("send a tar, a tar.gz or a zip").Wrap(err)
}

// copyTar passes each entry of a tar on.
func copyTar(out *writer, src io.Reader) error {
	r := tar.NewReader(src)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := entry{name: h.Name, target: h.Linkname, size: h.Size, exec: h.Mode&0o111 != 0, time: h.ModTime}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse:
			e.kind = file
			if strings.HasSuffix(h.Name, "/") {
				e.kind = folder // as very old tars write it
			}
		case tar.TypeDir:
			e.kind = folder
		case tar.TypeSymlink:
			e.kind = symlink
		case tar.TypeLink:
			e.kind = hardlink
		case tar.TypeXGlobalHeader:
			continue // git's note of the commit
		default:
			return refuse(h.Name, "is a device, pipe or socket")
		}
		if err := out.add(e, r); err != nil {
			return err
		}
	}
}

// meter counts what comes in and stops at the limit.
type meter struct {
	r     io.Reader
	n     int64
	limit int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.n > m.limit {
		return 0, landward.Errorf(landward.CodeTooLarge, "the archive is larger than %d MiB", m.limit>>20).
			WithHint("leave out what is not needed to build: list it in .landwardignore")
	}
	return n, err
}

func refuse(name, format string, args ...any) *landward.Error {
	return landward.Invalid(landward.Printable(name), "the archive's entry "+format, args...)
}

// writeError marks an error of the destination, which is not the archive's
// fault.
type writeError struct{ err error }

func (w *writeError) Error() string { return w.err.Error() }
func (w *writeError) Unwrap() error { return w.err }

func writing(err error) error {
	if err == nil {
		return nil
	}
	return &writeError{fmt.Errorf("write tar: %w", err)}
}
