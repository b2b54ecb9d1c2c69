package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"landward/client"
)

func newCron(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cron",
		Short: "Show the app's scheduled jobs and how their last runs ended",
		Long:  "Jobs come from landward.yaml or app.json; their times are UTC.",
		Args:  none,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runCron(cmd, f) },
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "The same", Args: none, RunE: cmd.RunE})
	return cmd
}

func runCron(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	s, err := c.Cron(cmd.Context(), app)
	if err != nil {
		return err
	}
	if f.json {
		return writeJSON(f.Stdout, s, "  ")
	}
	last := map[string]client.CronRun{}
	for _, r := range s.Runs { // newest first
		if _, seen := last[r.Name]; !seen {
			last[r.Name] = r
		}
	}
	return showList(f, s.Jobs, app+" has no scheduled jobs. `landward help landward.yaml` shows how to write one.", func() *table {
		t := newTable("NAME", "SCHEDULE", "OVERLAP", "LAST RUN", "RESULT", "COMMAND")
		for _, j := range s.Jobs {
			run, ran := last[j.Name]
			result := "-"
			if ran {
				result = cronResult(run)
			}
			t.add(j.Name, j.Schedule, j.Overlap, ago(f.Now(), run.DueAt), result, j.Command.String())
		}
		return t
	})
}

func cronResult(r client.CronRun) string {
	if r.State == "failed" && r.ExitCode != 0 {
		return "failed, exit code " + strconv.Itoa(r.ExitCode)
	}
	return r.State
}
