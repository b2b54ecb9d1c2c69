package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

func newDomains(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runDomains(cmd, f) }
	cmd := &cobra.Command{
		Use:   "domains",
		Short: "The hosts that the app answers at: list, add, remove",
		Long:  "Without a command, lists the hosts.",
		Args:  none,
		RunE:  list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the hosts", Args: none, RunE: list},
		newDomainChange(f, "add HOST", "Give the app a host of your own; point its DNS here", (*client.Client).AddDomain),
		newDomainChange(f, "remove HOST", "Take a host away", (*client.Client).RemoveDomain),
	)
	return cmd
}

func runDomains(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	domains, err := c.Domains(cmd.Context(), app)
	if err != nil {
		return err
	}
	return showList(f, domains, app+" has no hosts.", func() *table {
		t := newTable("HOST", "KIND")
		for _, d := range domains {
			kind := "automatic"
			if d.Custom {
				kind = "custom"
			}
			t.add(d.Host, kind)
		}
		return t
	})
}

// domainCall is Client.AddDomain or Client.RemoveDomain.
type domainCall func(c *client.Client, ctx context.Context, app, host string) (*client.Deployment, error)

func newDomainChange(f *factory, use, short string, call domainCall) *cobra.Command {
	detach := false
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: "  landward domains " + strings.Replace(use, "HOST", "www.example.com", 1),
		Args:    exactly(1, "a host, like www.example.com"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			d, err := call(c, cmd.Context(), app, args[0])
			return f.changed(cmd.Context(), c, d, detach, err)
		},
	}
	if strings.HasPrefix(use, "remove") {
		cmd.Aliases = []string{"rm"}
	}
	detachFlag(cmd, &detach)
	return cmd
}
