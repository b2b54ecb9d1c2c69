package cli

import (
	"regexp"

	"github.com/spf13/cobra"

	"landward/client"
)

func newExec(f *factory) *cobra.Command {
	o := &attachOptions{}
	cmd := &cobra.Command{
		Use:   "exec [UNIT] -- COMMAND...",
		Short: "Run a command inside a running unit",
		Long: `Runs a command inside a unit; where none is named, in the first that runs, of
web before others. Standard input, output and the exit code pass through, as for
run.`,
		Example: `  landward exec -- sh
  landward exec worker.2 -- ps aux`,
		Args: between(1, -1, "a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			unit, argv := splitUnit(args, cmd.ArgsLenAtDash() == 0)
			if len(argv) == 0 {
				return usagef("this needs a command").hint("landward exec web.1 -- sh")
			}
			return runAttached(cmd, f, o, client.Start{Unit: unit, Command: argv}, (*client.Client).Exec)
		},
	}
	o.add(cmd)
	return cmd
}

var unitName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,28}[a-z0-9])?\.[0-9]{1,4}$`)

// splitUnit takes the unit from the arguments of exec: the word before "--",
// or a first word like web.1.
func splitUnit(args []string, dashFirst bool) (unit string, argv []string) {
	switch {
	case dashFirst:
		return "", args
	case len(args) > 1 && args[1] == "--":
		return args[0], args[2:]
	case unitName.MatchString(args[0]):
		return args[0], args[1:]
	}
	return "", args
}
