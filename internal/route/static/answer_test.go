package static_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/static"
)

var usual = map[string]string{
	"index.html":                "home",
	"about.html":                "about",
	"both.html":                 "both page",
	"both/index.html":           "both folder",
	"docs/index.html":           "docs",
	"docs/a b.txt":              "space",
	"docs/ä.txt":                "umlaut",
	"docs/100%.txt":             "percent",
	"docs/%41.txt":              "escaped name",
	"plain":                     "no ending",
	"plain.html":                "never without its ending",
	"empty/x.txt":               "x",
	"404.html":                  "not here",
	".env":                      "SECRET",
	".git/config":               "SECRET",
	"docs/.hidden/x.txt":        "SECRET",
	"docs/.htaccess":            "SECRET",
	".well-known/security.txt":  "security",
	".well-known/.x":            "SECRET",
	"docs/.well-known/here.txt": "SECRET",
	"zero.txt":                  "",
}

func TestPaths(t *testing.T) {
	s := site(t, usual)
	for _, tc := range []struct {
		target string
		status int
		body   string // or the address of a redirect
	}{
		{"/", 200, "home"},
		{"/?a=b", 200, "home"},
		{"/index.html", 200, "home"},
		{"/about", 200, "about"},
		{"/about.html", 200, "about"},
		{"/both", 200, "both page"},
		{"/both/", 200, "both folder"},
		{"/docs", 301, "docs/"},
		{"/docs?a=b&c=/d", 301, "docs/?a=b&c=/d"},
		{"/d%6fcs", 301, "docs/"},
		{"/docs/", 200, "docs"},
		{"/docs/a%20b.txt", 200, "space"},
		{"/docs/%C3%A4.txt", 200, "umlaut"},
		{"/docs/ä.txt", 200, "umlaut"},
		{"/docs/100%25.txt", 200, "percent"},
		{"/docs/%2541.txt", 200, "escaped name"},
		{"/docs/A.txt", 404, "not here"}, // decoded once
		{"/plain", 200, "no ending"},
		{"/%61bout", 200, "about"},
		{"/zero.txt", 200, ""},
		{"/.well-known/security.txt", 200, "security"},
		{"/%2ewell-known/security.txt", 200, "security"},

		{"/empty", 404, "not here"},
		{"/empty/", 404, "not here"},
		{"/about/", 404, "not here"},
		{"/index.html/", 404, "not here"},
		{"/About", 404, "not here"},
		{"/.env", 404, "not here"},
		{"/%2eenv", 404, "not here"},
		{"/.git/config", 404, "not here"},
		{"/.git/", 404, "not here"},
		{"/docs/.hidden/x.txt", 404, "not here"},
		{"/docs/.htaccess", 404, "not here"},
		{"/docs/.well-known/here.txt", 404, "not here"},
		{"/.well-known/.x", 404, "not here"},
		{"/404", 404, "not here"},
		{"/index", 404, "not here"},

		{"//", 404, ""},
		{"//docs", 404, ""},
		{"/docs//a%20b.txt", 404, ""},
		{"/./", 400, ""},
		{"/docs/./a%20b.txt", 400, ""},
		{"/docs/..", 400, ""},
		{"/docs/../index.html", 400, ""},
		{"/%2e%2e/index.html", 400, ""},
		{"/docs%2f", 400, ""},
		{"/docs%2Fa%20b.txt", 400, ""},
		{"/%00", 400, ""},
		{"/index.html%00.txt", 400, ""},
		{"/a%0d%0ab", 400, ""},
		{"/%", 400, ""},
		{"/%4", 400, ""},
		{"/%zz", 400, ""},
		{"", 400, ""},
		{"docs/", 400, ""},
		{"*", 400, ""},
		{"/" + strings.Repeat("a", 5000), 414, ""},
	} {
		got := ask(t, s, "GET", tc.target)
		body := got.body
		if got.status == 301 {
			body = got.header.Get("Location")
		}
		if got.status != tc.status || body != tc.body {
			t.Errorf("%q: got %d %q, want %d %q", tc.target, got.status, body, tc.status, tc.body)
		}
		if strings.Contains(got.body, "SECRET") {
			t.Errorf("%q: got a hidden file", tc.target)
		}
	}
}

