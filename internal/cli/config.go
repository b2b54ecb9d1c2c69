package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
	"landward/internal/cli/dotenv"
)

// Limits of what a user may hand in as variables, in bytes.
const (
	maxValue  = 128 << 10
	maxDotenv = 1 << 20
)

func newConfig(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runConfig(cmd, f) }
	cmd := &cobra.Command{
		Use:   "config",
		Short: "The app's variables: list, set, unset, import",
		Long: `Without a command, lists the variables. Each change is one new release, which
starts beside the old one: no downtime, and rollback undoes it.`,
		Args: none,
		RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls", "show"}, Short: "List the variables; secrets stay hidden", Args: none, RunE: list},
		newConfigGet(f), newConfigSet(f), newConfigUnset(f), newConfigImport(f), newConfigDiff(f),
	)
	return cmd
}

func runConfig(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	vars, err := c.Config(cmd.Context(), app)
	if err != nil {
		return err
	}
	return showList(f, vars, app+" has no variables. Set one: landward config set NAME=value", func() *table {
		t := newTable("NAME", "KIND", "VALUE")
		for _, v := range vars {
			t.add(v.Name, varKind(v), shownValue(v))
		}
		return t
	})
}

func varKind(v client.Var) string {
	kinds := []string{}
	if v.Secret {
		kinds = append(kinds, "secret")
	}
	if v.File {
		kinds = append(kinds, "file")
	}
	if v.Build {
		kinds = append(kinds, "build")
	}
	if len(kinds) == 0 {
		return "plain"
	}
	return strings.Join(kinds, "+")
}

// shownValue is a value on one line; a secret's is not known here.
func shownValue(v client.Var) string {
	if v.Secret {
		return "(hidden)"
	}
	return strings.ReplaceAll(v.Value, "\n", `\n`)
}

func newConfigGet(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME",
		Short: "Print the value of one variable",
		Args:  exactly(1, "the variable's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			vars, err := c.Config(cmd.Context(), app)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(vars, func(v client.Var) bool { return v.Name == args[0] })
			switch {
			case i < 0:
				return &problem{exit: exitNotFound, message: app + " has no variable " + clean(args[0])}
			case vars[i].Secret && !f.json:
				return failf("%s is a secret: its value is write-only", vars[i].Name)
			}
			return f.show(vars[i], func() { f.printValue(vars[i].Value) })
		},
		ValidArgsFunction: f.completeVars,
	}
}

// printValue prints a value as it is for a program, and safely for a terminal.
func (f *factory) printValue(value string) {
	if !f.Terminal.Out {
		fmt.Fprintln(f.Stdout, value)
		return
	}
	for line := range strings.SplitSeq(value, "\n") {
		f.printf("%s\n", line)
	}
}

// varFlags are what a variable can be beside plain.
type varFlags struct{ secret, file, build bool }

func (v *varFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&v.secret, "secret", false, "write-only: nobody sees the value again")
	cmd.Flags().BoolVar(&v.file, "file", false, "the app reads it from /run/secrets/NAME, not from its environment")
	cmd.Flags().BoolVar(&v.build, "build", false, "the build may read it, as the secret with the id NAME")
}

type configSetOptions struct {
	varFlags
	detach bool
}

func newConfigSet(f *factory) *cobra.Command {
	o := &configSetOptions{}
	cmd := &cobra.Command{
		Use:   "set NAME=value...",
		Short: "Set variables, in one release",
		Long: `Sets variables. The value - is read from standard input: typed without being
shown, or piped.`,
		Example: `  landward config set LOG_LEVEL=debug WORKERS=4
  landward config set --secret API_KEY=-
  landward config set --secret --file TLS_KEY=- < key.pem`,
		Args: between(1, -1, "NAME=value"),
		RunE: func(cmd *cobra.Command, args []string) error { return runConfigSet(cmd, f, o, args) },
	}
	o.add(cmd)
	detachFlag(cmd, &o.detach)
	return cmd
}

func runConfigSet(cmd *cobra.Command, f *factory, o *configSetOptions, args []string) error {
	vars, err := f.assignments(cmd.Context(), args, o.varFlags)
	if err != nil {
		return err
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	d, err := c.ChangeConfig(cmd.Context(), app, client.ConfigChange{Set: vars})
	return f.changed(cmd.Context(), c, d, o.detach, err)
}

// assignments reads NAME=value arguments. The value "-" is read from standard
// input, without the newline at its end.
func (f *factory) assignments(ctx context.Context, args []string, kind varFlags) ([]client.Var, error) {
	var vars []client.Var
	fromStdin := ""
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			// The argument may be a value that was cut off by a space: it is not shown.
			return nil, usagef("every argument must be written NAME=value").hint("quote a value with spaces: NAME=\"a b\"")
		}
		if value == "-" {
			if fromStdin != "" {
				return nil, usagef("only one value can come from standard input: %s or %s", clean(fromStdin), clean(name))
			}
			fromStdin = name
			text, err := f.secretInput(ctx, name)
			if err != nil {
				return nil, err
			}
			value = text
		}
		vars = append(vars, client.Var{Name: name, Value: value, Secret: kind.secret, File: kind.file, Build: kind.build})
	}
	return vars, nil
}

