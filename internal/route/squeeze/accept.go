// Package squeeze compresses answers that an app sent plain: it reads what a
// client accepts, says which answers are worth the work, changes their header
// lines and holds the compressors. It must never know about connections,
// routes or files.
//
// Whether an answer sets cookies or reflects what the client sent makes no
// difference, as with nginx and Caddy: the edge cannot tell a secret from
// other text, so it could only guess. An app that puts a secret and input of
// an attacker into one answer (BREACH) masks the secret anew in each answer,
// sends "Cache-Control: no-transform" with it, or has compression turned off
// for its route.
package squeeze

import "bytes"

// Coding is a content coding (RFC 9110 section 8.4.1).
type Coding uint8

// The codings.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd
	codings
)

// String returns the coding's name in header lines; "identity" for Identity.
func (c Coding) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case Brotli:
		return "br"
	case Zstd:
		return "zstd"
	}
	return "identity"
}

// Weights say how much a client wants each coding, from 0 (not at all) to
// 1000. The zero value is a client that accepts nothing but plain bytes.
type Weights struct {
	of       [codings]int16
	identity bool // named, or excluded
}

// Of returns the weight of c. Identity that the client does not mention has a
// weight of 1: any coding that is accepted is better, and it is always left.
func (w Weights) Of(c Coding) int {
	if c == Identity && !w.identity {
		return 1
	}
	return int(w.of[c])
}

// Parse reads an Accept-Encoding header (RFC 9110 section 12.5.3). Without
// one, nothing but Identity is accepted: a client that understands a coding
// says so. A member that is malformed counts for nothing; of one coding's
// members the first counts.
func Parse(accept []byte) Weights {
	var w Weights
	var seen [codings]bool
	star, starred := int16(0), false
	for rest := accept; rest != nil; {
		var item []byte
		item, rest = cut(rest, ',')
		name, q, ok := member(item)
		if !ok {
			continue
		}
		c, known := codingOf(name)
		switch {
		case len(name) == 1 && name[0] == '*':
			if !starred {
				star, starred = q, true
			}
		case known && !seen[c]:
			w.of[c], seen[c] = q, true
		}
	}
	w.identity = seen[Identity]
	if !starred {
		return w
	}
	for c := Gzip; c < codings; c++ {
		if !seen[c] {
			w.of[c] = star
		}
	}
	if !w.identity && star == 0 {
		w.identity = true // excluded by "*;q=0"
	}
	return w
}

// preference is the order among codings that the client weighs the same. It
// goes by cost: at the levels used here zstd and gzip give about the same
// size, and brotli saves three bytes in a hundred for twice the time.
var preference = [...]Coding{Zstd, Gzip, Brotli}

// Choose returns the coding for an answer that is compressed now: the one with
// the highest weight, then by preference zstd, gzip, br. It is Identity where
// the client weighs that higher, or accepts none of them.
func Choose(accept []byte) Coding {
	if len(accept) == 0 {
		return Identity
	}
	w := Parse(accept)
	best := Identity
	for _, c := range preference {
		if q := w.Of(c); q > 0 && (q > w.Of(best) || best == Identity && q == w.Of(best)) {
			best = c
		}
	}
	return best
}

// member takes one member of the list apart: its name and its weight in
// thousandths. Parameters other than q do not exist here.
func member(item []byte) (name []byte, q int16, ok bool) {
	name, param := cut(item, ';')
	name = bytes.Trim(name, " \t")
	if len(name) == 0 {
		return nil, 0, false
	}
	if param == nil {
		return name, 1000, true
	}
	param = bytes.Trim(param, " \t")
	if len(param) < 3 || param[0]|0x20 != 'q' || param[1] != '=' {
		return nil, 0, false
	}
	q, ok = weight(param[2:])
	return name, q, ok
}

// weight reads a qvalue (RFC 9110 section 12.4.2): 0 to 1 with at most three
// decimals.
func weight(b []byte) (int16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] != '0' && b[0] != '1' || len(b) > 1 && b[1] != '.' {
		return 0, false
	}
	q := int16(b[0]-'0') * 1000
	unit := int16(100)
	for _, c := range b[min(2, len(b)):] {
		if c < '0' || c > '9' {
			return 0, false
		}
		q += int16(c-'0') * unit
		unit /= 10
	}
	return q, q <= 1000
}

func codingOf(name []byte) (Coding, bool) {
	switch {
	case fold(name, "gzip"), fold(name, "x-gzip"):
		return Gzip, true
	case fold(name, "br"):
		return Brotli, true
	case fold(name, "zstd"):
		return Zstd, true
	case fold(name, "identity"):
		return Identity, true
	}
	return Identity, false
}

// cut returns what is before the first sep and what is after it, nil where
// there is none.
func cut(b []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}
