package manifest

import (
	"slices"
	"strings"

	"landward/internal/landward"
)

// Limits on a command.
const (
	maxLine  = 8 << 10 // bytes of a command line
	maxWords = 500
)

// shellWords are first words that only a shell knows.
var shellWords = []string{
	"!", ".", ":", "[[", "{", "alias", "break", "case", "cd", "command", "continue", "eval", "exec", "exit",
	"export", "for", "function", "if", "local", "read", "readonly", "return", "set", "shift", "source",
	"time", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
}

// ParseCommand turns a command line into words, if it means the same without a
// shell, and otherwise leaves it to the container's own. Quotes group words,
// $NAME and ${NAME} stay as they are for the engine to fill in.
//
// A bare $NAME that is a whole word is for a shell, because its value may be
// several words or none (java $JAVA_OPTS -jar app.jar). $PORT, which is always
// one number, and "$NAME" in quotes are not.
func ParseCommand(line string) (landward.Command, error) {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return landward.Command{}, landward.Invalid("command", "the command is empty")
	case len(line) > maxLine:
		return landward.Command{}, landward.Invalid("command", "the command is longer than %d bytes", maxLine)
	case strings.ContainsRune(line, 0):
		return landward.Command{}, landward.Invalid("command", "the command contains a zero byte")
	}
	s := splitter{rest: line}
	words, plain, err := s.split()
	if err != nil {
		return landward.Command{}, err
	}
	// "exec program" asks the shell to step aside, which is what no shell is.
	if plain && len(words) > 1 && words[0] == "exec" && !strings.HasPrefix(words[1], "-") {
		words = words[1:]
	}
	if !plain || words[0] == "" || slices.Contains(shellWords, words[0]) || assigns(words[0]) || len(words) > maxWords {
		return landward.Command{Shell: line}, nil
	}
	return landward.Command{Argv: words}, nil
}

// assigns reports whether a first word is NAME=value.
func assigns(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && landward.CheckVarName(name) == nil
}

// splitter cuts a line into words as a shell does, and finds out whether
// anything in it needs one.
type splitter struct {
	rest  string
	plain bool
	words []string

	word  strings.Builder
	begun bool // a word has begun, be it empty quotes
	loose bool // it has a variable whose value a shell would split
	solid bool // it has something that makes it one word all the same
}

func (s *splitter) split() (words []string, plain bool, err error) {
	s.plain = true
	for s.rest != "" {
		c := s.next()
		switch {
		case c == ' ' || c == '\t':
			s.end()
		case c == '\'':
			err = s.single()
		case c == '"':
			err = s.double()
		case c == '$':
			s.variable(false)
		case strings.IndexByte("&|;<>()`*?[\\\n\r", c) >= 0:
			s.plain = false
		case (c == '~' || c == '#') && !s.begun:
			s.plain = false
		default:
			s.put(string([]byte{c}))
		}
		if err != nil {
			return nil, false, err
		}
	}
	s.end()
	return s.words, s.plain && len(s.words) > 0, nil
}

func (s *splitter) next() byte {
	c := s.rest[0]
	s.rest = s.rest[1:]
	return c
}

func (s *splitter) put(text string) {
	s.word.WriteString(text)
	s.begun, s.solid = true, true
}

func (s *splitter) end() {
	if s.begun {
		s.words = append(s.words, s.word.String())
	}
	if s.loose && !s.solid {
		s.plain = false
	}
	s.word.Reset()
	s.begun, s.loose, s.solid = false, false, false
}

// single reads up to the closing quote. A dollar in it is only a dollar, which
// a word cannot say.
func (s *splitter) single() error {
	text, rest, ok := strings.Cut(s.rest, "'")
	if !ok {
		return landward.Invalid("command", "a single quote (') is not closed")
	}
	if strings.Contains(text, "$") {
		s.plain = false
	}
	s.put(text)
	s.rest = rest
	return nil
}

func (s *splitter) double() error {
	s.put("")
	for s.rest != "" {
		switch c := s.next(); c {
		case '"':
			return nil
		case '$':
			s.variable(true)
		case '`':
			s.plain = false
		case '\\':
			s.plain = false
			if s.rest != "" {
				s.next()
			}
		default:
			s.put(string([]byte{c}))
		}
	}
	return landward.Invalid("command", `a double quote (") is not closed`)
}

// variable reads what follows a dollar. Only $NAME and ${NAME} are plain.
func (s *splitter) variable(quoted bool) {
	name, whole := s.rest[:nameLength(s.rest)], ""
	if whole = name; strings.HasPrefix(s.rest, "{") {
		name = s.rest[1 : 1+nameLength(s.rest[1:])]
		whole = "{" + name + "}"
	}
	if name == "" || !strings.HasPrefix(s.rest, whole) {
		s.plain = false
		s.put("$")
		return
	}
	s.word.WriteString("$" + whole)
	s.rest = s.rest[len(whole):]
	s.begun = true
	if quoted || name == "PORT" {
		s.solid = true
	} else {
		s.loose = true
	}
}

// nameLength is how many bytes of s are a variable's name.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}
