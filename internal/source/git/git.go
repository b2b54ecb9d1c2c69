// Package git runs the git program on apps' bare repositories: it makes and
// tends them, serves receive-pack and upload-pack to the SSH and HTTP faces,
// answers the pre-receive hook by asking an Intake, and reads trees and commits
// out of the objects. It is the only place that starts git, always by argv and
// with a fixed environment. It must never write a work tree, and never know
// who may push or what a deployment is.
package git

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"landward/internal/landward"
)

// Limits bound what one pusher can make the host do. A zero field means the
// default that its comment names.
type Limits struct {
	Pack      int64         // bytes of one push; 512 MiB
	Refs      int           // ref updates of one push; 100
	Pushes    int           // pushes that run at once, all apps together; 32
	Fetches   int           // fetches that run at once; 32
	Idle      time.Duration // without a byte from the client before the hook is asked; 60 s
	Transfer  time.Duration // from the start of a push until the hook is asked; 1 h
	Memory    int64         // of each git process; 1 GiB
	CPU       time.Duration // of each git process; 10 min
	TreeFiles int           // files of a tree; 200,000
	TreeBytes int64         // bytes of a tree's files together; 2 GiB
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Pack, 512<<20)
	setDefault(&l.Refs, 100)
	setDefault(&l.Pushes, 32)
	setDefault(&l.Fetches, 32)
	setDefault(&l.Idle, time.Minute)
	setDefault(&l.Transfer, time.Hour)
	setDefault(&l.Memory, 1<<30)
	setDefault(&l.CPU, 10*time.Minute)
	setDefault(&l.TreeFiles, 200_000)
	setDefault(&l.TreeBytes, 2<<30)
	return l
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Git is the git program and the rules that it is run by. It has no state and
// is safe for concurrent use.
type Git struct {
	path   string
	limits Limits
}

// New returns a Git that runs the program at path; with "" it is looked for in
// PATH.
func New(path string, limits Limits) (*Git, error) {
	if path == "" {
		path = "git"
	}
	found, err := exec.LookPath(path)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return nil, landward.Errorf(landward.CodeUnavailable, "git is not installed").
			WithHint("install it: apt-get install git").Wrap(err)
	}
	return &Git{path: found, limits: limits.withDefaults()}, nil
}

// setting is one line of git configuration.
type setting struct{ key, value string }

// environ is the whole environment of a git process: nothing of our own
// process and nothing that a client sent gets in but what is listed here.
// Settings go in the same way, so that no repository can override them.
func environ(settings []setting, extra ...string) []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"HOME=/nonexistent",
		"LANG=C",
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings)),
	}
	for i, s := range settings {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+s.key, "GIT_CONFIG_VALUE_"+n+"="+s.value)
	}
	return append(env, extra...)
}

// settings are what every git process is told. hooks is the folder of hooks
// that it may run.
func (g *Git) settings(hooks string) []setting {
	return []setting{
		{"core.hooksPath", hooks},
		{"core.fsmonitor", "false"},
		{"core.bigFileThreshold", "32m"}, // bigger blobs are streamed, not held in memory
		{"core.protectHFS", "true"},
		{"core.protectNTFS", "true"},
		{"gc.auto", "0"},
		{"maintenance.auto", "false"},
		{"pack.threads", "2"},
		{"pack.windowMemory", "128m"},
		{"protocol.allow", "never"},
		{"tar.umask", "0022"},
		{"transfer.fsckObjects", "true"},
	}
}

func (g *Git) receiveSettings(hooks string) []setting {
	return append(g.settings(hooks),
		setting{"receive.fsckObjects", "true"},
		// Old, harmless flaws that many real histories have.
		setting{"receive.fsck.zeroPaddedFilemode", "ignore"},
		setting{"receive.fsck.badTimezone", "ignore"},
		setting{"receive.fsck.missingSpaceBeforeDate", "ignore"},
		setting{"receive.maxInputSize", strconv.FormatInt(g.limits.Pack, 10)},
		setting{"receive.advertisePushOptions", "true"},
		setting{"receive.autogc", "false"},
		// CI systems clone with depth 1 and push from there.
		setting{"receive.shallowUpdate", "true"},
		setting{"receive.denyDeletes", "false"},
		setting{"receive.denyDeleteCurrent", "refuse"},
	)
}

var protocolVersion = regexp.MustCompile(`^version=[0-2]$`)

// protocolEnv turns what a client asked for into GIT_PROTOCOL, or nothing.
func protocolEnv(asked string) []string {
	if !protocolVersion.MatchString(asked) {
		return nil
	}
	return []string{"GIT_PROTOCOL=" + asked}
}

// command prepares git; it is the one place that names the program to start.
func (g *Git) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.path, args...)
	cmd.Env = env
	cmd.Dir = "/"
	inOwnGroup(cmd)
	return cmd
}

// output runs git in a repository and returns what it says.
func (g *Git) output(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	cmd := g.command(ctx, environ(g.settings("/dev/null"), env...), append([]string{"--git-dir=" + dir}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = &capped{w: &errs, left: 8 << 10}
	if err := g.start(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, firstLine(errs.String()))
	}
	return out.Bytes(), nil
}

// capped forwards the first bytes and swallows the rest.
type capped struct {
	w    *bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.w.Write(p[:n])
	c.left -= n
	return len(p), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return landward.Printable(line)
}
