// Command landward is the whole of Landward: the server, the command line, and,
// under the name pre-receive, the hook that git runs on a push.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"landward/internal/build/manifest"
	"landward/internal/cli"
	"landward/internal/server"
	"landward/internal/source/git"
)

func main() {
	if git.IsHook(os.Args[0]) {
		os.Exit(git.HookMain(os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.System(server.Version().Version), cli.Servers{
		Serve:   server.Serve,
		Edge:    server.RunEdge,
		Control: server.RunControl,
		Engine:  server.RunEngine,
		Purge:   server.Purge,
		Schema:  manifest.Schema,
	})
	stop()
	os.Exit(code)
}