func TestRedirectStaysHere(t *testing.T) {
	s := site(t, map[string]string{
		`\evil.test/index.html`: "a", "http:/index.html": "b", "a/javascript:x/index.html": "c", "ü/index.html": "d",
	})
	for target, want := range map[string]string{
		`/\evil.test`:       "%5Cevil.test/",
		"/http:":            "http%3A/",
		"/a/javascript:x":   "javascript%3Ax/",
		"/ü":                "%C3%BC/",
		"/%c3%bc?x=\xff y!": "%C3%BC/?x=%FF%20y!",
	} {
		if got := ask(t, s, "GET", target); got.status != 301 || got.header.Get("Location") != want {
			t.Errorf("%q: got %d %q, want %q", target, got.status, got.header.Get("Location"), want)
		}
	}
	if got := ask(t, s, "GET", "//evil.test/.."); got.status != 404 {
		t.Errorf("got %d", got.status)
	}
}

func TestMethods(t *testing.T) {
	s := site(t, usual)
	for _, m := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "PURGE", ""} {
		got := ask(t, s, m, "/")
		if got.status != 405 || got.header.Get("Allow") != "GET, HEAD" || !got.fault {
			t.Errorf("%q: got %+v", m, got)
		}
	}
	for _, target := range []string{"/", "/docs", "/nothing", "/zero.txt"} {
		get, head := ask(t, s, "GET", target), ask(t, s, "HEAD", target)
		if head.status != get.status || head.body != "" || fmt.Sprint(head.header) != fmt.Sprint(get.header) {
			t.Errorf("%s: HEAD got %+v, GET %+v", target, head, get)
		}
	}
}

func TestNoPageForWhatIsMissing(t *testing.T) {
	s := site(t, map[string]string{"index.html": "home"})
	if got := ask(t, s, "GET", "/nothing"); got.status != 404 || !got.fault || len(got.header) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMissingPage(t *testing.T) {
	s := site(t, usual)
	got := ask(t, s, "GET", "/nothing", "Range: bytes=0-1", "If-None-Match: *")
	if got.status != 404 || got.body != "not here" || got.header.Get("Cache-Control") != "no-cache" ||
		got.header.Get("ETag") != "" || got.header.Get("Last-Modified") != "" ||
		got.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got %+v", got)
	}
}

func TestFallback(t *testing.T) {
	files := map[string]string{"index.html": "app", "404.html": "not here", "assets/a.js": "x", "img/a.png": "y"}
	s := open(t, static.Limits{}, route.Static{Dir: tree(t, files), Fallback: "/index.html", Immutable: []string{"/assets/"}})
	const browser = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	for _, tc := range []struct {
		target, accept string
		status         int
		vary           string
	}{
		{"/users/7", "", 200, ""},
		{"/users/7/", "Accept: */*", 200, ""},
		{"/img/", browser, 200, ""},
		{"/users/john.doe", browser, 200, "Accept"},
		{"/users/john.doe", "Accept: application/json;q=1, TEXT/HTML ;q=0.1", 200, "Accept"},
		{"/users/john.doe", "Accept: */*", 404, ""},
		{"/img/b.png", "Accept: image/*", 404, ""},
		{"/img/b.png", "", 404, ""},
		{"/assets/b.js", browser, 404, ""},
		{"/assets/b", browser, 404, ""},
		{"/.env", browser, 404, ""},
		{"/.git/HEAD", browser, 404, ""},
		{"/a/.svn/entries", browser, 404, ""},
	} {
		lines := []string{tc.accept}
		if tc.accept == "" {
			lines = nil
		}
		got := ask(t, s, "GET", tc.target, lines...)
		want := "app"
		if tc.status == 404 {
			want = "not here"
		}
		if got.status != tc.status || got.body != want || got.header.Get("Vary") != tc.vary {
			t.Errorf("%s %s: got %+v", tc.target, tc.accept, got)
		}
	}
	tag := ask(t, s, "GET", "/users/7").header.Get("ETag")
	if got := ask(t, s, "GET", "/users/8", "If-None-Match: "+tag); got.status != 304 {
		t.Errorf("got %d for a page that is known", got.status)
	}
}

