package static

import (
	"bytes"
	"net/http"
)

// maxPath is how long a path may be, in bytes.
const maxPath = 4 << 10

// resolve brings a request's path to the form of the index: decoded once,
// without the first slash. status is 0, or why there is no such path. hidden:
// some part of it begins with a dot. room holds a decoded path, and grows.
func resolve(room *[]byte, raw []byte) (key []byte, hidden bool, status int) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, false, http.StatusBadRequest
	}
	if len(raw) > maxPath {
		return nil, false, http.StatusRequestURITooLong
	}
	key = raw[1:]
	if bytes.IndexByte(raw, '%') >= 0 {
		var ok bool
		if key, ok = unescape((*room)[:0], key); !ok {
			return nil, false, http.StatusBadRequest
		}
		*room = key
	}
	start := 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if key[i] < ' ' || key[i] == 0x7f {
				return nil, false, http.StatusBadRequest
			}
			continue
		}
		part := key[start:i]
		switch {
		case len(part) == 0 && i < len(key):
			return nil, false, http.StatusNotFound // "//"
		case string(part) == ".", string(part) == "..":
			return nil, false, http.StatusBadRequest
		case len(part) > 0 && part[0] == '.' && (start > 0 || string(part) != ".well-known"):
			hidden = true
		}
		start = i + 1
	}
	return key, hidden, 0
}

// unescape decodes percent signs, once. What it refuses has two meanings: a
// slash that is none, the end of a C string.
func unescape(dst, b []byte) ([]byte, bool) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			if i+2 >= len(b) {
				return nil, false
			}
			hi, lo := unhex(b[i+1]), unhex(b[i+2])
			if hi > 15 || lo > 15 {
				return nil, false
			}
			c = hi<<4 | lo
			if c == '/' || c == 0 {
				return nil, false
			}
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, true
}

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

// appendEscaped appends b with everything escaped that could be more than a
// name in an address.
func appendEscaped(dst, b []byte) []byte {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

// looksLikePage reports whether a path that is not there is asked for as a
// page: its last part has no ending, or the client says that it wants HTML.
// byAccept: it is the Accept header that says so.
func looksLikePage(key, accept []byte) (page, byAccept bool) {
	last := key[bytes.LastIndexByte(key, '/')+1:]
	if bytes.IndexByte(last, '.') < 0 {
		return true, false
	}
	html := acceptsHTML(accept)
	return html, html
}

// acceptsHTML reports whether text/html is named in an Accept header. "*/*"
// says nothing: scripts and images are asked for with it.
func acceptsHTML(accept []byte) bool {
	for len(accept) > 0 {
		item := accept
		if i := bytes.IndexByte(accept, ','); i >= 0 {
			item, accept = accept[:i], accept[i+1:]
		} else {
			accept = nil
		}
		if i := bytes.IndexByte(item, ';'); i >= 0 {
			item = item[:i]
		}
		if item = trim(item); len(item) == 9 && bytes.EqualFold(item, []byte("text/html")) {
			return true
		}
	}
	return false
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t") }
