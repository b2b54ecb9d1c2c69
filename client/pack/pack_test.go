package pack_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"landward/client/pack"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes files; a name that ends in a slash is a folder.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			check(t, os.MkdirAll(at, 0o700))
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(at), 0o700))
		check(t, os.WriteFile(at, []byte(text), 0o600))
	}
}

// packed returns the entries of the tar: a file's text, "link:TARGET", "dir".
func packed(t testing.TB, dir string) (map[string]string, pack.Stats) {
	t.Helper()
	var b bytes.Buffer
	stats, err := pack.Pack(&b, dir)
	check(t, err)
	out := map[string]string{}
	r := tar.NewReader(&b)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, stats
		}
		check(t, err)
		switch h.Typeflag {
		case tar.TypeDir:
			out[h.Name] = "dir"
		case tar.TypeSymlink:
			out[h.Name] = "link:" + h.Linkname
		default:
			text, err := io.ReadAll(r)
			check(t, err)
			out[h.Name] = string(text)
		}
		if h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s tells who packed it", h.Name)
		}
	}
}

func files(entries map[string]string) []string {
	maps.DeleteFunc(entries, func(_, v string) bool { return v == "dir" })
	return slices.Sorted(maps.Keys(entries))
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret": "s"})
	write(t, dir, map[string]string{
		"main.go": "package main", "sub/a": "a", ".git/config": "no", "sub/.git": "gitdir: no",
		".landwardignore": "*.tmp\n!kept.log\n", ".gitignore": "*.log\n", "x.tmp": "x", "x.log": "x", "kept.log": "k", "empty/": "",
	})
	check(t, os.Chmod(filepath.Join(dir, "main.go"), 0o755))
	for name, target := range map[string]string{
		"ok": "sub/a", "sub/up": "../main.go", "abs": filepath.Join(outside, "secret"), "out": "../secret",
		"folder": outside, "tricky": "sub/../../x", "sub/deep": "../../x",
	} {
		check(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	check(t, err)
	defer func() { _ = l.Close() }()

	got, stats := packed(t, dir)
	want := map[string]string{
		"main.go": "package main", "sub/": "dir", "sub/a": "a", "empty/": "dir", "kept.log": "k",
		".landwardignore": "*.tmp\n!kept.log\n", ".gitignore": "*.log\n", "ok": "link:sub/a", "sub/up": "link:../main.go",
	}
	if !maps.Equal(got, want) {
		t.Errorf("packed %v\nwant %v", got, want)
	}
	if len(stats.Skipped) != 6 || !strings.Contains(strings.Join(stats.Skipped, "\n"), "s: a socket") {
		t.Errorf("skipped %q", stats.Skipped)
	}
	if stats.Files != 7 || stats.Bytes != int64(len("package main"+"a"+"k"+"*.log\n"+"*.tmp\n!kept.log\n")) {
		t.Errorf("stats %+v", stats)
	}
}

func TestPackIsStable(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"b": "1", "a/c": "2", "a/b": "3", "a-": "4"})
	var one, two bytes.Buffer
	_, err := pack.Pack(&one, dir)
	check(t, err)
	_, err = pack.Pack(&two, dir)
	check(t, err)
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two tars of one folder differ")
	}
}

