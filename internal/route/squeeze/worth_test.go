package squeeze_test

import (
	"strings"
	"testing"

	"landward/internal/route/squeeze"
	"landward/internal/route/wire"
)

func TestWorth(t *testing.T) {
	html := squeeze.Answer{Status: 200, ContentType: []byte("text/html; charset=utf-8"), Length: 5000}
	if !html.Worth() {
		t.Fatal("a page is worth it")
	}
	for name, change := range map[string]func(*squeeze.Answer){
		"small":        func(a *squeeze.Answer) { a.Length = squeeze.MinLength - 1 },
		"empty":        func(a *squeeze.Answer) { a.Length = 0 },
		"encoded":      func(a *squeeze.Answer) { a.Encoded = true },
		"no-transform": func(a *squeeze.Answer) { a.NoTransform = true },
		"a range":      func(a *squeeze.Answer) { a.Range = true },
		"206":          func(a *squeeze.Answer) { a.Status = 206 },
		"204":          func(a *squeeze.Answer) { a.Status = 204 },
		"304":          func(a *squeeze.Answer) { a.Status = 304 },
		"103":          func(a *squeeze.Answer) { a.Status = 103 },
	} {
		a := html
		change(&a)
		if a.Worth() {
			t.Errorf("%s: not worth it", name)
		}
	}
	for name, change := range map[string]func(*squeeze.Answer){
		"unknown length": func(a *squeeze.Answer) { a.Length = -1 },
		"just enough":    func(a *squeeze.Answer) { a.Length = squeeze.MinLength },
		"404":            func(a *squeeze.Answer) { a.Status = 404 },
		"500":            func(a *squeeze.Answer) { a.Status = 500 },
	} {
		a := html
		change(&a)
		if !a.Worth() {
			t.Errorf("%s: worth it", name)
		}
	}
	for kind, want := range map[string]bool{
		"text/plain": true, "TEXT/CSS": true, " text/markdown ;x=y": true, "application/json": true,
		"application/problem+json": true, "application/atom+xml": true, "image/svg+xml": true,
		"application/wasm": true, "font/ttf": true, "font/otf": true, "application/x-ndjson": true,
		"text/event-stream": false, "text/event-stream;charset=utf-8": false, "Text/Event-Stream": false,
		"font/woff2": false, "image/png": false, "video/mp4": false, "application/zip": false,
		"application/octet-stream": false, "application/grpc": false, "application/grpc+proto": false,
		"multipart/x-mixed-replace": false, "": false, ";": false,
		"application/" + strings.Repeat("x", 500) + "+json": false,
	} {
		if got := squeeze.Worth([]byte(kind), -1, 200, false, false, false); got != want {
			t.Errorf("%.40q: got %v", kind, got)
		}
	}
}

func TestNoTransform(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "no-transform": true, "public, No-Transform ,max-age=3": true, "x-no-transform": false,
		"public": false,
	} {
		if squeeze.NoTransform([]byte(value)) != want {
			t.Errorf("%q: want %v", value, want)
		}
	}
}

func TestAppendFields(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n" +
		"Content-Length: 5000\r\nContent-Digest: x\r\nRepr-Digest: x\r\nContent-MD5: x\r\nDigest: x\r\nKeep-Alive: timeout=3\r\nSet-Cookie: a=b\r\n"
	for name, tc := range map[string]struct {
		more   string
		coding squeeze.Coding
		want   string
	}{
		"compressed": {"", squeeze.Gzip, "Content-Type: text/html\r\nETag: W/\"a\"\r\nSet-Cookie: a=b\r\n" +
			"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"},
		"plain": {"", squeeze.Identity, "Content-Type: text/html\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-Digest: x\r\n" +
			"Repr-Digest: x\r\nContent-MD5: x\r\nDigest: x\r\nSet-Cookie: a=b\r\nVary: Accept-Encoding\r\n"},
		"varies": {"vary: Cookie, ACCEPT-encoding\r\n", squeeze.Zstd, "Content-Type: text/html\r\nETag: W/\"a\"\r\nSet-Cookie: a=b\r\n" +
			"vary: Cookie, ACCEPT-encoding\r\nContent-Encoding: zstd\r\n"},
		"varies by all": {"Vary: *\r\n", squeeze.Brotli, "Content-Type: text/html\r\nETag: W/\"a\"\r\nSet-Cookie: a=b\r\n" +
			"Vary: *\r\nContent-Encoding: br\r\n"},
		"varies by another": {"Vary: Origin\r\n", squeeze.Brotli, "Content-Type: text/html\r\nETag: W/\"a\"\r\nSet-Cookie: a=b\r\n" +
			"Vary: Origin\r\nContent-Encoding: br\r\nVary: Accept-Encoding\r\n"},
	} {
		var a wire.Answer
		if err := a.Parse([]byte(head + tc.more + "\r\n")); err != nil {
			t.Fatal(err)
		}
		if got := string(squeeze.AppendFields(nil, a.Fields(), tc.coding)); got != tc.want {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
	if got := string(squeeze.AppendWeak(nil, []byte(`W/"b"`))); got != `W/"b"` {
		t.Errorf("weak twice: %s", got)
	}
}
