package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

type trustOptions struct {
	print       bool
	remove      bool
	yes         bool
	fingerprint string
}

func newTrust(f *factory) *cobra.Command {
	o := &trustOptions{}
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Have this machine trust the server's own certificates",
		Long: `Where a server has a local domain, like localhost, its certificates are signed
by an authority of its own. This adds it to the lists of the system and of your
browsers. It first shows the fingerprint; compare it with what the server says
when you ask it there:

  landward trust --print | openssl x509 -noout -fingerprint -sha256

Whoever has the authority's key can sign for the names that are shown. It is no
good for others. The system's list is root's: as anybody else, you are given
the command that changes it.`,
		Example: `  landward trust
  landward trust --print > landward.crt
  landward trust --remove`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTrust(cmd, f, o) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.print, "print", false, "only write the certificate to standard output")
	flags.BoolVar(&o.remove, "remove", false, "take it away again")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.StringVar(&o.fingerprint, "fingerprint", "", "only go on if this `SHA256` is its; with --remove, the server is not asked")
	return cmd
}

func runTrust(cmd *cobra.Command, f *factory, o *trustOptions) error {
	if o.print && o.remove {
		return usagef("--print and --remove exclude each other")
	}
	ctx := cmd.Context()
	r, err := f.wantedRoot(ctx, o)
	if err != nil {
		return err
	}
	if o.print {
		if f.json {
			return writeJSON(f.Stdout, client.CertificateAuthority{Certificate: r.pem}, "  ")
		}
		_, err := io.WriteString(f.Stdout, r.pem)
		return err
	}
	if o.remove {
		return f.distrust(ctx, r)
	}
	f.showRoot(r)
	if f.Terminal.In && !o.yes && o.fingerprint == "" {
		said, err := f.ask(ctx, "Trust it on this machine? [y/N] ")
		if err != nil {
			return err
		}
		if said = strings.ToLower(said); said != "y" && said != "yes" {
			return failf("nothing was changed")
		}
	}
	return f.trust(ctx, r)
}

// wantedRoot is the server's authority, or, to be removed, that of a fingerprint.
func (f *factory) wantedRoot(ctx context.Context, o *trustOptions) (root, error) {
	wanted := ""
	if o.fingerprint != "" {
		var err error
		if wanted, err = parseFingerprint(o.fingerprint); err != nil {
			return root{}, err
		}
		if o.remove {
			return root{fingerprint: wanted}, nil
		}
	}
	c, err := f.client()
	if err != nil {
		return root{}, err
	}
	text, err := c.LocalRoot(ctx)
	if err != nil {
		return root{}, err
	}
	r, err := parseRoot(text, f.Now())
	if err == nil && wanted != "" && r.fingerprint != wanted {
		err = failf("the server's authority has another fingerprint: %s", colons(r.fingerprint)).
			hint("nothing was changed; somebody may be between you and the server")
	}
	return r, err
}

// showRoot says what is about to be trusted.
func (f *factory) showRoot(r root) {
	f.note("%s", r.name)
	f.note("  SHA-256:   %s", colons(r.fingerprint))
	f.note("  Signs for: %s", r.scope())
	f.note("  Good till: %s", r.until.UTC().Format(time.DateOnly))
}

func (f *factory) trust(ctx context.Context, r root) error {
	w := trustWork{Done: []string{}, Left: []string{}}
	if err := f.Machine.trustSystem(ctx, r, &w); err != nil {
		return err
	}
	f.Machine.trustNSS(ctx, r, &w)
	return f.reportTrust(r, w, "This machine trusts it.")
}

func (f *factory) distrust(ctx context.Context, r root) error {
	w := trustWork{Done: []string{}, Left: []string{}}
	if err := f.Machine.distrustSystem(ctx, r, &w); err != nil {
		return err
	}
	f.Machine.distrustNSS(ctx, r, &w)
	if len(w.Done) == 0 && len(w.Left) == 0 {
		return f.show(trustReport{r.fingerprint, w}, func() { f.printf("%s was not there.\n", r.file()) })
	}
	return f.reportTrust(r, w, "It is not trusted any more.")
}

// trustReport is the answer of trust for a machine.
type trustReport struct {
	Fingerprint string `json:"fingerprint"`
	trustWork
}

// reportTrust says what was done and what is left. Where nothing could be done
// the command has failed.
func (f *factory) reportTrust(r root, w trustWork, said string) error {
	err := f.show(trustReport{r.fingerprint, w}, func() {
		for _, line := range w.Done {
			f.printf("%s\n", upperFirst(line))
		}
		if !w.part {
			f.printf("%s\n", said)
		}
		if len(w.Left) > 0 {
			f.printf("\nLeft for you to do:\n")
		}
		for _, line := range w.Left {
			f.printf("  %s\n", line)
		}
	})
	if err == nil && len(w.Done) == 0 {
		return exitStatus(exitFailed)
	}
	return err
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
