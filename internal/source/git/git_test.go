package git_test

import (
	"archive/tar"
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
	"landward/internal/source/git/gittest"
)

func TestMain(m *testing.M) { gittest.Main(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stored pushes the work tree past our server, straight into a repository.
func stored(t testing.TB, f *gittest.Fixture, w *gittest.Work) source.Repo {
	t.Helper()
	repo := f.Intake.Repo("my-app")
	check(t, f.Git.Create(t.Context(), repo.Dir))
	w.Must("push", "-q", "--force", repo.Dir, "main")
	return repo
}

// entries reads a tree: a file's text, "link:TARGET" or "dir".
func entries(t testing.TB, r io.Reader) map[string]string {
	t.Helper()
	out := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r)
			check(t, err)
			return out
		}
		check(t, err)
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
		case tar.TypeDir:
			out[h.Name] = "dir"
		case tar.TypeSymlink:
			out[h.Name] = "link:" + h.Linkname
		default:
			text, err := io.ReadAll(tr)
			check(t, err)
			out[h.Name] = string(text)
		}
	}
}

func TestCreate(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	dir := filepath.Join(f.Dir, "repos", "a")
	if git.Exists(dir) {
		t.Error("exists before it was made")
	}
	check(t, f.Git.Create(t.Context(), dir))
	check(t, f.Git.Create(t.Context(), dir))
	if starts := f.Starts(t); len(starts) != 1 {
		t.Errorf("git was started %d times", len(starts))
	}
	list, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range list {
		if e.Name() == "hooks" {
			t.Error("the template's hooks came along")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(f.Dir, "repos", ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	repo := source.Repo{App: "a", Dir: dir}
	check(t, f.Git.SetHead(t.Context(), repo, "trunk"))
	head, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	check(t, err)
	if string(head) != "ref: refs/heads/trunk\n" {
		t.Errorf("HEAD = %q", head)
	}
	if err := f.Git.SetHead(t.Context(), repo, "-m"); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("err = %v", err)
	}
}

func TestNewWithoutGit(t *testing.T) {
	if _, err := git.New(filepath.Join(t.TempDir(), "git"), git.Limits{}); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("err = %v", err)
	}
}

func TestTree(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	w := gittest.NewWork(t)
	w.Write("hidden.txt", "h")
	w.Write("subst.txt", "$Format:%H$")
	w.Write("big.psd", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
	w.Write("sub/.gitattributes", "*.psd filter=lfs diff=lfs merge=lfs -text\n")
	check(t, os.Symlink("/etc/passwd", filepath.Join(w.Dir, "link")))
	inner := gittest.NewWork(t)
	w.Must("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.Dir, "vendored")
	commit := w.Commit(".gitattributes", "hidden.txt export-ignore\nsubst.txt export-subst\n")
	repo := stored(t, f, w)

	tree, err := f.Git.Tree(t.Context(), repo, nil, commit)
	check(t, err)
	got := entries(t, tree)
	check(t, tree.Close())
	for name, want := range map[string]string{
		"README.md": "hello\n", "hidden.txt": "h", "subst.txt": "$Format:%H$", "link": "link:/etc/passwd", "vendored/": "dir",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	if len(tree.Notices) != 2 || !strings.Contains(tree.Notices[0], "vendored is a submodule") || !strings.Contains(tree.Notices[1], "Git LFS") {
		t.Errorf("notices %q", tree.Notices)
	}
	if tree.Files != 8 || tree.Bytes == 0 { // .gitmodules among them
		t.Errorf("files %d, bytes %d", tree.Files, tree.Bytes)
	}
	early, err := f.Git.Tree(t.Context(), repo, nil, commit)
	check(t, err)
	check(t, early.Close())
}

func TestTreeRefuses(t *testing.T) {
	f := gittest.New(t, git.Limits{TreeFiles: 3, TreeBytes: 100})
	w := gittest.NewWork(t)
	small := w.Must("rev-parse", "HEAD")
	large := w.Commit("large", strings.Repeat("x", 100))
	w.Must("rm", "-q", "-f", "large")
	for i := range 3 {
		w.Write(fmt.Sprint(i), "")
	}
	many := w.Commit("more", "")
	blob := w.Must("rev-parse", "HEAD:README.md")
	repo := stored(t, f, w)
	for name, tt := range map[string]struct {
		commit string
		want   landward.Code
	}{
		"bytes":   {large, landward.CodeTooLarge},
		"files":   {many, landward.CodeTooLarge},
		"a blob":  {blob, landward.CodeNotFound},
		"nothing": {strings.Repeat("1", 40), landward.CodeNotFound},
		"option":  {"--output=/tmp/x", landward.CodeInvalid},
		"a name":  {"main", landward.CodeInvalid},
		"short":   {small[:10], landward.CodeInvalid},
	} {
		tree, err := f.Git.Tree(t.Context(), repo, nil, tt.commit)
		if err == nil {
			_ = tree.Close()
		}
		if landward.CodeOf(err) != tt.want {
			t.Errorf("%s: err = %v", name, err)
		}
		if tt.want == landward.CodeTooLarge {
			continue
		}
		if _, err := f.Git.CommitInfo(t.Context(), repo, nil, tt.commit); landward.CodeOf(err) != tt.want {
			t.Errorf("%s: CommitInfo: %v", name, err)
		}
	}
}

// A small pack can hold a tree of 10^10 files.
func TestTreeOfTrees(t *testing.T) {
	f := gittest.New(t, git.Limits{TreeFiles: 1000})
	w := gittest.NewWork(t)
	object := w.Must("rev-parse", "HEAD:README.md")
	kind := "100644 blob"
	for range 10 {
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "%s %s\t%d\n", kind, object, i)
		}
		cmd := w.Cmd("mktree")
		cmd.Stdin = strings.NewReader(list.String())
		out, err := cmd.Output()
		check(t, err)
		object, kind = strings.TrimSpace(string(out)), "040000 tree"
	}
	commit := w.Must("commit-tree", "-m", "bomb", object)
	w.Must("update-ref", "refs/heads/main", commit)
	repo := stored(t, f, w)
	if _, err := f.Git.Tree(t.Context(), repo, nil, commit); landward.CodeOf(err) != landward.CodeTooLarge {
		t.Errorf("err = %v", err)
	}
}

func TestCommitInfo(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	w := gittest.NewWork(t)
	w.Must("commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m",
		"Fix \x1b[31mit\u202e\n\nbody [skip ci]\n", "--author", "E\x9bve <eve@example.com>", "--date", "2026-01-02T03:04:05+06:00")
	repo := stored(t, f, w)
	c, err := f.Git.CommitInfo(t.Context(), repo, nil, w.Must("rev-parse", "HEAD"))
	check(t, err)
	if c.Title != "Fix \uFFFD[31mit\uFFFD" || c.Message != c.Title+"\n\nbody [skip ci]" {
		t.Errorf("title %q, message %q", c.Title, c.Message)
	}
	if c.Author != "E\uFFFDve" || c.Email != "eve@example.com" || !c.When.Equal(time.Date(2026, 1, 1, 21, 4, 5, 0, time.UTC)) {
		t.Errorf("commit %+v", c)
	}
}

func TestMaintain(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	w := gittest.NewWork(t)
	repo := stored(t, f, w)
	objects := filepath.Join(repo.Dir, "objects")
	now := time.Now()
	for name, age := range map[string]time.Duration{"tmp_objdir-incoming-old": 25 * time.Hour, "tmp_objdir-incoming-new": time.Hour} {
		check(t, os.Mkdir(filepath.Join(objects, name), 0o700))
		check(t, os.Chtimes(filepath.Join(objects, name), now.Add(-age), now.Add(-age)))
	}
	check(t, f.Git.Maintain(t.Context(), repo, now))
	left, err := filepath.Glob(filepath.Join(objects, "tmp_objdir-*"))
	check(t, err)
	if len(left) != 1 || filepath.Base(left[0]) != "tmp_objdir-incoming-new" {
		t.Errorf("left %v", left)
	}
	if packs, _ := filepath.Glob(filepath.Join(objects, "pack", "*.pack")); len(packs) != 1 {
		t.Errorf("packs %v", packs)
	}
	if _, err := f.Git.CommitInfo(t.Context(), repo, nil, w.Must("rev-parse", "HEAD")); err != nil {
		t.Error(err)
	}
}

var refNames = []string{
	"refs/heads/main", "refs/heads/feature/x", "refs/tags/v1.0", "refs/heads/a.b", "refs/heads/é", "refs/heads/@x", "refs/heads/a@b",
	"refs/heads/", "refs/heads/a..b", "refs/heads/.a", "refs/heads/a/.b", "refs/heads/a.lock", "refs/heads/a.lock/b",
	"refs/heads/a b", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?", "refs/heads/a*", "refs/heads/a[", `refs/heads/a\b`,
	"refs/heads/a\x7f", "refs/heads/a\n", "refs/heads//a", "refs/heads/a/", "refs/heads/a.", "refs/heads/a@{1}", "refs/heads/../x", "refs/heads/a\x1b[0m",
}

// No name passes that git's own rules refuse, and the other way round.
func TestCheckRefLikeGit(t *testing.T) {
	for _, name := range refNames {
		want := exec.CommandContext(t.Context(), "git", "check-ref-format", name).Run() == nil
		if got := git.CheckRef(name) == nil; got != want {
			t.Errorf("%q: %t, git says %t", name, got, want)
		}
	}
	for _, name := range []string{"refs/heads/-x", "refs/heads/--upload-pack=x", "refs/heads/@", "refs/heads", "HEAD", "main", "refs/notes/x", "refs/heads/" + strings.Repeat("x", 300)} {
		if git.CheckRef(name) == nil {
			t.Errorf("%q passes", name)
		}
	}
}

func FuzzCheckRef(f *testing.F) {
	for _, name := range refNames {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if git.CheckRef(name) == nil && exec.CommandContext(t.Context(), "git", "check-ref-format", name).Run() != nil {
			t.Errorf("%q passes", name)
		}
	})
}

func TestLines(t *testing.T) {
	w, next, end := git.NewLines()
	all := func() (out []string, ok bool) {
		for {
			batch, ok, done := next()
			out = append(out, batch...)
			if done {
				return out, ok
			}
		}
	}
	for _, text := range []string{"one\ntw", "o\n\n", "50%\r100%\r\n", "\x1b[31mred\n", strings.Repeat("x", 9000), "\nend"} {
		n, err := io.WriteString(w, text)
		if n != len(text) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	end(true)
	got, ok := all()
	want := []string{"one", "two", "", "100%", "\uFFFD[31mred", strings.Repeat("x", 8192), strings.Repeat("x", 9000-8192), "end"}
	if !slices.Equal(got, want) || !ok {
		t.Errorf("%t, %q", ok, got)
	}

	// Nobody reads: writing goes on, what is too much is counted.
	w, next, end = git.NewLines()
	for range 3000 {
		_, err := io.WriteString(w, strings.Repeat("y", 1000)+"\n")
		check(t, err)
	}
	end(false)
	got, ok = all()
	if len(got) > 1100 || !strings.Contains(got[len(got)-1], "lines left out") || ok {
		t.Errorf("%t, %d lines, last %q", ok, len(got), got[len(got)-1])
	}
}

// A hook that nobody expects is refused, whatever it says.
func TestHookUnknownPush(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	line := strings.Repeat("0", 40) + " " + strings.Repeat("1", 40) + " refs/heads/main\n"
	tests := map[string]struct {
		env  map[string]string
		in   string
		want string
	}{
		"made-up id":   {map[string]string{git.HookPushVar: strings.Repeat("a", 32)}, line, "does not know this push"},
		"no id":        {map[string]string{}, line, "only in a push that Landward serves"},
		"no server":    {map[string]string{git.HookPushVar: "x", git.HookSocketVar: "/nonexistent"}, line, "Landward is not running"},
		"nonsense":     {map[string]string{git.HookPushVar: "x"}, "what\n", "not a ref update"},
		"endless":      {map[string]string{git.HookPushVar: "x"}, strings.Repeat(line, 12000), "too many refs"},
		"many options": {map[string]string{git.HookPushVar: "x", "GIT_PUSH_OPTION_COUNT": "1000"}, line, "more than 100 options"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{git.HookSocketVar: filepath.Join(f.Dir, "hook.sock")}
			maps.Copy(env, tt.env)
			var out bytes.Buffer
			code := git.HookMain(strings.NewReader(tt.in), &out, &out, func(k string) string { return env[k] })
			if code != 1 || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit %d: %s", code, out.String())
			}
		})
	}
	if len(f.Intake.Pushes()) != 0 {
		t.Error("the Intake was asked")
	}
	info, err := os.Stat(filepath.Join(f.Dir, "hook.sock"))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v", info.Mode())
	}
}

