package guard_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"landward/internal/route/guard"
)

func newIndex(tb testing.TB, prefixes ...string) *guard.PathIndex {
	tb.Helper()
	p, err := guard.NewPathIndex(prefixes)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPathIndex(t *testing.T) {
	const none, refused = -1, -2
	p := newIndex(t, "/api", "/api/v2", "/admin", "/a", "/über", "/.well-known/x")
	for path, want := range map[string]int{
		"/":                 none,
		"":                  none,
		"*":                 none,
		"/api":              0,
		"/api/":             0,
		"/api/x":            0,
		"/api/v2":           1,
		"/api/v2/x":         1,
		"/api/v20":          0,
		"/apix":             none,
		"/API":              none,
		"/a":                3,
		"/a/api":            3,
		"/x/api":            none,
		"/%61pi/x":          0,
		"/%61p%69":          0,
		"/%C3%BCber/x":      4,
		"/%c3%bcber":        4,
		"/über":             4,
		"/.well-known/x/y":  5,
		"/.well-known":      none,
		"/.../x":            none,
		"/..x/api":          none,
		"/api/a%2Fb":        0, // names with slashes, below the rule: no reading differs
		"/api/%2F/":         0,
		"/api/v2/@a%2fb":    1,
		"/api//x":           0,
		"/api/x;v=1":        0,
		"/api/a%5Cb":        0,
		"/x%2Fy":            none,
		"/x//y":             none,
		"/files/100%25":     none,
		"/wiki/What%3F":     none,
		"/x?y":              none,
		"//api":             refused,
		"//":                none,
		"/%2Fapi":           refused,
		"/api%2Fv2":         refused,
		"/api/%2Fv2":        refused,
		"/api//v2":          refused,
		"/api%2fx":          refused,
		"/api%5Cx":          refused,
		"/admin;x":          refused,
		"/admin;x=1/y":      refused,
		"/;x/admin":         refused,
		"/admin%3Bx":        refused,
		"/admin%3Fx":        refused,
		"/admin%23":         refused,
		"/;%2fx/admin":      refused,
		"/x/;%2f":           refused,
		"/%2561dmin":        refused,
		"/%25%36%31dmin":    refused,
		"/admin%252Fx":      refused,
		"/api/..":           refused,
		"/api/../admin":     refused,
		"/./admin":          refused,
		"/.":                refused,
		"/..":               refused,
		"/api/%2e%2e/admin": refused,
		"/api/%2E./admin":   refused,
		"/api/.%2e":         refused,
		"/api/..;/admin":    refused,
		"/api/..;x=1/admin": refused,
		"/api/..%3B/admin":  refused,
		"/api/..%2Fadmin":   refused,
		"/api/..%5cadmin":   refused,
		"/api%2F..%2Fadmin": refused,
		"/api/%252e%252e/x": refused,
		"/api/%25%32e./x":   refused,
		"/api/..%252fadmin": refused,
		"/api/..%3Fx":       refused,
		`/api\x`:            refused,
		`/x\`:               refused,
		`/api/..\admin`:     refused,
		"/api/x%00":         refused,
		"/api/%0a":          refused,
		"/api/%2500":        refused,
		"/x%7f":             refused,
		"/x\x01":            refused,
	} {
		got, ok := p.Find([]byte(path))
		if !ok {
			if got != none {
				t.Errorf("%q is refused, with the index %d", path, got)
			}
			got = refused
		}
		if got != want {
			t.Errorf("%q gives %d, want %d", path, got, want)
		}
	}
}

func TestPathIndexWithoutRules(t *testing.T) {
	for _, p := range []*guard.PathIndex{newIndex(t, ""), newIndex(t)} {
		for _, path := range []string{"/", "/../x", "//x", `/\`, "/%00"} {
			if _, ok := p.Find([]byte(path)); !ok {
				t.Errorf("%q is refused where nothing depends on it", path)
			}
		}
	}
	if n, _ := newIndex(t, "/x", "").Find([]byte("/y")); n != 1 {
		t.Errorf("the rule for all paths is not found: %d", n)
	}
	if n, _ := newIndex(t, "", "/x").Find([]byte("/x/y")); n != 1 {
		t.Errorf("the rule for all paths hides a longer one: %d", n)
	}
}

func TestLongPaths(t *testing.T) {
	long := "/" + strings.Repeat("x", 255)
	p := newIndex(t, long, "/y")
	for path, want := range map[string]int{
		long: 0, long + "/z": 0, long + "z": -1, "/%78" + long[2:]: 0, "/%78" + long[2:] + "z": -1,
		"/%78" + long[2:] + "/z": 0, "/%79" + strings.Repeat("/z", 30_000): 1, strings.Repeat("/", 60_000): -1,
	} {
		if got, ok := p.Find([]byte(path)); got != want || !ok {
			t.Errorf("a path of %d bytes gives %d, %v; want %d", len(path), got, ok, want)
		}
	}
}

func TestPathIndexRefuses(t *testing.T) {
	for _, s := range []string{
		"api", "/", "/api/", "/api//x", "//api", "/./x", "/x/..", "/%61", "/api/*", "/*", "/a;b", "/a?b", "/a#b",
		`/a\b`, "/a b", "/a\x00", "/a\x7f", "/a\xff", "/a\u0085", "/" + strings.Repeat("x", 256), "/a\"b", "/a|b",
	} {
		_, err := guard.NewPathIndex([]string{"/ok", s})
		if err == nil {
			t.Errorf("%q is accepted", s)
			continue
		}
		wantField(t, err, "routes.paths[1].prefix")
	}
	for _, twice := range [][]string{{"/x", "/x"}, {"", ""}} {
		_, err := guard.NewPathIndex(twice)
		wantField(t, err, "routes.paths[1].prefix")
	}
	_, err := guard.NewPathIndex(make([]string, 257))
	wantField(t, err, "routes.paths")
}

func TestStripPrefix(t *testing.T) {
	for _, tc := range []struct{ path, prefix, want string }{
		{"/api/x", "/api", "/x"},
		{"/api", "/api", "/"},
		{"/api/", "/api", "/"},
		{"/api/x/y%2Fz", "/api", "/x/y%2Fz"},
		{"/%61pi/x", "/api", "/x"},
		{"/%61pi", "/api", "/"},
		{"/%C3%BCber/%C3%BC", "/über", "/%C3%BC"},
		{"/api//evil.example/x", "/api", "/evil.example/x"},
		{"/api////", "/api", "/"},
		{"/apix", "/api", "/apix"},
		{"/ap", "/api", "/ap"},
		{"/api%2Fx", "/api", "/api%2Fx"},
		{"%2Fapi", "/api", "%2Fapi"},
		{"*", "/api", "*"},
		{"", "/api", ""},
		{"/x", "", "/x"},
	} {
		if got := guard.StripPrefix([]byte(tc.path), tc.prefix); string(got) != tc.want {
			t.Errorf("StripPrefix(%q, %q) is %q, want %q", tc.path, tc.prefix, got, tc.want)
		}
	}
}

// server is one way to read a path. Between them are those that are in use.
type server struct{ decode, parts, backslash, params, query, collapse int }

func servers() (all []server) {
	for n := range 2 * 2 * 2 * 2 * 2 * 2 {
		all = append(all, server{1 + n&1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1, n >> 4 & 1, n >> 5 & 1})
	}
	return all
}

// unescape decodes once and leaves what is no escape.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if d, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(d)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// segments reads a path in the server's way.
func (v server) segments(path string) []string {
	var segs []string
	if v.parts == 1 {
		for range v.decode {
			path = unescape(path)
		}
		segs = strings.Split(path, "/")
	} else {
		segs = strings.Split(path, "/")
		for i := range segs {
			for range v.decode {
				segs[i] = unescape(segs[i])
			}
		}
	}
	if v.backslash == 1 {
		segs = strings.Split(strings.ReplaceAll(strings.Join(segs, "\x00"), `\`, "\x00"), "\x00")
	}
	for i := range segs {
		if v.params == 1 {
			segs[i], _, _ = strings.Cut(segs[i], ";")
		}
		if v.query == 1 {
			segs[i], _, _ = strings.Cut(segs[i], "?")
			segs[i], _, _ = strings.Cut(segs[i], "#")
		}
	}
	segs = segs[1:] // what is before the first slash
	if v.collapse == 1 {
		segs = slices.DeleteFunc(segs, func(s string) bool { return s == "" })
	}
	return segs
}

// follow is the rule that a server of that kind would follow, without looking at
// the path in the way of the code under test.
func follow(prefixes, segs []string) int {
	best, longest := -1, -1
	for i, p := range prefixes {
		want := strings.Split(p, "/")[1:]
		if len(segs) >= len(want) && slices.Equal(segs[:len(want)], want) && len(want) > longest {
			best, longest = i, len(want)
		}
	}
	return best
}

// FuzzPathIndex says that no server, of 64 kinds, understands a path that goes
// on in another way than the index has, and that plain paths are understood.
func FuzzPathIndex(f *testing.F) {
	for _, s := range []string{
		"/api/x", "/admin", "//admin", "/%2561dmin", "/a/..;/admin", "/a%2F..%2fadmin", "/api;x/admin", "/a//b", "/a/b%3Fx",
		"/a/%25%32%66b", `/a\b`, "/a/%5Cb", "/a;%2Fb", "/a/%3B/b", "/.%2e/a", "/a/..%252fb", "/%25%32%35%36%31", "/a/;/b",
	} {
		f.Add(s)
	}
	prefixes := []string{"/api", "/admin", "/a", "/a/b", "/a/b/c", "/b"}
	p := newIndex(f, prefixes...)
	all := servers()
	f.Fuzz(func(t *testing.T, path string) { agree(t, p, prefixes, all, path) })
}

// TestPathIndexAgainstServers does the same with paths made of what readings
// differ about, which random bytes seldom are.
func TestPathIndexAgainstServers(t *testing.T) {
	prefixes := []string{"/api", "/admin", "/a", "/a/b", "/a/b/c", "/b"}
	parts := strings.Fields(`/ / / / a b c api admin x . .. %2f %2F %5c \ ; %3B %3f %23 %2e %2E %25 2f 2e 5c 3b 61 %61 %2561 %252f %00 %`)
	p := newIndex(t, prefixes...)
	all := servers()
	random := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for range 30_000 {
		path := "/"
		for range 1 + random.IntN(8) {
			path += parts[random.IntN(len(parts))]
		}
		if agree(t, p, prefixes, all, path) {
			passed++
		}
	}
	if passed < 2000 {
		t.Errorf("only %d paths went on", passed)
	}
}

// agree fails where a path goes on that some server would take to another rule.
// It reports whether the path goes on.
func agree(t *testing.T, p *guard.PathIndex, prefixes []string, all []server, path string) bool {
	t.Helper()
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		return false
	}
	got, ok := p.Find([]byte(path))
	if !ok {
		if !strings.ContainsAny(path, "%;\\\x7f") && !strings.Contains(path, "//") && !strings.Contains(path, "/.") &&
			!strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("the plain path %q is refused", path)
		}
		return false
	}
	for _, v := range all {
		segs := v.segments(path)
		if slices.Contains(segs, ".") || slices.Contains(segs, "..") {
			t.Fatalf("%q goes on, and server %+v finds dots in it: %q", path, v, segs)
		}
		if want := follow(prefixes, segs); want != got {
			t.Fatalf("%q goes on to rule %d, and server %+v reads %q: rule %d", path, got, v, segs, want)
		}
	}
	if got < 0 {
		return true
	}
	rest := guard.StripPrefix([]byte(path), prefixes[got])
	if len(rest) == 0 || rest[0] != '/' || bytes.HasPrefix(rest, []byte("//")) {
		t.Fatalf("%q without %q is %q", path, prefixes[got], rest)
	}
	if len(rest) > 1 && !bytes.HasSuffix([]byte(path), rest) {
		t.Fatalf("%q without %q is %q", path, prefixes[got], rest)
	}
	return true
}

func TestPathIndexDoesNotAllocate(t *testing.T) {
	p := newIndex(t, "/api", "/admin", "/a/b/c")
	plain, odd := []byte("/api/users/1"), []byte("/%61pi//users;x/%2F")
	noAllocs(t, "Find", func() {
		p.Find(plain)
		p.Find(odd)
		guard.StripPrefix(odd, "/api")
	})
}

func BenchmarkPathIndex(b *testing.B) {
	var prefixes []string
	for i := range 50 {
		prefixes = append(prefixes, fmt.Sprintf("/service-%d/v1", i))
	}
	p := newIndex(b, prefixes...)
	for name, path := range map[string]string{
		"plain": "/service-42/v1/users/1/orders", "encoded": "/service-42/v1/users/a%20b", "none": "/assets/app.js",
	} {
		b.Run(name, func(b *testing.B) {
			path := []byte(path)
			b.ReportAllocs()
			for b.Loop() {
				p.Find(path)
			}
		})
	}
}
