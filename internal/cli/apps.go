package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newApps(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apps",
		Short: "List, make and remove apps",
		Long:  "Without a command, lists the apps that you may see.",
		Args:  none,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runApps(cmd, f) },
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the apps that you may see", Args: none, RunE: cmd.RunE}
	info := &cobra.Command{
		Use:     "info [APP]",
		Aliases: []string{"show"},
		Short:   "Show an app: where it answers, what it runs, where to push",
		Args:    between(0, 1, "at most one app"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.takeApp(args)
			return runAppsInfo(cmd, f)
		},
		ValidArgsFunction: f.completeApps,
	}
	cmd.AddCommand(list, newCreate(f), info, newDestroy(f))
	return cmd
}

// takeApp lets an argument name the app, as -a does.
func (f *factory) takeApp(args []string) {
	if len(args) > 0 {
		f.app = args[0]
	}
}

func runApps(cmd *cobra.Command, f *factory) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	apps, err := c.Apps(cmd.Context())
	if err != nil {
		return err
	}
	return showList(f, apps, "No apps yet. Make one: landward apps create NAME", func() *table {
		t := newTable("NAME", "STATE", "RELEASE", "UPDATED", "URL")
		for _, a := range apps {
			t.add(a.Name, standing(a), vN(a.Release), ago(f.Now(), a.UpdatedAt), first(a.URLs))
		}
		return t
	})
}

// vN writes a release's version as people do.
func vN(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("v%d", n)
}

func first(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return list[0]
}

func runAppsInfo(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	a, err := c.App(cmd.Context(), app)
	if err != nil {
		return err
	}
	return f.show(a, func() {
		f.printf("%s\n", a.Name)
		f.printf("  State:      %s\n", standing(a))
		f.printf("  Release:    %s\n", vN(a.Release))
		if a.Canary != nil {
			f.printf("  Beside it:  %s\n", canaryLine(*a.Canary))
		}
		if a.Warm != 0 {
			f.printf("  Beside it:  %s, kept running for a quick way back, ends %s\n", vN(a.Warm), until(f.Now(), a.WarmUntil))
		}
		for _, u := range a.URLs {
			f.printf("  URL:        %s\n", u)
		}
		f.printf("  Git:        %s\n", a.GitRemote)
		f.printf("  Git (HTTP): %s\n", a.GitHTTP)
		if a.DeployBranch != "" {
			f.printf("  Deploys:    pushes to %s\n", a.DeployBranch)
		}
		for _, name := range sortedKeys(a.Scale) {
			f.printf("  Scale:      %s=%d\n", name, a.Scale[name])
		}
		f.printf("  Made:       %s\n", ago(f.Now(), a.CreatedAt))
	})
}

type createOptions struct {
	name     string
	noRemote bool
}

func newCreate(f *factory) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an app",
		Long: `Makes an app. In a git repository that has no remote "landward" yet, it also
adds one, so that "git push landward main" deploys.`,
		Example: "  landward apps create blog",
		Args:    between(0, 1, "the app's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.takeApp(args)
			if o.name = f.app; o.name == "" {
				return usagef("this needs the app's name").hint("landward apps create NAME")
			}
			return runCreate(cmd, f, o)
		},
	}
	cmd.Flags().BoolVar(&o.noRemote, "no-remote", false, "do not add a git remote")
	return cmd
}

func runCreate(cmd *cobra.Command, f *factory, o *createOptions) error {
	ctx := cmd.Context()
	c, err := f.client()
	if err != nil {
		return err
	}
	a, err := c.CreateApp(ctx, o.name)
	if err != nil {
		return err
	}
	added := false
	if !o.noRemote && f.inRepository(ctx) && f.remoteURL(ctx, defaultRemote) == "" {
		if err := f.addRemote(ctx, defaultRemote, a.GitRemote); err != nil {
			return err
		}
		added = true
	}
	return f.show(a, func() {
		f.printf("Made %s. It will answer at %s\n", a.Name, first(a.URLs))
		if added {
			f.printf("Added the git remote %q. Deploy with: git push %s main\n", defaultRemote, defaultRemote)
			return
		}
		f.printf("Deploy with: landward deploy -a %s, or git push %s main\n", a.Name, a.GitRemote)
	})
}

type destroyOptions struct{ confirm string }

func newDestroy(f *factory) *cobra.Command {
	o := &destroyOptions{}
	cmd := &cobra.Command{
		Use:     "destroy [APP]",
		Aliases: []string{"delete"},
		Short:   "Remove an app with its releases, volumes, logs and code",
		Example: "  landward apps destroy blog --confirm blog",
		Args:    between(0, 1, "at most one app"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.takeApp(args)
			return runDestroy(cmd, f, o)
		},
		ValidArgsFunction: f.completeApps,
	}
	cmd.Flags().StringVar(&o.confirm, "confirm", "", "the app's `NAME` once more, to not be asked for it")
	return cmd
}

func runDestroy(cmd *cobra.Command, f *factory, o *destroyOptions) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	if o.confirm == "" {
		if !f.Terminal.In {
			return usagef("removing %s cannot be undone", app).hint("say so with --confirm %s", app)
		}
		if _, err := c.App(cmd.Context(), app); err != nil {
			return err
		}
		if o.confirm, err = f.ask(cmd.Context(), "This removes "+app+" and everything it has. Type its name to go on: "); err != nil {
			return err
		}
	}
	if o.confirm != app {
		return usagef("%q is not %q: nothing was removed", clean(o.confirm), app)
	}
	if err := c.DeleteApp(cmd.Context(), app); err != nil {
		return err
	}
	return f.done(map[string]any{"app": app}, "Removed %s.", app)
}