func TestPackNoFolder(t *testing.T) {
	if _, err := pack.Pack(io.Discard, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

// The ignore rules are git's: every case is compared with git itself.
func TestIgnoreLikeGit(t *testing.T) {
	tree := []string{
		"a", "b", "a.log", "b.txt", "foo/a", "foo/bar/a", "foo/bar/baz/a", "foo/x.log", "x/foo/bar/q", "build/out", "src/build/out",
		"src/build.go", "#hash", "!bang", "sp ace", "trail ", "é", "dir/keep/me", "dir/drop/me", "a]b", "[x]", "back\\slash",
		"deep/1/2/3/4/f", "node_modules/m/i.js", "web/node_modules/m/i.js", ".env", ".env.local", "a-b", "A", "9", "foo.c", "foo.h", "x/y/z.c",
	}
	tests := map[string]map[string]string{
		"names":           {".gitignore": "a\n*.log\n"},
		"anchored":        {".gitignore": "/a\n/build\n"},
		"middle slash":    {".gitignore": "foo/bar\nsrc/build\n"},
		"folders only":    {".gitignore": "build/\na/\nfoo/bar/\n"},
		"double star":     {".gitignore": "**/bar\n"},
		"double star in":  {".gitignore": "foo/**/a\n"},
		"double star end": {".gitignore": "deep/**\n"},
		"star star alone": {".gitignore": "**\n!a\n"},
		"two stars":       {".gitignore": "**/foo/bar/**\n"},
		"not a double":    {".gitignore": "fo**\nx/y/**z.c\n"},
		"star no slash":   {".gitignore": "foo/*\n!foo/bar\n"},
		"negation":        {".gitignore": "*.log\n!a.log\n"},
		"parent wins":     {".gitignore": "dir/\n!dir/keep/me\n"},
		"classic keep":    {".gitignore": "/dir/*\n!/dir/keep\n"},
		"escapes":         {".gitignore": "\\#hash\n\\!bang\n\\a\nback\\\\slash\n"},
		"comments":        {".gitignore": "#hash\n# a\n\n   \n"},
		"spaces":          {".gitignore": "sp ace   \ntrail\\ \n"},
		"carriage return": {".gitignore": "a\r\nfoo/\r\n"},
		"byte order mark": {".gitignore": "\uFEFFa\nb\n"},
		"classes":         {".gitignore": "[ab]\n[!a-z].c\nfoo.[ch]\n"},
		"class negation":  {".gitignore": "[^a-z]\n"},
		"class bracket":   {".gitignore": "a[]]b\n\\[x\\]\n"},
		"class posix":     {".gitignore": "[[:digit:]]\n[[:upper:]]\n"},
		"class range":     {".gitignore": "x[+-9]y/z.c\na[,-.]b\n"},
		"odd class":       {".gitignore": "[9[:]\n[a[:x]\n[[:nope:]]\n"},
		"open class":      {".gitignore": "[ab\nb\n"},
		"backwards class": {".gitignore": "[z-a]\nb\n"},
		"question":        {".gitignore": "?\nfoo/?\n"},
		"no slash match":  {".gitignore": "foo?a\nfoo*a\n"},
		"env":             {".gitignore": ".env*\n!.env.local\n"},
		"nested":          {".gitignore": "*.log\n", "foo/.gitignore": "!*.log\n/a\nbaz/\n"},
		"nested anchored": {"foo/.gitignore": "/bar/a\nbar/baz\n"},
		"nested wins":     {".gitignore": "!foo/a\n", "foo/.gitignore": "a\n"},
		"node":            {".gitignore": "node_modules\n"},
		"lone slash":      {".gitignore": "/\n!\n!/\n"},
		"leading dot":     {".gitignore": "./a\n"},
		"end backslash":   {".gitignore": "a\\\nb\n"},
		"slash star":      {".gitignore": "/*\n!/foo\n/foo/*\n!/foo/bar\n"},
		"accents":         {".gitignore": "é\n"},
		"double slash":    {".gitignore": "build//\n"},
	}
	for name, ignores := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tree {
				write(t, dir, map[string]string{f: f})
			}
			write(t, dir, ignores)
			got, _ := packed(t, dir)
			if got, want := files(got), gitFiles(t, dir); !slices.Equal(got, want) {
				t.Errorf("rules %q\npacked %q\ngit    %q", ignores, got, want)
			}
		})
	}
}

// gitFiles is what git would add.
func gitFiles(t testing.TB, dir string) []string {
	t.Helper()
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	run("init", "-q")
	out := strings.Split(strings.TrimSuffix(run("ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"), "\x00"), "\x00")
	slices.Sort(out)
	check(t, os.RemoveAll(filepath.Join(dir, ".git")))
	return out
}

func FuzzIgnore(f *testing.F) {
	for _, s := range []string{"*.log\n", "[a-", "**/x/**", "\\", "[[:alpha:]", "!/", "[\\", "[!]]", "[0[:]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		write(t, dir, map[string]string{"a/b.log": "", "x": "", ".gitignore": text})
		if _, err := pack.Pack(io.Discard, dir); err != nil {
			t.Errorf("Pack: %v", err)
		}
	})
}