// The server runs git with these arguments and nothing else.
func TestStarts(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	w := gittest.NewWork(t)
	repo := stored(t, f, w)
	commit := w.Must("rev-parse", "HEAD")
	tree, err := f.Git.Tree(t.Context(), repo, []string{"GIT_OBJECT_DIRECTORY=" + filepath.Join(repo.Dir, "objects")}, commit)
	check(t, err)
	entries(t, tree)
	_, err = f.Git.CommitInfo(t.Context(), repo, nil, commit)
	check(t, err)
	var out bytes.Buffer
	check(t, f.Server.Advertise(t.Context(), repo, git.UploadPack, "version=2 --evil", &out))

	want := [][]string{
		{"init", "--quiet", "--bare", "--template=", "--initial-branch=main"},
		{"--git-dir=" + repo.Dir, "ls-tree", "-r", "-l", "-z", "--full-tree", commit + "^{commit}"},
		{"--git-dir=" + repo.Dir, "archive", "--format=tar", "--end-of-options", commit + "^{commit}"},
		{"--git-dir=" + repo.Dir, "log", "-1", "--no-walk", "--encoding=UTF-8", "--format=%H%x00%an%x00%ae%x00%aI%x00%B",
			"--end-of-options", commit + "^{commit}", "--"},
		{"upload-pack", "--stateless-rpc", "--http-backend-info-refs", repo.Dir},
	}
	starts := f.Starts(t)
	if len(starts) != len(want) {
		t.Fatalf("%d starts: %q", len(starts), starts)
	}
	allowed := []string{"PATH", "HOME", "LANG", "LC_ALL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_ATTR_NOSYSTEM",
		"GIT_NO_REPLACE_OBJECTS", "GIT_TERMINAL_PROMPT", "GIT_CONFIG_COUNT", "GIT_OBJECT_DIRECTORY"}
	for i, s := range starts {
		if i == 0 {
			s.Argv = s.Argv[1:] // --git-dir of a folder with a random name
		}
		if !slices.Equal(s.Argv, want[i]) {
			t.Errorf("argv %q\nwant %q", s.Argv, want[i])
		}
		for _, kv := range s.Env {
			name, _, _ := strings.Cut(kv, "=")
			if !slices.Contains(allowed, name) && !strings.HasPrefix(name, "GIT_CONFIG_KEY_") && !strings.HasPrefix(name, "GIT_CONFIG_VALUE_") {
				t.Errorf("environment has %s", kv)
			}
		}
	}
}