// secretInput reads a value: typed without echo on a terminal, else all of
// standard input.
func (f *factory) secretInput(ctx context.Context, name string) (string, error) {
	if f.Terminal.In {
		f.note("Value of %s (it is not shown):", name)
		return f.Terminal.Secret(ctx)
	}
	text, err := f.readAll("the value of "+name, maxValue)
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), err
}

func newConfigUnset(f *factory) *cobra.Command {
	o := &configSetOptions{}
	cmd := &cobra.Command{
		Use:     "unset NAME...",
		Aliases: []string{"remove", "rm"},
		Short:   "Remove variables, in one release",
		Args:    between(1, -1, "the names of variables"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			d, err := c.ChangeConfig(cmd.Context(), app, client.ConfigChange{Unset: args})
			return f.changed(cmd.Context(), c, d, o.detach, err)
		},
		ValidArgsFunction: f.completeVars,
	}
	detachFlag(cmd, &o.detach)
	return cmd
}

func newConfigImport(f *factory) *cobra.Command {
	o := &configSetOptions{}
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Set all variables of a .env file, in one release",
		Long: `Reads .env, the FILE, or with - standard input:

    # a comment
    NAME=value               # so is this, after a space
    export NAME=value
    NAME='as it is, also
    over several lines'
    NAME="with \n \t \" \\ \$ escapes"

Nothing is expanded: a $ is a $. Variables that the file does not name stay.`,
		Example: `  landward config import
  landward config import --secret .env.production`,
		Args: between(0, 1, "at most one file"),
		RunE: func(cmd *cobra.Command, args []string) error { return runConfigImport(cmd, f, o, args) },
	}
	o.add(cmd)
	detachFlag(cmd, &o.detach)
	return cmd
}

func runConfigImport(cmd *cobra.Command, f *factory, o *configSetOptions, args []string) error {
	name, text, err := ".env", "", error(nil)
	if len(args) > 0 {
		name = args[0]
	}
	if name == "-" {
		name = "standard input"
		text, err = f.readAll("variables", maxDotenv)
	} else {
		text, err = f.readFile(name, "the file", maxDotenv)
	}
	if err != nil {
		return err
	}
	parsed, err := dotenv.Parse(name, []byte(text))
	var refusal *dotenv.Error
	if errors.As(err, &refusal) {
		return failf("%s", refusal.Error()).hint("%s", refusal.Hint)
	}
	if len(parsed) == 0 {
		return failf("%s sets no variables", clean(name))
	}
	change := client.ConfigChange{}
	for _, v := range parsed {
		change.Set = append(change.Set, client.Var{Name: v.Name, Value: v.Value, Secret: o.secret, File: o.file, Build: o.build})
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	d, err := c.ChangeConfig(cmd.Context(), app, change)
	return f.changed(cmd.Context(), c, d, o.detach, err)
}

func newConfigDiff(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "diff [vN] [vM]",
		Short: "Show how the variables of two releases differ",
		Long: `Compares release vN with vM. With one release, compares it with what the next
release gets; with none, what the current release has with that.`,
		Args: between(0, 2, "at most two releases"),
		RunE: func(cmd *cobra.Command, args []string) error { return runConfigDiff(cmd, f, args) },

		ValidArgsFunction: f.completeReleases,
	}
}

func runConfigDiff(cmd *cobra.Command, f *factory, args []string) error {
	from, err := releaseVersion(args)
	if err != nil {
		return err
	}
	to := 0
	if len(args) == 2 {
		if to, err = releaseVersion(args[1:]); err != nil {
			return err
		}
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	diff, err := c.DiffConfig(cmd.Context(), app, from, to)
	if err != nil {
		return err
	}
	return f.show(diff, func() {
		if len(diff.Changes) == 0 {
			f.printf("No differences.\n")
		}
		for _, v := range diff.Changes {
			f.printChange(v)
		}
	})
}

func (f *factory) printChange(v client.VarChange) {
	line := func(mark, value string) {
		if v.Secret {
			value = "(hidden)"
		}
		f.printf("%s %s=%s\n", mark, v.Name, strings.ReplaceAll(value, "\n", `\n`))
	}
	if v.Kind != "added" {
		line("-", v.From)
	}
	if v.Kind != "removed" {
		line("+", v.To)
	}
}
