package buildkit

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
)

// archive makes a tar of entries: "name=text" is a file, "name/" a folder,
// "name->target" a link, "name=>target" a hard link, "name!" a device, "+name=text"
// a file that may be run.
func archive(entries ...string) *bytes.Buffer {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Mode: 0o644, Typeflag: tar.TypeReg, ModTime: time.Unix(1, 0)}
		text := ""
		if name, ok := strings.CutPrefix(e, "+"); ok {
			e, h.Mode = name, 0o700
		}
		if name, target, ok := strings.Cut(e, "=>"); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeLink
		} else if name, target, ok := strings.Cut(e, "->"); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if name, content, ok := strings.Cut(e, "="); ok {
			h.Name, text, h.Size = name, content, int64(len(content))
		} else if name, ok := strings.CutSuffix(e, "!"); ok {
			h.Name, h.Typeflag, h.Devmajor, h.Devminor = name, tar.TypeChar, 1, 3
		} else {
			h.Name, h.Typeflag, h.Mode = e, tar.TypeDir, 0o700
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return &buf
}

// listing describes a folder, an entry a line.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			fmt.Fprintf(&b, "%s/ %o\n", name, info.Mode().Perm())
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s -> %s\n", name, target)
		default:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %o %s\n", name, info.Mode().Perm(), data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestUnpackOver unpacks one tree over another; the result must be the second.
