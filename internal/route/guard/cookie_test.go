package guard_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"landward/internal/route/guard"
)

var stickyKey = []byte("a key of thirty-two bytes or so")

// valueOf is the cookie that s gives for a target.
func valueOf(s *guard.Sticky, target int) string {
	line := string(s.Append(nil, target, false))
	value, _, _ := strings.Cut(strings.TrimPrefix(line, "Set-Cookie: "), ";")
	return value
}

func TestSticky(t *testing.T) {
	s := guard.NewSticky(stickyKey, []string{"id-a", "id-b"})
	a, b := valueOf(s, 0), valueOf(s, 1)
	if a == b || strings.Contains(a, "id-a") {
		t.Fatalf("cookies are %q and %q", a, b)
	}
	name, value, _ := strings.Cut(b, "=")
	for header, want := range map[string]int{
		"":                                    -1,
		";":                                   -1,
		";;;=;":                               -1,
		a:                                     0,
		b:                                     1,
		"x=y; " + b:                           1,
		"x=y;" + b + ";z":                     1,
		" \t" + b + " \t; x":                  1,
		name + " = " + value:                  1,
		name + `="` + value + `"`:             1,
		name + `="` + value:                   -1,
		"x=\"a;" + b + "\"; " + a:             0,
		name + "=wrong; " + b:                 1, // of another host, with the same name
		strings.ToUpper(name) + "=" + value:   -1,
		"x" + b:                               -1,
		b + "x":                               -1,
		name:                                  -1,
		name + "=":                            -1,
		"x=" + b:                              -1,
		b[:len(b)-1]:                          -1,
		"a=b, " + b:                           -1,
		strings.Repeat("x=y; ", 10_000) + b:   1,
		strings.Repeat(";", 60_000) + ";" + a: 0,
	} {
		if got := s.Find([]byte(header)); got != want {
			t.Errorf("%.80q finds %d, want %d", header, got, want)
		}
	}
}

func TestStickyLine(t *testing.T) {
	s := guard.NewSticky(stickyKey, []string{"id-a"})
	for _, https := range []bool{false, true} {
		line := string(s.Append([]byte("X: y\r\n"), 0, https))
		line, ok := strings.CutPrefix(line, "X: y\r\nSet-Cookie: ")
		line, end := strings.CutSuffix(line, "\r\n")
		c, err := http.ParseSetCookie(line)
		if !ok || !end || err != nil {
			t.Fatalf("the line is %q: %v", line, err)
		}
		if c.Name != guard.StickyCookie || c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode ||
			c.Secure != https || c.Domain != "" || c.MaxAge != 0 || len(c.Value) != 16 {
			t.Errorf("the cookie is %+v", c)
		}
	}
}

func TestStickyKeys(t *testing.T) {
	a := guard.NewSticky(stickyKey, []string{"x", "y"})
	b := guard.NewSticky(stickyKey, []string{"z", "y", "x"})
	if n := b.Find([]byte(valueOf(a, 0))); n != 2 {
		t.Errorf("with the same key another table finds %d", n)
	}
	if n := guard.NewSticky([]byte("another"), []string{"x"}).Find([]byte(valueOf(a, 0))); n != -1 {
		t.Errorf("another key finds %d", n)
	}
	if x, y := guard.NewSticky(nil, []string{"x"}), guard.NewSticky(nil, []string{"x"}); valueOf(x, 0) == valueOf(y, 0) {
		t.Error("without a key two have the same")
	}
	none := guard.NewSticky(stickyKey, nil)
	if none != nil || none.Find([]byte(valueOf(a, 0))) != -1 {
		t.Error("without targets one is found")
	}
}

func TestHasCookie(t *testing.T) {
	for header, want := range map[string]bool{
		"canary=1": true, "x=y; canary=": true, "canary": true, "x=canary": false, "canaryx=1": false,
		"Canary=1": false, "": false, "x=y;canary = 2": true,
	} {
		if got := guard.HasCookie([]byte(header), "canary"); got != want {
			t.Errorf("%q has the cookie: %v", header, got)
		}
	}
}

// FuzzCookies compares with net/http where both understand a header.
func FuzzCookies(f *testing.F) {
	f.Add("a=b; canary=1")
	f.Add(`canary="x"; ;=;`)
	f.Add("canary; x")
	f.Fuzz(func(t *testing.T, header string) {
		before := []byte(header)
		got := guard.HasCookie(before, "canary")
		if !bytes.Equal(before, []byte(header)) {
			t.Fatal("the header is changed")
		}
		list, err := http.ParseCookie(header)
		if err != nil {
			return
		}
		want := false
		for _, c := range list {
			want = want || c.Name == "canary"
		}
		if got != want {
			t.Fatalf("%q has the cookie: %v, and net/http says %v", header, got, want)
		}
	})
}

func TestStickyDoesNotAllocate(t *testing.T) {
	s := guard.NewSticky(stickyKey, []string{"a", "b", "c"})
	header := []byte("session=abcdef; theme=dark; " + valueOf(s, 2))
	buf := make([]byte, 0, 256)
	noAllocs(t, "Find and Append", func() { s.Append(buf, s.Find(header), true) })
	noAllocs(t, "HasCookie", func() { guard.HasCookie(header, "canary") })
}

func BenchmarkSticky(b *testing.B) {
	s := guard.NewSticky(stickyKey, []string{"a", "b", "c"})
	header := []byte("session=abcdef; theme=dark; " + valueOf(s, 2))
	b.ReportAllocs()
	for b.Loop() {
		s.Find(header)
	}
}
