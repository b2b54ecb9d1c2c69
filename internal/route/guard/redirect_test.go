package guard_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

func newRedirects(tb testing.TB, list ...landward.Redirect) *guard.Redirects {
	tb.Helper()
	r, err := guard.NewRedirects(list)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// match asks for "scheme://host/path?query".
func match(r *guard.Redirects, address string) (string, int) {
	scheme, rest, _ := strings.Cut(address, "://")
	host, target := rest, ""
	if i := strings.IndexAny(rest, "/*\\"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	path, query, _ := strings.Cut(target, "?")
	to, code := r.Match([]byte("Location: "), scheme, []byte(host), []byte(path), []byte(query))
	return strings.TrimPrefix(string(to), "Location: "), code
}

func TestRedirects(t *testing.T) {
	r := newRedirects(t,
		landward.Redirect{Host: "old.example.com", To: "https://new.example.com", Code: 308},
		landward.Redirect{Host: "*.shop.example.com", To: "https://shop.example.com/all/*", Code: 301},
		landward.Redirect{Path: "/exact", To: "/target"},
		landward.Redirect{Path: "/exact", To: "/never"},
		landward.Redirect{Path: "/exact/", To: "/slash"},
		landward.Redirect{Path: "/query", To: "/target?a=b#c"},
		landward.Redirect{Path: "/here", To: "/here?v=2"},
		landward.Redirect{Path: "/blog/first", To: "/one", Code: 303},
		landward.Redirect{Path: "/blog/*", To: "https://Blog.Example.com:443/posts/*", Code: 307},
		landward.Redirect{Path: "/blog/late", To: "/never"},
		landward.Redirect{Path: "/up/*", To: "/*"},
		landward.Redirect{Path: "/über/*", To: "/about/*"},
		landward.Redirect{Path: "/port/*", To: "http://example.com:8080/*"},
		landward.Redirect{Path: "/fixed/*", To: "/fixed/index.html"},
		landward.Redirect{Path: "/six/*", To: "https://[2001:DB8::1]:8443/*"},
		landward.Redirect{Host: "www.example.com", To: "https://www.example.com/"},
	)
	for address, want := range map[string]string{
		"https://example.com/":                        "0",
		"https://old.example.com/":                    "308 https://new.example.com/",
		"https://old.example.com/a//b/../c?x=1&y":     "308 https://new.example.com/a//b/../c?x=1&y",
		"https://old.example.com/%2F%2e?%20":          "308 https://new.example.com/%2F%2e?%20",
		"https://old.example.com*":                    "0",
		"https://a.shop.example.com/x":                "301 https://shop.example.com/all/x",
		"https://a.b.shop.example.com/x":              "0",
		"https://shop.example.com/x":                  "0",
		"https://.shop.example.com/x":                 "0",
		"https://xshop.example.com/x":                 "0",
		"https://example.com/exact":                   "302 /target",
		"https://example.com/%65xact?x=1":             "302 /target",
		"https://example.com/exact/":                  "302 /slash",
		"https://example.com/exact//":                 "0",
		"https://example.com/exact/x":                 "0",
		"https://example.com/query?x":                 "302 /target?a=b#c",
		"https://example.com/here":                    "302 /here?v=2",
		"https://example.com/here?v=2":                "0",
		"https://example.com/here?v=3":                "302 /here?v=2",
		"https://example.com/blog/first":              "303 /one",
		"https://example.com/blog/late":               "307 https://blog.example.com/posts/late",
		"https://example.com/blog/":                   "307 https://blog.example.com/posts/",
		"https://example.com/blog":                    "0",
		"https://example.com/blog/a/b?page=2":         "307 https://blog.example.com/posts/a/b?page=2",
		"https://example.com/blog/%2e%2E/x":           "400",
		"https://example.com/blog/a%2Fb%20c":          "307 https://blog.example.com/posts/a%2Fb%20c",
		"https://example.com/blo%67/a":                "307 https://blog.example.com/posts/a",
		"https://example.com/blog//evil.example":      "307 https://blog.example.com/posts/evil.example",
		"https://blog.example.com/posts/x":            "0",
		"https://example.com/up/x":                    "302 /x",
		"https://example.com/up/":                     "302 /",
		"https://example.com/up//evil.example":        "302 /evil.example",
		"https://example.com/up////evil.example":      "302 /evil.example",
		"https://example.com/up/%2Fevil.example":      "302 /%2Fevil.example",
		"https://example.com/up/\\evil.example":       "400",
		"https://example.com/up/%5Cevil.example":      "302 /%5Cevil.example",
		"https://example.com/up/%09/evil.example":     "400",
		"https://example.com/up/..//evil.example":     "400",
		"https://example.com/up/\xe2\x80\x8b\"<>`{|}": "302 /%E2%80%8B%22%3C%3E%60%7B%7C%7D",
		"https://example.com/%C3%BCber/%C3%BC":        "302 /about/%C3%BC",
		"https://example.com/über/x":                  "302 /about/x",
		"https://example.com/port/x":                  "302 http://example.com:8080/x",
		"https://example.com/fixed/x":                 "302 /fixed/index.html",
		"https://example.com/fixed/index.html":        "0",
		"https://example.com/fixed/index.html?x":      "0",
		"https://example.com/six/x":                   "302 https://[2001:db8::1]:8443/x",
		"http://www.example.com/x?y":                  "302 https://www.example.com/x?y",
		"https://www.example.com/x?y":                 "0",
		"https://example.com/x/../y":                  "400",
		"*":                                           "0",
	} {
		to, code := match(r, address)
		if got := strings.TrimSpace(fmt.Sprint(code, " ", to)); got != want {
			t.Errorf("%s gives %q, want %q", address, got, want)
		}
	}
}

func TestRedirectOfAllHosts(t *testing.T) {
	r := newRedirects(t, landward.Redirect{To: "https://example.com/app", Code: 301})
	for address, want := range map[string]string{
		"https://www.example.com/x?y":  "301 https://example.com/app/x?y",
		"http://example.com/x":         "301 https://example.com/app/x",
		"https://example.com/x":        "0", // to itself, longer and longer
		"https://example.com/app/x":    "0",
		"https://www.example.com/../x": "301 https://example.com/app/../x",
	} {
		to, code := match(r, address)
		if got := strings.TrimSpace(fmt.Sprint(code, " ", to)); got != want {
			t.Errorf("%s gives %q, want %q", address, got, want)
		}
	}
	if none := newRedirects(t); none != nil {
		t.Error("no redirects give a value")
	} else if _, code := match(none, "https://example.com/"); code != 0 {
		t.Error("no redirects redirect")
	}
}

func TestRedirectsRefuse(t *testing.T) {
	type rule = landward.Redirect
	for _, tc := range []struct {
		rule  rule
		field string
	}{
		{rule{To: ""}, "to"},
		{rule{Path: "/a", To: "b"}, "to"},
		{rule{Path: "/a", To: "//evil.example"}, "to"},
		{rule{Path: "/a", To: "/\\evil.example"}, "to"},
		{rule{Path: "/a", To: "\\\\evil.example"}, "to"},
		{rule{Path: "/a", To: "https:evil.example"}, "to"},
		{rule{Path: "/a", To: "https:///x"}, "to"},
		{rule{Path: "/a", To: "https://"}, "to"},
		{rule{Path: "/a", To: "javascript:alert(1)"}, "to"},
		{rule{Path: "/a", To: "javascript://x/%0aalert(1)"}, "to"},
		{rule{Path: "/a", To: "ftp://example.com/"}, "to"},
		{rule{Path: "/a", To: "https://u@example.com/"}, "to"},
		{rule{Path: "/a", To: "https://u:p@example.com/"}, "to"},
		{rule{Path: "/a", To: "https://example.com:0/"}, "to"},
		{rule{Path: "/a", To: "https://example.com:65536/"}, "to"},
		{rule{Path: "/a", To: "https://example.com:/"}, "to"},
		{rule{Path: "/a", To: "https://exa mple.com/"}, "to"},
		{rule{Path: "/a", To: "https://[::1/"}, "to"},
		{rule{Path: "/a", To: "https://[::1%25eth0]/"}, "to"},
		{rule{Path: "/a", To: "/b\r\nSet-Cookie: x"}, "to"},
		{rule{Path: "/a", To: "/b c"}, "to"},
		{rule{Path: "/a", To: "/ü"}, "to"},
		{rule{Path: "/a", To: "/%zz"}, "to"},
		{rule{Path: "/a", To: "/%2"}, "to"},
		{rule{Path: "/a", To: "/" + strings.Repeat("x", 2048)}, "to"},
		{rule{Path: "/a", To: "/b/*"}, "to"},
		{rule{Path: "/a/*", To: "/b*"}, "to"},
		{rule{Path: "/a/*", To: "https://example.com*"}, "to"},
		{rule{Path: "/a/*", To: "https://*.example.com/"}, "to"},
		{rule{Path: "/a/*", To: "/b/*/c"}, "to"},
		{rule{Path: "/a/*", To: "/b/*/*"}, "to"},
		{rule{Path: "/a/*", To: "/b?x=/*"}, "to"},
		{rule{Path: "/a/*", To: "/b#/*"}, "to"},
		{rule{To: "https://example.com/?x=1"}, "to"},
		{rule{To: "https://example.com/#x"}, "to"},
		{rule{To: "/b"}, "to"},
		{rule{Host: "example.com", To: "/b/*"}, "to"},
		{rule{Path: "/a", To: "/a"}, "to"},
		{rule{Path: "/a/*", To: "/a/*"}, "to"},
		{rule{Path: "/a/*", To: "/a/b/*"}, "to"},
		{rule{Path: "/*", To: "/b/*"}, "to"},
		{rule{Path: "/ü/*", To: "/%C3%BC/b/*"}, "to"},
		{rule{Host: "example.com", To: "https://example.com/b"}, "to"},
		{rule{Host: "example.com", Path: "/a/*", To: "https://EXAMPLE.com:443/a/b/*"}, "to"},
		{rule{Host: "example.com", Path: "/a", To: "http://example.com/a"}, "to"},
		{rule{Path: "a", To: "/b"}, "path"},
		{rule{Path: "*", To: "/b"}, "path"},
		{rule{Path: "/a*", To: "/b"}, "path"},
		{rule{Path: "/*/a", To: "/b"}, "path"},
		{rule{Path: "/a/../b", To: "/b"}, "path"},
		{rule{Path: "/a//*", To: "/b"}, "path"},
		{rule{Path: "/%61", To: "/b"}, "path"},
		{rule{Path: "/a?b", To: "/b"}, "path"},
		{rule{Path: "/a\x00", To: "/b"}, "path"},
		{rule{Host: "Example.com", To: "https://b.example"}, "host"},
		{rule{Host: "example.com.", To: "https://b.example"}, "host"},
		{rule{Host: "example.com:443", To: "https://b.example"}, "host"},
		{rule{Host: "*", To: "https://b.example"}, "host"},
		{rule{Host: "*.*.example.com", To: "https://b.example"}, "host"},
		{rule{Host: "a`b", To: "https://b.example"}, "host"},
		{rule{Path: "/a", To: "/b", Code: 200}, "code"},
		{rule{Path: "/a", To: "/b", Code: 300}, "code"},
		{rule{Path: "/a", To: "/b", Code: 304}, "code"},
		{rule{Path: "/a", To: "/b", Code: -1}, "code"},
	} {
		_, err := guard.NewRedirects([]rule{{Path: "/fine", To: "/good"}, tc.rule})
		if err == nil {
			t.Errorf("%+v is accepted", tc.rule)
			continue
		}
		wantField(t, err, "routes.redirects[1]."+tc.field)
	}
	_, err := guard.NewRedirects(make([]rule, 1001))
	wantField(t, err, "routes.redirects")
}

func TestRedirectCircles(t *testing.T) {
	type rule = landward.Redirect
	for name, list := range map[string][]rule{
		"two":             {{Path: "/a", To: "/b"}, {Path: "/b", To: "/a"}},
		"three":           {{Path: "/a", To: "/b"}, {Path: "/b", To: "/c?x"}, {Path: "/c", To: "/a#y"}},
		"prefixes":        {{Path: "/a/*", To: "/b/*"}, {Path: "/b/*", To: "/a/*"}},
		"growing":         {{Path: "/a/*", To: "/b/a/*"}, {Path: "/b/*", To: "/a/*"}},
		"of hosts":        {{Host: "a.example", To: "https://b.example"}, {Host: "b.example", To: "https://a.example"}},
		"of a star host":  {{Host: "*.example", To: "https://b.test"}, {Host: "b.test", To: "https://a.example"}},
		"exact in prefix": {{Path: "/a", To: "/b/x"}, {Path: "/b/*", To: "/a"}},
	} {
		_, err := guard.NewRedirects(list)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantField(t, err, "routes.redirects[0].to")
	}
	for name, list := range map[string][]rule{
		"chain":        {{Path: "/a", To: "/b"}, {Path: "/b", To: "/c"}},
		"all to one":   {{Path: "/*", To: "/soon"}},
		"shorter":      {{Path: "/a/*", To: "/*"}},
		"other host":   {{Path: "/a", To: "https://elsewhere.example/b"}, {Path: "/b", To: "/a"}},
		"to https":     {{Host: "a.example", To: "https://a.example"}},
		"one host":     {{To: "https://a.example"}},
		"one hides":    {{Path: "/a", To: "/b"}, {Path: "/b", To: "/c"}, {Path: "/b", To: "/a"}},
		"other prefix": {{Path: "/a/*", To: "/b/*"}, {Path: "/b/x", To: "/c"}},
	} {
		if _, err := guard.NewRedirects(list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRedirects sends any path and query through rules with a star. Whatever a
// browser makes of the address, its host is the one that the rule names.
func FuzzRedirects(f *testing.F) {
	f.Add("/to//evil.example", "")
	f.Add("/away/\\evil.example", "a=b")
	f.Add("/to/..//evil.example", "\r\nSet-Cookie: x")
	f.Add("/to/@evil.example", "?")
	f.Add("//evil.example/%2f..", "#")
	f.Add("/to/\t/evil.example", "")
	f.Add("@evil.example", "")
	rules := newRedirects(f,
		landward.Redirect{Host: "all.example", To: "https://good.example"},
		landward.Redirect{Path: "/to/*", To: "/*"},
		landward.Redirect{Path: "/away/*", To: "https://good.example/x/*"},
		landward.Redirect{Path: "/*", To: "http://good.example:8080/*"},
	)
	f.Fuzz(func(t *testing.T, path, query string) {
		for _, host := range []string{"own.example", "all.example"} {
			out, code := rules.Match(nil, "https", []byte(host), []byte(path), []byte(query))
			to := string(out)
			if code == 0 || code == 400 {
				if to != "" {
					t.Fatalf("code %d with the address %q", code, to)
				}
				continue
			}
			for i := range len(to) {
				if to[i] <= ' ' || to[i] >= 0x7f || to[i] == '\\' {
					t.Fatalf("%q has the byte %q", to, to[i])
				}
			}
			// What browsers do before they look: drop tabs and line ends (none
			// are left), and take backslashes for slashes (likewise).
			if strings.HasPrefix(to, "//") {
				t.Fatalf("%q is an address without a scheme", to)
			}
			u, err := url.Parse(to)
			if err != nil {
				t.Skip("an escape that was broken in the path") // wire refuses those
			}
			base := &url.URL{Scheme: "https", Host: host, Path: "/"}
			if got := base.ResolveReference(u); got.Host != host && got.Host != "good.example" && got.Host != "good.example:8080" ||
				got.User != nil {
				t.Fatalf("path %q, query %q: %q leads to %q", path, query, to, got.Host)
			}
			if host == "all.example" && !strings.HasPrefix(to, "https://good.example/") {
				t.Fatalf("%q leaves the host of the rule", to)
			}
		}
	})
}

func TestAppendHTTPS(t *testing.T) {
	for target, want := range map[string]string{
		"/x?y=%20": "https://example.com/x?y=%20", "//evil.example": "https://example.com//evil.example",
		"*": "https://example.com/", "": "https://example.com/", "/\"\xff": "https://example.com/%22%FF",
	} {
		if got := guard.AppendHTTPS(nil, []byte("example.com"), []byte(target)); string(got) != want {
			t.Errorf("%q gives %q, want %q", target, got, want)
		}
	}
}

func TestRedirectsDoNotAllocate(t *testing.T) {
	r := newRedirects(t, landward.Redirect{Path: "/a/*", To: "/b/*"}, landward.Redirect{Path: "/c", To: "/d"},
		landward.Redirect{Host: "*.example.com", To: "https://example.com"})
	host, path, odd, query := []byte("example.com"), []byte("/a/x"), []byte("/%61/x"), []byte("q=1")
	none := []byte("/x/y")
	buf := make([]byte, 0, 256)
	noAllocs(t, "Match", func() {
		for _, p := range [][]byte{path, odd, none} {
			r.Match(buf, "https", host, p, query)
		}
	})
}

func BenchmarkRedirects(b *testing.B) {
	var list []landward.Redirect
	for i := range 500 {
		list = append(list, landward.Redirect{Path: fmt.Sprintf("/old/%d", i), To: fmt.Sprintf("/new/%d", i)})
	}
	list = append(list, landward.Redirect{Path: "/blog/*", To: "https://blog.example.com/*"})
	r := newRedirects(b, list...)
	host, buf := []byte("example.com"), make([]byte, 0, 256)
	for name, path := range map[string]string{"none": "/assets/app.js", "exact": "/old/499", "prefix": "/blog/a/b"} {
		b.Run(name, func(b *testing.B) {
			path := []byte(path)
			b.ReportAllocs()
			for b.Loop() {
				r.Match(buf, "https", host, path, nil)
			}
		})
	}
}
