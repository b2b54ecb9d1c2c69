package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"landward/internal/config"
	"landward/internal/landward"
)

var instanceID = regexp.MustCompile(`^[a-z0-9]{6}$`)

// instance returns the installation's id, which marks its Docker objects. The
// first process to ask makes it.
func instance(cfg config.Config) (string, error) {
	for range 3 {
		b, err := os.ReadFile(cfg.InstanceFile())
		if err == nil {
			id := strings.TrimSpace(string(b))
			if !instanceID.MatchString(id) {
				return "", landward.Errorf(landward.CodeInternal, "%s does not hold an instance id", cfg.InstanceFile()).
					WithHint("restore the file from a backup: without it Landward does not know which containers are its own")
			}
			return id, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read instance id: %w", err)
		}
		if err := makeInstance(cfg.InstanceFile()); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make instance id: %w", err)
		}
	}
	return "", errors.New("instance id: the file comes and goes")
}

// makeInstance writes a new id so that it appears whole, and only once.
func makeInstance(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".instance-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // its other name stays
	_, err = tmp.WriteString(strings.ToLower(rand.Text())[:6] + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

// makeDirs makes the folders that all processes share.
func makeDirs(cfg config.Config) error {
	for _, dir := range []string{cfg.Data, cfg.RunDir(), cfg.LogsDir(), cfg.ReposDir(), cfg.WorkDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return landward.Errorf(landward.CodeUnavailable, "the folder %s cannot be made", dir).
				WithHint("run as root, or name another folder with --data").Wrap(err)
		}
	}
	return nil
}

// lock keeps a second process of the same role away from the data folder until
// the returned file is closed or the process ends, however it ends.
func lock(cfg config.Config, role string) (*os.File, error) {
	path := filepath.Join(cfg.RunDir(), role+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, landward.Errorf(landward.CodeConflict, "another landward %s uses %s", role, cfg.Data).
			WithHint("stop it first, or give this one its own folder with --data").Wrap(err)
	}
	return f, nil
}