// A stopped server takes nothing more.
func TestStopped(t *testing.T) {
	f := gittest.New(t, git.Limits{})
	repo := f.Intake.Repo("my-app")
	check(t, f.Git.Create(t.Context(), repo.Dir))
	f.Stop()
	s := git.Session{In: io.NopCloser(strings.NewReader("")), Out: io.Discard}
	if _, err := f.Server.Receive(context.Background(), repo, landward.Actor{}, s); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("Receive: %v", err)
	}
	if _, err := f.Server.Upload(context.Background(), repo, s); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("Upload: %v", err)
	}
}

// More transfers than there are places for are refused, not queued.
func TestPlaces(t *testing.T) {
	f := gittest.New(t, git.Limits{Pushes: 1})
	repo := f.Intake.Repo("my-app")
	check(t, f.Git.Create(t.Context(), repo.Dir))
	in, feed := io.Pipe()
	out := &signal{seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := f.Server.Receive(context.Background(), repo, landward.Actor{}, git.Session{In: in, Out: out})
		done <- err
	}()
	<-out.seen
	s := git.Session{In: io.NopCloser(strings.NewReader("")), Out: io.Discard}
	if _, err := f.Server.Receive(context.Background(), repo, landward.Actor{}, s); landward.CodeOf(err) != landward.CodeLimited {
		t.Errorf("second push: %v", err)
	}
	check(t, feed.Close())
	check(t, <-done)
}

