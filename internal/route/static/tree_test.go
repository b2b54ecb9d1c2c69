package static_test

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"landward/internal/route"
	"landward/internal/route/static"
)

// hostile makes a folder with everything in it that must not be served, and
// returns it with the body that each path should have.
func hostile(t testing.TB) (dir string, want map[string]string) {
	t.Helper()
	want = map[string]string{"index.html": "", "a/b.txt": "", "a/index.html": "", "c.html": "", ".well-known/x": ""}
	files := map[string]string{".env": "SECRET", "a/.env": "SECRET", ".git/config": "SECRET", ".well-known/.y": "SECRET"}
	for name := range want {
		want[name] = "public " + name
		files[name] = want[name]
	}
	dir = tree(t, files)
	outside := tree(t, map[string]string{"secret.txt": "SECRET", "sub/secret.txt": "SECRET"})
	for name, to := range map[string]string{
		"inside.txt":      "a/b.txt",
		"a/up.txt":        "../c.html",
		"a/self.txt":      "b.txt",
		"twice.txt":       "inside.txt",
		"outside.txt":     outside + "/secret.txt",
		"outside2.txt":    "../" + filepath.Base(outside) + "/secret.txt",
		"passwd.txt":      "/etc/passwd",
		"hidden.txt":      ".env",
		"hidden2.txt":     "a/.env",
		"a/hidden.txt":    "../.git/config",
		"gone.txt":        "nothing",
		"loop.txt":        "loop.txt",
		"folder":          "a",
		"outfolder":       outside,
		"upfolder":        "..",
		"a/loopfolder":    "../a",
		"gitfolder":       ".git",
		"absolute.txt":    filepath.Join(dir, "a/b.txt"),
		"device.txt":      "/dev/zero",
		".link.txt":       "a/b.txt",
		"throughout.txt":  "outfolder/secret.txt",
		"through.txt":     "folder/b.txt",
		"throughhide.txt": "gitfolder/config",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// These show what is served under its own name, too.
	want["inside.txt"], want["twice.txt"], want["a/self.txt"] = want["a/b.txt"], want["a/b.txt"], want["a/b.txt"]
	want["a/up.txt"], want["through.txt"] = want["c.html"], want["a/b.txt"]
	// Other names of pages.
	want[""], want["a/"], want["c"] = want["index.html"], want["a/index.html"], want["c.html"]
	return dir, want
}

func TestNothingElse(t *testing.T) {
	dir, want := hostile(t)
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	for name, body := range want {
		if got := ask(t, s, "GET", "/"+name); got.status != 200 || got.body != body {
			t.Errorf("%s: got %d %q, want %q", name, got.status, got.body, body)
		}
	}
	if s.Len() != len(want)+1 { // and the redirect
		t.Errorf("%d paths, want %d", s.Len(), len(want)+1)
	}
	if s.Skipped() == 0 {
		t.Error("nothing was skipped")
	}
}

// TestPipe holds that a site with a named pipe in it does not wait.
func TestPipe(t *testing.T) {
	dir := tree(t, map[string]string{"index.html": "x"})
	mkfifo(t, filepath.Join(dir, "pipe.txt"))
	s := open(t, static.Limits{}, route.Static{Dir: dir})
	if got := ask(t, s, "GET", "/pipe.txt"); got.status != 404 || s.Skipped() != 1 {
		t.Errorf("got %+v", got)
	}
}

// FuzzPath holds that no path gets anything but what the tree has under that
// name, decoded once.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "/a/b.txt", "/../x", "/%2e%2e/secret.txt", "/.env", "/a/%2eenv", "/outfolder/secret.txt",
		"/a//b.txt", "/c", "/a%2fb.txt", "/%61/b.txt", "/a", "/folder/b.txt", "/%252e%252e/", "/a/b.txt/", "/\\..\\.env", "/.well-known/x"} {
		f.Add(p, "")
	}
	f.Add("/a", "x\r\ny: z")
	dir, want := hostile(f)
	s := open(f, static.Limits{}, route.Static{Dir: dir})
	spa := open(f, static.Limits{}, route.Static{Dir: dir, Fallback: "index.html"})
	f.Fuzz(func(t *testing.T, raw, query string) {
		r := &static.Request{Method: []byte("GET"), Path: []byte(raw), Query: []byte(query)}
		for _, s := range []*static.Site{s, spa} {
			var a static.Answer
			s.Answer(&a, r)
			got := take(t, &a)
			a.Release()
			if strings.Contains(got.body, "SECRET") || strings.Contains(got.body, "root:") {
				t.Fatalf("%q: got %q", raw, got.body)
			}
			decoded, err := url.PathUnescape(raw)
			switch got.status {
			case 200:
				body, ok := want[strings.TrimPrefix(decoded, "/")]
				if !ok && s == spa {
					body = want[""]
				}
				if err != nil || got.body != body {
					t.Fatalf("%q: got %q, want %q (%v)", raw, got.body, body, err)
				}
				if s != spa && decoded != "/" && path.Clean(decoded) != strings.TrimSuffix(decoded, "/") {
					t.Fatalf("%q: not canonical", raw)
				}
			case 301:
				if to := got.header.Get("Location"); decoded != "/a" || !strings.HasPrefix(to, "a/") {
					t.Fatalf("%q: redirected to %q", raw, to)
				}
			case 400, 404, 414:
				if _, ok := want[strings.TrimPrefix(decoded, "/")]; ok && err == nil && strings.HasPrefix(raw, "/") &&
					!strings.Contains(strings.ToLower(raw), "%2f") {
					t.Fatalf("%q: got %d for a file", raw, got.status)
				}
			default:
				t.Fatalf("%q: got %d", raw, got.status)
			}
		}
	})
}
