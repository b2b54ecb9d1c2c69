package secret_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"landward/internal/landward"
	"landward/internal/secret"
)

func newBox(t *testing.T) (*secret.Box, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	b, err := secret.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b, dir
}

func seal(t *testing.T, b *secret.Box, plain, context string) []byte {
	t.Helper()
	sealed, err := b.Seal([]byte(plain), context)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func wantOpen(t *testing.T, b *secret.Box, sealed []byte, context, want string) {
	t.Helper()
	plain, err := b.Open(sealed, context)
	if err != nil || string(plain) != want {
		t.Errorf("opened %q, %v; want %q", plain, err, want)
	}
}

func TestSealAndOpen(t *testing.T) {
	b, _ := newBox(t)
	for _, plain := range []string{"", "x", "\x00\xff", strings.Repeat("long ", 1<<16)} {
		sealed := seal(t, b, plain, "app/1")
		wantOpen(t, b, sealed, "app/1", plain)
		if len(plain) > 4 && bytes.Contains(sealed, []byte(plain[:5])) {
			t.Error("the plain text shows")
		}
		if again := seal(t, b, plain, "app/1"); bytes.Equal(again, sealed) {
			t.Error("sealing twice gives the same: the nonce is not random")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	b, _ := newBox(t)
	sealed := seal(t, b, "secret", "app/1")
	refused := func(what string, sealed []byte, context string) {
		t.Helper()
		plain, err := b.Open(sealed, context)
		var e *landward.Error
		if plain != nil || !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("%s: opened %q, %v; want a readable error", what, plain, err)
		}
	}
	for _, context := range []string{"", "app/2", "app/1 ", "app/"} {
		refused("context "+context, sealed, context)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused("a changed byte", changed, "app/1")
		refused("a part", sealed[:i], "app/1")
	}
	refused("nothing", nil, "app/1")
	refused("more than it was", append(bytes.Clone(sealed), 0), "app/1")
	other, _ := newBox(t)
	refused("another installation's", seal(t, other, "secret", "app/1"), "app/1")
}

func TestKeysDiffer(t *testing.T) {
	_, a := newBox(t)
	_, b := newBox(t)
	if readKeys(t, a) == readKeys(t, b) {
		t.Error("two installations have one key")
	}
}

func readKeys(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCreatedOnce(t *testing.T) {
	b, dir := newBox(t)
	sealed := seal(t, b, "secret", "x")
	again, err := secret.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantOpen(t, again, sealed, "x", "secret")
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "master.key"): 0o400} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %#o", path, info.Mode(), err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCreatedByOneOfMany(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	boxes := make([]*secret.Box, 8)
	var group sync.WaitGroup
	for i := range boxes {
		group.Go(func() {
			var err error
			if boxes[i], err = secret.LoadOrCreate(dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	sealed := seal(t, boxes[0], "secret", "x")
	for _, b := range boxes {
		wantOpen(t, b, sealed, "x", "secret")
	}
}

func TestLoadMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := secret.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that says that there is no file", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
}

func TestRotate(t *testing.T) {
	b, dir := newBox(t)
	old := seal(t, b, "old", "x")
	for range 3 {
		if err := b.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	fresh := seal(t, b, "new", "x")
	if bytes.Equal(old[:5], fresh[:5]) {
		t.Error("the old key still seals")
	}
	loaded, err := secret.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*secret.Box{b, loaded} {
		wantOpen(t, b, old, "x", "old")
		wantOpen(t, b, fresh, "x", "new")
	}
	if again := seal(t, loaded, "new", "x"); !bytes.Equal(again[:5], fresh[:5]) {
		t.Error("after loading, another key seals")
	}
	if info, err := os.Stat(filepath.Join(dir, "master.key")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("the new file: %v, %v", info, err)
	}
}

func TestRotateWhileInUse(t *testing.T) {
	b, _ := newBox(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				sealed, err := b.Seal([]byte("secret"), "x")
				if err != nil {
					t.Error(err)
					return
				}
				wantOpen(t, b, sealed, "x", "secret")
			}
		})
	}
	for range 5 {
		if err := b.Rotate(); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
}

func TestRefusedKeyFiles(t *testing.T) {
	good := base64.StdEncoding.EncodeToString([]byte("\xf1\x02\xc3\x14\xa5\x36\x87\x58\x99\x7a\x6b\x9c\x4d\xbe\x2f\xd0\x11\xe2\x03\xf4\x15\xd6\x37\xb8\x59\x9a\x7b\x8c\x6d\x1e\x4f\x20"))
	encode := func(raw string) string { return base64.StdEncoding.EncodeToString([]byte(raw)) + "\n" }
	tests := map[string]struct {
		text    string
		file    fs.FileMode
		folder  fs.FileMode
		says    string
		accepts bool
	}{
		"a good one":           {text: good, accepts: true},
		"with comments":        {text: "# mine\n\n " + good + " \r\n", accepts: true},
		"empty":                {text: "", says: "empty"},
		"only comments":        {text: "# nothing\n\n", says: "empty"},
		"zeros":                {text: encode(strings.Repeat("\x00", 32)), says: "placeholder"},
		"one byte repeated":    {text: encode(strings.Repeat("\xaa", 32)), says: "placeholder"},
		"a word repeated":      {text: encode(strings.Repeat("changeme", 4)), says: "placeholder"},
		"a sentence":           {text: encode("the quick brown fox jumps over a"), says: "placeholder"},
		"too short":            {text: encode("\x01\x82\x03\x84\x05\x86\x07\x88"), says: "has 8 bytes"},
		"too long":             {text: encode(strings.Repeat("\x01\x82\x03", 16)), says: "has 48 bytes"},
		"not base64":           {text: "secret!\n", says: "line 1"},
		"a bad one after":      {text: good + "\n# x\n" + encode(strings.Repeat("\x00", 32)), says: "line 3"},
		"huge":                 {text: strings.Repeat("#", 1<<20), says: "too large"},
		"readable by group":    {text: good, file: 0o440, says: "get at master.key"},
		"readable by others":   {text: good, file: 0o404, says: "get at master.key"},
		"writable by others":   {text: good, file: 0o602, says: "get at master.key"},
		"folder open to all":   {text: good, folder: 0o755, says: "get at keys"},
		"folder open to group": {text: good, folder: 0o710, says: "get at keys"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			path := filepath.Join(dir, "master.key")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for p, mode := range map[string]fs.FileMode{path: test.file, dir: test.folder} {
				if mode != 0 {
					if err := os.Chmod(p, mode); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err := secret.LoadOrCreate(dir)
			if test.accepts {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *landward.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, test.says) || e.Hint == "" {
				t.Errorf("error %+v, want a readable one that says %q", err, test.says)
			}
			if got := readKeys(t, dir); got != test.text {
				t.Error("the file was changed")
			}
		})
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	_, real := newBox(t)
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(real, "master.key"), filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.LoadOrCreate(dir); landward.CodeOf(err) != landward.CodeConflict {
		t.Errorf("error %v, want a refusal", err)
	}
}

func FuzzOpen(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "keys")
	b, err := secret.LoadOrCreate(dir)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := b.Seal([]byte("secret"), "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := b.Open(data, "x")
		if err == nil && !bytes.Equal(data, sealed) {
			t.Errorf("opened what was never sealed: %q", plain)
		}
	})
}
