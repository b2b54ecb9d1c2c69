package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"landward/internal/landward"
	"landward/internal/source"
)

// Commit is what people want to know of a commit. All text is cleaned for a
// terminal.
type Commit struct {
	Hash    string
	Title   string // first line of the message, at most 200 bytes
	Message string // the whole message
	Author  string
	Email   string
	When    time.Time
}

// CommitInfo reads a commit by its full hash. env is Push.Env while the commit
// is in quarantine, nil after.
func (g *Git) CommitInfo(ctx context.Context, repo source.Repo, env []string, commit string) (Commit, error) {
	if !objectName.MatchString(commit) {
		return Commit{}, landward.Invalid("commit", "%q is not a commit hash", landward.Printable(commit))
	}
	out, err := g.output(ctx, repo.Dir, env, "log", "-1", "--no-walk", "--encoding=UTF-8",
		"--format=%H%x00%an%x00%ae%x00%aI%x00%B", "--end-of-options", commit+"^{commit}", "--")
	if err != nil {
		return Commit{}, noCommit(commit, err)
	}
	f := strings.SplitN(strings.ToValidUTF8(string(out), "\uFFFD"), "\x00", 5)
	if len(f) != 5 {
		return Commit{}, noCommit(commit, errors.New("unexpected answer of git log"))
	}
	when, err := time.Parse(time.RFC3339, f[3])
	if err != nil {
		when = time.Time{} // a date that nobody could have meant
	}
	c := Commit{
		Hash:   f[0],
		Author: landward.Printable(f[1]),
		Email:  landward.Printable(f[2]),
		When:   when,
	}
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(f[4]), "\n") {
		lines = append(lines, landward.CleanLine(strings.TrimRight(line, "\r")))
	}
	c.Message = strings.Join(lines, "\n")
	c.Title = lines[0]
	if len(c.Title) > 200 {
		c.Title = strings.ToValidUTF8(c.Title[:200], "") + "…"
	}
	return c, nil
}

func noCommit(commit string, err error) error {
	return landward.Errorf(landward.CodeNotFound, "there is no commit %s", commit).Wrap(err)
}

// Tree is a commit's tree as an uncompressed tar. Close it when done.
type Tree struct {
	Files int   // regular files and symbolic links
	Bytes int64 // of the files' contents
	// Notices are what the pusher should know: submodules and Git LFS, whose
	// contents did not come with the push.
	Notices []string

	out  io.ReadCloser
	cmd  *exec.Cmd
	stop context.CancelFunc
	errs bytes.Buffer
	done bool
}

// Tree opens the tree of a commit, straight from the objects: no work tree is
// written, no hook, filter or link runs or is followed. Symbolic links stay
// entries. env is as in CommitInfo.
func (g *Git) Tree(ctx context.Context, repo source.Repo, env []string, commit string) (*Tree, error) {
	if !objectName.MatchString(commit) {
		return nil, landward.Invalid("commit", "%q is not a commit hash", landward.Printable(commit))
	}
	list, err := g.list(ctx, repo, env, commit)
	if err != nil {
		return nil, err
	}
	t := &Tree{Files: list.files, Bytes: list.bytes}
	if t.Notices, err = g.notices(ctx, repo, env, list); err != nil {
		return nil, err
	}
	ctx, t.stop = context.WithCancel(ctx)
	t.cmd = g.command(ctx, environ(g.settings("/dev/null"), env...),
		"--git-dir="+repo.Dir, "archive", "--format=tar", "--end-of-options", commit+"^{commit}")
	t.cmd.Stderr = &capped{w: &t.errs, left: 8 << 10}
	if t.out, err = t.cmd.StdoutPipe(); err == nil {
		err = g.start(t.cmd)
	}
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("read tree: %w", err)
	}
	return t, nil
}

