package cli

import (
	"github.com/spf13/cobra"

	"landward/client"
)

type eventsOptions struct {
	limit  int
	before int64
	all    bool
}

func newEvents(f *factory) *cobra.Command {
	o := &eventsOptions{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened: deployments, changes, who did them",
		Args:  none,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runEvents(cmd, f, o) },
	}
	cmd.Flags().IntVarP(&o.limit, "num", "n", 30, "how many")
	cmd.Flags().Int64Var(&o.before, "before", 0, "only older than the event with this `ID`")
	cmd.Flags().BoolVar(&o.all, "all", false, "of all apps and the server itself; for administrators")
	return cmd
}

func runEvents(cmd *cobra.Command, f *factory, o *eventsOptions) error {
	q := client.EventQuery{Before: o.before, Limit: o.limit}
	if !o.all {
		app, err := f.appName(cmd.Context())
		if err != nil {
			return err
		}
		q.App = app
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	events, err := c.Events(cmd.Context(), q)
	if err != nil {
		return err
	}
	return showList(f, events, "Nothing happened yet.", func() *table {
		head := []string{"ID", "WHEN", "BY", "KIND", "WHAT"}
		if o.all {
			head = []string{"ID", "WHEN", "APP", "BY", "KIND", "WHAT"}
		}
		t := newTable(head...)
		for _, e := range events {
			row := []string{itoa(e.ID), ago(f.Now(), e.At), e.Actor.Name, e.Kind, e.Message}
			if o.all {
				row = []string{itoa(e.ID), ago(f.Now(), e.At), orDash(e.App), e.Actor.Name, e.Kind, e.Message}
			}
			t.add(row...)
		}
		return t
	})
}
