package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

type deploysOptions struct{ limit int }

func newDeploys(f *factory) *cobra.Command {
	o := &deploysOptions{}
	list := func(cmd *cobra.Command, _ []string) error { return runDeploys(cmd, f, o) }
	cmd := &cobra.Command{
		Use:   "deploys",
		Short: "List deployments, show their output, promote or cancel one",
		Long:  "Without a command, lists the deployments, newest first.",
		Args:  none,
		RunE:  list,
	}
	cmd.Flags().IntVarP(&o.limit, "num", "n", 20, "how many")
	listCmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the deployments, newest first", Args: none, RunE: list}
	listCmd.Flags().AddFlag(cmd.Flags().Lookup("num"))
	cmd.AddCommand(listCmd, newDeploysInfo(f), newDeploysOutput(f), newDeploysPromote(f), newDeploysCancel(f))
	return cmd
}

func runDeploys(cmd *cobra.Command, f *factory, o *deploysOptions) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	list, err := c.Deployments(cmd.Context(), app, o.limit)
	if err != nil {
		return err
	}
	return showList(f, list, "Nothing was deployed to "+app+" yet.", func() *table {
		t := newTable("NUMBER", "STATE", "RELEASE", "WHEN", "BY", "SOURCE")
		for _, d := range list {
			t.add(strconv.Itoa(d.Number), d.State, vN(d.Release), ago(f.Now(), d.CreatedAt), d.Actor.Name, describe(d.Source))
			if d.Canary != nil {
				t.below(canaryLine(*d.Canary))
			}
		}
		return t
	})
}

// describe names a source for a person.
func describe(s client.Source) string {
	switch {
	case len(s.Commit) >= 7:
		return strings.TrimSpace(s.Commit[:7] + " " + s.Title)
	case s.Ref != "":
		return s.Ref
	case s.Title != "":
		return s.Title
	}
	return s.Kind
}

func newDeploysInfo(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "info [NUMBER]",
		Aliases: []string{"show"},
		Short:   "Show a deployment: how it stands and, where it failed, why",
		Long:    "Shows one deployment, the latest where no number is given.",
		Args:    between(0, 1, "at most a deployment's number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, d, err := f.deployment(cmd, args)
			_ = c
			if err != nil {
				return err
			}
			return f.show(d, func() { f.printDeployment(d) })
		},
		ValidArgsFunction: f.completeDeploys,
	}
}

func (f *factory) printDeployment(d client.Deployment) {
	f.printf("Deployment %d of %s\n", d.Number, d.App)
	f.printf("  State:    %s\n", d.State)
	f.printf("  Release:  %s\n", vN(d.Release))
	if d.Canary != nil {
		f.printf("  Canary:   %s\n", canaryLine(*d.Canary))
		f.printf("  Step:     %d of %d, ends %s\n", d.Canary.Step, d.Canary.Steps, until(f.Now(), d.Canary.NextAt))
	}
	f.printf("  Source:   %s\n", describe(d.Source))
	f.printf("  By:       %s\n", d.Actor.Name)
	f.printf("  Began:    %s\n", ago(f.Now(), d.CreatedAt))
	if !d.FinishedAt.IsZero() && !d.StartedAt.IsZero() {
		f.printf("  Took:     %s\n", d.FinishedAt.Sub(d.StartedAt).Round(100*time.Millisecond).String())
	}
	if d.SupersededBy != 0 {
		f.printf("  Replaced: by deployment %d\n", d.SupersededBy)
	}
	if d.Warning != "" {
		f.printf("  Warning:  %s\n", d.Warning)
	}
	if d.Failure != nil {
		f.printf("  Failed:   in step %s\n", d.Failure.Step)
		complain(f.Stdout, d.Failure.Explain()...)
	}
}