func TestVariants(t *testing.T) {
	s := site(t, map[string]string{
		"app.js": strings.Repeat("plain ", 10), "app.js.br": "br", "app.js.gz": "gzip", "app.js.zst": "zs",
		"one.css": "plain", "one.css.gz": "longer than plain", "alone.gz": "alone",
		"index.html": "plain page", "index.html.br": "page",
		"page.html": "p", "page.gz.html": "not a variant", "page": "q",
	})
	for _, tc := range []struct{ target, accept, coding, body string }{
		{"/app.js", "", "", strings.Repeat("plain ", 10)},
		{"/app.js", "gzip", "gzip", "gzip"},
		{"/app.js", "gzip, deflate, br", "br", "br"},
		{"/app.js", "gzip, br;q=0.5", "gzip", "gzip"},
		{"/app.js", "zstd;q=0.9, br;q=0.5, gzip;q=0.1", "zstd", "zs"},
		{"/app.js", "identity, gzip;q=0.5", "", strings.Repeat("plain ", 10)},
		{"/app.js", "deflate", "", strings.Repeat("plain ", 10)},
		{"/app.js", "*;q=0", "", strings.Repeat("plain ", 10)}, // better than nothing
		{"/one.css", "gzip", "gzip", "longer than plain"},
		{"/", "br", "br", "page"},
		{"/", "gzip", "", "plain page"},
		{"/page", "gzip", "", "q"},
	} {
		var lines []string
		if tc.accept != "" {
			lines = append(lines, "Accept-Encoding: "+tc.accept)
		}
		got := ask(t, s, "GET", tc.target, lines...)
		if got.body != tc.body || got.header.Get("Content-Encoding") != tc.coding {
			t.Errorf("%s, %q: got %+v", tc.target, tc.accept, got)
		}
		if vary := got.header.Get("Vary"); (vary != "Accept-Encoding") != (tc.target == "/page") {
			t.Errorf("%s, %q: Vary %q", tc.target, tc.accept, vary)
		}
		if kind := got.header.Get("Content-Type"); strings.Contains(kind, "gzip") {
			t.Errorf("%s: %s", tc.target, kind)
		}
	}
	plain, br := ask(t, s, "GET", "/app.js"), ask(t, s, "GET", "/app.js", "Accept-Encoding: br")
	if plain.header.Get("ETag") == br.header.Get("ETag") {
		t.Error("two representations with one strong tag")
	}
	if got := ask(t, s, "GET", "/app.js", "Accept-Encoding: br", "If-None-Match: "+br.header.Get("ETag")); got.status != 304 ||
		got.header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("got %+v", got)
	}
	if got := ask(t, s, "GET", "/app.js", "Accept-Encoding: gzip", "If-None-Match: "+br.header.Get("ETag")); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	if got := ask(t, s, "GET", "/alone.gz", "Accept-Encoding: gzip"); got.header.Get("Content-Encoding") != "" ||
		got.header.Get("Content-Type") != "application/gzip" {
		t.Errorf("got %+v", got)
	}
	// Ranges are of what is sent.
	if got := ask(t, s, "GET", "/app.js", "Accept-Encoding: gzip", "Range: bytes=1-2"); got.body != "zi" ||
		got.header.Get("Content-Encoding") != "gzip" || got.header.Get("Content-Range") != "bytes 1-2/4" {
		t.Errorf("got %+v", got)
	}
}

