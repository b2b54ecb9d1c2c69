package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// maxPEM is the largest file of a key pair that is read, in bytes.
const maxPEM = 256 << 10

func newCerts(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runCerts(cmd, f) }
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Certificates of the hosts: list, add your own, remove it",
		Long: `Without a command, lists how hosts stand: with -a those of the app, otherwise
those of every app that you may see. Certificates come by themselves; add one
where it has to be yours.`,
		Args: none,
		RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List how hosts stand", Args: none, RunE: list},
		newCertsAdd(f), newCertsRemove(f),
	)
	return cmd
}

func runCerts(cmd *cobra.Command, f *factory) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var certs []client.Certificate
	if f.app != "" {
		certs, err = c.AppCertificates(cmd.Context(), f.app)
	} else {
		certs, err = c.Certificates(cmd.Context())
	}
	if err != nil {
		return err
	}
	return showList(f, certs, "There are no hosts yet.", func() *table {
		t := newTable("HOST", "SOURCE", "ISSUER", "EXPIRES", "STATE")
		for _, c := range certs {
			source := c.Source
			if c.Via != "" {
				source += " by " + c.Via
			}
			t.add(c.Host, source, orDash(c.Issuer), f.expiry(c.NotAfter), certState(f.Now(), c))
			for _, line := range f.certTrouble(c) {
				t.below(line)
			}
		}
		return t
	})
}

func (f *factory) expiry(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.DateOnly) + ", " + until(f.Now(), at)
}

// certState is how a host's certificate is, in a word or two.
func certState(now time.Time, c client.Certificate) string {
	switch {
	case c.Source == client.CertificateNone && c.Ordering:
		return "ordering"
	case c.Source == client.CertificateNone && c.LastError != "":
		return "failed"
	case c.Source == client.CertificateNone:
		return "none"
	case c.Revoked:
		return "revoked"
	case !c.NotAfter.IsZero() && !now.Before(c.NotAfter):
		return "expired"
	case c.Expiring:
		return "expires soon"
	case c.Ordering:
		return "renewing"
	}
	return "ok"
}

// certTrouble is what is wrong, what to do, and when the server tries again.
func (f *factory) certTrouble(c client.Certificate) []string {
	if c.LastError == "" {
		return nil
	}
	lines := []string{c.LastError}
	if c.Hint != "" {
		lines = append(lines, c.Hint)
	}
	if c.NextTry.After(f.Now()) {
		tries := ""
		if c.Attempts > 0 {
			tries = fmt.Sprintf(", after %d that failed", c.Attempts)
		}
		lines = append(lines, "The next try is "+until(f.Now(), c.NextTry)+tries+".")
	}
	return lines
}

type certsAddOptions struct{ cert, key string }

func newCertsAdd(f *factory) *cobra.Command {
	o := &certsAddOptions{}
	cmd := &cobra.Command{
		Use:   "add HOST --cert FILE --key FILE",
		Short: "Serve a certificate of your own for a host of the app",
		Long: `Both files are PEM. The certificate's file holds its issuers too, in order,
without the root. One of the two can be -, standard input. The new pair serves
the next connection; nothing is restarted.`,
		Example: `  landward certs add www.example.com --cert fullchain.pem --key key.pem
  pass show key.pem | landward certs add '*.example.com' --cert c.pem --key -`,
		Args:                  exactly(1, "a host, like www.example.com"),
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return runCertsAdd(cmd, f, o, args[0]) },
	}
	cmd.Flags().StringVar(&o.cert, "cert", "", "the `FILE` with the certificate and its issuers")
	cmd.Flags().StringVar(&o.key, "key", "", "the `FILE` with its private key")
	return cmd
}

func runCertsAdd(cmd *cobra.Command, f *factory, o *certsAddOptions, host string) error {
	switch {
	case o.cert == "" || o.key == "":
		return usagef("this needs --cert FILE and --key FILE").hint("`%s --help` shows how it is written", cmd.CommandPath())
	case o.cert == "-" && o.key == "-":
		return usagef("only one of --cert and --key can be standard input")
	}
	var n client.NewCertificate
	var err error
	if n.Certificate, err = f.readPEM(o.cert, "the certificate"); err != nil {
		return err
	}
	if n.Key, err = f.readPEM(o.key, "the key"); err != nil {
		return err
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	got, err := c.PutCertificate(cmd.Context(), app, host, n)
	if err != nil {
		return err
	}
	return f.show(got, func() {
		f.printf("%s has your certificate, by %s, until %s.\n", got.Host, orDash(got.Issuer), f.expiry(got.NotAfter))
		for _, line := range f.certTrouble(got) {
			f.note("%s", line)
		}
	})
}

func (f *factory) readPEM(name, what string) (string, error) {
	if name == "-" {
		return f.readAll(what, maxPEM)
	}
	return f.readFile(name, what, maxPEM)
}

func newCertsRemove(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "remove HOST",
		Aliases: []string{"rm"},
		Short:   "Take your own certificate of a host away",
		Long:    "The host then gets one from the server's authority, as other hosts do.",
		Example: "  landward certs remove www.example.com",
		Args:    exactly(1, "a host, like www.example.com"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.RemoveCertificate(cmd.Context(), app, args[0]); err != nil {
				return err
			}
			return f.done(map[string]any{"app": app, "host": args[0]}, "Took your certificate of %s away.", args[0])
		},
	}
}
