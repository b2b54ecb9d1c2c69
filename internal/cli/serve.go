package cli

import (
	"context"

	"github.com/spf13/cobra"

	"landward/internal/config"
)

// serverCall is one of Servers.
type serverCall func(ctx context.Context, c config.Config) error

func newServe(f *factory) *cobra.Command {
	cmd := newServer(f, "serve", "Run the server: edge, control and engine together", f.servers.Serve)
	cmd.Long = `Runs edge, control and engine under one supervisor, until it gets SIGINT or
SIGTERM. The first start prints a link that makes the first administrator.

Each setting is a flag (--build-memory), a variable of the environment
(LANDWARD_BUILD_MEMORY) and a key of the YAML file (build_memory); the first of
these that names it counts.`
	cmd.Example = "  landward serve --domain apps.example.com --http :80 --ssh :2222"
	return cmd
}

func newEdge(f *factory) *cobra.Command {
	return newServer(f, "edge", "Run only the edge: it routes requests to apps", f.servers.Edge)
}

func newControl(f *factory) *cobra.Command {
	return newServer(f, "control", "Run only control: API, git, deployments, database", f.servers.Control)
}

func newEngine(f *factory) *cobra.Command {
	return newServer(f, "engine", "Run only the engine: the one that talks to Docker", f.servers.Engine)
}

// newServer makes a command with every setting of the server as a flag.
func newServer(f *factory, use, short string, call serverCall) *cobra.Command {
	c := config.Default()
	cmd := &cobra.Command{Use: use, Short: short, Args: none}
	cmd.Flags().SortFlags = false
	c.Flags(cmd.Flags())
	cmd.Flags().Lookup("build-cpu").DefValue = "all" // the same text on every machine
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.loadSettings(cmd, &c); err != nil {
			return err
		}
		return call(cmd.Context(), c)
	}
	return cmd
}

// loadSettings completes what the flags say. A wrong setting is a wrong command.
func (f *factory) loadSettings(cmd *cobra.Command, c *config.Config) error {
	if err := c.Load(cmd.Flags(), f.Env, f.readSettings); err != nil {
		return misused(err)
	}
	return nil
}
