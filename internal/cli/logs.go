package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// routerSource is what the router's lines are said to come from.
const routerSource = "router"

type logsOptions struct {
	follow, tail     bool
	num              int
	process          string
	since            string
	grep             string
	router, noRouter bool
}

func newLogs(f *factory) *cobra.Command {
	o := &logsOptions{}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show what the app and the router say",
		Long: `Shows the latest lines, oldest first, with -f also those to come. Lines are kept
across deployments. Times are UTC.`,
		Example: `  landward logs -f
  landward logs -p web -n 500 --grep timeout
  landward logs --since 10m --no-router
  landward logs --since 2026-08-22T10:00:00Z`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogs(cmd, f, o) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "wait for more lines")
	flags.BoolVarP(&o.tail, "tail", "t", false, "the same as --follow")
	flags.IntVarP(&o.num, "num", "n", 100, "how many lines to begin with; 0 for all that are kept")
	flags.StringVarP(&o.process, "process", "p", "", "only of this `PROCESS` (web) or unit (web.1)")
	flags.StringVar(&o.since, "since", "", "only lines of this age or younger (10m, 2h), or since a `TIME` in RFC 3339")
	flags.StringVar(&o.grep, "grep", "", "only lines that contain this `TEXT`, in any case")
	flags.BoolVar(&o.router, "router", false, "only the router's lines, one per request")
	flags.BoolVar(&o.noRouter, "no-router", false, "all but the router's lines")
	return cmd
}

func (o *logsOptions) query(now time.Time) (client.LogQuery, error) {
	switch {
	case o.router && o.noRouter:
		return client.LogQuery{}, usagef("--router and --no-router exclude each other")
	case o.router && o.process != "":
		return client.LogQuery{}, usagef("--router and --process exclude each other")
	case o.num < 0:
		return client.LogQuery{}, usagef("--num cannot be below zero")
	}
	q := client.LogQuery{Follow: o.follow || o.tail, Tail: o.num, Process: o.process, Grep: o.grep}
	q.Router = !o.noRouter && o.process == ""
	if o.router {
		q.Process = routerSource
	}
	if o.since == "" {
		return q, nil
	}
	var err error
	q.Since, err = parseSince(o.since, now)
	return q, err
}

// parseSince reads an age ("10m", "2d") or a time in RFC 3339.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if days, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && days >= 0 && days < 36500 && s != strconv.Itoa(days) {
		return now.AddDate(0, 0, -days), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("%q is neither an age nor a time", clean(s)).hint("write it like 10m, 2h, 3d or 2026-08-22T10:00:00Z")
	}
	return t, nil
}

func runLogs(cmd *cobra.Command, f *factory, o *logsOptions) error {
	q, err := o.query(f.Now())
	if err != nil {
		return err
	}
	if o.since != "" && !cmd.Flags().Changed("num") {
		q.Tail = 0 // since then means all since then
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	return f.printLogs(cmd.Context(), c, app, q)
}

func (f *factory) printLogs(ctx context.Context, c *client.Client, app string, q client.LogQuery) error {
	for line, err := range c.Logs(ctx, app, q) {
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one stops following
		}
		if err != nil {
			return err
		}
		if f.json {
			err = writeJSON(f.Stdout, line, "")
		} else {
			_, err = fmt.Fprintln(f.Stdout, f.logLine(line))
		}
		if err != nil {
			return fmt.Errorf("write the line: %w", err)
		}
	}
	return nil
}

// logLine writes a line as `2026-08-22T10:00:00Z app[web.1]: text`.
func (f *factory) logLine(l client.LogLine) string {
	who := "app"
	if l.Kind != "app" {
		who = "landward"
	}
	head := fmt.Sprintf("%s %s[%s]:", l.At.UTC().Format("2006-01-02T15:04:05Z"), who, clean(l.Source))
	if f.Terminal.Color {
		head = paint(l.Source, head)
	}
	return head + " " + clean(l.Text)
}

// paint colours s by a name, so that each unit keeps its colour.
func paint(name, s string) string {
	colours := []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}
	n := 0
	for _, c := range []byte(name) {
		n = (n*31 + int(c)) % len(colours)
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colours[n], s)
}
