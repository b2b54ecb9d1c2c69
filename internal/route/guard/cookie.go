package guard

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// StickyCookie is the name of the cookie that holds a client to its replica.
const StickyCookie = "landward_replica"

// stickyBytes of a digest are enough to tell replicas apart, and too few to
// learn an id from.
const stickyBytes = 12

// Sticky writes and reads the cookie of sticky sessions. Its value is a keyed
// digest of the target's id, so that it tells nobody what runs where. A nil
// Sticky finds nothing. It never changes.
type Sticky struct {
	values [][]byte // in the order of the ids
}

// NewSticky compiles the ids of a route's targets. No ids give nil. With the
// same key a cookie is good in other processes and after a restart; an empty key
// is a new one of this process.
func NewSticky(key []byte, ids []string) *Sticky {
	if len(ids) == 0 {
		return nil
	}
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // it never fails: the program ends instead
	}
	s := &Sticky{values: make([][]byte, 0, len(ids))}
	for _, id := range ids {
		m := hmac.New(sha256.New, key)
		_, _ = m.Write([]byte(id)) // a hash takes all
		s.values = append(s.values, base64.RawURLEncoding.AppendEncode(nil, m.Sum(nil)[:stickyBytes]))
	}
	return s
}

// Find returns the place of the target that the value of a Cookie header names,
// -1 for none. Ask it for each such header.
func (s *Sticky) Find(cookie []byte) int {
	if s == nil {
		return -1
	}
	for len(cookie) > 0 {
		var name, value []byte
		name, value, cookie = nextCookie(cookie)
		if string(name) != StickyCookie {
			continue
		}
		for i, v := range s.values {
			if bytes.Equal(v, value) {
				return i
			}
		}
	}
	return -1
}

// Append appends the Set-Cookie line for the target at that place, with its
// CRLF. It lasts as long as the browser runs.
func (s *Sticky) Append(dst []byte, target int, https bool) []byte {
	dst = append(append(dst, "Set-Cookie: "+StickyCookie+"="...), s.values[target]...)
	dst = append(dst, "; Path=/; HttpOnly; SameSite=Lax"...)
	if https {
		dst = append(dst, "; Secure"...)
	}
	return append(dst, '\r', '\n')
}

// HasCookie reports whether the value of a Cookie header has a cookie of that
// name, whatever its value.
func HasCookie(cookie []byte, name string) bool {
	for len(cookie) > 0 {
		var n []byte
		if n, _, cookie = nextCookie(cookie); string(n) == name {
			return true
		}
	}
	return false
}

// nextCookie cuts the first pair off a Cookie header (RFC 6265 section 4.2.1).
// It is as lenient as browsers are odd: space around a part does not count, nor
// do quotes around a value; what is no pair has a name only.
func nextCookie(cookie []byte) (name, value, rest []byte) {
	pair := cookie
	if i := bytes.IndexByte(cookie, ';'); i >= 0 {
		pair, rest = cookie[:i], cookie[i+1:]
	}
	name = pair
	if i := bytes.IndexByte(pair, '='); i >= 0 {
		name, value = pair[:i], trimSpace(pair[i+1:])
	}
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return trimSpace(name), value, rest
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
