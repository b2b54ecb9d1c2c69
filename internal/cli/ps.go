package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

func newPs(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runPs(cmd, f) }
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "The app's running units: list, scale, restart, stop, start",
		Long:  "Without a command, lists the units.",
		Args:  none,
		RunE:  list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the units", Args: none, RunE: list},
		newScale(f), newPsRestart(f),
		newPsSwitch(f, "stop", "Take every unit away; a page says that the app is stopped", "Stopped %s.", (*client.Client).Stop),
		newPsSwitch(f, "start", "Bring a stopped app back", "Started %s.", (*client.Client).Start),
	)
	return cmd
}

func runPs(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	units, err := c.Units(cmd.Context(), app)
	if err != nil {
		return err
	}
	err = showList(f, units, app+" runs nothing.", func() *table {
		t := newTable("UNIT", "STATE", "RELEASE", "STARTED", "RESTARTS", "NOTE")
		for _, u := range units {
			t.add(u.Name, u.State, vN(u.Release), ago(f.Now(), u.StartedAt), strconv.Itoa(u.Restarts), unitNote(u))
		}
		return t
	})
	if err != nil || f.json {
		return err
	}
	a, err := c.App(cmd.Context(), app)
	if err != nil {
		return err
	}
	f.noteTraffic(a)
	f.noteStrategy(a)
	return nil
}

func unitNote(u client.Unit) string {
	switch {
	case u.OOMKilled:
		return "killed: out of memory"
	case u.State == "exited" || u.State == "restarting":
		return fmt.Sprintf("exit code %d", u.ExitCode)
	}
	return ""
}

type scaleOptions struct{ detach bool }

func newScale(f *factory) *cobra.Command {
	o := &scaleOptions{}
	cmd := &cobra.Command{
		Use:   "scale [PROCESS=COUNT...]",
		Short: "Show or set how many copies of each process run",
		Example: `  landward ps scale web=2 worker=1
  landward ps scale web=+1`,
		Args: between(0, -1, ""),
		RunE: func(cmd *cobra.Command, args []string) error { return runScale(cmd, f, o, args) },
	}
	detachFlag(cmd, &o.detach)
	return cmd
}

func runScale(cmd *cobra.Command, f *factory, o *scaleOptions, args []string) error {
	wishes, err := parseScale(args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	if len(args) > 0 && !slices.ContainsFunc(wishes, func(w scaleWish) bool { return w.relative }) {
		return f.scale(ctx, c, app, wishes, nil, o.detach)
	}
	now, err := currentScale(ctx, c, app)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return f.scale(ctx, c, app, wishes, now, o.detach)
	}
	return f.show(now, func() {
		if len(now) == 0 {
			f.note("%s has no release yet.", app)
		}
		for _, name := range sortedKeys(now) {
			f.printf("%s=%d\n", name, now[name])
		}
	})
}

// scaleWish is one PROCESS=COUNT, or PROCESS=+COUNT and PROCESS=-COUNT.
type scaleWish struct {
	process  string
	count    int
	relative bool
}

func parseScale(args []string) ([]scaleWish, error) {
	var wishes []scaleWish
	for _, arg := range args {
		name, count, ok := strings.Cut(arg, "=")
		n, err := strconv.Atoi(count)
		if !ok || name == "" || err != nil {
			return nil, usagef("%q is not PROCESS=COUNT", clean(arg)).hint("write it like web=2")
		}
		wishes = append(wishes, scaleWish{process: name, count: n, relative: strings.ContainsAny(count, "+-")})
	}
	return wishes, nil
}

func (f *factory) scale(ctx context.Context, c *client.Client, app string, wishes []scaleWish, now map[string]int, detach bool) error {
	scale := map[string]int{}
	for _, w := range wishes {
		n := w.count
		if w.relative {
			n += now[w.process]
		}
		if n < 0 {
			return usagef("%s cannot run %d times", clean(w.process), n)
		}
		scale[w.process] = n
	}
	d, err := c.Scale(ctx, app, scale)
	return f.changed(ctx, c, d, detach, err)
}

// currentScale is how many copies of each process the app is to have: those of
// its release and, over them, what was set since.
func currentScale(ctx context.Context, c *client.Client, app string) (map[string]int, error) {
	a, err := c.App(ctx, app)
	if err != nil {
		return nil, err
	}
	scale := map[string]int{}
	if a.Release > 0 {
		r, err := c.Release(ctx, app, a.Release)
		if err != nil {
			return nil, err
		}
		for _, s := range r.Services {
			for _, p := range s.Processes {
				scale[p.Name] = p.Replicas
			}
		}
	}
	maps.Copy(scale, a.Scale)
	return scale, nil
}

func newPsRestart(f *factory) *cobra.Command {
	detach := false
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Replace every unit with a new one, without downtime",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			d, err := c.Restart(cmd.Context(), app)
			return f.changed(cmd.Context(), c, d, detach, err)
		},
	}
	detachFlag(cmd, &detach)
	return cmd
}

func newPsSwitch(f *factory, use, short, said string, call func(*client.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := call(c, cmd.Context(), app); err != nil {
				return err
			}
			return f.done(map[string]any{"app": app}, said, app)
		},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
