package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

type loginOptions struct{ stdin bool }

func newLogin(f *factory) *cobra.Command {
	o := &loginOptions{}
	cmd := &cobra.Command{
		Use:   "login [URL]",
		Short: "Log in to a server with a token",
		Long: `Asks for a token, tries it, and saves it so that only you can read it. Further
commands go to this server. A token comes from the bootstrap link, or from
somebody who may: landward tokens create.`,
		Example: `  landward login https://landward.example.com
  landward login https://landward.example.com --token-stdin < token`,
		Args: between(0, 1, "at most one address"),
		RunE: func(cmd *cobra.Command, args []string) error { return runLogin(cmd, f, o, args) },
	}
	cmd.Flags().BoolVar(&o.stdin, "token-stdin", false, "read the token from standard input")
	return cmd
}

// typedServer is the address that the user gave, in whichever way.
func (f *factory) typedServer(args []string) (string, error) {
	switch {
	case len(args) > 0:
		return normalServer(args[0])
	case f.server != "":
		return normalServer(f.server)
	case f.Env("LANDWARD_SERVER") != "":
		return normalServer(f.Env("LANDWARD_SERVER"))
	}
	return "", nil
}

func runLogin(cmd *cobra.Command, f *factory, o *loginOptions, args []string) error {
	saved, err := readLogins(f.ConfigDir)
	if err != nil {
		return err
	}
	url, err := f.typedServer(args)
	if err != nil {
		return err
	}
	if url == "" {
		url = saved.Current
	}
	if url == "" {
		return usagef("log in to which server?").hint("landward login https://landward.example.com")
	}
	token, err := f.typedToken(cmd.Context(), o, url)
	if err != nil {
		return err
	}
	c, err := f.dial(url, token)
	if err != nil {
		return err
	}
	who, err := c.Whoami(cmd.Context())
	if err != nil {
		return err
	}
	if err := f.saveLogin(url, login{User: who.Name, Token: token}); err != nil {
		return err
	}
	return f.show(who, func() { f.printf("Logged in to %s as %s.\n", url, who.Name) })
}

func (f *factory) typedToken(ctx context.Context, o *loginOptions, url string) (string, error) {
	token := f.token
	if token == "" {
		if !o.stdin && !f.Terminal.In {
			return "", usagef("there is no terminal to ask for the token").hint("pass it on standard input: landward login --token-stdin < FILE")
		}
		if !o.stdin {
			printClean(f.Stderr, "Token for %s (it is not shown): ", []any{url})
		}
		var err error
		token, err = f.Terminal.Secret(ctx)
		if f.Terminal.In {
			f.note("") // the newline that was typed is not shown either
		}
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			return "", failf("no token came: %v", err)
		}
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", usagef("the token is empty")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usagef("this is not a token: it has spaces or other strange characters")
	}
	return token, nil
}

// saveLogin keeps a login and makes its server the current one.
func (f *factory) saveLogin(url string, l login) error {
	saved, err := readLogins(f.ConfigDir)
	if err != nil {
		return err
	}
	saved.Hosts[url] = l
	saved.Current = url
	return saved.save(f.ConfigDir)
}

func newLogout(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [URL]",
		Short: "Forget a login",
		Long: `Removes the saved token from this machine. The token itself still works:
landward tokens revoke ends that.`,
		Args: between(0, 1, "at most one address"),
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := readLogins(f.ConfigDir)
			if err != nil {
				return err
			}
			url, err := f.typedServer(args)
			if err != nil {
				return err
			}
			if url == "" {
				url = saved.Current
			}
			if _, ok := saved.Hosts[url]; !ok {
				return &problem{exit: exitNotFound, message: "you are not logged in to " + orDash(url)}
			}
			delete(saved.Hosts, url)
			if saved.Current == url {
				saved.Current = ""
				if rest := sortedKeys(saved.Hosts); len(rest) > 0 {
					saved.Current = rest[0]
				}
			}
			if err := saved.save(f.ConfigDir); err != nil {
				return err
			}
			return f.done(map[string]any{"server": url}, "Logged out of %s.", url)
		},
	}
}

func newWhoami(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Show who the server takes you for",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := f.endpoint()
			if err != nil {
				return err
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			who, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			return f.show(who, func() { f.printWhoami(who, e) })
		},
	}
}

func (f *factory) printWhoami(who client.Whoami, e endpoint) {
	at := e.url
	if e.socket != "" {
		at = e.socket
	}
	role := ""
	if who.Admin {
		role = ", an administrator,"
	}
	f.printf("%s (%s)%s at %s\n", who.Name, who.Kind, role, at)
	for _, app := range sortedKeys(who.Apps) {
		f.printf("  %s: %s\n", app, who.Apps[app])
	}
}
