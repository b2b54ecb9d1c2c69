package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"landward/internal/landward"
)

type kind int

const (
	file kind = iota + 1
	folder
	symlink
	hardlink
)

// entry is one thing in an archive, as the archive says.
type entry struct {
	name   string
	kind   kind
	target string // of a link
	size   int64
	exec   bool
	time   time.Time
}

const (
	headerSize = 512 // of each entry of a tar
	maxName    = 1024
	maxNames   = 64 << 20 // bytes of all names together
)

// writer checks entries and writes those that are in order.
type writer struct {
	tw    *tar.Writer
	lim   Limits
	in    *meter
	seen  map[string]kind // by clean name
	names int             // bytes of all names
	bytes int64
	top   string // the folder that StripTop takes away
}

func newWriter(dst io.Writer, lim Limits, in *meter) *writer {
	return &writer{tw: tar.NewWriter(dst), lim: lim, in: in, seen: map[string]kind{}}
}

func (w *writer) close() error {
	if err := w.tw.Close(); err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	return nil
}

// add checks an entry and writes it; content is read for a file only.
func (w *writer) add(e entry, content io.Reader) error {
	name, err := cleanName(e.name)
	if err != nil {
		return err
	}
	if w.lim.StripTop {
		if name, err = w.strip(name, e); err != nil {
			return err
		}
	}
	if name == "." {
		if e.kind != folder {
			return refuse(e.name, "has no name")
		}
		return nil
	}
	w.names += len(name)
	if err := w.count(headerSize + len(name)); err != nil {
		return err
	}
	if len(w.seen) >= w.lim.Entries || w.names > maxNames {
		return landward.Errorf(landward.CodeTooLarge, "the archive has more than %d entries", w.lim.Entries).
			WithHint("leave out what is not needed to build: list it in .landwardignore")
	}
	if err := w.place(name, e); err != nil {
		return err
	}
	h := &tar.Header{Name: name, ModTime: e.time.Truncate(time.Second), Mode: 0o644}
	if e.exec || e.kind != file {
		h.Mode = 0o755
	}
	switch e.kind {
	case folder:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
		err = checkSymlink(name, e.target)
	case hardlink:
		h.Typeflag = tar.TypeLink
		h.Linkname, err = w.hardlink(e)
	default:
		return w.file(h, e, content)
	}
	if err != nil {
		return err
	}
	return writing(w.tw.WriteHeader(h))
}

// place notes a name and refuses one that is taken or lies below something that
// is not a folder: an entry below a link would be written through it.
func (w *writer) place(name string, e entry) error {
	if was, ok := w.seen[name]; ok && (was != folder || e.kind != folder) {
		return refuse(e.name, "is there twice")
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		was, ok := w.seen[dir]
		if ok && was != folder {
			return refuse(e.name, "lies below %s, which is not a folder", landward.Printable(dir))
		}
		if !ok {
			w.seen[dir] = folder // so that no link can take its place later
		}
	}
	w.seen[name] = e.kind
	return nil
}

// file writes a file's header and content.
func (w *writer) file(h *tar.Header, e entry, content io.Reader) error {
	if e.size < 0 || e.size > w.lim.Unpacked-w.bytes {
		return landward.Errorf(landward.CodeTooLarge, "the archive's files are larger than %d MiB together", w.lim.Unpacked>>20).
			WithCause(landward.Printable(e.name) + " is where the limit was passed").
			WithHint("leave out what is not needed to build: list it in .landwardignore")
	}
	h.Typeflag, h.Size = tar.TypeReg, e.size
	if err := w.tw.WriteHeader(h); err != nil {
		return writing(err)
	}
	n, err := io.Copy(&guard{w}, io.LimitReader(content, e.size))
	if err != nil {
		return err
	}
	// Reading on to the end also makes a zip compare its checksum.
	more, err := io.ReadFull(content, make([]byte, 1))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n != e.size || more != 0 {
		return refuse(e.name, "has not the size that it claims")
	}
	return nil
}

// guard is where contents go: it counts them and compares with what came in.
type guard struct{ w *writer }

func (g *guard) Write(p []byte) (int, error) {
	if err := g.w.count(len(p)); err != nil {
		return 0, err
	}
	n, err := g.w.tw.Write(p)
	return n, writing(err)
}

// count adds unpacked bytes and refuses a bomb.
func (w *writer) count(n int) error {
	w.bytes += int64(n)
	if w.bytes > ratioFloor && w.bytes/w.lim.Ratio > w.in.n {
		return landward.Errorf(landward.CodeTooLarge, "the archive unpacks to more than %d times its size", w.lim.Ratio).
			WithHint("send it as a plain tar where it really is that repetitive")
	}
	return nil
}

// cleanName returns the one way to write a name, or says what is wrong with it.
func cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", refuse("(no name)", "has no name")
	case !utf8.ValidString(name):
		return "", refuse(strings.ToValidUTF8(name, "\uFFFD"), "has a name that is not UTF-8")
	case len(name) > maxName:
		return "", refuse(name, "has a name of more than %d bytes", maxName)
	case strings.HasPrefix(name, "/"):
		return "", refuse(name, "has an absolute path")
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == '\\' {
			return "", refuse(name, "has a backslash or control character in its name")
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refuse(name, "leads out of the archive")
		}
		if len(part) > 255 {
			return "", refuse(name, "has a part of more than 255 bytes in its name")
		}
	}
	return path.Clean(name), nil
}

// checkSymlink lets a link climb only in front: "../../lib" but not
// "lib/../..", which could climb from wherever lib leads to. As nothing lies
// below a link, the folders in front are real, and so every link stays inside.
func checkSymlink(name, target string) error {
	out := func(why string) error {
		return refuse(name, "is a link %s: %s", why, landward.Printable(target)).
			WithHint("leave it out, or link to a file inside the tree")
	}
	if target == "" || len(target) > 4096 || !utf8.ValidString(target) || strings.ContainsAny(target, "\\\x00\n\r") {
		return out("with a bad target")
	}
	if strings.HasPrefix(target, "/") {
		return out("to an absolute path")
	}
	depth := strings.Count(name, "/")
	climbing := true
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			climbing = false
		case !climbing:
			return out("that climbs after it went down")
		default:
			if depth--; depth < 0 {
				return out("that leads out of the archive")
			}
		}
	}
	return nil
}

// hardlink returns the clean target, which must be a file that came before.
func (w *writer) hardlink(e entry) (string, error) {
	target, err := cleanName(e.target)
	if err != nil {
		return "", refuse(e.name, "is a hard link that leads out of the archive")
	}
	if w.lim.StripTop {
		target = strings.TrimPrefix(target, w.top+"/")
	}
	if was := w.seen[target]; was != file {
		return "", refuse(e.name, "is a hard link to something that is not a file before it")
	}
	return target, nil
}

// strip takes the top folder off a name; every entry must be in the same one.
func (w *writer) strip(name string, e entry) (string, error) {
	if name == "." {
		return name, nil
	}
	top, rest, below := strings.Cut(name, "/")
	if w.top == "" {
		w.top = top
	}
	if top != w.top || (!below && e.kind != folder) {
		return "", refuse(e.name, "is not in the one folder that the others are in")
	}
	if !below {
		return ".", nil
	}
	return rest, nil
}
