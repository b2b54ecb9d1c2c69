package page_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"landward/internal/route"
	"landward/internal/route/page"
)

func pages(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openCustom(t *testing.T, dir string) *page.Custom {
	t.Helper()
	c, err := page.OpenCustom(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFind(t *testing.T) {
	all := openCustom(t, pages(t, map[string]string{
		"404.html": "404", "40x.html": "40x", "4xx.html": "4xx", "503.html": "503", "5xx.html": "5xx", "maintenance.html": "m",
		"200.html": "200", "x.html": "x", "4x4.html": "4x4", "404.htm": "x", "index.html": "x", "5XX.html": "X", "600.html": "x", "1404.html": "x",
	}))
	few := openCustom(t, pages(t, map[string]string{"5xx.html": "5xx", "500.html": ""}))
	none := openCustom(t, pages(t, nil))
	for _, tt := range []struct {
		c           *page.Custom
		status      int
		maintenance bool
		want        string
		found       bool
	}{
		{all, 404, false, "404", true},
		{all, 403, false, "40x", true},
		{all, 429, false, "4xx", true},
		{all, 503, false, "503", true},
		{all, 502, false, "5xx", true},
		{all, 503, true, "m", true},
		{all, 200, false, "", false},
		{all, 600, false, "", false},
		{all, -404, false, "", false},
		{few, 503, true, "5xx", true},
		{few, 500, false, "", true},
		{few, 404, false, "", false},
		{none, 503, true, "", false},
		{nil, 404, false, "", false},
	} {
		got := tt.c.Find(tt.status, tt.maintenance)
		if string(got) != tt.want || (got != nil) != tt.found {
			t.Errorf("%d, maintenance %v: %q, %v", tt.status, tt.maintenance, got, got != nil)
		}
	}
}

// TestOpenCustomIsCareful holds that only files in the folder itself are read,
// whatever a tree has put there.
func TestOpenCustomIsCareful(t *testing.T) {
	outside := pages(t, map[string]string{"secret": "secret"})
	dir := pages(t, map[string]string{"500.html": "ok"})
	err := errors.Join(
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "404.html")),
		os.Symlink("500.html", filepath.Join(dir, "501.html")),
		os.Mkdir(filepath.Join(dir, "403.html"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "402.html"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	c := openCustom(t, dir)
	for _, status := range []int{402, 403, 404, 501} {
		if got := c.Find(status, false); got != nil {
			t.Errorf("%d: %q", status, got)
		}
	}
	if got := c.Find(500, false); string(got) != "ok" {
		t.Errorf("500: %q", got)
	}
}

func TestOpenCustomRefuses(t *testing.T) {
	many := map[string]string{}
	for n := range 65 {
		many[fmt.Sprintf("%d.html", 400+n)] = "x"
	}
	crowd := pages(t, nil)
	for n := range 4097 {
		if err := os.WriteFile(filepath.Join(crowd, fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, dir := range map[string]string{
		"relative":   "testdata",
		"empty":      "",
		"missing":    filepath.Join(t.TempDir(), "none"),
		"a file":     filepath.Join(pages(t, map[string]string{"f": ""}), "f"),
		"too many":   pages(t, many),
		"too large":  pages(t, map[string]string{"404.html": strings.Repeat("x", 256<<10+1)}),
		"many files": crowd,
	} {
		if c, err := page.OpenCustom(dir); err == nil || c != nil {
			t.Errorf("%s: %v %v", name, c, err)
		}
	}
	delete(many, "400.html")
	many["401.html"] = strings.Repeat("x", 256<<10)
	if _, err := page.OpenCustom(pages(t, many)); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func TestFill(t *testing.T) {
	f := route.Fault{Status: 503, Code: route.CodeMaintenance, App: `a"b`, Reason: `<b>{{status}}</b>`, RequestID: "id'"}
	for in, want := range map[string]string{
		"":                               "",
		"plain":                          "plain",
		"{{status}}":                     "503",
		"{{ status }}|{{\tapp\n}}":       "503|a&#34;b",
		"{{request_id}}{{request_id}}":   "id&#39;id&#39;",
		"{{message}}":                    "&lt;b&gt;{{status}}&lt;/b&gt;",
		"{{title}}":                      "a&#34;b is under maintenance",
		"{{{status}}}":                   "{503}",
		"{{status}":                      "{{status}",
		"{{ user.name }} {{Status}}":     "{{ user.name }} {{Status}}",
		"{{reason}}{{retry}}{{refresh}}": "{{reason}}{{retry}}{{refresh}}",
		"{{ {{status}}":                  "{{ 503",
		"{{":                             "{{",
		"}}{{status}}{{":                 "}}503{{",
	} {
		if got := page.Fill([]byte("x"), []byte(in), f); string(got) != "x"+want {
			t.Errorf("%q: %q, want %q", in, got, "x"+want)
		}
	}
}

// TestFillIsBounded holds that a page full of placeholders is no way to make
// answers many times its size.
func TestFillIsBounded(t *testing.T) {
	f := route.Fault{Status: 503, Code: route.CodeMaintenance, Reason: strings.Repeat("<", 10000)}
	in := bytes.Repeat([]byte("{{message}}"), 20000)
	if got := page.Fill(nil, in, f); len(got) > 2*len(in)+64*5000 {
		t.Errorf("%d bytes from %d", len(got), len(in))
	}
}

func TestCustomAppend(t *testing.T) {
	c := openCustom(t, pages(t, map[string]string{"5xx.html": "<p>{{status}} {{message}}"}))
	f := route.Fault{Status: 502, Code: route.CodeRefused, App: "shop"}
	body, kind, ok := c.Append([]byte("x"), f, []byte("text/html"))
	if !ok || kind != "text/html; charset=utf-8" || !strings.HasPrefix(string(body), "x<p>502 The app is not taking connections") {
		t.Errorf("%q %s %v", body, kind, ok)
	}
	for _, accept := range []string{"", "*/*", "application/json"} {
		if body, _, ok := c.Append([]byte("x"), f, []byte(accept)); ok || string(body) != "x" {
			t.Errorf("%q: %q", accept, body)
		}
	}
	if _, _, ok := c.Append(nil, route.Fault{Status: 404}, []byte("text/html")); ok {
		t.Error("a page for a status that has none")
	}
	if _, _, ok := (*page.Custom)(nil).Append(nil, f, []byte("text/html")); ok {
		t.Error("a page of nobody")
	}
}

// FuzzFill holds that no value makes markup and that what is no placeholder
// stays as it is.
func FuzzFill(f *testing.F) {
	f.Add([]byte("<h1>{{status}}</h1>{{ message }}"), "<script>")
	f.Add([]byte("{{{{app}}"), `"`)
	f.Fuzz(func(t *testing.T, in []byte, value string) {
		fault := route.Fault{Status: 503, Code: route.CodeMaintenance, App: value, Reason: value, RequestID: value}
		got := page.Fill(nil, in, fault)
		for _, c := range []byte("<>\"'`") {
			if bytes.Count(got, []byte{c}) > bytes.Count(in, []byte{c}) {
				t.Errorf("%q in %q makes %q", value, in, got)
			}
		}
		if !bytes.Contains(in, []byte("{{")) && !bytes.Equal(got, in) {
			t.Errorf("%q became %q", in, got)
		}
	})
}
