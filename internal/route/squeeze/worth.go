package squeeze

import (
	"bytes"
	"net/http"

	"landward/internal/route/wire"
)

// MinLength is the length in bytes below which compression is not worth it:
// the answer fits into one packet either way.
const MinLength = 1 << 10

// Answer is what Worth looks at.
type Answer struct {
	Status      int
	ContentType []byte
	Length      int64 // of the body in bytes; -1: unknown
	Encoded     bool  // it has a Content-Encoding
	NoTransform bool  // its Cache-Control says so: see NoTransform
	Range       bool  // it has a Content-Range
}

// Worth reports whether an answer is to be compressed for a client that
// accepts it. It is so for text and what is like text, from MinLength on; not
// for a part of something, nor for what is compressed already. Event streams
// are left alone: each would hold a compressor for as long as a page is open.
func (a Answer) Worth() bool {
	if a.Encoded || a.NoTransform || a.Range || a.Length >= 0 && a.Length < MinLength {
		return false
	}
	switch {
	case a.Status < http.StatusOK, a.Status == http.StatusNoContent, a.Status == http.StatusResetContent,
		a.Status == http.StatusPartialContent, a.Status == http.StatusNotModified:
		return false
	}
	return compressible(a.ContentType)
}

// Worth is Answer.Worth of those values.
func Worth(contentType []byte, length int64, status int, hasEncoding, noTransform, isRange bool) bool {
	return Answer{Status: status, ContentType: contentType, Length: length, Encoded: hasEncoding,
		NoTransform: noTransform, Range: isRange}.Worth()
}

// NoTransform reports whether a Cache-Control header forbids that anybody on
// the way changes the answer (RFC 9111 section 5.2.2.6).
func NoTransform(cacheControl []byte) bool {
	for rest := cacheControl; rest != nil; {
		var item []byte
		item, rest = cut(rest, ',')
		if fold(bytes.Trim(item, " \t"), "no-transform") {
			return true
		}
	}
	return false
}

// maxType is longer than any media type of worth; what is longer is not
// looked at.
const maxType = 128

// compressible reports whether what has that Content-Type gets smaller.
func compressible(contentType []byte) bool {
	kind, _ := cut(contentType, ';')
	kind = bytes.Trim(kind, " \t")
	if len(kind) == 0 || len(kind) > maxType {
		return false
	}
	var lower [maxType]byte
	for i, c := range kind {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	kind = lower[:len(kind)]
	if bytes.HasPrefix(kind, []byte("text/")) {
		return string(kind) != "text/event-stream"
	}
	if bytes.HasSuffix(kind, []byte("+json")) || bytes.HasSuffix(kind, []byte("+xml")) ||
		bytes.HasSuffix(kind, []byte("+text")) || bytes.HasSuffix(kind, []byte("+yaml")) {
		return true
	}
	switch string(kind) {
	case "application/javascript", "application/x-javascript", "application/ecmascript",
		"application/json", "application/json5", "application/jsonl", "application/ndjson", "application/x-ndjson",
		"application/xml", "application/yaml", "application/x-yaml", "application/toml", "application/graphql",
		"application/rtf", "application/sql", "application/wasm", "application/x-sh",
		"application/vnd.ms-fontobject", "application/x-font-ttf", "application/x-font-otf",
		"font/ttf", "font/otf", "font/sfnt", "font/collection",
		"image/bmp", "image/x-icon", "image/vnd.microsoft.icon":
		return true
	}
	return false
}

// AppendFields appends the header lines of an answer that is sent with coding
// c, for the lines in list that a proxy copies: a strong ETag becomes weak
// (RFC 9110 section 8.8.1: other bytes, same meaning), Vary names
// Accept-Encoding, and what is true of the plain bytes only is left out:
// lengths, digests, Accept-Ranges. With Identity it changes Vary alone, which
// is for an answer that another client would get compressed.
func AppendFields(dst []byte, list []wire.Field, c Coding) []byte {
	varies := false
	for i := range list {
		f := &list[i]
		if f.Kind.Dropped() {
			continue
		}
		switch {
		case len(f.Name) == 4 && wire.EqualFold(f.Name, "vary"):
			varies = varies || namesEncoding(f.Value)
		case c == Identity:
		case len(f.Name) == 4 && wire.EqualFold(f.Name, "etag"):
			dst = append(dst, "ETag: "...)
			dst = append(AppendWeak(dst, f.Value), '\r', '\n')
			continue
		case PlainOnly(f.Name):
			continue
		}
		dst = append(dst, f.Line...)
	}
	if c != Identity {
		dst = append(append(append(dst, "Content-Encoding: "...), c.String()...), '\r', '\n')
	}
	if !varies {
		dst = append(dst, "Vary: Accept-Encoding\r\n"...)
	}
	return dst
}

// PlainOnly reports whether a header line of that name says something that is
// not true of the compressed answer.
func PlainOnly(name []byte) bool {
	switch len(name) {
	case 6:
		return wire.EqualFold(name, "digest")
	case 11:
		return wire.EqualFold(name, "content-md5") || wire.EqualFold(name, "repr-digest")
	case 13:
		return wire.EqualFold(name, "accept-ranges")
	case 14:
		return wire.EqualFold(name, "content-length") || wire.EqualFold(name, "content-digest")
	}
	return false
}

// AppendWeak appends an entity tag as a weak one.
func AppendWeak(dst, etag []byte) []byte {
	if !bytes.HasPrefix(etag, []byte("W/")) {
		dst = append(dst, 'W', '/')
	}
	return append(dst, etag...)
}

// namesEncoding reports whether a Vary header covers Accept-Encoding.
func namesEncoding(vary []byte) bool {
	for rest := vary; rest != nil; {
		var item []byte
		item, rest = cut(rest, ',')
		if item = bytes.Trim(item, " \t"); fold(item, "accept-encoding") || len(item) == 1 && item[0] == '*' {
			return true
		}
	}
	return false
}

func fold(b []byte, lower string) bool { return wire.EqualFold(b, lower) }
