package wire

import "bytes"

// Answer is the head of an upstream's answer. Its slices point into the parsed
// buffer. Use it again and again: Parse resets it.
type Answer struct {
	fields
	Status int
	Line   []byte // the status line after the version, without CRLF: "200 OK"
	Minor  int
}

// Framing says how an answer's body ends.
type Framing uint8

// The ways in which a body ends (RFC 9112 section 6.3).
const (
	NoBody    Framing = iota
	ByLength          // after Length bytes
	ByChunks          // with the last chunk
	ByClosing         // when the upstream closes
)

// Length is the value of Content-Length, -1 without one.
func (a *Answer) Length() int64 { return a.length }

// HasDate reports whether the upstream set Date.
func (a *Answer) HasDate() bool { return a.date }

// Coded reports whether the body has a content coding.
func (a *Answer) Coded() bool { return a.coded }

// Secured is the set of security headers that the answer has.
func (a *Answer) Secured() Secured { return a.secured }

// KeepAlive reports whether the upstream lets the connection stay.
func (a *Answer) KeepAlive() bool { return !a.close && (a.Minor == 1 || a.keep) }

// Upgrade is the protocol that a 101 switches to.
func (a *Answer) Upgrade() []byte {
	if !a.upgradeTok {
		return nil
	}
	return a.upgrade
}

// IdleFor returns the seconds that the upstream keeps an idle connection, from
// its Keep-Alive header, or 0.
func (a *Answer) IdleFor() int {
	for i := range a.Fields() {
		if fd := &a.list[i]; fd.Kind == Hop && EqualFold(fd.Name, "keep-alive") {
			for rest := fd.Value; rest != nil; {
				var item []byte
				item, rest = nextItem(rest)
				if len(item) > 8 && EqualFold(item[:8], "timeout=") {
					n, _ := parseLength(item[8:])
					return int(min(n, 3600))
				}
			}
		}
	}
	return 0
}

// Framing tells how the body of this answer to a request with that method ends.
func (a *Answer) Framing(head bool) Framing {
	switch {
	case head, a.Status < 200, a.Status == 204, a.Status == 304:
		return NoBody
	case a.chunked:
		return ByChunks
	case a.length >= 0:
		return ByLength
	}
	return ByClosing
}

// Parse reads a head that HeadEnd has found the end of.
func (a *Answer) Parse(head []byte) error {
	a.reset()
	end := bytes.IndexByte(head, '\n')
	if end < 12 || head[end-1] != '\r' || string(head[:7]) != "HTTP/1." || head[8] != ' ' {
		return ErrStatusLine
	}
	if head[7] != '0' && head[7] != '1' {
		return ErrStatusLine
	}
	a.Minor = int(head[7] - '0')
	line := head[9 : end-1]
	a.Status = 0
	for _, c := range line[:min(3, len(line))] {
		if c < '0' || c > '9' {
			return ErrStatusLine
		}
		a.Status = a.Status*10 + int(c-'0')
	}
	if a.Status < 100 || a.Status > 599 || len(line) > 3 && line[3] != ' ' || !all(line, classValue) {
		return ErrStatusLine
	}
	a.Line = line
	if err := a.fields.parse(head[end+1:]); err != nil {
		return err
	}
	if a.chunked && a.Minor == 0 {
		return ErrCodingVersion
	}
	return nil
}
