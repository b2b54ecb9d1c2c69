package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

// defaultRemote is what the git remote of an app is called.
const defaultRemote = "landward"

type gitRemoteOptions struct {
	name string
	http bool
}

func newGit(f *factory) *cobra.Command {
	cmd := &cobra.Command{Use: "git", Short: "Link a git repository with an app", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	o := &gitRemoteOptions{}
	remote := &cobra.Command{
		Use:   "remote",
		Short: "Add the git remote that deploys the app",
		Example: `  landward git remote -a blog
  git push landward main`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGitRemote(cmd, f, o) },
	}
	remote.Flags().StringVar(&o.name, "name", defaultRemote, "what the remote is called")
	remote.Flags().BoolVar(&o.http, "http", false, "push over HTTP, with a token as the password")
	cmd.AddCommand(remote)
	return cmd
}

func runGitRemote(cmd *cobra.Command, f *factory, o *gitRemoteOptions) error {
	ctx := cmd.Context()
	if !f.inRepository(ctx) {
		return failf("this folder is no git repository").hint("make it one: git init && git add -A && git commit -m first")
	}
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	a, err := c.App(ctx, app)
	if client.CodeOf(err) == client.CodeNotFound {
		f.note("Make it with: landward apps create %s", app)
	}
	if err != nil {
		return err
	}
	url := a.GitRemote
	if o.http {
		url = a.GitHTTP
	}
	before := f.remoteURL(ctx, o.name)
	switch before {
	case url:
	case "":
		err = f.addRemote(ctx, o.name, url)
	default:
		_, err = f.Git(ctx, f.Dir, "remote", "set-url", "--end-of-options", o.name, url)
	}
	if err != nil {
		return failf("git could not save the remote %q: %v", clean(o.name), err)
	}
	return f.done(map[string]any{"app": app, "remote": o.name, "url": url},
		"The git remote %s leads to %s. Deploy with: git push %s main", o.name, url, o.name)
}

func (f *factory) inRepository(ctx context.Context) bool {
	_, err := f.Git(ctx, f.Dir, "rev-parse", "--git-dir")
	return err == nil
}

// remoteURL returns a remote's address, or "" where there is no such remote.
func (f *factory) remoteURL(ctx context.Context, name string) string {
	out, err := f.Git(ctx, f.Dir, "config", "--get", "--end-of-options", "remote."+name+".url")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func (f *factory) addRemote(ctx context.Context, name, url string) error {
	_, err := f.Git(ctx, f.Dir, "remote", "add", "--end-of-options", name, url)
	return err
}
