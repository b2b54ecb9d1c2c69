package static

import (
	"bytes"
	"net/http"
)

// condition is what a request's preconditions ask for.
type condition uint8

const (
	proceed     condition = iota
	notModified           // 304
	failed                // 412
)

// conditions evaluates the preconditions in the order of RFC 9110 section
// 13.2.2 against a representation with that entity tag and time.
func (r *Request) conditions(etag, modified string, unix int64) condition {
	switch {
	case len(r.IfMatch) > 0:
		if !tagListed(r.IfMatch, etag, true) {
			return failed
		}
	case len(r.IfUnmodifiedSince) > 0:
		if since, ok := dateOf(r.IfUnmodifiedSince, modified, unix); ok && unix > since {
			return failed
		}
	}
	switch {
	case len(r.IfNoneMatch) > 0:
		if tagListed(r.IfNoneMatch, etag, false) {
			return notModified
		}
	case len(r.IfModifiedSince) > 0:
		if since, ok := dateOf(r.IfModifiedSince, modified, unix); ok && unix <= since {
			return notModified
		}
	}
	return proceed
}

// rangeStands reports whether If-Range, where there is one, lets the range be
// sent (RFC 9110 section 13.1.5): by a strong comparison of tags, or by
// exactly the same date.
func (r *Request) rangeStands(etag, modified string, unix int64) bool {
	v := trim(r.IfRange)
	switch {
	case len(v) == 0:
		return true
	case v[0] == '"' || bytes.HasPrefix(v, []byte("W/")):
		tag, rest := cutTag(v)
		return tag != nil && len(trim(rest)) == 0 && string(tag) == etag
	}
	since, ok := dateOf(v, modified, unix)
	return ok && unix == since
}

// dateOf reads a date of a precondition. It is not ok where it is no date, or
// where our own is not known: then the precondition is ignored.
func dateOf(b []byte, modified string, unix int64) (int64, bool) {
	if unix == 0 {
		return 0, false
	}
	if b = trim(b); string(b) == modified { // what a cache sends that got it from us
		return unix, true
	}
	t, err := http.ParseTime(string(b))
	if err != nil {
		return 0, false
	}
	return t.Unix(), true
}

// tagListed reports whether etag, which is strong, is in a list of entity
// tags, or the list is "*". strong: weak tags do not count (RFC 9110 section
// 8.8.3.2). A list is read up to its first mistake.
func tagListed(list []byte, etag string, strong bool) bool {
	for {
		list = bytes.TrimLeft(list, " \t,")
		if len(list) == 0 {
			return false
		}
		if list[0] == '*' {
			return true
		}
		tag, rest := cutTag(list)
		if tag == nil {
			return false
		}
		weak := tag[0] == 'W'
		if weak {
			tag = tag[2:]
		}
		if string(tag) == etag && (!weak || !strong) {
			return true
		}
		list = rest
	}
}

// cutTag takes one entity tag from the front of b; nil where there is none.
func cutTag(b []byte) (tag, rest []byte) {
	start := 0
	if bytes.HasPrefix(b, []byte("W/")) {
		start = 2
	}
	if len(b) < start+2 || b[start] != '"' {
		return nil, b
	}
	for i := start + 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[:i+1], b[i+1:]
		case c < 0x21 || c == 0x7f:
			return nil, b
		}
	}
	return nil, b
}
