package manifest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"landward/internal/landward"
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parseYAML reads one document. Aliases are followed within limits; merge keys,
// own tags and further documents are refused. An empty file is a nil node.
func (r reader) parseYAML(data []byte) (n *node, err error) {
	if err := r.checkBytes(data); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, r.yamlError(err)
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, r.errorf(more.Line, "there is a second document; only one is allowed")
	case !errors.Is(err, io.EOF):
		return nil, r.yamlError(err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	c := converter{reader: r, left: maxNodes}
	n, err = c.convert(doc.Content[0], 0)
	if err == nil && n.kind == kindNull {
		return nil, nil
	}
	return n, err
}

// checkBytes refuses what is too big or not text at all.
func (r reader) checkBytes(data []byte) error {
	if len(data) > maxFile {
		return landward.Invalid(r.file, "the file is larger than %d KiB", maxFile>>10)
	}
	if !utf8.Valid(data) {
		good := 0
		for rest := data; ; {
			c, size := utf8.DecodeRune(rest)
			if c == utf8.RuneError && size <= 1 {
				break
			}
			good, rest = good+size, rest[size:]
		}
		return r.errorf(1+bytes.Count(data[:good], []byte("\n")), "the file is not UTF-8 text")
	}
	return nil
}

func (r reader) yamlError(err error) error {
	text := err.Error()
	line := 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		text = text[len(m[0]):]
	}
	return r.errorf(line, "not valid YAML: %s", landward.Printable(text))
}

// converter turns yaml's nodes into ours. left is how many values it may still
// make: an alias costs as much as what it stands for.
type converter struct {
	reader
	left int
}

func (c *converter) convert(y *yaml.Node, depth int) (*node, error) {
	if c.left--; c.left < 0 {
		return nil, c.errorf(y.Line, "the file has more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return nil, c.errorf(y.Line, "the file is nested more than %d levels deep", maxDepth)
	}
	switch y.Kind {
	case yaml.AliasNode:
		n, err := c.convert(y.Alias, depth+1)
		if err != nil {
			return nil, err
		}
		here := *n
		here.line = y.Line
		return &here, nil
	case yaml.MappingNode:
		return c.convertMapping(y, depth)
	case yaml.SequenceNode:
		n := &node{kind: kindList, line: y.Line}
		for _, item := range y.Content {
			child, err := c.convert(item, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, child)
		}
		return n, nil
	}
	return c.convertScalar(y)
}

func (c *converter) convertMapping(y *yaml.Node, depth int) (*node, error) {
	n := &node{kind: kindMapping, line: y.Line}
	first := make(map[string]int, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			return nil, c.errorf(key.Line, "a key must be a plain word")
		}
		if key.ShortTag() == "!!merge" {
			return nil, c.errorf(key.Line, `the merge key "<<" is not supported`).WithHint("write the keys out")
		}
		if line, twice := first[key.Value]; twice {
			return nil, c.errorf(key.Line, "key %q is given twice; the first is in line %d", landward.Printable(key.Value), line)
		}
		first[key.Value] = key.Line
		value, err := c.convert(y.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		n.entries = append(n.entries, entry{key: key.Value, line: key.Line, value: value})
	}
	return n, nil
}

func (c *converter) convertScalar(y *yaml.Node) (*node, error) {
	n := &node{text: y.Value, line: y.Line}
	switch y.ShortTag() {
	case "!!str", "!!timestamp":
		n.kind = kindText
	case "!!int", "!!float":
		n.kind = kindNumber
	case "!!bool":
		n.kind = kindBool
	case "!!null":
		n.kind = kindNull
	default:
		return nil, c.errorf(y.Line, "the tag %s is not supported", landward.Printable(strings.TrimSpace(y.Tag)))
	}
	return n, nil
}
