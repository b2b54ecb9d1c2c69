package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

func newDomains(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return runDomains(cmd, f) }
	cmd := &cobra.Command{
		Use:   "domains",
		Short: "The hosts that the app answers at: list, add, check, remove",
		Long:  "Without a command, lists the hosts.",
		Args:  none,
		RunE:  list,
	}
	check := &cobra.Command{
		Use:     "check [HOST]",
		Short:   "Look up whether a host leads here, and what to do where not",
		Long:    "Checks all domains of the app where no host is given. Fails when one does not\nlead here.",
		Example: "  landward domains check www.example.com",
		Args:    between(0, 1, "at most one host"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runDomainsCheck(cmd, f, args) },
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the hosts", Args: none, RunE: list},
		newDomainsAdd(f), check, newDomainsRemove(f),
	)
	return cmd
}

func runDomains(cmd *cobra.Command, f *factory) error {
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	domains, err := c.Domains(cmd.Context(), app)
	if err != nil {
		return err
	}
	return showList(f, domains, app+" has no hosts.", func() *table {
		t := newTable("HOST", "KIND")
		for _, d := range domains {
			kind := "automatic"
			if d.Custom {
				kind = "custom"
			}
			t.add(d.Host, kind)
		}
		return t
	})
}

func newDomainsAdd(f *factory) *cobra.Command {
	var n client.NewDomain
	detach := false
	cmd := &cobra.Command{
		Use:   "add HOST",
		Short: "Give the app a host of your own, and point its DNS here",
		Long: `Makes the host's A and AAAA records where the server has the settings of a DNS
provider that has its zone. Records that lead elsewhere are left alone and
shown; --replace-record takes them away, which is for administrators. Says
afterwards which record to make by hand, unless the host leads here.

'*.example.com' stands for all hosts one label below example.com; a host that
an app has by its full name goes before it.`,
		Example: "  landward domains add www.example.com\n  landward domains add '*.example.com' --no-record",
		Args:    exactly(1, "a host, like www.example.com"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Host = args[0]
			return runDomainsAdd(cmd, f, n, detach)
		},
	}
	cmd.Flags().BoolVar(&n.NoRecord, "no-record", false, "leave the DNS alone")
	cmd.Flags().BoolVar(&n.ReplaceRecord, "replace-record", false, "take records away that lead the host elsewhere")
	detachFlag(cmd, &detach)
	return cmd
}

func runDomainsAdd(cmd *cobra.Command, f *factory, n client.NewDomain, detach bool) error {
	if n.NoRecord && n.ReplaceRecord {
		return usagef("--no-record leaves the DNS alone, --replace-record does not: give one of them")
	}
	ctx := cmd.Context()
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	got, err := c.AddDomain(ctx, app, n)
	if err != nil {
		return err
	}
	f.showDNS(got.DNS)
	if n.ReplaceRecord && got.DNS == nil {
		f.note("No record was replaced: the server has no DNS provider.")
	}
	if err := f.domainChanged(ctx, c, got, detach); err != nil || f.json {
		return err
	}
	f.adviseDomain(ctx, c, app, n.Host, got.DNS)
	return nil
}

func newDomainsRemove(f *factory) *cobra.Command {
	detach, noRecord := false, false
	cmd := &cobra.Command{
		Use:     "remove HOST",
		Aliases: []string{"rm"},
		Short:   "Take a host away",
		Long: `Removes the records, too, that ` + "`landward domains add`" + ` made for the host at the
DNS provider, as far as they are still as they were made.`,
		Example: "  landward domains remove www.example.com",
		Args:    exactly(1, "a host, like www.example.com"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, app, err := f.connect(ctx)
			if err != nil {
				return err
			}
			got, err := c.RemoveDomain(ctx, app, args[0], noRecord)
			if err != nil {
				return err
			}
			f.showDNS(got.DNS)
			return f.domainChanged(ctx, c, got, detach)
		},
	}
	cmd.Flags().BoolVar(&noRecord, "no-record", false, "leave the DNS alone")
	detachFlag(cmd, &detach)
	return cmd
}

// domainChanged answers a change of hosts. A program that wants JSON gets what
// was done in the DNS with it: beside the deployment that carries the change
// out, or alone where there is none.
func (f *factory) domainChanged(ctx context.Context, c *client.Client, got client.DomainChanged, detach bool) error {
	if !f.json || got.DNS == nil {
		return f.changed(ctx, c, got.Deployment, detach, nil)
	}
	answer := func(d *client.Deployment) any {
		return struct {
			*client.Deployment
			DNS *client.DNSChange `json:"dns"`
		}{d, got.DNS}
	}
	if got.Deployment == nil || detach {
		return writeJSON(f.Stdout, answer(got.Deployment), "  ")
	}
	return f.followTo(ctx, c, *got.Deployment, func(end client.Deployment) any { return answer(&end) })
}

