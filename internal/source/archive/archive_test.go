package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"landward/client/pack"
	"landward/internal/landward"
	"landward/internal/source/archive"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file, dir, link and hard make tar headers; a file's text is its Linkname.
func file(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Linkname: text, Mode: 0o644}
}
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}
func hard(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}
func other(name string, flag byte) tar.Header {
	return tar.Header{Typeflag: flag, Name: name, Mode: 0o644}
}

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text, h.Linkname = h.Linkname, ""
		}
		check(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, text)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

func gzipOf(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(text)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

// zipOf makes the zip with the same entries.
func zipOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, h := range headers {
		z := &zip.FileHeader{Name: h.Name, Method: zip.Deflate}
		mode := fs.FileMode(h.Mode)
		switch h.Typeflag {
		case tar.TypeSymlink:
			mode |= fs.ModeSymlink
		case tar.TypeDir:
			mode |= fs.ModeDir
		case tar.TypeFifo:
			mode |= fs.ModeNamedPipe
		case tar.TypeChar:
			mode |= fs.ModeDevice | fs.ModeCharDevice
		}
		z.SetMode(mode)
		f, err := w.CreateHeader(z)
		check(t, err)
		if !mode.IsDir() {
			_, err = io.WriteString(f, h.Linkname)
			check(t, err)
		}
	}
	check(t, w.Close())
	return b.Bytes()
}

// clean runs Tar and returns what it wrote: a file's text, "link:", "hard:" or
// "dir".
func clean(src []byte, lim archive.Limits) (map[string]string, error) {
	var b bytes.Buffer
	if err := archive.Tar(&b, bytes.NewReader(src), lim); err != nil {
		return nil, err
	}
	out := map[string]string{}
	r := tar.NewReader(&b)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			text = []byte("dir")
		case tar.TypeSymlink:
			text = []byte("link:" + h.Linkname)
		case tar.TypeLink:
			text = []byte("hard:" + h.Linkname)
		}
		delete(h.PAXRecords, "path") // a name that is not ASCII
		if h.Mode&^0o755 != 0 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || len(h.PAXRecords) != 0 {
			return nil, errors.New(h.Name + " is not clean")
		}
		out[h.Name] = string(text)
	}
}

