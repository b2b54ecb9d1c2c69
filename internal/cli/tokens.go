package cli

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

func newTokens(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runTokens(cmd, f) }
	cmd := &cobra.Command{
		Use:   "tokens",
		Short: "Tokens for machines and logins: list, create, revoke",
		Long:  "Without a command, lists the tokens that you may revoke.",
		Args:  none,
		RunE:  list,
	}
	revoke := &cobra.Command{
		Use:     "revoke ID",
		Aliases: []string{"remove", "rm"},
		Short:   "Revoke a token, at once",
		Args:    exactly(1, "a token's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("%q is not a token's ID", clean(args[0])).hint("`landward tokens` lists them")
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			if err := c.DeleteToken(cmd.Context(), id); err != nil {
				return err
			}
			return f.done(map[string]any{"id": id}, "Revoked token %d.", id)
		},
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the tokens", Args: none, RunE: list}, newTokensCreate(f), revoke)
	return cmd
}

func runTokens(cmd *cobra.Command, f *factory) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	tokens, err := c.Tokens(cmd.Context())
	if err != nil {
		return err
	}
	return showList(f, tokens, "There are no tokens.", func() *table {
		t := newTable("ID", "NAME", "BEGINS", "MAY", "USED", "EXPIRES")
		for _, k := range tokens {
			expires := "never"
			if !k.ExpiresAt.IsZero() {
				expires = k.ExpiresAt.UTC().Format(time.DateOnly)
			}
			t.add(itoa(k.ID), k.Name, k.Prefix, tokenRights(k), ago(f.Now(), k.LastUsed), expires)
		}
		return t
	})
}

func tokenRights(t client.Token) string {
	if t.App != "" {
		return t.Role + " of " + t.App
	}
	return "as " + t.User
}

type tokensCreateOptions struct {
	role    string
	user    string
	expires time.Duration
}

func newTokensCreate(f *factory) *cobra.Command {
	o := &tokensCreateOptions{}
	cmd := &cobra.Command{
		Use:     "create NAME",
		Aliases: []string{"add"},
		Short:   "Make a token; its value is shown once",
		Long: `Makes a token. With -a APP it may touch that app alone; otherwise it has your
own rights, or those of --user. The value goes to standard output, the rest to
standard error.`,
		Example: `  landward tokens create ci -a blog --role deployer --expires 720h`,
		Args:    exactly(1, "a name for the token"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runTokensCreate(cmd, f, o, args[0]) },
	}
	cmd.Flags().StringVar(&o.role, "role", "", "what it may do on the app: viewer, deployer (the default) or owner")
	cmd.Flags().StringVar(&o.user, "user", "", "whose rights it has (for administrators)")
	cmd.Flags().DurationVar(&o.expires, "expires", 0, "for how long it works; 0 for good")
	return cmd
}

func runTokensCreate(cmd *cobra.Command, f *factory, o *tokensCreateOptions, name string) error {
	t := client.NewToken{Name: name, App: f.app, Role: o.role, User: o.user, ExpiresIn: client.Duration(o.expires)}
	switch {
	case o.expires < 0:
		return usagef("--expires cannot be below zero")
	case f.app == "" && o.role != "":
		return usagef("a role is for one app").hint("name the app with -a APP")
	case f.app != "" && o.role == "":
		t.Role = client.RoleDeployer
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	made, err := c.CreateToken(cmd.Context(), t)
	if err != nil {
		return err
	}
	return f.show(made, func() {
		f.note("Made token %d (%s). Keep its value: it is not shown again.", made.ID, tokenRights(made.Token))
		f.printf("%s\n", made.Value)
	})
}
