// Package pack makes the tar that `landward deploy` uploads out of a folder on
// the user's machine. It honours .gitignore and .landwardignore and follows no
// link. It uses the standard library only and must never know about the server.
package pack

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Stats are what was packed.
type Stats struct {
	Files   int
	Bytes   int64    // of the files' contents
	Skipped []string // what cannot be sent, a line each with the reason; not what is ignored
}

// Pack writes an uncompressed tar of dir to w, in a fixed order. Left out are
// everything named .git, what .gitignore and .landwardignore say (in every
// folder, by git's rules; the second wins over the first, a deeper file over a
// higher one), sockets, pipes and devices, and links that lead out of dir.
func Pack(w io.Writer, dir string) (Stats, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Stats{}, fmt.Errorf("open folder: %w", err)
	}
	defer func() { _ = root.Close() }() // only read from
	p := &packer{root: root, tw: tar.NewWriter(w)}
	if err := p.folder(".", nil); err != nil {
		return p.stats, err
	}
	if err := p.tw.Close(); err != nil {
		return p.stats, fmt.Errorf("write archive: %w", err)
	}
	return p.stats, nil
}

type packer struct {
	root  *os.Root
	tw    *tar.Writer
	stats Stats
}

// folder packs what is in dir, with the ignore rules of the folders above it.
func (p *packer) folder(dir string, rules rules) error {
	for _, name := range []string{".gitignore", ".landwardignore"} {
		text, err := p.ignoreFile(path.Join(dir, name))
		if err != nil {
			return err
		}
		rules = append(slices.Clip(rules), parseRules(dir, text)...)
	}
	entries, err := fs.ReadDir(p.root.FS(), dir)
	if err != nil {
		return fmt.Errorf("list folder: %w", err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.Name() == ".git" || rules.ignore(name, e.IsDir()) {
			continue
		}
		if err := p.entry(name, e, rules); err != nil {
			return err
		}
	}
	return nil
}

// ignoreFile reads an ignore file; only a regular one counts.
func (p *packer) ignoreFile(name string) (string, error) {
	info, err := p.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return "", nil
	}
	text, err := p.root.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read ignore file: %w", err)
	}
	return string(text), nil
}

func (p *packer) entry(name string, e fs.DirEntry, rules rules) error {
	info, err := p.root.Lstat(name)
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	h := &tar.Header{Name: name, Mode: 0o644, ModTime: info.ModTime().Truncate(time.Second)}
	if info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", 0o755
		if err := p.tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		return p.folder(name, rules)
	case fs.ModeSymlink:
		target, err := p.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("read link: %w", err)
		}
		if !staysInside(name, target) {
			p.stats.Skipped = append(p.stats.Skipped, fmt.Sprintf("%s: a link that leads out of the folder (%s)", name, target))
			return nil
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		if err := p.tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		p.stats.Files++
		return nil
	case 0:
		return p.file(name, h)
	}
	p.stats.Skipped = append(p.stats.Skipped, name+": a socket, pipe or device")
	return nil
}

func (p *packer) file(name string, h *tar.Header) error {
	f, err := p.root.Open(name)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := p.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	n, err := io.Copy(p.tw, io.LimitReader(f, h.Size))
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if n != h.Size {
		return fmt.Errorf("pack %s: it got shorter meanwhile; try again", name)
	}
	p.stats.Files++
	p.stats.Bytes += n
	return nil
}

// staysInside reports whether a link may be sent. It may climb only in front
// ("../lib", not "lib/../.."): the server takes no others.
func staysInside(name, target string) bool {
	if target == "" || strings.HasPrefix(target, "/") || strings.Contains(target, `\`) {
		return false
	}
	depth := strings.Count(name, "/")
	climbing := true
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			climbing = false
		case !climbing || depth == 0:
			return false
		default:
			depth--
		}
	}
	return true
}