// showDNS says what was done at the DNS provider.
func (f *factory) showDNS(c *client.DNSChange) {
	if c == nil || f.json {
		return
	}
	for _, part := range []struct {
		did     string
		records []client.HostRecord
	}{{"removed", c.Removed}, {"created", c.Created}} {
		for _, r := range part.records {
			f.printf("%s %s at %s\n", part.did, r.String(), c.Provider)
		}
	}
	for _, r := range c.Kept {
		f.note("left as it is: %s at %s", r.String(), c.Provider)
	}
	if c.Warning != "" {
		f.note("%s", c.Warning)
	}
	if c.Hint != "" {
		f.note("%s", c.Hint)
	}
}

// adviseDomain says which record to make for a host that was just added. The
// host is added either way: where nobody can say, it says nothing.
func (f *factory) adviseDomain(ctx context.Context, c *client.Client, app, host string, did *client.DNSChange) {
	r, err := c.CheckDomain(ctx, app, host)
	if err != nil {
		f.trace("where %s leads is not known: %v", host, err)
		return
	}
	if r.OK {
		return
	}
	f.note("")
	if did != nil && len(did.Created) > 0 {
		// It may take the provider's servers a moment: nobody has to make it again.
		r.Records, r.Instead, r.Advice = nil, nil, nil
	}
	for _, line := range reportLines(r) {
		f.note("%s", line)
	}
	if did != nil && len(did.Created) > 0 {
		f.note("The record was made a moment ago; name servers may need a minute.")
	}
	f.note("Look again with: landward domains check %s -a %s", shellWord(r.Host), app)
}

// shellWord writes a host so that a shell takes it as it is.
func shellWord(host string) string {
	if strings.Contains(host, "*") {
		return "'" + host + "'"
	}
	return host
}

func runDomainsCheck(cmd *cobra.Command, f *factory, hosts []string) error {
	ctx := cmd.Context()
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		domains, err := c.Domains(ctx, app)
		if err != nil {
			return err
		}
		for _, d := range domains {
			if d.Custom {
				hosts = append(hosts, d.Host)
			}
		}
	}
	reports, ok := []client.DomainReport{}, true
	for _, host := range hosts {
		r, err := c.CheckDomain(ctx, app, host)
		if err != nil {
			return err
		}
		if !f.json { // each as it comes: a look may take seconds
			if len(reports) > 0 {
				f.printf("\n")
			}
			for _, line := range reportLines(r) {
				f.printf("%s\n", line)
			}
		}
		reports, ok = append(reports, r), ok && r.OK
	}
	if f.json {
		if err := writeJSON(f.Stdout, reports, "  "); err != nil {
			return err
		}
	} else if len(reports) == 0 {
		f.note("%s has no domains of its own. Add one: landward domains add HOST", app)
	}
	if !ok {
		return exitStatus(exitFailed)
	}
	return nil
}

// reportLines is a report for a person: how it stands, what is wrong, what to do.
func reportLines(r client.DomainReport) []string {
	var lines []string
	switch {
	case r.OK:
		lines = append(lines, r.Host+" leads here.")
	default:
		lines = append(lines, r.Host+" does not lead here yet.")
	}
	for _, p := range r.Problems {
		lines = append(lines, "  "+p)
	}
	for _, part := range []struct {
		title, action string
		records       []client.DNSRecord
	}{
		{"Remove at your DNS provider:", client.RecordRemove, r.Records},
		{"Make at your DNS provider:", client.RecordAdd, r.Records},
		{"Or, in place of what is to be made:", client.RecordAdd, r.Instead},
	} {
		title := part.title
		for _, rec := range part.records {
			if rec.Action != part.action {
				continue
			}
			if title != "" {
				lines, title = append(lines, title), ""
			}
			lines = append(lines, "  "+recordLine(rec))
		}
	}
	for _, a := range r.Advice {
		lines = append(lines, "  "+a)
	}
	return lines
}

// recordLine is a record in the words of the forms that providers have.
func recordLine(r client.DNSRecord) string {
	line := "type " + r.Type + ", name " + r.Name + ", value " + r.Value
	if r.TTL > 0 && r.Action == client.RecordAdd {
		line += ", TTL " + strconv.Itoa(r.TTL)
	}
	return line
}
