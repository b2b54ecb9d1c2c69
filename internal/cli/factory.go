package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"landward/client"
)

// factory is what every command is made from: the state of the process, the
// global flags, and the ways from them to a server, an app and an answer.
type factory struct {
	State
	servers Servers

	app     string // -a
	server  string // --server
	token   string // --token
	data    string // --data
	json    bool   // --json
	verbose bool   // -v
}

// printf writes to standard output with every string argument cleaned.
func (f *factory) printf(format string, args ...any) { printClean(f.Stdout, format, args) }

// note writes to standard error what is no answer: progress, advice.
func (f *factory) note(format string, args ...any) { printClean(f.Stderr, format+"\n", args) }

// trace writes to standard error what -v asks for.
func (f *factory) trace(format string, args ...any) {
	if f.verbose {
		printClean(f.Stderr, "landward: "+format+"\n", args)
	}
}

func printClean(w io.Writer, format string, args []any) {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = clean(s)
		}
	}
	fmt.Fprintf(w, format, args...)
}

// show answers with v itself for --json, otherwise with what human prints.
func (f *factory) show(v any, human func()) error {
	if f.json {
		return writeJSON(f.Stdout, v, "  ")
	}
	human()
	return nil
}

// showList is show for a list: the items for --json, otherwise a table, or
// the line of advice where there are none.
func showList[T any](f *factory, items []T, empty string, fill func() *table) error {
	if f.json {
		if items == nil {
			items = []T{}
		}
		return writeJSON(f.Stdout, items, "  ")
	}
	if len(items) == 0 {
		f.note("%s", empty)
		return nil
	}
	width := 0
	if f.Terminal.Out {
		width, _ = f.Terminal.Size()
	}
	return fill().write(f.Stdout, width)
}

// done answers a command that has no answer of its own: a sentence, or with
// --json {"ok": true} and what the pairs of key and value say.
func (f *factory) done(fields map[string]any, format string, args ...any) error {
	v := map[string]any{"ok": true}
	for k, value := range fields {
		v[k] = value
	}
	return f.show(v, func() { f.printf(format+"\n", args...) })
}

// appName is the app that the command is about: from -a, from LANDWARD_APP, or
// from the folder's git remotes.
func (f *factory) appName(ctx context.Context) (string, error) {
	if f.app != "" {
		return f.app, nil
	}
	if app := f.Env("LANDWARD_APP"); app != "" {
		f.trace("the app is %s, from LANDWARD_APP", app)
		return app, nil
	}
	remotes := f.remotes(ctx, f.Dir)
	if len(remotes) == 0 {
		return "", usagef("which app?").hint("name it with -a APP, set LANDWARD_APP, or link this folder: landward git remote -a APP")
	}
	first := remotes[0]
	for _, r := range remotes[1:] {
		if first.name != "landward" && r.app != first.app {
			return "", usagef("the git remotes lead to several apps: %s and %s", first.app, r.app).
				hint("name the app with -a APP, or call one of the remotes \"landward\"")
		}
	}
	f.trace("the app is %s, from the git remote %q", first.app, first.name)
	return first.app, nil
}

// connect returns a client of the chosen server and the app's name.
func (f *factory) connect(ctx context.Context) (*client.Client, string, error) {
	app, err := f.appName(ctx)
	if err != nil {
		return nil, "", err
	}
	c, err := f.client()
	return c, app, err
}

// readAll reads standard input whole, up to limit bytes.
func (f *factory) readAll(what string, limit int64) (string, error) {
	if f.Terminal.In {
		f.note("Reading %s from standard input; end it with Ctrl-D.", what)
	}
	return readLimited(f.Stdin, what, limit)
}

// readFile reads a file that the user named, up to limit bytes.
func (f *factory) readFile(name, what string, limit int64) (string, error) {
	file, err := f.Open(f.path(name))
	if err != nil {
		return "", failf("cannot read %s: %v", what, err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	return readLimited(file, what, limit)
}

func readLimited(r io.Reader, what string, limit int64) (string, error) {
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(r, limit+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	if n > limit {
		return "", failf("%s is larger than %s", what, size(limit))
	}
	return b.String(), nil
}
