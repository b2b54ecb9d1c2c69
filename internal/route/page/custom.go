package page

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"landward/internal/route"
)

// Limits on an app's own pages.
const (
	maxPages = 64
	maxPage  = 256 << 10 // bytes
	maxFiles = 4096      // entries of the folder, of any name
	// maxPlaces bounds the placeholders of one page that are replaced: a page
	// full of them would be an answer many times its size.
	maxPlaces = 64
)

// Custom are an app's own pages for errors. Its nil value has none. It is safe
// for concurrent use.
//
// A page is sent as it is but for these, which stand for a value, escaped to be
// text in an element or in a quoted attribute (and nowhere else: not in a
// script, a style or a link's address):
//
//	{{status}}      503
//	{{title}}       what happened, in a few words
//	{{message}}     what happened, in a sentence; of a maintenance, its owner's
//	{{app}}         the app's name, where the client may know it
//	{{request_id}}  what the logs call the request
//
// Anything else in braces stays.
type Custom struct {
	pages       map[string][]byte // by pattern: "404", "40x", "5xx"
	maintenance []byte
}

// OpenCustom reads the pages in dir, an absolute path: those named after a
// status (404.html), after all that begin like it (40x.html, 4xx.html), and
// maintenance.html. Other files are passed over, and symbolic links and what is
// no regular file among them. The files are not looked at again.
func OpenCustom(dir string) (*Custom, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open error pages: %q is not an absolute path", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open error pages: %w", err)
	}
	defer func() { _ = root.Close() }() // only read from
	names, err := pageNames(root)
	if err != nil {
		return nil, fmt.Errorf("list error pages: %w", err)
	}
	c := &Custom{pages: make(map[string][]byte, len(names))}
	for _, name := range names {
		page, err := readPage(root, name)
		if err != nil {
			return nil, fmt.Errorf("read error page %s: %w", name, err)
		}
		switch pattern := strings.TrimSuffix(name, pageSuffix); {
		case page == nil:
		case pattern == maintenanceName:
			c.maintenance = page
		default:
			c.pages[pattern] = page
		}
	}
	return c, nil
}

const (
	pageSuffix      = ".html"
	maintenanceName = "maintenance"
)

// pageNames lists what is named like a page.
func pageNames(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read from
	entries, err := d.ReadDir(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("the folder has more than %d entries", maxFiles)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && isPage(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if len(names) > maxPages {
		return nil, fmt.Errorf("there are %d; at most %d are allowed", len(names), maxPages)
	}
	slices.Sort(names)
	return names, nil
}

// isPage reports whether name is NNN.html, NNx.html, Nxx.html for a status of
// an error, or maintenance.html.
func isPage(name string) bool {
	p, ok := strings.CutSuffix(name, pageSuffix)
	if !ok || p == maintenanceName {
		return ok
	}
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return len(p) == 3 && (p[0] == '4' || p[0] == '5') &&
		(digit(p[1]) && (digit(p[2]) || p[2] == 'x') || p[1] == 'x' && p[2] == 'x')
}

// readPage reads one page; one that turns out to be no file is nil.
func readPage(root *os.Root, name string) ([]byte, error) {
	// It was a file when it was listed. Should it be a pipe now, opening it
	// must not wait for somebody to write.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, err
	}
	page, err := io.ReadAll(io.LimitReader(f, maxPage+1))
	if err != nil {
		return nil, err
	}
	if len(page) > maxPage {
		return nil, fmt.Errorf("it is larger than %d KiB", maxPage>>10)
	}
	if page == nil {
		page = []byte{}
	}
	return page, nil
}

// Find returns the page for an answer's status as it is in its file, or nil:
// the one named most precisely, and of a maintenance its own first. It must not
// be changed.
func (c *Custom) Find(status int, maintenance bool) []byte {
	if c == nil || status < 400 || status > 599 {
		return nil
	}
	if maintenance && c.maintenance != nil {
		return c.maintenance
	}
	if len(c.pages) == 0 {
		return nil
	}
	name := [3]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10)}
	for i := 2; ; i-- {
		if page, ok := c.pages[string(name[:])]; ok {
			return page
		}
		if i == 0 {
			return nil
		}
		name[i] = 'x'
	}
}

// Append appends the app's own page for f, filled in, if there is one and
// accept, an Accept header, asks for HTML. ok is false where there is none:
// then dst comes back as it was.
func (c *Custom) Append(dst []byte, f route.Fault, accept []byte) (body []byte, contentType string, ok bool) {
	page := c.Find(f.Status, f.Code == route.CodeMaintenance)
	if page == nil || choose(string(accept)) != asHTML {
		return dst, "", false
	}
	return Fill(dst, page, f), typeHTML, true
}

// Fill appends page, as Find returned it, with its placeholders replaced by
// what f says.
func Fill(dst, page []byte, f route.Fault) []byte {
	v := valuesOf(f)
	return v.fill(dst, page)
}

// place finds the first "{{name}}" in page. Blanks around the name are allowed.
// at is -1 where there is none.
func place(page []byte) (at int, name string, end int) {
	from := 0
	for {
		i := bytes.Index(page[from:], []byte("{{"))
		if i < 0 {
			return -1, "", 0
		}
		at = from + i
		inner := page[at+2 : min(at+2+maxName, len(page))]
		if j := bytes.Index(inner, []byte("}}")); j >= 0 {
			if name = known(bytes.TrimSpace(inner[:j])); name != "" {
				return at, name, at + 2 + j + 2
			}
		}
		from = at + 1
	}
}

// maxName is how far from its beginning a placeholder ends at the latest.
const maxName = 24

// known returns b as one of the names of placeholders, or "".
func known(b []byte) string {
	for _, name := range [...]string{"status", "title", "message", "app", "request_id", "reason", "retry", "refresh"} {
		if string(b) == name {
			return name
		}
	}
	return ""
}
