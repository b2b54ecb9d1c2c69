package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

type bootstrapOptions struct{ name string }

func newBootstrap(f *factory) *cobra.Command {
	o := &bootstrapOptions{}
	cmd := &cobra.Command{
		Use:   "bootstrap LINK|TOKEN",
		Short: "Become the first administrator, with the one-time link",
		Long: `Takes the link that the server's first start printed (or only its token, with
--server), makes the first administrator and logs in as them. It works once.`,
		Example: `  landward bootstrap 'http://landward.localhost:8080/bootstrap#TOKEN' --name ann`,
		Args:    exactly(1, "the link or the token"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runBootstrap(cmd, f, o, args[0]) },
	}
	cmd.Flags().StringVar(&o.name, "name", "", "what you are called; your user name on this machine where it is not given")
	return cmd
}

func runBootstrap(cmd *cobra.Command, f *factory, o *bootstrapOptions, link string) error {
	server, token, err := splitBootstrap(link)
	if err != nil {
		return err
	}
	if server == "" {
		if server, err = f.typedServer(nil); err != nil {
			return err
		}
	}
	if server == "" {
		return usagef("at which server?").hint("give the whole link, in quotes, or name the server: --server URL")
	}
	name := o.name
	if name == "" {
		name = f.userName()
	}
	c, err := f.dial(server, "")
	if err != nil {
		return err
	}
	made, err := c.Bootstrap(cmd.Context(), client.Bootstrap{Token: token, Name: name})
	if err != nil {
		return err
	}
	if err := f.saveLogin(server, login{User: made.Name, Token: made.Token}); err != nil {
		return err
	}
	return f.done(map[string]any{"name": made.Name, "server": server},
		"You are %s, the administrator of %s, and logged in.\nNext: landward keys add laptop < ~/.ssh/id_ed25519.pub", made.Name, server)
}

// splitBootstrap takes URL#TOKEN apart; a text without # is the token alone.
func splitBootstrap(link string) (server, token string, err error) {
	address, token, isLink := strings.Cut(strings.TrimSpace(link), "#")
	if !isLink {
		if strings.Contains(address, "://") {
			return "", "", usagef("the link has no #TOKEN at its end").hint("put it in quotes: some shells cut it off")
		}
		return "", address, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || token == "" {
		return "", "", usagef("this is not a bootstrap link").hint("it looks like http://landward.localhost:8080/bootstrap#TOKEN")
	}
	server, err = normalServer(u.Scheme + "://" + u.Host)
	return server, token, err
}

// userName makes a user's name on the server of the one on this machine.
func (f *factory) userName() string {
	name := strings.ToLower(f.Env("USER"))
	if name == "" || name == "root" || !appWord.MatchString(name) {
		return "admin"
	}
	return name
}
