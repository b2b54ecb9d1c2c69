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
	add := newDomainChange(f, "add HOST", "Give the app a host of your own; point its DNS here", (*client.Client).AddDomain)
	add.Long = `Says afterwards which DNS record to make, unless the host leads here already.
'*.example.com' stands for all hosts one label below example.com; a host that
an app has by its full name goes before it.`
	add.Example = "  landward domains add www.example.com\n  landward domains add '*.example.com'"
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
		add, check,
		newDomainChange(f, "remove HOST", "Take a host away", (*client.Client).RemoveDomain),
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

// domainCall is Client.AddDomain or Client.RemoveDomain.
type domainCall func(c *client.Client, ctx context.Context, app, host string) (*client.Deployment, error)

func newDomainChange(f *factory, use, short string, call domainCall) *cobra.Command {
	detach := false
	remove := strings.HasPrefix(use, "remove")
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: "  landward domains " + strings.Replace(use, "HOST", "www.example.com", 1),
		Args:    exactly(1, "a host, like www.example.com"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, app, err := f.connect(ctx)
			if err != nil {
				return err
			}
			d, err := call(c, ctx, app, args[0])
			if err := f.changed(ctx, c, d, detach, err); err != nil || remove || f.json {
				return err
			}
			f.adviseDomain(ctx, c, app, args[0])
			return nil
		},
	}
	if remove {
		cmd.Aliases = []string{"rm"}
	}
	detachFlag(cmd, &detach)
	return cmd
}

// adviseDomain says which record to make for a host that was just added. The
// host is added either way: where nobody can say, it says nothing.
func (f *factory) adviseDomain(ctx context.Context, c *client.Client, app, host string) {
	r, err := c.CheckDomain(ctx, app, host)
	if err != nil {
		f.trace("where %s leads is not known: %v", host, err)
		return
	}
	if !r.OK {
		f.note("")
		for _, line := range reportLines(r) {
			f.note("%s", line)
		}
		f.note("Look again with: landward domains check %s -a %s", shellWord(r.Host), app)
	}
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
