package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"

	"landward/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is a State that a test controls, and what a command wrote.
type world struct {
	cli.State
	out, err bytes.Buffer
}

func newWorld(t *testing.T, server string, args ...string) *world {
	t.Helper()
	w := &world{}
	env := map[string]string{"LANDWARD_SERVER": server, "USER": "ann"}
	w.State = cli.State{
		Args: args, Stdin: strings.NewReader(""), Stdout: &w.out, Stderr: &w.err,
		Env: func(name string) string { return env[name] },
		Dir: t.TempDir(), ConfigDir: filepath.Join(t.TempDir(), "landward"), Version: "test",
		Now:  func() time.Time { return time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC) },
		Open: func(name string) (io.ReadCloser, error) { return os.Open(name) },
		Git:  func(context.Context, string, ...string) (string, error) { return "", errors.New("no git here") },
		Terminal: cli.Terminal{
			Size: func() (int, int) { return 80, 24 },
		},
	}
	return w
}

func (w *world) run(ctx context.Context) int { return cli.Main(ctx, w.State, cli.Servers{}) }

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/cli -update", err)
	}
	if got != string(want) {
		t.Errorf("%s is not up to date; look at the difference and run: go test ./internal/cli -update\n--- got\n%s", file, got)
	}
}

// Every command explains itself, in a shape that changes only on purpose.
func TestHelpOfEveryCommand(t *testing.T) {
	seen := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := c.CommandPath()
		t.Run(path, func(t *testing.T) {
			w := newWorld(t, "", append(strings.Fields(path)[1:], "--help")...)
			if code := w.run(t.Context()); code != 0 {
				t.Fatalf("exit code %d: %s", code, w.err.String())
			}
			golden(t, filepath.Join("testdata", "help", strings.ReplaceAll(path, " ", "-")+".txt"), w.out.String())
			for line := range strings.SplitSeq(w.out.String(), "\n") {
				if len([]rune(line)) > 80 {
					t.Errorf("a line of the help is longer than 80 characters: %q", line)
				}
			}
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("short help %q is empty or ends with a full stop", c.Short)
			}
		})
		seen[strings.ReplaceAll(path, " ", "-")+".txt"] = true
		for _, sub := range c.Commands() {
			if !sub.IsAdditionalHelpTopicCommand() {
				walk(sub)
			}
		}
	}
	walk(cli.Root(newWorld(t, "").State))
	files, err := filepath.Glob("testdata/help/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d golden files, %v", len(files), err)
	}
	for _, file := range files {
		if !seen[filepath.Base(file)] {
			t.Errorf("%s is of no command", file)
		}
	}
}

// The reference in docs is what the commands say.
func TestReferenceIsUpToDate(t *testing.T) {
	w := newWorld(t, "", "help", "--markdown")
	if code := w.run(t.Context()); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	golden(t, filepath.Join("..", "..", "docs", "cli.md"), w.out.String())
}