func TestUnpackOver(t *testing.T) {
	tests := []struct {
		name          string
		first, second []string
		want          string
	}{
		{"new", nil, []string{"a=1", "d/b=2", "+s=3"}, "a 644 1\nd/ 755\nd/b 644 2\ns 755 3\n"},
		{"changed", []string{"a=1"}, []string{"a=2"}, "a 644 2\n"},
		{"shorter", []string{"a=long text"}, []string{"a=x"}, "a 644 x\n"},
		{"execute bit", []string{"a=1"}, []string{"+a=1"}, "a 755 1\n"},
		{"removed", []string{"a=1", "d/e/f=2"}, []string{"a=1"}, "a 644 1\n"},
		{"empty folder", nil, []string{"d/"}, "d/ 755\n"},
		{"file to folder", []string{"a=1"}, []string{"a/b=1"}, "a/ 755\na/b 644 1\n"},
		{"folder to file", []string{"a/b=1"}, []string{"a=1"}, "a 644 1\n"},
		{"link", nil, []string{"d/l->../a", "a=1"}, "a 644 1\nd/ 755\nd/l -> ../a\n"},
		{"link stays", []string{"l->a"}, []string{"l->a"}, "l -> a\n"},
		{"link moves", []string{"l->a"}, []string{"l->b"}, "l -> b\n"},
		{"link to file", []string{"l->a", "a=1"}, []string{"l=2", "a=1"}, "a 644 1\nl 644 2\n"},
		{"link to folder", []string{"l->d", "d/x=1"}, []string{"l/x=2", "d/x=1"}, "d/ 755\nd/x 644 1\nl/ 755\nl/x 644 2\n"},
		{"file to link", []string{"l=1"}, []string{"l->a"}, "l -> a\n"},
		{"folder to link", []string{"l/x=1"}, []string{"l->a"}, "l -> a\n"},
		{"last one counts", nil, []string{"a=1", "a=2"}, "a 644 2\n"},
		{"dots", nil, []string{"./", "./a=1", "d/../b=2"}, "a 644 1\nb 644 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tree")
			for _, entries := range [][]string{tt.first, tt.second} {
				if err := unpack(t.Context(), dir, archive(entries...), 0); err != nil {
					t.Fatal(err)
				}
			}
			if got := listing(t, dir); got != tt.want {
				t.Errorf("tree:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestUnpackKeepsTimes(t *testing.T) {
	dir := t.TempDir()
	times := func() map[string]time.Time {
		out := map[string]time.Time{}
		for _, name := range []string{"same", "d/same", "changed", "big", "end"} {
			info, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			out[name] = info.ModTime()
		}
		return out
	}
	entries := []string{"same=1", "d/same=2", "changed=3", "big=" + strings.Repeat("x", 5<<20), "end=" + strings.Repeat("x", 1<<20) + "1"}
	if err := unpack(t.Context(), dir, archive(entries...), 0); err != nil {
		t.Fatal(err)
	}
	before := times()
	entries[2], entries[4] = "changed=4", "end="+strings.Repeat("x", 1<<20)+"2"
	if err := unpack(t.Context(), dir, archive(entries...), 0); err != nil {
		t.Fatal(err)
	}
	for name, at := range times() {
		if kept := at.Equal(before[name]); kept != (name != "changed" && name != "end") {
			t.Errorf("%s: time kept = %v", name, kept)
		}
	}
	if end, err := os.ReadFile(filepath.Join(dir, "end")); err != nil || string(end) != strings.Repeat("x", 1<<20)+"2" {
		t.Errorf("end has %d bytes, %v", len(end), err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	tests := []struct {
		name    string
		entries []string
		want    string
	}{
		{"parent", []string{"../a=1"}, "not a path inside"},
		{"parent further on", []string{"d/../../a=1"}, "not a path inside"},
		{"absolute", []string{"/etc/a=1"}, "not a path inside"},
		{"device", []string{"null!"}, "neither a file"},
		{"hard link", []string{"a=1", "b=>a"}, "hard link"},
		{"absolute link", []string{"l->/etc/passwd"}, "leads out"},
		{"link up", []string{"d/l->../../x"}, "leads out"},
		{"link up by another link", []string{"d->.", "l->d/../x"}, "leads out"},
		{"write through a link", []string{"d/", "l->d", "l/x=1"}, "at once"},
		{"folder over a file", []string{"a=1", "a/"}, "at once"},
		{"file over a folder", []string{"a/b=1", "a=1"}, "at once"},
		{"link over a folder", []string{"a/b=1", "a->c"}, "at once"},
		{"deep", []string{strings.Repeat("d/", 150) + "x=1"}, "folders deep"},
		{"long", []string{strings.Repeat("d", 5000) + "=1"}, "has a path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outer := t.TempDir()
			err := unpack(t.Context(), filepath.Join(outer, "tree"), archive(tt.entries...), 0)
			e := landward.AsError(err)
			if err == nil || e.Code != landward.CodeInvalid || !strings.Contains(e.Message, tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
			if left, _ := os.ReadDir(outer); len(left) != 1 {
				t.Errorf("something was written outside: %v", left)
			}
		})
	}
}

func TestUnpackLimits(t *testing.T) {
	two := archive("a="+strings.Repeat("x", 600), "b="+strings.Repeat("x", 600))
	if err := unpack(t.Context(), t.TempDir(), two, 1000); landward.CodeOf(err) != landward.CodeTooLarge {
		t.Errorf("err = %v, want too large", err)
	}
	whole := archive("a=1", "b="+strings.Repeat("x", 5000)).Bytes()
	if err := unpack(t.Context(), t.TempDir(), bytes.NewReader(whole[:3000]), 0); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("half an archive: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := unpack(ctx, t.TempDir(), archive("a=1"), 0); err == nil {
		t.Error("unpacked though ctx had ended")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive("a=1", "d/", "d/l->../a").Bytes(), archive("a/b=1", "../x=1").Bytes())
	f.Add(archive("l->d", "l/x=1").Bytes(), archive("d->.", "l->d/../x").Bytes())
	f.Fuzz(func(t *testing.T, first, second []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "tree")
		for _, data := range [][]byte{first, second} {
			_ = unpack(t.Context(), dir, bytes.NewReader(data), 1<<20) // must only not escape
		}
		left, err := os.ReadDir(outer)
		if err != nil || len(left) > 1 {
			t.Errorf("outside: %v, %v", left, err)
		}
	})
}
