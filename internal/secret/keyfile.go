package secret

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"landward/internal/landward"
)

// keyFile is the name of the key file in its folder: a line a key, base64,
// newest last; empty lines and those that start with # do not count.
const keyFile = "master.key"

// maxKeyFile bounds what is read: some hundred keys.
const maxKeyFile = 64 << 10

const keyFileHead = "# Landward's master keys, newest last. Keep a copy outside this machine:\n" +
	"# without them no secret in the database can be read.\n"

// LoadOrCreate opens the key file in dir, or makes dir (0700) and a file
// (0400) with a new random key where there is none. A file that is empty, a
// placeholder, or open to others is refused, never replaced.
func LoadOrCreate(dir string) (*Box, error) {
	b, err := Load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key folder: %w", err)
	}
	k, err := randomKey()
	if err != nil {
		return nil, err
	}
	temp, err := writeTemp(dir, []key{k})
	if err != nil {
		return nil, err
	}
	// A link fails where a file is: of two processes that start at once, one
	// makes the key and both use it.
	err = os.Link(temp, filepath.Join(dir, keyFile))
	if err := os.Remove(temp); err != nil {
		return nil, fmt.Errorf("write key file: %w", err)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write key file: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return Load(dir)
}

// Load opens the key file in dir; fs.ErrNotExist where there is none. Use it
// where sealed values exist already: a new key could not open them.
func Load(dir string) (*Box, error) {
	if err := checkMode(dir, "700", os.ModeDir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, keyFile)
	if err := checkMode(path, "400", 0); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, err
	}
	return &Box{path: path, keys: keys}, nil
}

// Rotate makes a new key and seals with it from now on. What older keys sealed
// still opens.
func (b *Box) Rotate() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := randomKey()
	if err != nil {
		return err
	}
	keys := append(append([]key(nil), b.keys...), k)
	dir := filepath.Dir(b.path)
	temp, err := writeTemp(dir, keys)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, b.path); err != nil {
		return errors.Join(fmt.Errorf("write key file: %w", err), os.Remove(temp))
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	b.keys = keys
	return nil
}

func refuse(hint, format string, args ...any) error {
	return landward.Errorf(landward.CodeConflict, format, args...).WithHint("%s", hint)
}

// checkMode refuses what others than the owner can get at, and what is not the
// kind of file that it should be. Links are not followed.
func checkMode(path, want string, kind fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("read key file: %w", err)
	}
	name := filepath.Base(path)
	if info.Mode().Type() != kind {
		return refuse("move it away and put the real one there", "%s is a link or not what it should be", name)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return refuse(fmt.Sprintf("if nobody can have read it: chmod %s %s", want, name),
			"other users of this machine can get at %s (mode %#o)", name, info.Mode().Perm())
	}
	return nil
}

func parseKeys(data []byte) ([]key, error) {
	const restore = "restore the key file from your backup; if nothing is sealed yet, remove it and start again"
	if len(data) > maxKeyFile {
		return nil, refuse(restore, "%s is too large to be a key file", keyFile)
	}
	var keys []key
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(line)
		switch {
		case err != nil:
			return nil, refuse(restore, "line %d of %s is not a key", n, keyFile)
		case len(raw) != chacha20poly1305.KeySize:
			return nil, refuse(restore, "the key in line %d of %s has %d bytes; it must have %d", n, keyFile, len(raw), chacha20poly1305.KeySize)
		case !looksRandom(raw):
			return nil, refuse(restore, "the key in line %d of %s is a placeholder, not a random key", n, keyFile)
		}
		k, err := newKey(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, refuse(restore, "%s is not a key file", keyFile)
	}
	if len(keys) == 0 {
		return nil, refuse(restore, "%s is empty", keyFile)
	}
	return keys, nil
}

// looksRandom tells a random key from zeros, from "changeme" repeated and from
// any other text: 32 random bytes are never all printable, and more than 15
// of them are different.
func looksRandom(raw []byte) bool {
	seen := make(map[byte]bool)
	text := true
	for _, c := range raw {
		seen[c] = true
		text = text && c >= ' ' && c <= '~'
	}
	return len(seen) > 15 && !text
}

// writeTemp writes a key file beside the real one, safely on disk.
func writeTemp(dir string, keys []key) (path string, err error) {
	f, err := os.CreateTemp(dir, keyFile+".*") // 0600
	if err != nil {
		return "", fmt.Errorf("write key file: %w", err)
	}
	var text strings.Builder
	text.WriteString(keyFileHead)
	for _, k := range keys {
		text.WriteString(base64.StdEncoding.EncodeToString(k.raw) + "\n")
	}
	_, err = f.WriteString(text.String())
	err = errors.Join(err, f.Chmod(0o400), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(fmt.Errorf("write key file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync key folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync key folder: %w", err)
	}
	return nil
}
