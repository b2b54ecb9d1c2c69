package cli

import (
	"github.com/spf13/cobra"

	"landward/client"
)

func newUsers(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runUsers(cmd, f) }
	cmd := &cobra.Command{
		Use:   "users",
		Short: "People: list, create, remove; for administrators",
		Long:  "Without a command, lists the users.",
		Args:  none,
		RunE:  list,
	}
	admin := false
	create := &cobra.Command{
		Use:     "create NAME",
		Aliases: []string{"add"},
		Short:   "Make a user",
		Long: `Makes a user, who then needs a key (landward keys add --user) or a token
(landward tokens create --user).`,
		Args: exactly(1, "the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			u, err := c.CreateUser(cmd.Context(), client.NewUser{Name: args[0], Admin: admin})
			if err != nil {
				return err
			}
			return f.show(u, func() {
				f.printf("Made the user %s. Give a way in: landward tokens create NAME --user %s\n", u.Name, u.Name)
			})
		},
	}
	create.Flags().BoolVar(&admin, "admin", false, "an administrator")
	remove := &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove a user with keys and tokens",
		Args:    exactly(1, "the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			if err := c.DeleteUser(cmd.Context(), args[0]); err != nil {
				return err
			}
			return f.done(map[string]any{"user": args[0]}, "Removed the user %s.", args[0])
		},
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the users", Args: none, RunE: list}, create, remove)
	return cmd
}

func runUsers(cmd *cobra.Command, f *factory) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	users, err := c.Users(cmd.Context())
	if err != nil {
		return err
	}
	return showList(f, users, "There are no users.", func() *table {
		t := newTable("NAME", "ROLE", "STATE", "MADE")
		for _, u := range users {
			role, state := "user", "active"
			if u.Admin {
				role = "administrator"
			}
			if u.Disabled {
				state = "disabled"
			}
			t.add(u.Name, role, state, ago(f.Now(), u.CreatedAt))
		}
		return t
	})
}
