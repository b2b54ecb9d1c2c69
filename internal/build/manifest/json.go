package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"landward/internal/landward"
)

// parseJSON reads one JSON value into nodes that know their lines.
func (r reader) parseJSON(data []byte) (*node, error) {
	if err := r.checkBytes(data); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	p := jsonParser{reader: r, data: data, dec: dec, left: maxNodes}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, r.errorf(p.line(), "there is more after the end of the JSON value")
	}
	return n, nil
}

type jsonParser struct {
	reader
	data []byte
	dec  *json.Decoder
	left int
	// counted and lines say that lines newlines stand before offset counted.
	counted, lines int
}

// line is the line of the token that was read last.
func (p *jsonParser) line() int { return p.lineOf(int(p.dec.InputOffset())) }

func (p *jsonParser) lineOf(offset int) int {
	offset = min(offset, len(p.data))
	if offset > p.counted {
		p.lines += bytes.Count(p.data[p.counted:offset], []byte("\n"))
		p.counted = offset
	}
	return p.lines + 1
}

func (p *jsonParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err == nil {
		return t, nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, p.errorf(p.lineOf(int(syntax.Offset)-1), "not valid JSON: %s", landward.Printable(syntax.Error()))
	}
	return nil, p.errorf(p.lineOf(len(bytes.TrimRight(p.data, " \t\r\n"))), "not valid JSON: the file ends too early")
}

func (p *jsonParser) value(depth int) (*node, error) {
	if p.left--; p.left < 0 {
		return nil, p.errorf(p.line(), "the file has more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return nil, p.errorf(p.line(), "the file is nested more than %d levels deep", maxDepth)
	}
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	n := &node{line: p.line()}
	switch t := t.(type) {
	case string:
		n.kind, n.text = kindText, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBool, "false"
		if t {
			n.text = "true"
		}
	case nil:
		n.kind = kindNull
	case json.Delim:
		if t == '[' {
			n.kind = kindList
			return n, p.items(n, depth)
		}
		n.kind = kindMapping
		return n, p.entries(n, depth)
	}
	return n, nil
}

func (p *jsonParser) items(n *node, depth int) error {
	for p.dec.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := p.token()
	return err
}

func (p *jsonParser) entries(n *node, depth int) error {
	first := map[string]int{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, line := t.(string), p.line() // the decoder lets nothing else be a key
		if at, twice := first[key]; twice {
			return p.errorf(line, "key %q is given twice; the first is in line %d", landward.Printable(key), at)
		}
		first[key] = line
		value, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.entries = append(n.entries, entry{key: key, line: line, value: value})
	}
	_, err := p.token()
	return err
}