func TestTarForms(t *testing.T) {
	entries := []tar.Header{
		dir("./"), file("./a.txt", "a"), dir("sub/"), file("sub/b", "b"), link("sub/up", "../a.txt"), link("l", "sub/b"),
		link("dots", "./sub/./b"), file("é ü", "x"), file("deep/in/side", "y"),
	}
	want := map[string]string{
		"a.txt": "a", "sub/": "dir", "sub/b": "b", "sub/up": "link:../a.txt", "l": "link:sub/b",
		"dots": "link:./sub/./b", "é ü": "x", "deep/in/side": "y",
	}
	plain := tarOf(t, entries...)
	for name, src := range map[string][]byte{"tar": plain, "tar.gz": gzipOf(t, plain), "zip": zipOf(t, entries...)} {
		t.Run(name, func(t *testing.T) {
			got, err := clean(src, archive.Limits{})
			check(t, err)
			if !maps.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestTarKeepsHardLinksAndModes(t *testing.T) {
	run := file("run", "#!")
	run.Mode, run.Uid, run.Uname = 0o6755, 1000, "ada"
	run.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"}
	got, err := clean(tarOf(t, run, hard("d/same", "./run")), archive.Limits{})
	check(t, err)
	if want := (map[string]string{"run": "#!", "d/same": "hard:run"}); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// What must never come through. Each is tried as tar, and as zip where a zip can
// say it.
func TestTarRefuses(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		name    string
		entries []tar.Header
		want    string
		tarOnly bool
	}{
		{"up", []tar.Header{file("../evil", "x")}, "leads out", false},
		{"up inside", []tar.Header{file("a/../../evil", "x")}, "leads out", false},
		{"up that stays", []tar.Header{file("a/../b", "x")}, "leads out", false},
		{"absolute", []tar.Header{file("/etc/passwd", "x")}, "absolute", false},
		{"backslash", []tar.Header{file(`..\evil`, "x")}, "backslash", false},
		{"drive", []tar.Header{file(`C:\evil`, "x")}, "backslash", false},
		{"newline", []tar.Header{file("a\nb", "x")}, "control character", false},
		{"escape", []tar.Header{file("a\x1b[31m", "x")}, "control character", false},
		{"not UTF-8", []tar.Header{file("a\xff", "x")}, "UTF-8", false},
		{"long part", []tar.Header{file(long, "x")}, "255 bytes", false},
		{"long name", []tar.Header{file(strings.Repeat("abcdefg/", 200)+"x", "x")}, "1024 bytes", false},
		{"no name", []tar.Header{file(".", "x")}, "no name", false},
		{"fifo", []tar.Header{other("p", tar.TypeFifo)}, "device, pipe", false},
		{"char device", []tar.Header{other("null", tar.TypeChar)}, "device, pipe", false},
		{"block device", []tar.Header{other("sda", tar.TypeBlock)}, "device, pipe", true},
		{"link up", []tar.Header{link("l", "../x")}, "leads out", false},
		{"link up from below", []tar.Header{link("a/l", "../../x")}, "leads out", false},
		{"link absolute", []tar.Header{link("l", "/root/.ssh/id_rsa")}, "absolute", false},
		{"link down and up", []tar.Header{dir("a/"), link("a/root", ".."), link("l", "a/root/../x")}, "climbs", false},
		{"link empty", []tar.Header{link("l", "")}, "bad target", true},
		{"link backslash", []tar.Header{link("l", `..\x`)}, "bad target", false},
		{"write through a link", []tar.Header{link("d", "."), file("d/evil", "x")}, "not a folder", false},
		{"link takes a folder's place", []tar.Header{file("d/a", "x"), link("d", ".")}, "twice", false},
		{"file takes a link's place", []tar.Header{link("l", "x"), file("l", "x")}, "twice", false},
		{"link takes a file's place", []tar.Header{file("l", "x"), link("l", "x")}, "twice", false},
		{"the same file twice", []tar.Header{file("a", "x"), file("./a", "y")}, "twice", false},
		{"below a file", []tar.Header{file("a", "x"), file("a/b", "y")}, "not a folder", false},
		{"hard link out", []tar.Header{hard("h", "../../etc/shadow")}, "leads out", true},
		{"hard link absolute", []tar.Header{hard("h", "/etc/shadow")}, "leads out", true},
		{"hard link to nothing", []tar.Header{hard("h", "later"), file("later", "x")}, "not a file before it", true},
		{"hard link to a link", []tar.Header{link("l", "x"), hard("h", "l")}, "not a file before it", true},
		{"hard link to a folder", []tar.Header{dir("d/"), hard("h", "d")}, "not a file before it", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sources := map[string][]byte{"tar": tarOf(t, tt.entries...)}
			if !tt.tarOnly {
				sources["zip"] = zipOf(t, tt.entries...)
			}
			for form, src := range sources {
				_, err := clean(src, archive.Limits{})
				var e *landward.Error
				if !errors.As(err, &e) || e.Code != landward.CodeInvalid {
					t.Fatalf("%s: err = %v", form, err)
				}
				if !strings.Contains(e.Message, tt.want) {
					t.Errorf("%s: %q does not say %q", form, e.Message, tt.want)
				}
				if e.Field == "" || strings.ContainsAny(e.Field, "\n\x1b") {
					t.Errorf("%s: the entry is named %q", form, e.Field)
				}
			}
		})
	}
}

func TestTarDamaged(t *testing.T) {
	whole := tarOf(t, file("a", strings.Repeat("x", 5000)))
	z := zipOf(t, file("a", strings.Repeat("x", 5000)))
	bad := slices.Clone(z)
	bad[40] ^= 0xff // in the content: the checksum no longer fits
	for name, src := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("hello, I am no archive at all"),
		"cut":           whole[:2000],
		"gzip cut":      gzipOf(t, whole)[:20],
		"gzip of text":  gzipOf(t, []byte("hello")),
		"zip cut":       z[:len(z)-10],
		"zip corrupted": bad,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := clean(src, archive.Limits{})
			if landward.CodeOf(err) != landward.CodeInvalid {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestTarLimits(t *testing.T) {
	var many []tar.Header
	for i := range 50 {
		many = append(many, file(strings.Repeat("d/", i)+"f", "x"))
	}
	zeros := strings.Repeat("\x00", 40<<20)
	bomb := tarOf(t, file("zeros", zeros))
	sparse := tarOf(t, file("ok", "x"))
	tests := map[string]struct {
		src []byte
		lim archive.Limits
	}{
		"entries":       {tarOf(t, many...), archive.Limits{Entries: 60}}, // 50 files and their 49 folders
		"zip entries":   {zipOf(t, many...), archive.Limits{Entries: 60}},
		"unpacked":      {tarOf(t, file("a", "12345"), file("b", "67890")), archive.Limits{Unpacked: 1030}},
		"packed":        {sparse, archive.Limits{Packed: 1000}},
		"ratio of gzip": {gzipOf(t, bomb), archive.Limits{}},
		"ratio of zip":  {zipOf(t, file("zeros", zeros)), archive.Limits{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := clean(tt.src, tt.lim); landward.CodeOf(err) != landward.CodeTooLarge {
				t.Errorf("err = %v", err)
			}
		})
	}
	if _, err := clean(bomb, archive.Limits{}); err != nil {
		t.Errorf("a plain tar of the same: %v", err)
	}
}

func TestStripTop(t *testing.T) {
	lim := archive.Limits{StripTop: true}
	got, err := clean(tarOf(t, dir("app-1.2/"), file("app-1.2/a", "a"), hard("app-1.2/d/b", "app-1.2/a"), link("app-1.2/l", "a")), lim)
	check(t, err)
	if want := (map[string]string{"a": "a", "d/b": "hard:a", "l": "link:a"}); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for name, entries := range map[string][]tar.Header{
		"two folders":    {file("a/x", "x"), file("b/x", "x")},
		"file at top":    {file("a", "x")},
		"link one above": {link("a/l", "../x")},
	} {
		if _, err := clean(tarOf(t, entries...), lim); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestTarDestinationFails(t *testing.T) {
	err := archive.Tar(broken{}, bytes.NewReader(tarOf(t, file("a", "x"))), archive.Limits{})
	if !errors.Is(err, os.ErrClosed) || landward.CodeOf(err) != landward.CodeInternal {
		t.Errorf("err = %v", err)
	}
}

// What the CLI packs, the server takes.
func TestPackRoundTrip(t *testing.T) {
	d := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(d, "sub"), 0o700))
	check(t, os.WriteFile(filepath.Join(d, "sub", "a"), []byte("a"), 0o600))
	for name, target := range map[string]string{"sub/ok": "../sub/a", "sub/no": "a/../../..", "abs": "/etc/passwd"} {
		check(t, os.Symlink(target, filepath.Join(d, name)))
	}
	var b bytes.Buffer
	_, err := pack.Pack(&b, d)
	check(t, err)
	got, err := clean(b.Bytes(), archive.Limits{})
	check(t, err)
	if want := (map[string]string{"sub/": "dir", "sub/a": "a", "sub/ok": "link:../sub/a"}); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func open(t testing.TB, lim archive.Limits, headers ...tar.Header) (fs.FS, error) {
	src := tarOf(t, headers...)
	return archive.FS(bytes.NewReader(src), int64(len(src)), lim)
}

func TestFS(t *testing.T) {
	fsys, err := open(t, archive.Limits{File: 100},
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "1a2b"}},
		file("go.mod", "module x"), file("cmd/app/main.go", "package main"), dir("empty/"), link("cmd/link", "../go.mod"),
		link("d", "cmd/app"), link("loop", "loop"), link("out", "../../etc/passwd"), link("abs", "/etc/passwd"),
		hard("same", "go.mod"), file("big", strings.Repeat("x", 101)), link("dots", "cmd/../go.mod"), file("back\\slash", "b"))
	check(t, err)
	if err := fstest.TestFS(plain{fsys}, "go.mod", "cmd/app/main.go", "same", "big"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"go.mod": "module x", "cmd/link": "module x", "d/main.go": "package main", "same": "module x", "dots": "module x",
	} {
		got, err := fs.ReadFile(fsys, name)
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"loop", "out", "abs", "nope", "go.mod/x", "../go.mod", "/go.mod"} {
		if _, err := fs.ReadFile(fsys, name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := fs.ReadFile(fsys, "big"); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("big: %v", err)
	}
	if target, err := fs.ReadLink(fsys, "abs"); target != "/etc/passwd" || err != nil {
		t.Errorf("ReadLink = %q, %v", target, err)
	}
	if info, err := fs.Lstat(fsys, "d"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat = %v, %v", info, err)
	}
	if got, err := fs.Glob(fsys, "cmd/*/*.go"); err != nil || len(got) != 1 {
		t.Errorf("Glob = %v, %v", got, err)
	}
}

// plain hides from the suite what it does not allow: links that lead nowhere,
// and a backslash in a name.
type plain struct{ fs.FS }

func (p plain) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if d, ok := f.(fs.ReadDirFile); ok {
		return tidy{d}, err
	}
	return f, err
}

type tidy struct{ fs.ReadDirFile }

func (d tidy) ReadDir(n int) ([]fs.DirEntry, error) {
	for {
		list, err := d.ReadDirFile.ReadDir(n)
		kept := slices.DeleteFunc(list, func(e fs.DirEntry) bool { return e.Type() == fs.ModeSymlink || strings.Contains(e.Name(), `\`) })
		if n <= 0 || err != nil || len(kept) > 0 {
			return kept, err
		}
	}
}

func TestFSRefuses(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"up":        {file("../x", "x")},
		"twice":     {file("x", "x"), file("x", "y")},
		"below":     {file("x", "x"), file("x/y", "y")},
		"through":   {link("l", "."), file("l/y", "y")},
		"device":    {other("null", tar.TypeChar)},
		"hard link": {hard("h", "../x")},
	} {
		if _, err := open(t, archive.Limits{}, entries...); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	if _, err := open(t, archive.Limits{Entries: 1}, file("a", ""), file("b", ""), file("c", "")); landward.CodeOf(err) != landward.CodeTooLarge {
		t.Errorf("entries: err = %v", err)
	}
}

// Whatever comes in, what goes out has no way out, and shows as a tree.
func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, file("a", "x"), link("b", "a"), hard("c", "a"), dir("d/")))
	f.Add(gzipOf(f, tarOf(f, file("a/b/c", "x"))))
	f.Add(zipOf(f, file("a", "x"), link("b", "a")))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var out bytes.Buffer
		lim := archive.Limits{Unpacked: 1 << 20, Packed: 1 << 20, Entries: 100}
		if err := archive.Tar(&out, bytes.NewReader(src), lim); err != nil {
			return
		}
		r := tar.NewReader(bytes.NewReader(out.Bytes()))
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			check(t, err)
			if !filepath.IsLocal(strings.TrimSuffix(h.Name, "/")) {
				t.Errorf("name %q", h.Name)
			}
			if h.Typeflag == tar.TypeSymlink && !filepath.IsLocal(filepath.Join(filepath.Dir(h.Name), h.Linkname)) || filepath.IsAbs(h.Linkname) {
				t.Errorf("link %q to %q", h.Name, h.Linkname)
			}
		}
		if _, err := archive.FS(bytes.NewReader(out.Bytes()), int64(out.Len()), archive.Limits{}); err != nil {
			t.Errorf("FS: %v", err)
		}
	})
}

func TestTimesAreKept(t *testing.T) {
	h := file("a", "x")
	h.ModTime = time.Unix(1700000000, 0)
	var b bytes.Buffer
	check(t, archive.Tar(&b, bytes.NewReader(tarOf(t, h)), archive.Limits{}))
	got, err := tar.NewReader(&b).Next()
	check(t, err)
	if !got.ModTime.Equal(h.ModTime) {
		t.Errorf("time %v", got.ModTime)
	}
}
