package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newHelp(root *cobra.Command, f *factory) *cobra.Command {
	markdown := false
	cmd := &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Explain a command or a topic",
		Args:  between(0, -1, ""),
		RunE: func(_ *cobra.Command, args []string) error {
			if markdown {
				_, err := io.WriteString(f.Stdout, markdownOf(root))
				return err
			}
			target, rest, err := root.Find(args)
			if err != nil || target == nil || len(rest) > 0 {
				return usagef("there is no help about %q", clean(strings.Join(args, " "))).hint("`landward help` lists commands and topics")
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			target, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range target.Commands() {
				names = append(names, c.Name()+"\t"+c.Short)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the reference of all commands as Markdown")
	return cmd
}

// markdownOf writes the reference of a command and all below it.
func markdownOf(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The commands of landward\n\n")
	b.WriteString("Made by `landward help --markdown`; change the commands, not this file.\n\n")
	b.WriteString("Both `landward config set` and `landward config:set` work.\n\n")
	b.WriteString("## Flags of every command\n\n")
	writeFlags(&b, root.PersistentFlags())
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				writeCommand(&b, c)
			}
		}
	}
	b.WriteString("## Other commands\n\n")
	for _, c := range root.Commands() {
		if c.GroupID == "" && c.Runnable() && c.Name() != "help" {
			writeCommand(&b, c)
		}
	}
	b.WriteString("## Topics\n\n")
	for _, c := range root.Commands() {
		if c.IsAdditionalHelpTopicCommand() {
			fmt.Fprintf(&b, "### %s\n\n```text\n%s```\n\n", c.Name(), c.Long)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "### %s\n\n%s.\n\n", strings.TrimPrefix(c.CommandPath(), "landward "), c.Short)
	if c.Long != "" {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", c.Long)
	}
	if c.Runnable() {
		fmt.Fprintf(b, "    %s\n\n", c.UseLine())
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, "Also: `%s`\n\n", strings.Join(c.Aliases, "`, `"))
	}
	if c.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n```sh\n%s\n```\n\n", dedent(c.Example))
	}
	writeFlags(b, c.NonInheritedFlags())
	for _, sub := range c.Commands() {
		writeCommand(b, sub)
	}
}

func dedent(s string) string {
	return strings.ReplaceAll(strings.TrimPrefix(s, "  "), "\n  ", "\n")
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	var lines strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&lines, "- `%s`: %s\n", name, usage)
	})
	if lines.Len() > 0 {
		b.WriteString(lines.String() + "\n")
	}
}