// Read reads the tar. It ends with io.EOF only when git has ended well.
func (t *Tree) Read(p []byte) (int, error) {
	n, err := t.out.Read(p)
	if errors.Is(err, io.EOF) && !t.done {
		t.done = true
		if werr := t.cmd.Wait(); werr != nil {
			return n, fmt.Errorf("git archive: %w: %s", werr, firstLine(t.errs.String()))
		}
	}
	return n, err
}

// Close stops git where it still runs.
func (t *Tree) Close() error {
	t.stop()
	if !t.done {
		t.done = true
		_ = t.out.Close()
		_ = t.cmd.Wait() // it was told to stop; how it took that does not matter
	}
	return nil
}

// listing is what the names and sizes of a tree tell.
type listing struct {
	files      int
	bytes      int64
	submodules []string
	attributes []string // object names of .gitattributes files
}

// list walks the tree's names before anything is unpacked, so that a tree that
// is too large is refused early: a small pack can hold a tree of any size.
func (g *Git) list(ctx context.Context, repo source.Repo, env []string, commit string) (listing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := g.command(ctx, environ(g.settings("/dev/null"), env...),
		"--git-dir="+repo.Dir, "ls-tree", "-r", "-l", "-z", "--full-tree", commit+"^{commit}")
	var errs bytes.Buffer
	cmd.Stderr = &capped{w: &errs, left: 8 << 10}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return listing{}, fmt.Errorf("make pipe: %w", err)
	}
	if err := g.start(cmd); err != nil {
		return listing{}, err
	}
	l, err := g.parseList(out)
	if err != nil {
		cancel()
		_ = out.Close()
		_ = cmd.Wait()
		return listing{}, err
	}
	if err := cmd.Wait(); err != nil {
		return listing{}, noCommit(commit, fmt.Errorf("%w: %s", err, firstLine(errs.String())))
	}
	return l, nil
}

// parseList reads lines of "mode type object size\tpath" with NULs between.
func (g *Git) parseList(r io.Reader) (listing, error) {
	var l listing
	s := bufio.NewScanner(r)
	s.Split(splitNUL)
	for s.Scan() {
		meta, name, ok := strings.Cut(s.Text(), "\t")
		f := strings.Fields(meta)
		if !ok || len(f) != 4 {
			return l, errors.New("parse git ls-tree: unexpected line")
		}
		if f[0] == "160000" {
			l.submodules = append(l.submodules, name)
			continue
		}
		size, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return l, fmt.Errorf("parse git ls-tree: %w", err)
		}
		if path.Base(name) == ".gitattributes" && size < 64<<10 && len(l.attributes) < 64 {
			l.attributes = append(l.attributes, f[2])
		}
		l.files++
		l.bytes += size
		if l.files > g.limits.TreeFiles {
			return l, landward.Errorf(landward.CodeTooLarge, "the tree has more than %d files", g.limits.TreeFiles).
				WithHint("leave generated files and dependencies out of the repository")
		}
		if l.bytes > g.limits.TreeBytes {
			return l, landward.Errorf(landward.CodeTooLarge, "the tree's files are larger than %d MiB together", g.limits.TreeBytes>>20).
				WithCause(landward.Printable(name) + " is where the limit was passed").
				WithHint("leave large files out of the repository")
		}
	}
	return l, s.Err()
}

func splitNUL(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// notices names what a push cannot bring along.
func (g *Git) notices(ctx context.Context, repo source.Repo, env []string, l listing) ([]string, error) {
	var out []string
	for i, s := range l.submodules {
		if i == 5 {
			out = append(out, fmt.Sprintf("… and %d more submodules", len(l.submodules)-i))
			break
		}
		out = append(out, fmt.Sprintf("%s is a submodule: its files do not come with a push, the folder is empty", landward.Printable(s)))
	}
	for _, object := range l.attributes {
		text, err := g.output(ctx, repo.Dir, env, "cat-file", "blob", object)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(text, []byte("filter=lfs")) {
			out = append(out, "the repository uses Git LFS: large files come as pointers, not as their contents")
			break
		}
	}
	return out, nil
}