func TestCaching(t *testing.T) {
	const forever, question, aWhile = "public, max-age=31536000, immutable", "no-cache", "public, max-age=300, must-revalidate"
	want := map[string]string{
		"index.html": question, "a.css": question, "a.js": question, "sw.js": question, "manifest.webmanifest": question,
		"robots.txt": question, "data.json": question, "a.wasm": question,
		"a.png": aWhile, "font.woff2": aWhile, "a.pdf": aWhile, "unknown": aWhile, "setup.exe": aWhile,

		"app.3f2a9c1b.js": forever, "index-BfK3d9aQ.css": forever, "app-KQ2VTZ7H.js": forever,
		"main.3f2a9c1b.chunk.js": forever, "app.3f2a9c1b.js.map": forever, "BfK3d9aQ.js": forever,
		"application-908e25f4bf641868d8683022a5b62f54.js": forever, "base.27e20196a850.css": forever,
		"logo.4d5e6f7a.svg": forever, "3f2a9c1b4d5e6f7a.js": forever, "fixed/anything.bin": forever, "fixed/x.html": forever,

		// Not hashes: words, dates, versions, numbers.
		"jquery-3.7.1.min.js": question, "report-20240101.csv": question, "bootstrap.bundle.js": question,
		"en-Version1.js": question, "book-Chapter1.svg": aWhile, "win-Windows7.png": aWhile, "deadbeef.png": aWhile,
		"photo-deadbeef.png": aWhile, "photo-12345678.png": aWhile, "20240101a.png": aWhile, "shot-20240101a.png": aWhile,
		"jquery-Draggable.js": question, "app.MyAppPro.js": question, "3f2a9c1b.png": aWhile, "DSC00123.jpg": aWhile,
		"x-DSC00123.jpg": aWhile, "iPhone4S.png": aWhile, "a-iPhone4S.png": aWhile, "IMG-20240102.jpg": aWhile,
		// Documents have an address of their own, whatever they are called.
		"page.3f2a9c1b.html": question, "paper-3f2a9c1b.pdf": aWhile, "fixed2/x.bin": aWhile,
	}
	files := map[string]string{}
	for name := range want {
		files[name] = name
	}
	s := open(t, static.Limits{}, route.Static{Dir: tree(t, files), Immutable: []string{"/fixed"}})
	for name, cache := range want {
		if got := ask(t, s, "GET", "/"+name).header.Get("Cache-Control"); got != cache {
			t.Errorf("%s: got %q, want %q", name, got, cache)
		}
	}
}