// Every command takes --json.
func TestEveryCommandTakesJSON(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Runnable() && c.InheritedFlags().Lookup("json") == nil && c.Flags().Lookup("json") == nil && c.HasParent() {
			t.Errorf("%s has no --json", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(cli.Root(newWorld(t, "").State))
}

func TestSplitColon(t *testing.T) {
	tests := []struct{ in, want string }{
		{"config:set A=b", "config set A=b"},
		{"config set A=b:c", "config set A=b:c"},
		{"-a blog config:set A=b", "-a blog config set A=b"},
		{"-ablog config:set A=b", "-ablog config set A=b"},
		{"--app blog config:set A=b", "--app blog config set A=b"},
		{"--app=blog config:set A=b", "--app=blog config set A=b"},
		{"-v --json ps:scale web=2", "-v --json ps scale web=2"},
		{"-a config:set config:get A", "-a config:set config get A"},
		{"help config:set", "help config set"},
		{"__complete config:unset A", "__complete config unset A"},
		{"releases:rollback v12", "releases rollback v12"},
		{"git:remote", "git remote"},
		{"apps:ls", "apps ls"},
		{"run config:set", "run config:set"},
		{"run -- config:set", "run -- config:set"},
		{"pg:psql", "pg:psql"},
		{"config:", "config:"},
		{":set", ":set"},
		{"config:set:more", "config:set:more"},
		{"-- config:set", "-- config:set"},
		{"-a", "-a"},
		{"", ""},
	}
	for _, tt := range tests {
		got := strings.Join(cli.SplitColon(strings.Fields(tt.in)), " ")
		if got != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestRemotes(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{"landward", "ssh://git@paas.example.com:2222/blog", "landward=blog at paas.example.com"},
		{"landward", "ssh://git@paas.example.com/blog.git", "landward=blog at paas.example.com"},
		{"landward", "https://landward.example.com/git/blog", "landward=blog at landward.example.com"},
		{"landward", "https://paas.example.com/blog.git", "landward=blog at paas.example.com"},
		{"landward", "git@paas.example.com:blog", "landward=blog at paas.example.com"},
		{"prod", "ssh://git@paas.example.com:2222/blog", "prod=blog at paas.example.com"},
		{"prod", "ssh://git@[::1]:2222/blog", "prod=blog at ::1"},
		{"origin", "ssh://git@github.com/ann", ""},
		{"origin", "ssh://git@github.com:22/ann/blog", ""},
		{"origin", "git@github.com:ann/blog.git", ""},
		{"origin", "https://github.com/blog", ""},
		{"origin", "ssh://ann@host:22/blog", ""},
		{"origin", "/srv/git/blog", ""},
		{"landward", "ssh://git@host:2222/Blog", ""},
		{"landward", "ssh://git@host:2222/", ""},
		{"landward", "ssh://git@host:bad/blog", ""},
		{"landward", "", ""},
	}
	for _, tt := range tests {
		got := strings.Join(cli.RemoteApps("remote."+tt.name+".url\n"+tt.url+"\x00"), ",")
		if got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.name, tt.url, got, tt.want)
		}
	}
	two := "remote.zeta.url\nssh://git@h:1/z\x00remote.landward.url\nssh://git@h:1/l\x00remote.alpha.url\nssh://git@h:1/a\x00"
	if got := strings.Join(cli.RemoteApps(two), ","); got != "landward=l at h,alpha=a at h,zeta=z at h" {
		t.Errorf("order: %s", got)
	}
}

func FuzzRemotes(f *testing.F) {
	f.Add("remote.landward.url\nssh://git@h:1/l\x00")
	f.Add("remote.url\n\x00\n\x00remote..url\ngit@h:x")
	f.Fuzz(func(t *testing.T, out string) {
		for _, r := range cli.RemoteApps(out) {
			if strings.ContainsAny(strings.SplitN(r, "=", 2)[1], "/\x00\n") {
				t.Fatalf("%q gave %q", out, r)
			}
		}
	})
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain\ttext é 漢", "plain\ttext é 漢"},
		{"\x1b[1;31mred\x1b[0m", "red"},
		{"\x1b]0;title\x07x", "x"},
		{"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"},
		{"\x1bPdcs\x1b\\x", "x"},
		{"\x1b(Bx\x1b=y\x1bcz", "xyz"},
		{"a\x00b\x08c\x7f", "a\ufffdb\ufffdc\ufffd"},
		{"\u009b31m", "\ufffd31m"},
		{"abc\u202etxt", "abc\ufffdtxt"},
		{"progress\r", "progress"},
		{"10%\r20%", "10%\ufffd20%"},
		{"\x1b", "\ufffd"},
		{"\x1b[", "\ufffd["},
		{"bad\xffutf8", "bad\ufffdutf8"},
	}
	for _, tt := range tests {
		if got := cli.Clean(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31m")
	f.Add("\x1b\x1b[[mm")
	f.Add("\x1b]\x1b[mx\x07")
	f.Fuzz(func(t *testing.T, in string) {
		for _, r := range cli.Clean(in) {
			if r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q became %q", in, cli.Clean(in))
			}
		}
	})
}

func TestWriteJSONKeepsValues(t *testing.T) {
	var b strings.Builder
	value := "a<b>&\u009b\u202e\x1b\n"
	if err := cli.WriteJSON(&b, map[string]string{"v": value}, ""); err != nil {
		t.Fatal(err)
	}
	if want := `{"v":"a<b>&\u009b\u202e\u001b\n"}` + "\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestTable(t *testing.T) {
	rows := [][]string{{"é", "two"}, {"longer", "a text that goes on and on"}}
	want := "A       B\né       two\nlonger  a text that goes on and on\n"
	if got := cli.Table(0, []string{"A", "B"}, rows...); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for line := range strings.SplitSeq(cli.Table(20, []string{"A", "B"}, rows...), "\n") {
		if len([]rune(line)) > 20 {
			t.Errorf("%q is wider than 20", line)
		}
	}
}

func TestSmallParsers(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "512M": 512 << 20, "1.5g": 3 << 29, "2GiB": 2 << 30, "1kb": 1024} {
		if got, err := cli.ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "M", "-1M", "0", "1X", "NaN", "inf", "1e300", "9999999T"} {
		if got, err := cli.ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, got)
		}
	}
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"10m": now.Add(-10 * time.Minute), "3d": now.AddDate(0, 0, -3),
		"2026-08-22T12:00:00+02:00": now,
	} {
		if got, err := cli.ParseSince(in, now); err != nil || !got.Equal(want) {
			t.Errorf("ParseSince(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "10", "-5m", "yesterday", "-1d"} {
		if got, err := cli.ParseSince(in, now); err == nil {
			t.Errorf("ParseSince(%q) = %v", in, got)
		}
	}
	for in, want := range map[string]string{
		"https://Paas.example.com/": "https://paas.example.com", "paas.example.com": "https://paas.example.com",
		"landward.localhost:8080": "http://landward.localhost:8080", "http://h/api/v1": "http://h",
	} {
		if got, err := cli.NormalServer(in); err != nil || got != want {
			t.Errorf("NormalServer(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ftp://h", "https://u:p@h", "http://h?x=1", "http://"} {
		if got, err := cli.NormalServer(in); err == nil {
			t.Errorf("NormalServer(%q) = %q", in, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "just now", 59 * time.Second: "59s ago", time.Hour: "1h ago", 50 * time.Hour: "2d ago"} {
		if got := cli.Ago(now, now.Add(-d)); got != want {
			t.Errorf("Ago(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 256 << 20: "256 MiB"} {
		if got := cli.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

// On a terminal, run hands over the keys, the size and each new size, and
// gives the terminal back.
func TestRunWithTerminal(t *testing.T) {
	resized := make(chan struct{}, 1)
	frames := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow() //nolint:errcheck // closed by the other side
		_, first, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		frames <- string(first)
		resized <- struct{}{}
		for {
			_, msg, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			frames <- fmt.Sprintf("%d:%s", msg[0], msg[1:])
			if msg[0] == 3 {
				_ = conn.Write(r.Context(), websocket.MessageBinary, []byte("\x01\x1b[31mred"))
				_ = conn.Write(r.Context(), websocket.MessageBinary, []byte("\x04{\"code\":3}"))
			}
		}
	}))
	defer server.Close()
	w := newWorld(t, server.URL, "run", "-a", "blog", "--", "top")
	keys, typing := io.Pipe()
	defer typing.Close() //nolint:errcheck // a pipe in memory
	w.Stdin = keys
	raw, restored := 0, 0
	w.Terminal = cli.Terminal{
		In: true, Out: true,
		Size:    func() (int, int) { return 100, 40 },
		Raw:     func() (func(), error) { raw++; return func() { restored++ }, nil },
		Resized: func(context.Context) <-chan struct{} { return resized },
	}
	if code := w.run(t.Context()); code != 3 {
		t.Errorf("exit code %d, want 3: %s", code, w.err.String())
	}
	if raw != 1 || restored != 1 {
		t.Errorf("the terminal was set to raw %d times and restored %d times", raw, restored)
	}
	if got := <-frames; got != `{"command":["top"],"tty":true,"size":{"width":100,"height":40}}` {
		t.Errorf("start: %s", got)
	}
	if got := <-frames; got != `3:{"width":100,"height":40}` {
		t.Errorf("resize: %s", got)
	}
	if w.out.String() != "\x1b[31mred" {
		t.Errorf("the terminal got %q", w.out.String())
	}
}

// A prompt for a token shows nothing of it, and Ctrl-C ends it.
func TestLoginPrompt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer lw_typed" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(rw, `{"kind":"user","name":"ann","admin":true}`)
	}))
	defer server.Close()
	w := newWorld(t, "", "login", server.URL)
	w.Terminal.In = true
	w.Terminal.Secret = func(context.Context) (string, error) { return " lw_typed ", nil }
	if code := w.run(t.Context()); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	if said := w.out.String() + w.err.String(); strings.Contains(said, "lw_typed") {
		t.Errorf("the token was shown: %q", said)
	}
	info, err := os.Stat(filepath.Join(w.ConfigDir, "hosts.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("hosts.json: %v, %v", info, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w = newWorld(t, "", "login", server.URL)
	w.Terminal.In = true
	w.Terminal.Secret = func(ctx context.Context) (string, error) {
		cancel()
		return "", ctx.Err()
	}
	if code := w.run(ctx); code != 130 {
		t.Errorf("exit code %d after Ctrl-C, want 130", code)
	}
}

// An app is removed only when its name is typed once more.
func TestDestroyAsks(t *testing.T) {
	for _, tt := range []struct {
		typed   string
		code    int
		deleted bool
	}{{"blog\n", 0, true}, {"shop\n", 2, false}, {"\n", 2, false}, {"", 1, false}} {
		deleted := false
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			deleted = deleted || r.Method == http.MethodDelete
			_, _ = io.WriteString(rw, `{"name":"blog"}`)
		}))
		w := newWorld(t, server.URL, "apps", "destroy", "blog")
		w.Terminal.In = true
		w.Stdin = strings.NewReader(tt.typed)
		if code := w.run(t.Context()); code != tt.code || deleted != tt.deleted {
			t.Errorf("typed %q: exit code %d, deleted %v; want %d, %v", tt.typed, code, deleted, tt.code, tt.deleted)
		}
		server.Close()
	}
	// A prompt that nobody answers ends with Ctrl-C.
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"name":"blog"}`) }))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, server.URL, "apps", "destroy", "blog")
	w.Terminal.In = true
	silent, quiet := io.Pipe()
	defer quiet.Close() //nolint:errcheck // a pipe in memory
	w.Stdin = readerFunc(func(p []byte) (int, error) {
		cancel()
		return silent.Read(p)
	})
	if code := w.run(ctx); code != 130 {
		t.Errorf("exit code %d after Ctrl-C, want 130", code)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Colours and cut lines are for terminals alone.
func TestTerminalOutput(t *testing.T) {
	long := strings.Repeat("x", 200)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/logs") {
			_, _ = io.WriteString(rw, `{"line":{"at":"2026-08-22T10:00:00Z","source":"web.1","kind":"app","text":"hello"}}`+"\n")
			return
		}
		_, _ = io.WriteString(rw, `{"releases":[{"version":1,"description":"`+long+`"}]}`)
	}))
	defer server.Close()
	w := newWorld(t, server.URL, "releases", "-a", "blog")
	w.Terminal.Out = true
	if code := w.run(t.Context()); code != 0 {
		t.Fatal(w.err.String())
	}
	for line := range strings.SplitSeq(w.out.String(), "\n") {
		if len([]rune(line)) > 80 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
	w = newWorld(t, server.URL, "releases", "-a", "blog")
	if code := w.run(t.Context()); code != 0 || !strings.Contains(w.out.String(), long) {
		t.Errorf("a pipe gets whole lines: %q", w.out.String())
	}
	w = newWorld(t, server.URL, "logs", "-a", "blog")
	w.Terminal.Color = true
	if code := w.run(t.Context()); code != 0 || !strings.HasPrefix(w.out.String(), "\x1b[") {
		t.Errorf("no colour on a terminal: %q", w.out.String())
	}
	w = newWorld(t, server.URL, "logs", "-a", "blog")
	if code := w.run(t.Context()); code != 0 || w.out.String() != "2026-08-22T10:00:00Z app[web.1]: hello\n" {
		t.Errorf("not as documented: %q", w.out.String())
	}
}
