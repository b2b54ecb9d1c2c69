package guard

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"landward/internal/landward"
)

// Servers disagree about what a path means: whether "%2f" and "\" part
// segments, whether "//" is "/", whether ";x" belongs to a segment, whether an
// escape inside an escape counts. Where nothing depends on a path, that is the
// app's business and the path goes through untouched. Where a rule depends on
// it, two readings are compared:
//
//   - the literal one decodes once and takes every other byte for what it is;
//   - the free one decodes twice, and to it an encoded slash or backslash parts
//     segments, ";", "?" and "#" end one, and empty ones do not count.
//
// A server that understands some of these things and not others lies between
// the two, because the rules' own paths hold none of those bytes. Where both
// lead to the same rule the path goes on as it came; where they do not, nobody
// can say which rule the app would have followed, and the request is refused.

// Sound reports whether a path can be matched against rules at all: no segment
// is "." or "..", in any spelling, no byte is a backslash or, encoded or not, a
// control character, and no encoded slash is in what ";", "?" or "#" cut off,
// where it would part segments for one server and vanish for another. Browsers
// send no such path. A request for one is answered with 400 by a site with any
// rule about paths.
func Sound(path []byte) bool {
	dots, other, cut := 0, false, false
	for i := 0; i < len(path); {
		c, n := path[i], 1
		if !readings[c] {
			other = other || !cut
			i++
			continue
		}
		if c == '%' {
			c, n = twice(path, i)
		}
		switch {
		case c < ' ' || c == 0x7f || path[i] == '\\':
			return false
		case c == '/' || c == '\\':
			if isDots(dots, other) || cut && n > 1 {
				return false
			}
			dots, other, cut = 0, false, false
		case cut:
		case endsSegment(c):
			cut = true
		case c == '.':
			dots++
		default:
			other = true
		}
		i += n
	}
	return !isDots(dots, other)
}

func isDots(dots int, other bool) bool { return !other && (dots == 1 || dots == 2) }

// endsSegment is for the bytes after which some servers stop reading a segment.
func endsSegment(c byte) bool { return c == ';' || c == '?' || c == '#' }

// once reads the byte at i and how many bytes stand for it. A percent sign
// without two digits is itself.
func once(path []byte, i int) (c byte, n int) {
	if path[i] != '%' || i+2 >= len(path) {
		return path[i], 1
	}
	hi, lo := unhex(path[i+1]), unhex(path[i+2])
	if hi > 15 || lo > 15 {
		return '%', 1
	}
	return hi<<4 | lo, 3
}

// twice is once, for a server that decodes what it has decoded.
func twice(path []byte, i int) (c byte, n int) {
	c, n = once(path, i)
	if c != '%' || i+n >= len(path) {
		return c, n
	}
	hi, m := once(path, i+n)
	if unhex(hi) > 15 || i+n+m >= len(path) {
		return c, n
	}
	lo, k := once(path, i+n+m)
	if unhex(lo) > 15 {
		return c, n
	}
	return unhex(hi)<<4 | unhex(lo), n + m + k
}

// readings says of each byte whether it may be more than itself.
var readings = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c < ' ' || c == 0x7f || strings.IndexByte(`%;\?#/.`, byte(c)) >= 0
	}
	return t
}()

// isPlain reports whether path has one reading only.
func isPlain(path []byte) bool {
	last := byte(0)
	for _, c := range path {
		if readings[c] && (c != '/' || last == '/') && (c != '.' || last == '/') {
			return false
		}
		last = c
	}
	return true
}

// literal appends the literal reading of path, up to the capacity of dst. An
// encoded slash becomes a byte that no rule has.
func literal(dst, path []byte) []byte {
	for i := 0; i < len(path) && len(dst) < cap(dst); {
		c, n := path[i], 1
		if c == '%' {
			if c, n = once(path, i); n == 3 && (c == '/' || c == '\\') {
				c = 0
			}
		}
		dst = append(dst, c)
		i += n
	}
	return dst
}

// free appends the free reading of path, up to the capacity of dst.
func free(dst, path []byte) []byte {
	parted, cut := false, false
	for i := 0; i < len(path) && len(dst) < cap(dst); {
		c, n := path[i], 1
		if c == '%' {
			c, n = twice(path, i)
		}
		i += n
		switch {
		case c == '/' || c == '\\':
			parted, cut = true, false
		case cut:
		case endsSegment(c):
			cut = true
		default:
			if parted {
				parted = false
				if dst = append(dst, '/'); len(dst) == cap(dst) {
					return dst
				}
			}
			dst = append(dst, c)
		}
	}
	return dst
}

// PathIndex finds the longest of some prefixes that a path is below. A prefix
// counts up to the end of a segment: "/api" has "/api" and "/api/x", not
// "/apix". It never changes.
type PathIndex struct {
	rules   map[string]int
	root    int // for what no other prefix has
	longest int
}

