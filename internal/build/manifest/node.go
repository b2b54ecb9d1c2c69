package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"landward/internal/landward"
)

// Limits on what any of the files may be. They are far above what a person
// writes, and far below what hurts.
const (
	maxFile  = 256 << 10 // bytes
	maxDepth = 24        // nested mappings and lists
	maxNodes = 20_000    // values, aliases followed
)

// kind is what a value is, in words that an error can show.
type kind string

const (
	kindMapping kind = "a mapping"
	kindList    kind = "a list"
	kindText    kind = "text"
	kindNumber  kind = "a number"
	kindBool    kind = "true or false"
	kindNull    kind = "nothing"
)

// node is a value of a YAML or JSON file that still knows its line.
type node struct {
	kind    kind
	text    string // of a text, number or bool, as written
	line    int
	entries []entry // of a mapping, in file order, keys unique
	items   []*node // of a list
}

type entry struct {
	key   string
	line  int
	value *node
}

// reader turns nodes into values. Its errors name file and line.
type reader struct{ file string }

// at returns the place of a line, as errors name it.
func (r reader) at(line int) string { return r.file + ":" + strconv.Itoa(line) }

func (r reader) errorf(line int, format string, args ...any) *landward.Error {
	return landward.Invalid(r.at(line), format, args...)
}

// rename puts r's place on an error of the vocabulary, which names a field.
func (r reader) rename(line int, err error) error {
	e := *landward.AsError(err)
	e.Field = r.at(line)
	return &e
}

// wrong says that a value has the wrong type.
func (r reader) wrong(n *node, name, want string) error {
	return r.errorf(n.line, "%s must be %s, not %s", name, want, n.kind)
}

// fields are the keys of a mapping and what reads each.
type fields map[string]func(*node) error

// mapping reads n, which name calls it, and refuses keys that are not known.
func (r reader) mapping(n *node, name string, known fields) error {
	if n.kind != kindMapping {
		return r.wrong(n, name, "a mapping")
	}
	for _, e := range n.entries {
		read, ok := known[e.key]
		if !ok {
			return r.unknownKey(e, name, known)
		}
		if err := read(e.value); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) unknownKey(e entry, name string, known fields) error {
	keys := make([]string, 0, len(known))
	for k := range known {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	hint := "known keys: " + strings.Join(keys, ", ")
	if near := nearest(e.key, keys); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return r.errorf(e.line, "unknown key %q in %s", landward.Printable(e.key), name).WithHint("%s", hint)
}

// list reads each item of n.
func (r reader) list(n *node, name string, limit int, read func(*node) error) error {
	if n.kind != kindList {
		return r.wrong(n, name, "a list")
	}
	if len(n.items) > limit {
		return r.errorf(n.line, "%s has %d entries; at most %d are allowed", name, len(n.items), limit)
	}
	for _, item := range n.items {
		if err := read(item); err != nil {
			return err
		}
	}
	return nil
}

// str reads a text that is not empty.
func (r reader) str(n *node, name string) (string, error) {
	if n.kind != kindText {
		err := r.errorf(n.line, "%s must be text, not %s", name, n.kind)
		if n.kind == kindNumber || n.kind == kindBool {
			return "", err.WithHint(`put it in quotes: "%s"`, n.text)
		}
		return "", err
	}
	if n.text == "" {
		return "", r.errorf(n.line, "%s is empty", name)
	}
	if strings.ContainsRune(n.text, 0) {
		return "", r.errorf(n.line, "%s contains a zero byte", name)
	}
	return n.text, nil
}

// strings reads a list of texts that are all different.
func (r reader) strings(n *node, name string, limit int, check func(string) error) ([]string, error) {
	var out []string
	err := r.list(n, name, limit, func(item *node) error {
		s, err := r.str(item, "an entry of "+name)
		if err != nil {
			return err
		}
		if err := check(s); err != nil {
			return r.rename(item.line, err)
		}
		if slices.Contains(out, s) {
			return r.errorf(item.line, "%q is in %s twice", landward.Printable(s), name)
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// integer reads a whole number from low to high.
func (r reader) integer(n *node, name string, low, high int) (int, error) {
	if n.kind != kindNumber {
		return 0, r.wrong(n, name, "a number")
	}
	v, err := strconv.Atoi(n.text)
	if err != nil || v < low || v > high {
		return 0, r.errorf(n.line, "%s is %s; it must be a whole number from %d to %d", name, n.text, low, high)
	}
	return v, nil
}

// duration reads a length of time that is more than nothing and at most high.
func (r reader) duration(n *node, name string, high time.Duration) (time.Duration, error) {
	s, err := r.str(n, name)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || !durationForm.MatchString(s) {
		return 0, r.errorf(n.line, "%q is not a length of time", landward.Printable(s)).WithHint("write 500ms, 30s, 5m or 1h")
	}
	if d <= 0 || d > high {
		return 0, r.errorf(n.line, "%s is %s; it must be more than 0 and at most %s", name, s, high)
	}
	return d, nil
}

// command reads a line or a list of words.
func (r reader) command(n *node, name string) (landward.Command, error) {
	if n.kind != kindList {
		line, err := r.str(n, name)
		if err != nil {
			if n.kind == kindMapping || n.kind == kindNull {
				err = r.wrong(n, name, "a command line or a list of words")
			}
			return landward.Command{}, err
		}
		c, err := ParseCommand(line)
		if err != nil {
			return c, r.rename(n.line, err)
		}
		return c, nil
	}
	var argv []string
	err := r.list(n, name, maxWords, func(item *node) error {
		if item.kind == kindText && item.text == "" && len(argv) > 0 {
			argv = append(argv, "") // an empty argument is a thing, an empty program is not
			return nil
		}
		word, err := r.str(item, "a word of "+name)
		argv = append(argv, word)
		return err
	})
	if err == nil && len(argv) == 0 {
		err = r.errorf(n.line, "%s is empty", name)
	}
	return landward.Command{Argv: argv}, err
}

// nearest returns the one of words that differs from s by at most two letters.
func nearest(s string, words []string) string {
	best, found := 3, ""
	if len(s) > 40 {
		return ""
	}
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d < best && d < len(w) {
			best, found = d, w
		}
	}
	return found
}

// distance counts the letters to add, drop or change to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
