// Package guard is what a route demands of a request and adds to an answer:
// who gets in, how often, by which path, and with which headers. Each rule of
// an app is compiled once a table and asked for every request, on bytes and
// without allocating. It must never know about connections, targets, tables or
// where a rule came from.
package guard

import (
	"strings"

	"landward/internal/landward"
)

// Bounds of what one app may say. They keep the work of a request and the size
// of a table small whatever a landward.yaml holds.
const (
	maxNetworks  = 10_000
	maxUsers     = 256
	maxRedirects = 1000
	maxPrefixes  = 256
	maxHeaders   = 64
	maxCopied    = 32
	maxImmutable = 64
	maxSteps     = 32

	maxName   = 64   // bytes of a header's name
	maxValue  = 8192 // bytes of a header's value
	maxPrefix = 256  // bytes of a path prefix
	maxURL    = 2048 // bytes of an address
)

// The bytes of a header name (RFC 9110 section 5.6.2).
func tokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isText reports whether s may stand in a header's value: printable ASCII and
// tabs, no space at its ends. Anything else is read differently by different
// clients, or ends the line.
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return s == strings.Trim(s, " \t")
}

// unhex is the value of a hex digit, 255 of anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// tooMany is the error of a list over its bound.
func tooMany(field string, have, limit int) error {
	return landward.Invalid(field, "%d entries are too many: the limit is %d", have, limit)
}
