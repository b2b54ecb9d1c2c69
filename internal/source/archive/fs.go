package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"landward/internal/landward"
)

// FS shows an uncompressed tar (from Tar or from git) as a file system without
// unpacking it: names are indexed, contents are read from r when asked for.
// Links are followed inside the tree only; they cannot lead anywhere else, for
// there is nothing else. ReadFile refuses files over lim.File.
//
// The result implements fs.ReadDirFS, fs.ReadFileFS, fs.StatFS and
// fs.ReadLinkFS and is safe for concurrent use as far as r is.
func FS(r io.ReaderAt, size int64, lim Limits) (fs.FS, error) {
	lim = lim.withDefaults()
	t := &tree{nodes: map[string]*node{".": newDir(".")}, limit: lim.File}
	at := &position{r: r, size: size}
	tr := tar.NewReader(at)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, readError(err)
		}
		if len(t.nodes) > lim.Entries {
			return nil, landward.Errorf(landward.CodeTooLarge, "the tree has more than %d entries", lim.Entries)
		}
		if err := t.index(h, io.NewSectionReader(r, at.off, h.Size)); err != nil {
			return nil, err
		}
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	}
	return t, nil
}

// position reads on from where it is; tar reads whole blocks, so that after a
// header it stands at the content.
type position struct {
	r    io.ReaderAt
	off  int64
	size int64
}

func (p *position) Read(b []byte) (int, error) {
	if p.off >= p.size {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.size-p.off)]
	n, err := p.r.ReadAt(b, p.off)
	p.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (p *position) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.off
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	p.off = offset
	return offset, nil
}

// tree is the index of a tar.
type tree struct {
	nodes map[string]*node
	limit int64
}

// node is a file, folder or link; it is its own fs.FileInfo and fs.DirEntry.
type node struct {
	name     string
	mode     fs.FileMode
	time     time.Time
	target   string // of a symbolic link
	content  *io.SectionReader
	children []*node
}

func newDir(name string) *node { return &node{name: path.Base(name), mode: fs.ModeDir | 0o755} }

func (n *node) Name() string               { return n.name }
func (n *node) Mode() fs.FileMode          { return n.mode }
func (n *node) Type() fs.FileMode          { return n.mode.Type() }
func (n *node) IsDir() bool                { return n.mode.IsDir() }
func (n *node) ModTime() time.Time         { return n.time }
func (n *node) Sys() any                   { return nil }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
func (n *node) Size() int64 {
	if n.content == nil {
		return int64(len(n.target))
	}
	return n.content.Size()
}

// index adds one entry.
func (t *tree) index(h *tar.Header, content *io.SectionReader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := path.Clean(h.Name)
	if !utf8.ValidString(name) {
		return nil // git may have it; nothing that is looked for is called so
	}
	if !fs.ValidPath(name) {
		return refuse(h.Name, "leads out of the archive")
	}
	n := &node{name: path.Base(name), time: h.ModTime, mode: 0o644}
	if h.Mode&0o111 != 0 {
		n.mode = 0o755
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.PAXRecords["GNU.sparse.major"] != "" {
			return refuse(h.Name, "is a sparse file")
		}
		n.content = content
	case tar.TypeDir:
		n.mode = fs.ModeDir | 0o755
	case tar.TypeSymlink:
		n.mode, n.target = fs.ModeSymlink|0o777, h.Linkname
	case tar.TypeLink:
		to := t.nodes[path.Clean(h.Linkname)]
		if to == nil || to.content == nil {
			return refuse(h.Name, "is a hard link to something that is not a file before it")
		}
		n.content, n.mode = to.content, to.mode
	default:
		return refuse(h.Name, "is neither file, folder nor link")
	}
	return t.insert(name, n)
}

func (t *tree) insert(name string, n *node) error {
	if was := t.nodes[name]; was != nil {
		if was.IsDir() && n.IsDir() {
			was.time = n.time
			return nil
		}
		return refuse(name, "is there twice")
	}
	dir := path.Dir(name)
	parent := t.nodes[dir]
	if parent == nil {
		parent = newDir(dir)
		if err := t.insert(dir, parent); err != nil {
			return err
		}
	}
	if !parent.IsDir() {
		return refuse(name, "lies below something that is not a folder")
	}
	t.nodes[name] = n
	parent.children = append(parent.children, n)
	return nil
}

// maxHops bounds the links that one look-up follows.
const maxHops = 20

// find looks a name up; links in front of the last part are followed always,
// one in the last part with follow.
func (t *tree) find(op, name string, follow bool) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at, todo := ".", strings.Split(name, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			if at == "." {
				return fail(fs.ErrNotExist) // out of the tree
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		n := t.nodes[next]
		if n == nil {
			return fail(fs.ErrNotExist)
		}
		if n.mode.Type() == fs.ModeSymlink && (follow || len(todo) > 0) {
			if hops++; hops > maxHops || path.IsAbs(n.target) {
				return fail(fs.ErrNotExist)
			}
			todo = append(strings.Split(n.target, "/"), todo...)
			continue
		}
		if len(todo) > 0 && !n.IsDir() {
			return fail(fs.ErrNotExist)
		}
		at = next
	}
	return t.nodes[at], nil
}

// Open implements fs.FS.
func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.IsDir() {
		return &openDir{n: n}, nil
	}
	return &openFile{io.NewSectionReader(n.content, 0, n.content.Size()), n}, nil
}

// Stat implements fs.StatFS.
func (t *tree) Stat(name string) (fs.FileInfo, error) { return t.info(t.find("stat", name, true)) }

// Lstat implements fs.ReadLinkFS.
func (t *tree) Lstat(name string) (fs.FileInfo, error) { return t.info(t.find("lstat", name, false)) }

func (t *tree) info(n *node, err error) (fs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return n, nil
}

// ReadLink implements fs.ReadLinkFS.
func (t *tree) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.target, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("read", name, true)
	if err != nil {
		return nil, err
	}
	if n.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	if n.Size() > t.limit {
		return nil, landward.Invalid(landward.Printable(name), "the file is larger than %d KiB", t.limit>>10)
	}
	text := make([]byte, n.Size())
	if _, err := n.content.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// ReadDir implements fs.ReadDirFS.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return n.entries(), nil
}

func (n *node) entries() []fs.DirEntry {
	out := make([]fs.DirEntry, len(n.children))
	for i, c := range n.children {
		out[i] = c
	}
	return out
}

type openFile struct {
	*io.SectionReader
	n *node
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.n, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	n    *node
	read int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.n, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.n.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.n.entries()[d.read:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.read += len(rest)
	return rest, nil
}
