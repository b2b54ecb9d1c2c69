// Package static answers requests with the files of one folder. It owns what a
// path means in a site, what caches may keep, conditional requests, ranges and
// how a file gets to a socket. The folder of a release never changes, so the
// site is looked through once and then known. It must never know about
// connections beyond writing to one, routes, other apps or error pages.
//
// What a site looks like from outside:
//
//   - "/a/" is a/index.html, "/a" redirects to it; "/a" is also a.html where
//     there is one. A path is decoded once, and only what then has exactly the
//     name of a file is that file.
//   - Names that begin with a dot do not exist, but for ".well-known" at the
//     top. A symbolic link shows a file that is served under its own name too;
//     all other links do not exist.
//   - "x.br", "x.zst" and "x.gz" beside "x" answer for it where the client
//     accepts that coding.
//   - Below a prefix that the app calls immutable, and where a name carries a
//     content hash, caches keep a file for a year. What a page loads together
//     with itself (HTML, CSS, JavaScript, JSON, ...) they ask about each time,
//     so that a new release is never mixed with an old one. The rest they keep
//     for five minutes.
//   - The entity tag is strong: a hash of the bytes, and for files over 4 MiB
//     one of what the file system knows. Last-Modified is left out where the
//     time is one that build tools write into every file.
package static

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
)

// Limits bound what a site may hold. Zero values mean the defaults in brackets.
type Limits struct {
	Files     int              // files and folders [200,000]
	Names     int64            // bytes of all their paths [32 MiB]
	KeepFile  int64            // bytes of a file that is kept in memory [16 KiB]; negative: none is
	Keep      int64            // bytes of all that are kept [8 MiB]
	OpenFiles int              // files kept open beyond those being sent [128]
	Now       func() time.Time // [time.Now]
}

func (l Limits) withDefaults() Limits {
	if l.Files == 0 {
		l.Files = 200_000
	}
	if l.Names == 0 {
		l.Names = 32 << 20
	}
	if l.KeepFile == 0 {
		l.KeepFile = 16 << 10
	}
	if l.Keep == 0 {
		l.Keep = 8 << 20
	}
	if l.OpenFiles == 0 {
		l.OpenFiles = 128
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	return l
}

// Site is the files of one release. It is safe for concurrent use.
type Site struct {
	root     *os.Root
	limits   Limits
	index    map[string]*entry // by path without the first slash; "a/" for folders
	fallback *entry            // answers for pages that are not there, with 200
	missing  *entry            // 404.html
	fixed    []string          // immutable prefixes, without the first slash
	skipped  int
	kept     atomic.Int64

	mu     sync.Mutex // guards files and entry.open
	files  fileList
	closed bool
}

// Open looks through the folder of s, in time linear in the number of files.
func Open(s route.Static) (*Site, error) { return Limits{}.Open(s) }

// Open is the function Open with other limits. Errors are *landward.Error:
// there is no such folder, it holds too much, or the fallback is not in it.
func (l Limits) Open(s route.Static) (*Site, error) {
	if !filepath.IsAbs(s.Dir) {
		return nil, landward.Invalid("static.dir", "%q is not an absolute path", landward.Printable(s.Dir))
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, openError(err)
	}
	site := &Site{root: root, limits: l.withDefaults(), fixed: prefixes(s.Immutable)}
	if err := site.scan(); err != nil {
		return nil, errors.Join(openError(err), root.Close())
	}
	if name := strings.TrimPrefix(s.Fallback, "/"); name != "" {
		if site.fallback = site.index[name]; site.fallback == nil || site.fallback.folder {
			_ = root.Close()
			return nil, landward.Invalid("static.fallback", "there is no file %q in the site", landward.Printable(name)).
				WithHint("a fallback is a path from the top of the published folder, such as index.html")
		}
	}
	site.missing = site.index["404.html"]
	return site, nil
}

// openError says what is wrong with the folder, without its place on the host.
func openError(err error) error {
	var e *landward.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, fs.ErrNotExist):
		return landward.Errorf(landward.CodeNotFound, "the folder of the site does not exist").Wrap(err)
	}
	return landward.Errorf(landward.CodeInternal, "the folder of the site cannot be read").Wrap(err)
}

// prefixes brings immutable prefixes to the form of the index.
func prefixes(list []string) []string {
	var out []string
	for _, p := range list {
		p = strings.TrimPrefix(p, "/")
		if p != "" && !strings.HasSuffix(p, "/") {
			p += "/"
		}
		out = append(out, p)
	}
	return out
}

// fixedBelow reports whether path is below an immutable prefix.
func (s *Site) fixedBelow(path string) bool {
	for _, p := range s.fixed {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// Len is how many paths the site answers for.
func (s *Site) Len() int { return len(s.index) }

// Skipped is how many names in the folder are not served: hidden ones, links
// that lead nowhere or to what is not served, devices. It is for a line in the
// log.
func (s *Site) Skipped() int { return s.skipped }

// Kept is how many bytes of files are in memory.
func (s *Site) Kept() int64 { return s.kept.Load() }

// Close closes the folder and its files; those that are being sent, when that
// ends. Requests that come later get files in memory, or an error.
func (s *Site) Close() error {
	s.mu.Lock()
	s.closed = true
	for s.files.oldest() != nil {
		s.evict(s.files.oldest())
	}
	s.mu.Unlock()
	if err := s.root.Close(); err != nil {
		return fmt.Errorf("close site: %w", err)
	}
	return nil
}
