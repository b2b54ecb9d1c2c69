package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

type releasesOptions struct{ limit int }

func newReleases(f *factory) *cobra.Command {
	o := &releasesOptions{}
	list := func(cmd *cobra.Command, _ []string) error { return runReleases(cmd, f, o) }
	cmd := &cobra.Command{
		Use:   "releases",
		Short: "List an app's releases, let one go that is kept running",
		Long: `Without a command, lists the releases, newest first. A star marks what serves, a
plus what is kept running beside it for a quick way back.`,
		Args: none,
		RunE: list,
	}
	cmd.Flags().IntVarP(&o.limit, "num", "n", 20, "how many")
	listCmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the releases, newest first", Args: none, RunE: list}
	listCmd.Flags().AddFlag(cmd.Flags().Lookup("num"))
	info := &cobra.Command{
		Use:     "info [vN]",
		Aliases: []string{"show"},
		Short:   "Show what a release is made of",
		Long:    "Shows one release, the one that serves where none is named.",
		Args:    between(0, 1, "at most a release"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReleasesInfo(cmd, f, args)
		},
		ValidArgsFunction: f.completeReleases,
	}
	cmd.AddCommand(listCmd, info, newReleasesRetire(f), newRollback(f))
	return cmd
}

func runReleases(cmd *cobra.Command, f *factory, o *releasesOptions) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	list, err := c.Releases(cmd.Context(), app, o.limit)
	if err != nil {
		return err
	}
	return showList(f, list, app+" has no release yet.", func() *table {
		t := newTable("", "RELEASE", "WHEN", "BY", "DESCRIPTION")
		for _, r := range list {
			mark := " "
			switch {
			case r.Current:
				mark = "*"
			case !r.WarmUntil.IsZero():
				mark = "+"
			}
			t.add(mark, vN(r.Version), ago(f.Now(), r.CreatedAt), r.Actor.Name, r.Description)
		}
		return t
	})
}

func runReleasesInfo(cmd *cobra.Command, f *factory, args []string) error {
	c, app, v, err := f.connectRelease(cmd.Context(), args, func(a client.App) int { return a.Release }, "has no release that serves")
	if err != nil {
		return err
	}
	r, err := c.Release(cmd.Context(), app, v)
	if err != nil {
		return err
	}
	return f.show(r, func() { f.printRelease(r) })
}

// connectRelease connects, and returns the release that args name or else the
// one of the app that usual picks; where there is none, the app is said to be
// as none has it.
func (f *factory) connectRelease(ctx context.Context, args []string, usual func(client.App) int, none string) (*client.Client, string, int, error) {
	v, err := releaseVersion(args)
	if err != nil {
		return nil, "", 0, err
	}
	c, app, err := f.connect(ctx)
	if err != nil || v != 0 {
		return c, app, v, err
	}
	a, err := c.App(ctx, app)
	if err != nil {
		return nil, "", 0, err
	}
	if v = usual(a); v == 0 {
		return nil, "", 0, &problem{exit: exitNotFound, message: app + " " + none}
	}
	return c, app, v, nil
}

func (f *factory) printRelease(r client.Release) {
	f.printf("%s: %s\n", vN(r.Version), r.Description)
	f.printf("  Source:   %s\n", describe(r.Source))
	f.printf("  By:       %s, %s\n", r.Actor.Name, ago(f.Now(), r.CreatedAt))
	if !r.WarmUntil.IsZero() {
		f.printf("  Warm:     kept running for a quick way back, ends %s\n", until(f.Now(), r.WarmUntil))
	}
	for _, s := range r.Services {
		f.printf("  Image:    %s (%s)\n", s.Image.Ref, size(s.Image.Size))
		for _, p := range s.Processes {
			f.printf("  Process:  %s=%d%s\n", p.Name, p.Replicas, commandOf(p))
		}
	}
	if r.Release != nil {
		f.printf("  Release:  %s (%s)\n", r.Release.String(), r.Phase)
	}
	for _, j := range r.Cron {
		f.printf("  Cron:     %s at %s\n", j.Name, j.Schedule)
	}
	if len(r.Vars) > 0 {
		f.printf("  Vars:     %s\n", strings.Join(r.Vars, " "))
	}
	if len(r.Domains) > 0 {
		f.printf("  Domains:  %s\n", strings.Join(r.Domains, " "))
	}
}

func commandOf(p client.Process) string {
	if p.Command == nil || p.Command.String() == "" {
		return ""
	}
	return "  " + p.Command.String()
}

// releaseVersion reads "v12" or "12"; 0 where there is none.
func releaseVersion(args []string) (int, error) {
	if len(args) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(args[0], "v"))
	if err != nil || n < 1 {
		return 0, usagef("%q is not a release", clean(args[0])).hint("write it like v12; `landward releases` lists them")
	}
	return n, nil
}
