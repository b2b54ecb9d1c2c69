package docker

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"

	"landward/internal/landward"
)

func badArchive(cause string) *landward.Error {
	return landward.Errorf(landward.CodeInvalid, "this is not an image archive that Docker can load").WithCause(cause).
		WithHint("make it with: docker save IMAGE")
}

// renameResult is what became of an archive on its way to Docker.
type renameResult struct {
	name string // what the archive called its image
	err  error
}

// maxManifest bounds the manifest of an archive, in bytes.
const maxManifest = 1 << 20

// renameArchive copies a `docker save` archive (also gzipped) of exactly one
// image from src to dst with tag as its only name. limit is how many bytes it
// may unpack to. What is wrong with the archive is a CodeInvalid or
// CodeTooLarge error.
func renameArchive(dst io.Writer, src io.Reader, tag string, limit int64) renameResult {
	in, err := unzipped(src)
	if err != nil {
		return renameResult{err: err}
	}
	r := tar.NewReader(&cappedReader{r: in, left: limit})
	w := tar.NewWriter(dst)
	var res renameResult
	manifests := 0
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return renameResult{err: archiveError(err)}
		}
		name, err := entryName(h)
		if err != nil {
			return renameResult{err: err}
		}
		switch name {
		case "manifest.json":
			manifests++
			res.name, err = renameManifest(w, h, r, tag)
		case "repositories", "index.json", "oci-layout":
			// Other places for names, which Docker may prefer to the manifest.
		default:
			err = copyEntry(w, h, r)
		}
		if err != nil {
			return renameResult{err: err}
		}
	}
	if manifests != 1 {
		return renameResult{err: badArchive("it has no manifest.json")}
	}
	res.err = w.Close()
	return res
}

// unzipped undoes gzip where there is any.
func unzipped(src io.Reader) (io.Reader, error) {
	b := bufio.NewReader(src)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, badArchive(err.Error())
	}
	return z, nil
}

// cappedReader fails once more than left bytes were read.
type cappedReader struct {
	r    io.Reader
	left int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, landward.Errorf(landward.CodeTooLarge, "the image archive is too large")
	}
	return n, err
}

// entryName allows what `docker save` writes, and nothing by which an entry
// could land at another's name: plain files, folders, and links between the
// layers of old archives.
func entryName(h *tar.Header) (string, error) {
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return "", badArchive(fmt.Sprintf("it has an entry %q", landward.Printable(h.Name)))
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return name, nil
	case tar.TypeSymlink:
		if path.Base(name) == "layer.tar" && path.Base(h.Linkname) == "layer.tar" && path.Dir(name) != "." {
			return name, nil
		}
	}
	return "", badArchive(fmt.Sprintf("its entry %q is not a plain file", landward.Printable(h.Name)))
}

func copyEntry(w *tar.Writer, h *tar.Header, r io.Reader) error {
	if err := w.WriteHeader(h); err != nil {
		return archiveError(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		return archiveError(err)
	}
	return nil
}

// renameManifest writes the manifest with tag as the image's only name and
// returns the first one that it had.
func renameManifest(w *tar.Writer, h *tar.Header, r io.Reader, tag string) (string, error) {
	if h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return "", badArchive("its manifest.json is not a small file")
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return "", archiveError(err)
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(text, &images); err != nil {
		return "", badArchive("its manifest.json: " + err.Error())
	}
	if len(images) != 1 {
		return "", landward.Errorf(landward.CodeInvalid, "the archive has %d images; it must have one", len(images)).
			WithHint("save one image: docker save IMAGE")
	}
	name := ""
	if len(images[0].RepoTags) > 0 {
		name = landward.Printable(images[0].RepoTags[0])
	}
	images[0].RepoTags = []string{tag}
	text, err = json.Marshal(images)
	if err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "manifest.json", Mode: 0o644, Size: int64(len(text)), ModTime: h.ModTime}); err != nil {
		return "", err
	}
	_, err = w.Write(text)
	return name, err
}

// archiveError tells a broken archive from a broken connection.
func archiveError(err error) error {
	var known *landward.Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) ||
		errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, tar.ErrInsecurePath) {
		return badArchive(err.Error()).Wrap(err)
	}
	return err
}

// loadOutcome reads Docker's messages about a load and returns what it
// complains about, or "".
func loadOutcome(r io.Reader) (string, error) {
	dec := json.NewDecoder(r)
	for {
		var m jsonstream.Message
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return "", nil
		} else if err != nil {
			return "", err
		}
		if m.Error != nil {
			return landward.CleanLine(m.Error.Message), nil
		}
	}
}
