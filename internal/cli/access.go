package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"landward/client"
)

func newAccess(f *factory) *cobra.Command {
	o := &accessOptions{}
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Show the app's requests; add and remove who may do what on it",
		Long: `Without a command, shows the access log: the latest requests, one a line, in
the order in which they ended, with -f also those to come. The format combined
is that of other web servers; times are UTC.

With a command, changes who has which role on the app.`,
		Example: `  landward access -f
  landward access --since 1h --status 5xx
  landward access -n 0 --format json | jq .ms`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAccess(cmd, f, o) },
	}
	o.flags(cmd)
	add := &cobra.Command{
		Use:     "add USER ROLE",
		Aliases: []string{"set"},
		Short:   "Give a user a role on the app",
		Long: `The roles are viewer (read all but secrets), deployer (also deploy, roll back
and read logs) and owner (everything on the app).`,
		Example: "  landward access add ann deployer -a blog",
		Args:    exactly(2, "a user and a role"),
		RunE: func(cmd *cobra.Command, args []string) error {
			roles := []string{client.RoleViewer, client.RoleDeployer, client.RoleOwner}
			if !slices.Contains(roles, args[1]) {
				return usagef("%q is no role", clean(args[1])).hint("the roles are viewer, deployer and owner")
			}
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.SetAccess(cmd.Context(), app, args[0], args[1]); err != nil {
				return err
			}
			return f.done(map[string]any{"app": app, "user": args[0], "role": args[1]}, "%s is now %s of %s.", args[0], args[1], app)
		},
	}
	remove := &cobra.Command{
		Use:     "remove USER",
		Aliases: []string{"rm"},
		Short:   "Take a user's role on the app away",
		Args:    exactly(1, "a user"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.RemoveAccess(cmd.Context(), app, args[0]); err != nil {
				return err
			}
			return f.done(map[string]any{"app": app, "user": args[0]}, "%s has no role on %s any more.", args[0], app)
		},
	}
	cmd.AddCommand(add, remove)
	return cmd
}
