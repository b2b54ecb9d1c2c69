package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"landward/client"
)

func newAccess(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runAccess(cmd, f) }
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Who may do what on the app: list, add, remove",
		Long: `Without a command, lists who has which role on the app. Administrators may do
all on every app and are listed only where they have a role, too.`,
		Args: none,
		RunE: list,
	}
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
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List who has which role on the app", Args: none, RunE: list},
		add, remove,
	)
	return cmd
}

func runAccess(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	members, err := c.Members(cmd.Context(), app)
	if err != nil {
		return err
	}
	none := "Only administrators may do anything on " + app + ". Give somebody a role: landward access add USER deployer -a " + app
	return showList(f, members, none, func() *table {
		t := newTable("USER", "ROLE")
		for _, m := range members {
			t.add(m.User, m.Role)
		}
		return t
	})
}