// A small pack that unpacks to more than git may hold: it ends in an error and
// leaves nothing. Blobs would be streamed; a commit is not.
func TestPackBomb(t *testing.T) {
	g, err := git.New("", git.Limits{Memory: 64 << 20}) // the recorder would need more
	check(t, err)
	repo := source.Repo{App: "my-app", Dir: filepath.Join(t.TempDir(), "my-app")}
	check(t, g.Create(t.Context(), repo.Dir))
	s := git.NewServer(git.ServerOptions{Git: g, HooksDir: t.TempDir(), Socket: "/nonexistent"})

	const size = 200 << 20
	var in bytes.Buffer
	line := strings.Repeat("0", 40) + " " + strings.Repeat("1", 40) + " refs/heads/main\x00report-status\n"
	fmt.Fprintf(&in, "%04x%s0000PACK\x00\x00\x00\x02\x00\x00\x00\x01", len(line)+4, line)
	in.Write(packHeader(1, size))
	z := zlib.NewWriter(&in)
	piece := make([]byte, 1<<20)
	for range size / len(piece) {
		_, err := z.Write(piece)
		check(t, err)
	}
	check(t, z.Close())
	if in.Len() > 1<<20 {
		t.Fatalf("the pack has %d bytes", in.Len())
	}
	var out bytes.Buffer
	_, err = s.Receive(t.Context(), repo, landward.Actor{}, git.Session{In: io.NopCloser(&in), Out: &out, Err: &out})
	check(t, err)
	if !strings.Contains(out.String(), "ut of memory") {
		t.Errorf("git said %q", out.String())
	}
	left, err := filepath.Glob(filepath.Join(repo.Dir, "objects", "tmp_*"))
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// packHeader is how an object in a pack begins: its type and size.
func packHeader(kind byte, size int) []byte {
	b := []byte{kind<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	return b
}

// signal tells that something was written.
type signal struct {
	seen chan struct{}
	told bool
}

func (s *signal) Write(p []byte) (int, error) {
	if !s.told {
		s.told = true
		close(s.seen)
	}
	return len(p), nil
}
