package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

// maxKey is the longest public key that is read, in bytes.
const maxKey = 16 << 10

func newKeys(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runKeys(cmd, f) }
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "SSH keys for git push: list, add, remove",
		Long:  "Without a command, lists your keys; administrators see everybody's.",
		Args:  none,
		RunE:  list,
	}
	remove := &cobra.Command{
		Use:     "remove NAME|FINGERPRINT",
		Aliases: []string{"rm"},
		Short:   "Remove a key",
		Args:    exactly(1, "a key's name or fingerprint"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runKeysRemove(cmd, f, args[0]) },
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the keys", Args: none, RunE: list},
		newKeysAdd(f), remove,
	)
	return cmd
}

func runKeys(cmd *cobra.Command, f *factory) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	keys, err := c.Keys(cmd.Context())
	if err != nil {
		return err
	}
	return showList(f, keys, "No keys yet. Add yours: landward keys add laptop < ~/.ssh/id_ed25519.pub", func() *table {
		t := newTable("NAME", "USER", "ADDED", "USED", "FINGERPRINT")
		for _, k := range keys {
			t.add(k.Name, k.User, ago(f.Now(), k.CreatedAt), ago(f.Now(), k.LastUsed), k.Fingerprint)
		}
		return t
	})
}

type keysAddOptions struct{ user string }

func newKeysAdd(f *factory) *cobra.Command {
	o := &keysAddOptions{}
	cmd := &cobra.Command{
		Use:   "add NAME [FILE]",
		Short: "Add a public key, from a file or standard input",
		Long: `The key is yours. On the server itself, where root is nobody in particular, it
is the key of the user NAME, who is made where there is none.`,
		Example: `  landward keys add laptop < ~/.ssh/id_ed25519.pub
  landward keys add ann-laptop ann.pub --user ann`,
		Args: between(1, 2, "a name for the key and at most one file"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeysAdd(cmd, f, o, args) },
	}
	cmd.Flags().StringVar(&o.user, "user", "", "whose key it is (for administrators); yours where it is not given")
	return cmd
}

func runKeysAdd(cmd *cobra.Command, f *factory, o *keysAddOptions, args []string) error {
	var text string
	var err error
	if len(args) == 2 {
		text, err = f.readFile(args[1], "the key", maxKey)
	} else {
		text, err = f.readAll("the public key", maxKey)
	}
	if err != nil {
		return err
	}
	if strings.Contains(text, "PRIVATE KEY") {
		return usagef("this is a private key; it was not sent").hint("the public one is in the file that ends in .pub")
	}
	key := strings.TrimSpace(text)
	if key == "" {
		return usagef("there is no key to add").hint("landward keys add %s < ~/.ssh/id_ed25519.pub", clean(args[0]))
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	k, err := c.AddKey(cmd.Context(), client.NewKey{Name: args[0], PublicKey: key, User: o.user})
	if err != nil {
		return err
	}
	return f.show(k, func() { f.printf("Added the key %s of %s: %s\n", k.Name, k.User, k.Fingerprint) })
}

func runKeysRemove(cmd *cobra.Command, f *factory, which string) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	fingerprint := which
	if !strings.HasPrefix(which, "SHA256:") {
		keys, err := c.Keys(cmd.Context())
		if err != nil {
			return err
		}
		if fingerprint, err = keyNamed(keys, which); err != nil {
			return err
		}
	}
	if err := c.DeleteKey(cmd.Context(), fingerprint); err != nil {
		return err
	}
	return f.done(map[string]any{"fingerprint": fingerprint}, "Removed the key %s.", which)
}

// keyNamed finds the fingerprint of the one key with that name.
func keyNamed(keys []client.Key, name string) (string, error) {
	found := ""
	for _, k := range keys {
		if k.Name != name {
			continue
		}
		if found != "" {
			return "", usagef("several keys are called %q", clean(name)).hint("name its fingerprint; `landward keys` lists them")
		}
		found = k.Fingerprint
	}
	if found == "" {
		return "", &problem{exit: exitNotFound, message: "there is no key " + clean(name), advice: "`landward keys` lists them"}
	}
	return found, nil
}
