package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
	"landward/internal/cli/hostcheck"
)

// doctorPatience is how long doctor waits for the server's own checks.
const doctorPatience = 20 * time.Second

func newDoctor(f *factory) *cobra.Command {
	host := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the server and say how to mend what is wrong",
		Long: `Asks the server for its own checks. Where it does not answer, and it is one of
this machine or --host is given, looks at the machine itself: Docker, disk,
ports, clock, versions, rights. Fails when a check does.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), f, host) },
	}
	cmd.Flags().BoolVar(&host, "host", false, "check this machine as a host of Landward in any case")
	return cmd
}

func runDoctor(ctx context.Context, f *factory, host bool) error {
	d := client.Diagnosis{Checks: []client.Check{}}
	e, err := f.endpoint()
	chosen := err == nil
	answered := false
	if chosen {
		answered = f.askDoctor(ctx, &d)
	} else {
		d.Checks = append(d.Checks, client.Check{Name: "server", State: "warn", Message: "no server is chosen",
			Hint: "landward login URL, or --data DIR on the server itself"})
	}
	if host || !answered && (!chosen || e.socket != "") {
		c, err := f.localConfig()
		if err != nil {
			d.Checks = append(d.Checks, client.Check{Name: "settings", State: "fail", Message: strings.Join(explain(err), "; "), Hint: "mend the settings"})
		}
		d.Checks = append(d.Checks, hostcheck.Run(ctx, c, answered)...)
	}
	d.Checks = append(d.Checks, f.checkGit(ctx), f.checkLogins())
	d.Healthy = true
	for _, c := range d.Checks {
		d.Healthy = d.Healthy && c.State != "fail"
	}
	if err := f.show(d, func() { f.printDiagnosis(d) }); err != nil {
		return err
	}
	if !d.Healthy {
		return exitStatus(exitFailed)
	}
	return nil
}

// askDoctor adds the server's checks, or why there are none. It reports
// whether the server answered.
func (f *factory) askDoctor(ctx context.Context, d *client.Diagnosis) bool {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	c, err := f.client()
	if err == nil {
		var remote client.Diagnosis
		if remote, err = c.Doctor(ctx); err == nil {
			d.Checks = append(d.Checks, remote.Checks...)
			return true
		}
	}
	check := client.Check{Name: "server", State: "fail", Message: strings.Join(explain(err), "; "), Hint: "start it: landward serve"}
	var e *client.Error
	if errors.As(err, &e) && e.Code != client.CodeUnavailable {
		check.Hint = e.Hint
	}
	d.Checks = append(d.Checks, check)
	return client.CodeOf(err) != "" && client.CodeOf(err) != client.CodeUnavailable && client.CodeOf(err) != client.CodeTimeout
}

func (f *factory) checkGit(ctx context.Context) client.Check {
	out, err := f.Git(ctx, f.Dir, "version")
	if err != nil {
		return client.Check{Name: "git here", State: "warn", Message: "git is not installed on this machine",
			Hint: "install it to push: apt-get install git; `landward deploy` works without"}
	}
	return client.Check{Name: "git here", State: "ok", Message: clean(out)}
}

// checkLogins looks at who else can read the saved tokens.
func (f *factory) checkLogins() client.Check {
	c := client.Check{Name: "logins", State: "ok", Message: "no saved login"}
	info, err := os.Stat(hostsFile(f.ConfigDir))
	if err != nil {
		return c
	}
	c.Message = hostsFile(f.ConfigDir) + " is yours alone"
	if info.Mode().Perm()&0o077 != 0 {
		c.State, c.Message = "fail", "others can read your tokens in "+hostsFile(f.ConfigDir)
		c.Hint = "chmod 600 " + hostsFile(f.ConfigDir)
	}
	return c
}

func (f *factory) printDiagnosis(d client.Diagnosis) {
	marks := map[string]string{"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
	for _, c := range d.Checks {
		mark, known := marks[c.State]
		if !known {
			mark = c.State
		}
		f.printf("%s  %s: %s\n", mark, c.Name, c.Message)
		if c.Hint != "" && c.State != "ok" {
			f.printf("      %s\n", c.Hint)
		}
	}
	if d.Healthy {
		f.printf("Nothing is broken.\n")
	}
}
