package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// System returns the State of the real process, which is of this version. It is
// the one place of this package that meets package os, with the files of saved
// logins and those of trusted authorities.
func System(version string) State {
	dir, err := os.Getwd()
	if err != nil {
		dir = string(filepath.Separator)
	}
	return State{
		Args:      os.Args[1:],
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Env:       os.Getenv,
		Dir:       dir,
		ConfigDir: configDir(os.Getenv),
		Version:   version,
		Now:       time.Now,
		Terminal:  terminal(os.Stdin, os.Stdout, os.Getenv),
		Open:      func(name string) (io.ReadCloser, error) { return os.Open(name) },
		Git:       git,
		Machine: Machine{
			OS: runtime.GOOS, Root: string(filepath.Separator), Home: homeDir(os.Getenv), UID: os.Getuid(),
			Run: runTool, Has: hasTool,
		},
	}
}

// configDir is where a user's logins are kept; empty where the user has no home.
func configDir(env func(string) string) string {
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "landward")
	}
	if home := homeDir(env); home != "" {
		return filepath.Join(home, ".config", "landward")
	}
	return ""
}

// homeDir is the user's folder; empty where the user has none.
func homeDir(env func(string) string) string {
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Clean(home)
	}
	return ""
}

func terminal(in, out *os.File, env func(string) string) Terminal {
	isIn, isOut := term.IsTerminal(int(in.Fd())), term.IsTerminal(int(out.Fd()))
	return Terminal{
		In:    isIn,
		Out:   isOut,
		Color: isOut && env("NO_COLOR") == "" && env("TERM") != "dumb",
		Size: func() (int, int) {
			if w, h, err := term.GetSize(int(out.Fd())); err == nil && w > 0 && h > 0 {
				return w, h
			}
			return 80, 24
		},
		Secret: func(ctx context.Context) (string, error) { return readSecret(ctx, in, isIn) },
		Raw: func() (func(), error) {
			old, err := term.MakeRaw(int(in.Fd()))
			if err != nil {
				return nil, fmt.Errorf("set the terminal to raw: %w", err)
			}
			return func() { _ = term.Restore(int(in.Fd()), old) }, nil
		},
		Resized: resized,
	}
}

// readSecret reads a line without showing it. When ctx ends first, the terminal
// is as it was before; the read itself ends with the process.
func readSecret(ctx context.Context, in *os.File, isTerminal bool) (string, error) {
	if !isTerminal {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	}
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	return await(ctx, func() (string, error) {
		line, err := term.ReadPassword(int(in.Fd()))
		return string(line), err
	}, func() { _ = term.Restore(int(in.Fd()), before) })
}

// resized turns the window's signal into a channel. Its goroutine ends with ctx.
func resized(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	out := make(chan struct{}, 1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case out <- struct{}{}:
				default: // one is waiting already
				}
			}
		}
	}()
	return out
}

// git runs git with the user's own settings, but without prompts.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// toolPatience is how long a tool may take; the keychain asks its user.
const toolPatience = 2 * time.Minute

// runTool runs a tool with the user's own settings. No shell is between.
func runTool(ctx context.Context, input string, tool Tool, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	var cmd *exec.Cmd
	switch tool { // a program's name is a constant where it is started
	case ToolCACertificates:
		cmd = exec.CommandContext(ctx, "/usr/sbin/update-ca-certificates", args...)
	case ToolCATrust:
		cmd = exec.CommandContext(ctx, "/usr/bin/update-ca-trust", args...)
	case ToolKeychain:
		cmd = exec.CommandContext(ctx, "/usr/bin/security", args...)
	case ToolNSS:
		cmd = exec.CommandContext(ctx, "certutil", args...)
	default:
		return "", fmt.Errorf("there is no tool %q", tool)
	}
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out))
		return string(out), fmt.Errorf("%s: %w: %s", tool, err, said[strings.LastIndexByte(said, '\n')+1:])
	}
	return string(out), nil
}

// hasTool reports whether a tool is there to be started.
func hasTool(tool Tool) bool {
	_, err := exec.LookPath(string(tool))
	return err == nil
}
