// Package dotenv reads .env files: the dialect that Docker, Node and Ruby tools
// agree on, with every refusal naming its line. It must never know what the
// variables are for, and it never expands anything: a $ is a $.
package dotenv

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Var is one assignment and the line that it begins on.
type Var struct {
	Name  string
	Value string
	Line  int
}

// Error is a refusal of one line of a file. It never holds a value.
type Error struct {
	File    string
	Line    int
	Message string
	Hint    string
}

// Error returns "file:line: message".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Parse reads the assignments of a file, in order. A name that comes twice is
// returned once, with its last value. Errors are of type *Error.
//
//	NAME=value            # a comment needs a space before it
//	export NAME=value
//	NAME='as it is, also
//	over several lines'
//	NAME="with \n \t \" \\ \$ escapes, also over several lines"
func Parse(file string, data []byte) ([]Var, error) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	p := &parser{file: file, line: 1, rest: strings.ReplaceAll(string(data), "\r\n", "\n")}
	if !utf8.ValidString(p.rest) || strings.ContainsRune(p.rest, 0) {
		return nil, p.fail("this is not a text file in UTF-8", "write the values as text; put binary data into base64")
	}
	var vars []Var
	at := map[string]int{}
	for p.rest != "" {
		v, ok, err := p.assignment()
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if i, twice := at[v.Name]; twice {
			vars[i] = v
			continue
		}
		at[v.Name] = len(vars)
		vars = append(vars, v)
	}
	return vars, nil
}

// parser walks over a file. rest always starts at the beginning of a line or,
// inside assignment, somewhere in the line that p.line names.
type parser struct {
	file string
	line int
	rest string
}

func (p *parser) fail(message, hint string) *Error {
	return &Error{File: p.file, Line: p.line, Message: message, Hint: hint}
}

// takeLine returns what is left of the line and moves behind its end.
func (p *parser) takeLine() string {
	line, rest, _ := strings.Cut(p.rest, "\n")
	p.rest = rest
	p.line++
	return line
}

// assignment reads one line, or several where quotes hold them together.
// ok is false for an empty line and a comment.
func (p *parser) assignment() (v Var, ok bool, err error) {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest == "" || p.rest[0] == '\n' || p.rest[0] == '#' {
		p.takeLine()
		return Var{}, false, nil
	}
	head, _, _ := strings.Cut(p.rest, "\n")
	name, _, found := strings.Cut(head, "=")
	if !found {
		return Var{}, false, p.fail("there is no = in this line", "write NAME=value; quote a value that has several lines")
	}
	key := strings.TrimSpace(name)
	if after, isExport := strings.CutPrefix(key, "export"); isExport && strings.TrimLeft(after, " \t") != after {
		key = strings.TrimLeft(after, " \t")
	}
	if !validName(key) {
		return Var{}, false, p.fail("the part before = is not a variable name",
			"use letters, digits and underscores, not a digit first: DATABASE_URL")
	}
	v = Var{Name: key, Line: p.line}
	p.rest = strings.TrimLeft(p.rest[len(name)+1:], " \t")
	if p.rest != "" && strings.IndexByte(`'"`+"`", p.rest[0]) >= 0 {
		v.Value, err = p.quoted()
	} else {
		v.Value = bare(p.takeLine())
	}
	return v, err == nil, err
}

// bare cuts a comment and the spaces around it from a value without quotes.
func bare(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimRight(s, " \t\r")
}

// quoted reads a value in quotes and the rest of its last line.
func (p *parser) quoted() (string, error) {
	quote := p.rest[0]
	open := p.fail(fmt.Sprintf("the quote %c that opens here is never closed", quote), "close it, or quote the value with another kind of quote")
	var b strings.Builder
	i := 1
	for ; i < len(p.rest) && p.rest[i] != quote; i++ {
		c := p.rest[i]
		if c == '\n' {
			p.line++
		}
		if c == '\\' && quote == '"' && i+1 < len(p.rest) {
			i++
			b.WriteString(escape(p.rest[i]))
			if p.rest[i] == '\n' {
				p.line++
			}
			continue
		}
		b.WriteByte(c)
	}
	if i >= len(p.rest) {
		return "", open
	}
	p.rest = p.rest[i+1:]
	tail, _, _ := strings.Cut(p.rest, "\n")
	if t := strings.TrimSpace(tail); t != "" && t[0] != '#' {
		return "", p.fail("there is text after the closing quote", "put the whole value inside the quotes")
	}
	p.takeLine()
	return b.String(), nil
}

// escape returns what a backslash and c stand for between double quotes. An
// unknown escape stays as it is written.
func escape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\\', '$', '`':
		return string(c)
	}
	return "\\" + string(c)
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
