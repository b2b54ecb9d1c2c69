package pack

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// rules are the lines of ignore files, in rising order of weight: the last one
// that matches a path decides.
type rules []rule

// rule is one line. See gitignore(5).
type rule struct {
	dir     string // where its file is; "." at the top
	match   *regexp.Regexp
	base    bool // it is about a name, at any depth
	dirOnly bool
	keep    bool // a line with "!"
}

// ignore reports whether a path below the top is left out. The folders above
// it are asked first, by whoever walks: what is in an ignored folder cannot be
// brought back.
func (rs rules) ignore(name string, isDir bool) bool {
	for i := len(rs) - 1; i >= 0; i-- {
		if rs[i].matches(name, isDir) {
			return !rs[i].keep
		}
	}
	return false
}

func (r rule) matches(name string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if r.dir != "." {
		name = strings.TrimPrefix(name, r.dir+"/") // rules reach only below their folder
	}
	if r.base {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	return r.match.MatchString(bytewise(name))
}

// bytewise makes each byte a character: git's "?" is one byte.
func bytewise(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// parseRules reads an ignore file that lies in dir.
func parseRules(dir, text string) rules {
	var out rules
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\uFEFF"), "\n") {
		if r, ok := parseRule(dir, strings.TrimSuffix(line, "\r")); ok {
			out = append(out, r)
		}
	}
	return out
}

func parseRule(dir, line string) (rule, bool) {
	if strings.HasPrefix(line, "#") {
		return rule{}, false
	}
	line = trimSpaces(line)
	r := rule{dir: dir}
	line, r.keep = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	r.base = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return rule{}, false
	}
	expr, ok := globToRegexp(bytewise(line))
	if !ok {
		return rule{}, false
	}
	var err error
	r.match, err = regexp.Compile(expr)
	return r, err == nil
}

// trimSpaces takes spaces off the end but one that is escaped.
func trimSpaces(s string) string {
	for strings.HasSuffix(s, " ") {
		cut := s[:len(s)-1]
		slashes := len(cut) - len(strings.TrimRight(cut, `\`))
		if slashes%2 == 1 {
			return s
		}
		s = cut
	}
	return s
}

// globToRegexp writes a pattern as a regular expression, which takes linear
// time whatever the pattern. ok is false for one that git would never match.
func globToRegexp(p string) (expr string, ok bool) {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i := 0; i < len(p); {
		rest := p[i:]
		atStart := i == 0 || p[i-1] == '/'
		switch {
		case atStart && strings.HasPrefix(rest, "**/"):
			b.WriteString(`(?:.*/)?`)
			i += 3
		case atStart && rest == "**":
			b.WriteString(`.+`)
			i += 2
		case rest[0] == '*':
			b.WriteString(`[^/]*`)
			i += len(rest) - len(strings.TrimLeft(rest, "*"))
		case rest[0] == '?':
			b.WriteString(`[^/]`)
			i++
		case rest[0] == '[':
			class, n, ok := classToRegexp(rest)
			if !ok {
				return "", false
			}
			b.WriteString(class)
			i += n
		case rest[0] == '\\':
			if len(rest) == 1 {
				return "", false
			}
			n := runeLen(rest[1:])
			b.WriteString(regexp.QuoteMeta(rest[1 : 1+n]))
			i += 1 + n
		default:
			n := runeLen(rest)
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			i += n
		}
	}
	b.WriteByte('$')
	return b.String(), true
}

// runeLen is how many bytes the first character has.
func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// classToRegexp writes "[a-z]" and its like, which never match a slash. n is
// how much of the pattern it was.
func classToRegexp(p string) (class string, n int, ok bool) {
	var b strings.Builder
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return "", 0, false
		}
		if p[i] == ']' && !first {
			i++
			break
		}
		if rest, found := strings.CutPrefix(p[i:], "[:"); found {
			name, _, closed := strings.Cut(rest, "]")
			name, isClass := strings.CutSuffix(name, ":")
			if !closed || isClass && !isPosixClass(name) {
				return "", 0, false
			}
			if isClass {
				b.WriteString("[:" + name + ":]")
				i += len("[:" + name + ":]")
				continue
			}
		}
		lo, size, ok := classChar(p[i:])
		if !ok {
			return "", 0, false
		}
		i += size
		hi := lo
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			if hi, size, ok = classChar(p[i+1:]); !ok {
				return "", 0, false
			}
			i += 1 + size
		}
		writeRange(&b, lo, hi)
	}
	switch {
	case negated:
		return "[^/" + b.String() + "]", i, true
	case b.Len() == 0:
		return "", 0, false // nothing but a slash, or ranges that run backwards
	}
	return "[" + b.String() + "]", i, true
}

func isPosixClass(name string) bool {
	switch name {
	case "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit":
		return true
	}
	return false
}

// classChar reads one character of a class, which may be escaped.
func classChar(p string) (c rune, size int, ok bool) {
	if p[0] == '\\' {
		p, size = p[1:], 1
	}
	c, n := utf8.DecodeRuneInString(p)
	return c, size + n, n > 0
}

// writeRange writes a range without the slash that may be in it.
func writeRange(b *strings.Builder, lo, hi rune) {
	if lo <= '/' && '/' <= hi {
		writeRange(b, lo, '/'-1)
		writeRange(b, '/'+1, hi)
		return
	}
	if lo > hi {
		return // git matches nothing with it
	}
	fmt.Fprintf(b, `\x{%x}-\x{%x}`, lo, hi)
}