func TestKinds(t *testing.T) {
	want := map[string]string{
		"a.html": "text/html; charset=utf-8", "a.css": "text/css; charset=utf-8", "a.js": "text/javascript; charset=utf-8",
		"a.mjs": "text/javascript; charset=utf-8", "a.json": "application/json", "a.svg": "image/svg+xml",
		"a.PNG": "image/png", "a.wasm": "application/wasm", "a.woff2": "font/woff2", "a.txt": "text/plain; charset=utf-8",
		"a": "application/octet-stream", "a.unknown": "application/octet-stream", "html": "application/octet-stream",
		"a.php": "application/octet-stream", "a.tar.gz": "application/gzip",
	}
	files := map[string]string{}
	for name := range want {
		files[name] = "<html>" // never looked at
	}
	s := site(t, files)
	for name, kind := range want {
		if got := ask(t, s, "GET", "/"+name).header.Get("Content-Type"); got != kind {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// TestTags holds that a tag is of the content, and no time is sent that says
// nothing.
func TestTags(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 100_000)
	files := map[string]string{"small.txt": "a", "same.txt": "a", "big.bin": big, "other.bin": big[1:] + "x"}
	s := site(t, files)
	small, same := ask(t, s, "GET", "/small.txt"), ask(t, s, "GET", "/same.txt")
	if small.header.Get("ETag") != same.header.Get("ETag") {
		t.Error("same bytes, other tag")
	}
	bin, other := ask(t, s, "GET", "/big.bin"), ask(t, s, "GET", "/other.bin")
	if bin.header.Get("ETag") == other.header.Get("ETag") || bin.body != big {
		t.Error("other bytes, same tag")
	}
	if got := small.header.Get("Last-Modified"); got != when.Format(http.TimeFormat) {
		t.Errorf("Last-Modified %q", got)
	}
	again := site(t, files)
	if ask(t, again, "GET", "/big.bin").header.Get("ETag") != bin.header.Get("ETag") {
		t.Error("the next release has other tags for the same bytes")
	}
	dir := tree(t, files)
	for name, at := range map[string]time.Time{
		"small.txt": time.Unix(0, 0), "same.txt": time.Unix(1, 0), "big.bin": time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC),
		"other.bin": when.Add(time.Second),
	} {
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, static.Limits{Now: func() time.Time { return when }}, route.Static{Dir: dir})
	for name := range files {
		got := ask(t, s, "GET", "/"+name, "If-Modified-Since: "+time.Now().UTC().Format(http.TimeFormat))
		if got.status != 200 || got.header.Get("Last-Modified") != "" {
			t.Errorf("%s: got %d, %q", name, got.status, got.header.Get("Last-Modified"))
		}
	}
}

// TestLargeFile is about one whose content is never read as a whole.
func TestLargeFile(t *testing.T) {
	dir := tree(t, map[string]string{"x.bin": ""})
	if err := os.Truncate(filepath.Join(dir, "x.bin"), 5<<30); err != nil {
		t.Fatal(err)
	}
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	got := ask(t, s, "GET", "/x.bin", "Range: bytes=-3")
	if got.status != 206 || got.body != "\x00\x00\x00" || got.header.Get("Content-Range") != "bytes 5368709117-5368709119/5368709120" {
		t.Errorf("got %+v", got)
	}
	if got := ask(t, s, "HEAD", "/x.bin"); got.header.Get("Content-Length") != strconv.Itoa(5<<30) || len(got.header.Get("ETag")) < 10 {
		t.Errorf("got %+v", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := tree(t, usual)
	for name, tc := range map[string]struct {
		s    route.Static
		l    static.Limits
		code landward.Code
	}{
		"relative":             {route.Static{Dir: "x"}, static.Limits{}, landward.CodeInvalid},
		"missing":              {route.Static{Dir: dir + "/nothing"}, static.Limits{}, landward.CodeNotFound},
		"no fallback":          {route.Static{Dir: dir, Fallback: "app.html"}, static.Limits{}, landward.CodeInvalid},
		"fallback is hidden":   {route.Static{Dir: dir, Fallback: ".env"}, static.Limits{}, landward.CodeInvalid},
		"fallback outside":     {route.Static{Dir: dir, Fallback: "../x"}, static.Limits{}, landward.CodeInvalid},
		"fallback is a folder": {route.Static{Dir: dir, Fallback: "docs"}, static.Limits{}, landward.CodeInvalid},
		"many files":           {route.Static{Dir: dir}, static.Limits{Files: 5}, landward.CodeTooLarge},
		"long names":           {route.Static{Dir: dir}, static.Limits{Names: 50}, landward.CodeTooLarge},
		"deep":                 {route.Static{Dir: tree(t, map[string]string{strings.Repeat("a/", 70) + "x": ""})}, static.Limits{}, landward.CodeTooLarge},
	} {
		if s, err := tc.l.Open(tc.s); landward.CodeOf(err) != tc.code {
			t.Errorf("%s: got %v", name, err)
			if s != nil {
				_ = s.Close()
			}
		} else if e := landward.AsError(err); strings.Contains(strings.Join(e.Explain(), " "), dir) {
			t.Errorf("%s: tells a place on the host: %v", name, e.Explain())
		}
	}
}

// TestChanged holds that a file that is no longer the one of the index is not
// served.
func TestChanged(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	dir := tree(t, map[string]string{"a.bin": big, "b.bin": big, "c.bin": big, "kept.txt": "kept", "d.bin": big})
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	ask(t, s, "GET", "/kept.txt")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("S", 100_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) error{
		"a.bin": os.Remove,
		"b.bin": func(p string) error { return os.WriteFile(p, []byte("other"), 0o644) },
		"c.bin": func(p string) error { _ = os.Remove(p); return os.Symlink(secret, p) },
		"d.bin": func(p string) error { _ = os.Remove(p); return os.Mkdir(p, 0o755) },
	} {
		if err := change(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		var a static.Answer
		s.Answer(&a, request("GET", "/"+name))
		if a.Status != 500 || !a.Fault || a.Err == nil || a.Length != 0 {
			t.Errorf("%s: got %d, %v", name, a.Status, a.Err)
		}
		a.Release()
	}
	if got := ask(t, s, "GET", "/kept.txt"); got.body != "kept" {
		t.Errorf("got %+v", got)
	}
}
