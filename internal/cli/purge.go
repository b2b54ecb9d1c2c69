package cli

import (
	"github.com/spf13/cobra"

	"landward/internal/config"
)

func newPurge(f *factory) *cobra.Command {
	c := config.Default()
	yes := false
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Remove all that this installation made, nothing else",
		Long: `Removes the containers, networks, volumes and images that carry this
installation's label, and its data folder. Stop the server first. Nothing brings
them back.`,
		Args: none,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags(cmd.Flags())
	cmd.Flags().Lookup("build-cpu").DefValue = "all"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.loadSettings(cmd, &c); err != nil {
			return err
		}
		if !yes {
			if !f.Terminal.In {
				return usagef("removing everything in %s cannot be undone", clean(c.Data)).hint("say so with --yes")
			}
			answer, err := f.ask(cmd.Context(), "This removes every app, and "+clean(c.Data)+". Type yes to go on: ")
			if err != nil {
				return err
			}
			if answer != "yes" {
				return usagef("nothing was removed")
			}
		}
		if err := f.servers.Purge(cmd.Context(), c); err != nil {
			return err
		}
		return f.done(map[string]any{"data": c.Data}, "Removed everything that the installation in %s made.", c.Data)
	}
	return cmd
}
