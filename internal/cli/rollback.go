package cli

import "github.com/spf13/cobra"

type rollbackOptions struct{ detach bool }

func newRollback(f *factory) *cobra.Command {
	o := &rollbackOptions{}
	cmd := &cobra.Command{
		Use:   "rollback [vN]",
		Short: "Go back to a release",
		Long: `Makes a new release that is like an earlier one: image, variables, processes,
domains and health rules together. Where none is named, like the one before the
current.`,
		Example: `  landward rollback
  landward rollback v12`,
		Args:              between(0, 1, "at most a release"),
		RunE:              func(cmd *cobra.Command, args []string) error { return runRollback(cmd, f, o, args) },
		ValidArgsFunction: f.completeReleases,
	}
	detachFlag(cmd, &o.detach)
	return cmd
}

// detachFlag gives a command that starts a deployment the flag to not watch it.
func detachFlag(cmd *cobra.Command, detach *bool) {
	cmd.Flags().BoolVarP(detach, "detach", "d", false, "do not wait for the deployment")
}

func runRollback(cmd *cobra.Command, f *factory, o *rollbackOptions, args []string) error {
	v, err := releaseVersion(args)
	if err != nil {
		return err
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	d, err := c.Rollback(cmd.Context(), app, v)
	if err != nil {
		return err
	}
	if o.detach {
		return f.started(d)
	}
	return f.follow(cmd.Context(), c, d)
}
