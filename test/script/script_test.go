// Package script runs the command line as users do: one script a behaviour, in
// testdata. The scripts speak to a server in this process that answers with
// wire objects and remembers what it was asked.
package script_test

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"landward/internal/cli"
	"landward/internal/config"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"landward": landward})
}

// landward is the program, with servers that only say what they were told.
func landward() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	state := cli.System("test")
	state.Now = func() time.Time { return fakeNow.Add(time.Minute) }
	code := cli.Main(ctx, state, cli.Servers{
		Serve: told("serve"), Edge: told("edge"), Control: told("control"), Engine: told("engine"), Purge: told("purge"),
		Schema: func() []byte { return []byte("{\"type\": \"object\"}\n") },
	})
	stop()
	os.Exit(code)
}

func told(name string) func(context.Context, config.Config) error {
	return func(_ context.Context, c config.Config) error {
		fmt.Printf("%s data=%s domain=%s http=%s warm=%s\n", name, c.Data, c.Domain, c.HTTP, c.Warm)
		return nil
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: false,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"asked":   asked,
			"mode":    mode,
			"status":  status,
			"waitfor": waitFor,
			"signal":  sendSignal,
		},
	})
}

// setup gives each script a server, a home and a git that knows who it is.
func setup(env *testscript.Env) error {
	f := newFake()
	server := httptest.NewServer(f)
	env.Defer(server.Close)
	env.Values["fake"] = f
	env.Setenv("URL", server.URL)
	env.Setenv("LANDWARD_SERVER", server.URL)
	env.Setenv("LANDWARD_TOKEN", adminToken)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "xdg"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("USER", "ann")
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	env.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(env.WorkDir))
	return nil
}

// asked checks that the server was asked something: `asked 'POST /apps'` looks
// for the text in a line of METHOD PATH BODY.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: asked TEXT")
	}
	lines := ts.Value("fake").(*fake).asked()
	found := strings.Contains(strings.Join(lines, "\n"), args[0])
	if found == neg {
		ts.Fatalf("the server was asked:\n%s", strings.Join(lines, "\n"))
	}
}

// mode checks a file's permissions: `mode 0600 FILE`.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: mode MODE FILE")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm(); got != os.FileMode(want) {
		ts.Fatalf("%s has mode %04o, not %04o", args[1], got, want)
	}
}

// status runs a command and checks its exit code: `status 3 landward ...`.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: status CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		// testscript keeps no exit code but in the error's text.
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("%v", err)
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// waitFor waits until the server was asked something.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: waitfor TEXT")
	}
	if !ts.Value("fake").(*fake).waitFor(args[0], 20*time.Second) {
		ts.Fatalf("the server was never asked %q", args[0])
	}
}

// sendSignal interrupts every background command.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 0 || neg {
		ts.Fatalf("usage: signal")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
}
