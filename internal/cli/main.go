package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// Main runs one command and returns the program's exit code. It ends early,
// and tidily, when ctx does.
func Main(ctx context.Context, state State, servers Servers) int {
	f := &factory{State: state, servers: servers}
	root := newRoot(f)
	root.SetArgs(splitColon(root, state.Args))
	root.SetIn(state.Stdin)
	root.SetOut(state.Stdout)
	root.SetErr(state.Stderr)
	return report(ctx, state.Stderr, root.ExecuteContext(ctx))
}

// The groups that help lists commands in.
const (
	groupDeploy = "deploy"
	groupApp    = "app"
	groupPeople = "people"
	groupServer = "server"
)

func newRoot(f *factory) *cobra.Command {
	root := &cobra.Command{
		Use:   "landward",
		Short: "Push code, get a running app",
		Long: `Landward turns a git push into a running app on your own server.

New here? landward help getting-started`,
		Args:              none,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misused(err).hint("`%s --help` lists the flags", cmd.CommandPath())
	})
	root.SetUsageTemplate(strings.NewReplacer(
		".FlagUsages ", ".FlagUsagesWrapped 80 ",
		"for more information about a command", "for more about a command", // within 80 columns
	).Replace(root.UsageTemplate()))
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVarP(&f.app, "app", "a", "", "the `APP`; found from LANDWARD_APP or the git remote where it is not given")
	flags.BoolVar(&f.json, "json", false, "answer in JSON on standard output")
	flags.StringVar(&f.server, "server", "", "the server's `URL`; otherwise LANDWARD_SERVER or the saved login")
	flags.StringVar(&f.token, "token", "", "the `TOKEN` to use; LANDWARD_TOKEN is safer")
	flags.StringVar(&f.data, "data", "", "data `DIR` of a server on this machine, to be its administrator")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say which server and app were chosen, and why")
	_ = root.RegisterFlagCompletionFunc("app", f.completeApps)
	root.AddGroup(
		&cobra.Group{ID: groupDeploy, Title: "Deploying:"},
		&cobra.Group{ID: groupApp, Title: "Running an app:"},
		&cobra.Group{ID: groupPeople, Title: "People and keys:"},
		&cobra.Group{ID: groupServer, Title: "The server:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupDeploy, newApps(f), newCreate(f), newDeploy(f), newDeploys(f), newGit(f), newPlan(f),
		newReleases(f), newRollback(f), newSchema(f))
	add(groupApp, newAccess(f), newAccessLog(f), newCerts(f), newConfig(f), newCron(f), newDomains(f), newEvents(f), newExec(f),
		newHealth(f), newLimits(f), newLogs(f), newMaintenance(f), newPause(f), newPs(f), newResume(f), newRun(f),
		newScale(f))
	add(groupPeople, newBootstrap(f), newKeys(f), newLogin(f), newLogout(f),
		newTokens(f), newTrust(f), newUsers(f), newWhoami(f))
	add(groupServer, newServe(f), newEdge(f), newControl(f), newEngine(f), newPurge(f), newDoctor(f), newStatus(f))
	root.AddCommand(newVersion(f), newCompletion(f))
	root.AddCommand(topics()...)
	root.SetHelpCommand(newHelp(root, f))
	return root
}