// deployment finds the deployment that the arguments name, or the latest.
func (f *factory) deployment(cmd *cobra.Command, args []string) (*client.Client, client.Deployment, error) {
	number, err := deploymentNumber(args)
	if err != nil {
		return nil, client.Deployment{}, err
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return nil, client.Deployment{}, err
	}
	if number > 0 {
		d, err := c.Deployment(cmd.Context(), app, number)
		return c, d, err
	}
	list, err := c.Deployments(cmd.Context(), app, 1)
	if err != nil {
		return nil, client.Deployment{}, err
	}
	if len(list) == 0 {
		return nil, client.Deployment{}, &problem{exit: exitNotFound, message: "nothing was deployed to " + app + " yet"}
	}
	return c, list[0], nil
}

// deploymentNumber reads "12" or "#12"; 0 where there is none.
func deploymentNumber(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(args[0], "#"))
	if err != nil || n < 1 {
		return 0, usagef("%q is not a deployment's number", clean(args[0])).hint("`landward deploys` lists them")
	}
	return n, nil
}

func newDeploysOutput(f *factory) *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use:   "output [NUMBER]",
		Short: "Print what a deployment said, with -f until it ends",
		Long: `Prints the output of one deployment, the latest where no number is given.
With --follow it waits for the end and fails when the deployment does.`,
		Args:              between(0, 1, "at most a deployment's number"),
		ValidArgsFunction: f.completeDeploys,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, d, err := f.deployment(cmd, args)
			if err != nil {
				return err
			}
			if follow {
				return f.follow(cmd.Context(), c, d)
			}
			w := &follower{f: f, client: c, app: d.App, number: d.Number}
			end, err := w.read(cmd.Context(), false)
			if err != nil || !f.json {
				return err
			}
			return writeJSON(f.Stdout, end, "  ")
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for the end")
	return cmd
}

func newDeploysCancel(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel [NUMBER]",
		Aliases: []string{"abort"},
		Short:   "Stop a deployment that has not ended; what serves keeps serving",
		Long: `Stops a deployment, the latest where no number is given: its build is killed,
its new containers go. A canary that runs ends with it, and the version that
served has all requests again.`,
		Args:              between(0, 1, "at most a deployment's number"),
		ValidArgsFunction: f.completeDeploys,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, d, err := f.deployment(cmd, args)
			if err != nil {
				return err
			}
			d, err = c.CancelDeployment(cmd.Context(), d.App, d.Number)
			if err != nil {
				return err
			}
			return f.show(d, func() { f.printf("Deployment %d of %s is %s.\n", d.Number, d.App, d.State) })
		},
	}
}

func newDeploysPromote(f *factory) *cobra.Command {
	detach := false
	cmd := &cobra.Command{
		Use:   "promote [NUMBER]",
		Short: "Have a canary take over now, without the rest of its steps",
		Long: `Sends all requests to the version on trial, whatever its steps and its
measurements say, and waits until it is live. Without a number, the canary that
runs is meant. To end one instead, see landward deploys cancel.`,
		Example: `  landward deploys promote
  landward deploys promote 12 -a blog`,
		Args:              between(0, 1, "at most a deployment's number"),
		ValidArgsFunction: f.completeDeploys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDeploysPromote(cmd, f, args, detach)
		},
	}
	detachFlag(cmd, &detach)
	return cmd
}

func runDeploysPromote(cmd *cobra.Command, f *factory, args []string, detach bool) error {
	ctx := cmd.Context()
	number, err := deploymentNumber(args)
	if err != nil {
		return err
	}
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	if number == 0 {
		a, err := c.App(ctx, app)
		if err != nil {
			return err
		}
		if a.Canary == nil {
			return &problem{exit: exitNotFound, message: app + " has no canary that runs"}
		}
		number = a.Canary.Deployment
	}
	d, err := c.PromoteDeployment(ctx, app, number)
	if err != nil {
		return err
	}
	if detach {
		return f.started(d)
	}
	return f.follow(ctx, c, d)
}
