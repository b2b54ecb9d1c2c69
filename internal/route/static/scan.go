package static

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"landward/internal/landward"
	"landward/internal/route/squeeze"
)

// entry is one file, or a folder that a redirect leads to.
type entry struct {
	path     string // from the root
	kind     string // Content-Type
	caching  string // Cache-Control
	size     int64
	modified int64 // Unix seconds; 0: unknown
	id       identity
	variants *variants // nil: none
	folder   bool      // answered by a redirect; all else is empty

	loading sync.Mutex // held by the one who fills loaded
	loaded  atomic.Pointer[loaded]
	open    *openFile // guarded by Site.mu
}

// identity is how the file system tells one file from all others. A file whose
// identity is not the one of the index is not served.
type identity struct {
	dev, ino     uint64
	mtime, ctime int64 // Unix nanoseconds
}

// same reports whether both are the same file with the same content. ctime does
// not count: a new link to the file changes that, too.
func (i identity) same(o identity) bool {
	return i.dev == o.dev && i.ino == o.ino && i.mtime == o.mtime
}

// variants are the compressed siblings of a file.
type variants [4]*entry // by squeeze.Coding

// maxDepth bounds how deep folders may lie in each other.
const maxDepth = 64

// scan is the look through the folder.
type scan struct {
	s     *Site
	now   int64
	names int64
	count int
	files []*entry
	links []string
	by    map[inode]*entry // what is served under its own name
	queue []string         // folders to come
}

type inode struct{ dev, ino uint64 }

// scan builds the index.
func (s *Site) scan() error {
	c := &scan{s: s, now: s.limits.Now().Unix(), by: make(map[inode]*entry), queue: []string{"."}}
	for len(c.queue) > 0 {
		dir := c.queue[len(c.queue)-1]
		c.queue = c.queue[:len(c.queue)-1]
		if err := c.folder(dir); err != nil {
			return err
		}
	}
	s.index = make(map[string]*entry, len(c.files)+len(c.files)/4)
	for _, e := range c.files {
		s.index[e.path] = e
	}
	c.follow()
	c.siblings() // before pages, which add names that are no files
	c.pages()
	return nil
}

// folder looks through one folder.
func (c *scan) folder(dir string) error {
	f, err := c.s.root.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(512)
		for _, d := range list {
			if err := c.name(f, dir, d.Name()); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read folder: %w", err)
		}
	}
}

// name takes one name of a folder.
func (c *scan) name(f *os.File, dir, name string) error {
	full := name
	if dir != "." {
		full = dir + "/" + name
	}
	if c.count++; c.count > c.s.limits.Files {
		return landward.Errorf(landward.CodeTooLarge, "the site has more than %d files", c.s.limits.Files)
	}
	if c.names += int64(len(full)); c.names > c.s.limits.Names {
		return landward.Errorf(landward.CodeTooLarge, "the paths of the site's files are longer than %d bytes together", c.s.limits.Names)
	}
	if name[0] == '.' && full != ".well-known" {
		c.s.skipped++
		return nil
	}
	var st unix.Stat_t
	if err := fstatat(f, name, &st); err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if strings.Count(full, "/") >= maxDepth {
			return landward.Errorf(landward.CodeTooLarge, "the site has folders more than %d deep", maxDepth)
		}
		c.queue = append(c.queue, full)
	case unix.S_IFREG:
		e := c.s.newEntry(full, full, st.Size, modifiedAt(st.Mtim.Sec, c.now), identityOf(&st))
		c.files = append(c.files, e)
		c.by[inode{e.id.dev, e.id.ino}] = e
	case unix.S_IFLNK:
		c.links = append(c.links, full)
	default:
		c.s.skipped++
	}
	return nil
}

// fstatat looks at a name in an open folder, not at what it links to.
func fstatat(dir *os.File, name string, st *unix.Stat_t) error {
	raw, err := dir.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.Fstatat(int(fd), name, st, unix.AT_SYMLINK_NOFOLLOW) //nolint:gosec // a descriptor fits
	})
	return errors.Join(err, failed)
}

// follow takes the symbolic links that show a file which is served anyway. So
// none can show what is hidden, what lies outside or what is no file.
func (c *scan) follow() {
	for _, name := range c.links {
		info, err := c.s.root.Stat(name)
		if err != nil {
			c.s.skipped++ // it leads out of the folder, or nowhere
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			c.s.skipped++
			continue
		}
		e := c.by[inode{st.Dev, st.Ino}]
		if e == nil {
			c.s.skipped++
			continue
		}
		// The link's own name says of what kind it is.
		c.s.index[name] = c.s.newEntry(name, e.path, e.size, e.modified, e.id)
	}
}

// pages adds the paths under which pages are found beside their own: folders
// by their index.html, others without ".html".
func (c *scan) pages() {
	redirect := &entry{folder: true}
	plain := make(map[string]*entry)
	for name, e := range c.s.index {
		dir, file := path.Split(name)
		if file == "index.html" {
			plain[dir] = e
			continue
		}
		bare, ok := strings.CutSuffix(name, ".html")
		if ok && file != "404.html" && c.s.index[bare] == nil {
			plain[bare] = e
		}
	}
	for name := range plain {
		if dir, ok := strings.CutSuffix(name, "/"); ok && plain[dir] == nil {
			c.s.index[dir] = redirect
		}
	}
	maps.Copy(c.s.index, plain)
}

// codingSuffixes are the endings of compressed siblings.
var codingSuffixes = map[string]squeeze.Coding{".gz": squeeze.Gzip, ".br": squeeze.Brotli, ".zst": squeeze.Zstd}

// siblings finds the compressed siblings of files.
func (c *scan) siblings() {
	for name, e := range c.s.index {
		ext := path.Ext(name)
		coding, ok := codingSuffixes[ext]
		if !ok {
			continue
		}
		plain := c.s.index[strings.TrimSuffix(name, ext)]
		if plain == nil {
			continue
		}
		if plain.variants == nil {
			plain.variants = new(variants)
		}
		plain.variants[coding] = e
	}
}

// newEntry makes the entry of a file that is found under name and lies at path.
func (s *Site) newEntry(name, path string, size, modified int64, id identity) *entry {
	kind, class := kindOf(name)
	return &entry{path: path, kind: kind, caching: s.caching(name, class), size: size, modified: modified, id: id}
}

// identityOf takes from a look at a file what tells it from others.
func identityOf(st *unix.Stat_t) identity {
	return identity{dev: st.Dev, ino: st.Ino, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}
}

// firstTime is the third day of 1980, in Unix seconds. Tools that build the
// same bytes from the same source write a fixed time into every file: zero,
// one, or the first day that a ZIP archive knows. Two releases with such times
// look unchanged by them, whatever is in their files.
const firstTime = 315705600

// modifiedAt is the Last-Modified of a file, or 0 where none can be trusted. A
// time in the future must not be sent (RFC 9110 section 8.8.2.1).
func modifiedAt(mtime, now int64) int64 {
	if mtime < firstTime || mtime > now {
		return 0
	}
	return mtime
}
