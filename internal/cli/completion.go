package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// completionPatience is how long a press of Tab may wait for the server.
const completionPatience = 1500 * time.Millisecond

func newCompletion(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Prints a script that completes commands, flags, apps, releases and variables.

  bash:  landward completion bash > /etc/bash_completion.d/landward
  zsh:   landward completion zsh > "${fpath[1]}/_landward"
  fish:  landward completion fish > ~/.config/fish/completions/landward.fish`,
		Args:      exactly(1, "a shell: bash, zsh or fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(f.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(f.Stdout)
			case "fish":
				return root.GenFishCompletion(f.Stdout, true)
			}
			return usagef("%q is not a shell that is known here", clean(args[0])).hint("bash, zsh or fish")
		},
	}
}

// complete asks the server for words, for a short while. Nothing is said when
// that fails: a prompt is no place for errors.
func (f *factory) complete(cmd *cobra.Command, ask func(ctx context.Context, c *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c, err := f.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for i := range words {
		words[i] = clean(words[i])
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func (f *factory) completeApps(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return f.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		apps, err := c.Apps(ctx)
		var names []string
		for _, a := range apps {
			names = append(names, a.Name)
		}
		return names, err
	})
}

func (f *factory) completeReleases(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return f.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		app, err := f.appName(ctx)
		if err != nil {
			return nil, err
		}
		releases, err := c.Releases(ctx, app, 20)
		var names []string
		for _, r := range releases {
			names = append(names, fmt.Sprintf("v%d\t%s", r.Version, clean(r.Description)))
		}
		return names, err
	})
}

func (f *factory) completeDeploys(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return f.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		app, err := f.appName(ctx)
		if err != nil {
			return nil, err
		}
		deployments, err := c.Deployments(ctx, app, 20)
		var numbers []string
		for _, d := range deployments {
			numbers = append(numbers, fmt.Sprintf("%d\t%s", d.Number, clean(d.State+" "+describe(d.Source))))
		}
		return numbers, err
	})
}

func (f *factory) completeVars(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return f.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		app, err := f.appName(ctx)
		if err != nil {
			return nil, err
		}
		vars, err := c.Config(ctx, app)
		var names []string
		for _, v := range vars {
			names = append(names, v.Name)
		}
		return names, err
	})
}
