package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// splitColon turns the command "config:set", as Heroku and Dokku write it, into
// "config set" where there is such a command. Only the command's own word is
// touched: no argument of a command ever is.
func splitColon(root *cobra.Command, args []string) []string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return args
		case strings.HasPrefix(arg, "-"):
			if takesNext(root, arg) {
				i++
			}
		case arg == "help" || strings.HasPrefix(arg, cobra.ShellCompRequestCmd):
			continue // the command that it is about follows
		default:
			words := strings.Split(arg, ":")
			if len(words) < 2 || !isCommand(root, words) {
				return args
			}
			out := append(append([]string{}, args[:i]...), words...)
			return append(out, args[i+1:]...)
		}
	}
	return args
}

// takesNext reports whether the global flag takes the next argument as its value.
func takesNext(root *cobra.Command, arg string) bool {
	flags := root.PersistentFlags()
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := flags.Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	}
	if len(arg) != 2 {
		return false // -aNAME, or several flags in one
	}
	f := flags.ShorthandLookup(arg[1:])
	return f != nil && f.NoOptDefVal == ""
}

// isCommand reports whether each word is a command of the one before.
func isCommand(root *cobra.Command, words []string) bool {
	at := root
	for _, word := range words {
		next := at
		for _, c := range at.Commands() {
			if c.Name() == word || c.HasAlias(word) {
				next = c
			}
		}
		if next == at {
			return false
		}
		at = next
	}
	return true
}

// exactly accepts n arguments, which words name.
func exactly(n int, words string) cobra.PositionalArgs {
	return between(n, n, words)
}

// between accepts from least to most arguments, which words name; most below
// zero means any number.
func between(least, most int, words string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("this needs %s", words).hint("`%s --help` shows how it is written", cmd.CommandPath())
		case most >= 0 && len(args) > most && cmd.HasSubCommands():
			return unknownCommand(cmd, args[0])
		case most == 0 && len(args) > 0:
			return usagef("%s takes no arguments, not %q", cmd.CommandPath(), clean(args[0]))
		case most >= 0 && len(args) > most:
			return usagef("%q is one argument too many: this takes %s", clean(args[most]), words)
		}
		return nil
	}
}

// none accepts no arguments; for a command with commands below it an argument
// is a command that does not exist.
func none(cmd *cobra.Command, args []string) error { return between(0, 0, "")(cmd, args) }

func unknownCommand(cmd *cobra.Command, word string) error {
	e := usagef("%q is no command of %s", clean(word), cmd.CommandPath())
	for distance := 1; distance <= 2; distance++ {
		cmd.SuggestionsMinimumDistance = distance
		if near := cmd.SuggestionsFor(word); len(near) > 0 {
			return e.hint("did you mean `%s %s`?", cmd.CommandPath(), near[0])
		}
	}
	return e.hint("`%s --help` lists the commands", cmd.CommandPath())
}
