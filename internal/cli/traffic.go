package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// standing is how an app stands, in a word or two.
func standing(a client.App) string {
	var words []string
	if a.State != client.AppDeployed {
		words = append(words, a.State)
	}
	asleep := "asleep"
	if a.Returned > 0 {
		asleep += " (" + size(a.Returned) + " returned)"
	}
	for _, w := range []struct {
		is   bool
		word string
	}{{a.Asleep, asleep}, {a.Paused, "paused"}, {a.Maintenance, "maintenance"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	if len(words) == 0 {
		return a.State
	}
	return strings.Join(words, ", ")
}

// noteTraffic says what keeps requests from an app's units.
func (f *factory) noteTraffic(a client.App) {
	if a.Asleep && a.Returned > 0 {
		f.note("%s is asleep and has returned %s of memory: the next request wakes it.", a.Name, size(a.Returned))
	} else if a.Asleep {
		f.note("%s is asleep: the next request wakes it.", a.Name)
	}
	if a.Paused {
		limit := ""
		if a.MaxPause > 0 {
			limit = ", each for at most " + brief(time.Duration(a.MaxPause))
		}
		f.note("%s is paused: requests wait%s. Go on with: landward resume -a %s", a.Name, limit, a.Name)
	}
	if a.Maintenance {
		f.note("%s is in maintenance: requests get a page. End it with: landward maintenance off -a %s", a.Name, a.Name)
	}
}

func newMaintenance(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maintenance",
		Short: "Show a page in the app's stead: on, off",
		Long: `Without a command, says whether the page is shown. The app's units run on and
can be deployed meanwhile; requests do not reach them.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMaintenance(cmd, f) },
	}
	message := ""
	on := &cobra.Command{
		Use:     "on",
		Short:   "Answer every request with a page that says so",
		Example: `  landward maintenance on --message "Back at noon."`,
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMaintenanceChange(cmd, f, client.Maintenance{On: true, Message: message})
		},
	}
	on.Flags().StringVarP(&message, "message", "m", "", "one line of `TEXT` on the page")
	off := &cobra.Command{
		Use:   "off",
		Short: "Let requests reach the app again",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMaintenanceChange(cmd, f, client.Maintenance{})
		},
	}
	cmd.AddCommand(on, off)
	return cmd
}

func runMaintenance(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	a, err := c.App(cmd.Context(), app)
	if err != nil {
		return err
	}
	return f.show(client.Maintenance{On: a.Maintenance, Message: a.Message}, func() {
		switch {
		case !a.Maintenance:
			f.printf("The maintenance page of %s is off.\n", app)
		case a.Message == "":
			f.printf("The maintenance page of %s is on.\n", app)
		default:
			f.printf("The maintenance page of %s is on: %s\n", app, a.Message)
		}
	})
}

func runMaintenanceChange(cmd *cobra.Command, f *factory, m client.Maintenance) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	if err := c.SetMaintenance(cmd.Context(), app, m); err != nil {
		return err
	}
	said := "%s answers again."
	if m.On {
		said = "Every request for %s gets the maintenance page."
	}
	return f.done(map[string]any{"app": app, "on": m.On}, said, app)
}

func newPause(f *factory) *cobra.Command {
	var limit time.Duration
	call := func(c *client.Client, ctx context.Context, app string) error { return c.Pause(ctx, app, limit) }
	cmd := newPsSwitch(f, "pause", "Hold the app's requests until it is resumed", "Requests for %s wait.", call)
	cmd.Long = `Requests wait, each for a minute at most or as long as --max-pause says, and
then go on as if nothing had been; one that waits longer gets 503. It is for
work of seconds, like moving a database; for more, see landward maintenance.`
	cmd.Example = `  landward pause && ./move-database; landward resume
  landward pause --max-pause 2m`
	cmd.Flags().DurationVar(&limit, "max-pause", 0, "hold one request for `TIME` at most, 1s to 10m (default 1m)")
	return cmd
}

func newResume(f *factory) *cobra.Command {
	cmd := newPsSwitch(f, "resume", "Let the requests go on that pause holds", "Requests for %s go on.", (*client.Client).Resume)
	cmd.Example = "  landward resume -a blog"
	return cmd
}