// NewPathIndex compiles prefixes; Find returns their places in the list. ""
// stands for all paths. An error names the prefix as routes.paths[n].prefix.
func NewPathIndex(prefixes []string) (*PathIndex, error) {
	if len(prefixes) > maxPrefixes {
		return nil, tooMany("routes.paths", len(prefixes), maxPrefixes)
	}
	p := &PathIndex{rules: make(map[string]int, len(prefixes)), root: -1}
	for i, s := range prefixes {
		field := fmt.Sprintf("routes.paths[%d].prefix", i)
		if s != "" {
			if err := checkPrefix(field, s); err != nil {
				return nil, err
			}
		}
		other, taken := p.rules[s]
		if s == "" {
			other, taken = p.root, p.root >= 0
		}
		if taken {
			return nil, landward.Invalid(field, "%q is already the prefix of routes.paths[%d]", s, other)
		}
		if s == "" {
			p.root = i
			continue
		}
		p.rules[s] = i
		p.longest = max(p.longest, len(s))
	}
	return p, nil
}

// Find returns the place of path's prefix, -1 for none. ok is false where
// readings of path differ: the request is to be refused with 400. path is
// without its query.
func (p *PathIndex) Find(path []byte) (index int, ok bool) {
	if len(p.rules) == 0 {
		return p.root, true
	}
	if isPlain(path) {
		return p.lookUp(path), true
	}
	if !Sound(path) {
		return -1, false
	}
	var buf [maxPrefix + 1]byte
	room := buf[: 0 : p.longest+1] // one more than is compared: the end of a segment
	index = p.lookUp(literal(room, path))
	if p.lookUp(free(room, path)) != index {
		return -1, false
	}
	return index, true
}

func (p *PathIndex) lookUp(path []byte) int {
	for i := min(len(path), p.longest); i > 0; i-- {
		if i < len(path) && path[i] != '/' || path[i-1] == '/' {
			continue
		}
		if n, ok := p.rules[string(path[:i])]; ok {
			return n
		}
	}
	return p.root
}

// StripPrefix returns path without a prefix that Find has found in it: "/x" of
// "/api/x", "/" of "/api". The rest is part of path and stays encoded. It never
// begins with two slashes, which would be read as a host. A path that is not
// below prefix is returned whole.
func StripPrefix(path []byte, prefix string) []byte {
	i := skip(path, prefix)
	if i < 0 || i < len(path) && path[i] != '/' {
		return path
	}
	for i+1 < len(path) && path[i+1] == '/' {
		i++
	}
	if i == len(path) {
		return path[:1]
	}
	return path[i:]
}

// skip returns how many bytes at the front of path stand for plain, -1 where
// they do not. An encoded slash is not a slash.
func skip(path []byte, plain string) int {
	i := 0
	for j := range len(plain) {
		if i >= len(path) {
			return -1
		}
		c, n := once(path, i)
		if c != plain[j] || n == 3 && c == '/' {
			return -1
		}
		i += n
	}
	return i
}

// checkPrefix says what is wrong with a path prefix, or nil.
func checkPrefix(field, s string) error {
	if strings.HasSuffix(s, "/") {
		return landward.Invalid(field, "%q ends with a slash", landward.Printable(s)).
			WithHint("write %q: it has all that is below", "/"+landward.Printable(strings.Trim(s, "/")))
	}
	return checkPath(field, s)
}

// checkPath says what is wrong with the path of a rule, or nil. It holds none
// of the bytes that readings differ about.
func checkPath(field, s string) error {
	switch {
	case !strings.HasPrefix(s, "/"):
		return landward.Invalid(field, "%q does not begin with a slash", landward.Printable(s))
	case len(s) > maxPrefix:
		return landward.Invalid(field, "a path of %d bytes is too long: the limit is %d", len(s), maxPrefix)
	case strings.Contains(s, "%"):
		return landward.Invalid(field, "%q is encoded", landward.Printable(s)).
			WithHint("write the path as people read it: requests are decoded before they are compared")
	case strings.Contains(s, "*"):
		return landward.Invalid(field, "%q has a star", landward.Printable(s)).
			WithHint("a prefix has all that is below without one; the path of a redirect may end in /*")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, notInPath):
		return landward.Invalid(field, "%q has characters that a path cannot have", landward.Printable(s))
	}
	inner := strings.TrimSuffix(s[1:], "/")
	for seg := range strings.SplitSeq(inner, "/") {
		if seg == "." || seg == ".." || seg == "" && s != "/" {
			return landward.Invalid(field, "%q has the segment %q, which means different paths to different servers",
				landward.Printable(s), seg)
		}
	}
	return nil
}

func notInPath(r rune) bool {
	return r <= ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || strings.ContainsRune(`"#;<>?\^`+"`{|}", r)
}
