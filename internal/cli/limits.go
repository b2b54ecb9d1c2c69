package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// processes lists the processes of the app's release for `limits` and `health`.
func (f *factory) processes(cmd *cobra.Command, head string, cell func(client.Process) string) error {
	ctx := cmd.Context()
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	a, err := c.App(ctx, app)
	if err != nil {
		return err
	}
	var list []client.Process
	if a.Release > 0 {
		r, err := c.Release(ctx, app, a.Release)
		if err != nil {
			return err
		}
		for _, s := range r.Services {
			list = append(list, s.Processes...)
		}
	}
	return showList(f, list, app+" has no release yet.", func() *table {
		t := newTable("PROCESS", head)
		for _, p := range list {
			t.add(p.Name, cell(p))
		}
		return t
	})
}

func newLimits(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return f.processes(cmd, "LIMITS", shownLimits) }
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Memory, CPU and process limits",
		Long:  "Without a command, lists what was set. Anything else has the server's default.",
		Args:  none,
		RunE:  list,
	}
	detach := false
	set := &cobra.Command{
		Use:   "set PROCESS LIMIT=VALUE...",
		Short: "Set the limits of each copy of a process",
		Long: `The limits are memory (256M, 1.5G), cpu (cores: 0.5, 2) and pids (processes
and threads), for each copy. A limit that is not named stays as it is.`,
		Example: "  landward limits set web memory=256M cpu=0.5 pids=100",
		Args:    between(2, -1, "a process and at least one limit"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseLimits(args[1:])
			if err != nil {
				return err
			}
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			d, err := c.SetResources(cmd.Context(), app, map[string]client.Resources{args[0]: r})
			return f.changed(cmd.Context(), c, d, detach, err)
		},
	}
	detachFlag(set, &detach)
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls", "show"}, Short: "List the limits", Args: none, RunE: list}, set)
	return cmd
}

func shownLimits(p client.Process) string {
	var parts []string
	if r := p.Resources; r != nil {
		if r.Memory > 0 {
			parts = append(parts, "memory="+size(r.Memory))
		}
		if r.MilliCPU > 0 {
			parts = append(parts, "cpu="+strconv.FormatFloat(float64(r.MilliCPU)/1000, 'f', -1, 64))
		}
		if r.Pids > 0 {
			parts = append(parts, fmt.Sprintf("pids=%d", r.Pids))
		}
	}
	if len(parts) == 0 {
		return "default"
	}
	return strings.Join(parts, " ")
}

func parseLimits(args []string) (client.Resources, error) {
	var r client.Resources
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch strings.ToLower(name) {
		case "memory", "mem":
			r.Memory, err = parseSize(value)
		case "cpu", "cpus":
			var cores float64
			cores, err = strconv.ParseFloat(value, 64)
			if err == nil && (cores < 0.001 || cores > 4096 || math.IsNaN(cores)) {
				err = strconv.ErrRange
			}
			r.MilliCPU = int(math.Round(cores * 1000))
		case "pids":
			r.Pids, err = strconv.Atoi(value)
			if err == nil && r.Pids < 1 {
				err = strconv.ErrRange
			}
		default:
			return r, usagef("%q is no limit", clean(name)).hint("the limits are memory=256M, cpu=0.5 and pids=100")
		}
		if err != nil {
			return r, usagef("%q is not a value of %s", clean(value), name).hint("write it like memory=256M, cpu=0.5 or pids=100")
		}
	}
	return r, nil
}

// parseSize reads bytes with a unit of 1024s: 512M, 1.5g, 1048576.
func parseSize(s string) (int64, error) {
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	factor := 1.0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGT", number[n-1]); i >= 0 {
			factor = math.Pow(1024, float64(i+1))
			number = number[:n-1]
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0) || v*factor >= math.MaxInt64 {
		return 0, strconv.ErrSyntax
	}
	return int64(v * factor), nil
}

func newHealth(f *factory) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return f.processes(cmd, "HEALTHY WHEN", shownHealth) }
	cmd := &cobra.Command{
		Use:   "health",
		Short: "When a process counts as healthy",
		Long: `Without a command, lists the rules. A process without one must accept a
connection on its port.`,
		Args: none,
		RunE: list,
	}
	detach := false
	set := &cobra.Command{
		Use:   "set PROCESS RULE=VALUE...",
		Short: "Set the health rule of a process",
		Long: `The rules are path (GET must answer 2xx or 3xx), interval (between probes),
timeout (of one probe) and grace (from the start until it must be healthy).
What is not named gets its default: without path, a connection to the port is
enough.`,
		Example: "  landward health set web path=/up interval=1s timeout=5s grace=30s",
		Args:    between(2, -1, "a process and at least one rule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := parseHealth(args[1:])
			if err != nil {
				return err
			}
			c, app, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			d, err := c.SetHealth(cmd.Context(), app, map[string]client.Health{args[0]: h})
			return f.changed(cmd.Context(), c, d, detach, err)
		},
	}
	detachFlag(set, &detach)
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls", "show"}, Short: "List the rules", Args: none, RunE: list}, set)
	return cmd
}

func shownHealth(p client.Process) string {
	h := p.Health
	if h == nil || *h == (client.Health{}) {
		return "its port accepts a connection"
	}
	s := "its port accepts a connection"
	if h.Path != "" {
		s = "GET " + h.Path + " answers 2xx or 3xx"
	}
	for _, part := range []struct {
		name string
		d    client.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"grace", h.Grace}} {
		if part.d > 0 {
			s += fmt.Sprintf(" %s=%s", part.name, time.Duration(part.d))
		}
	}
	return s
}

func parseHealth(args []string) (client.Health, error) {
	var h client.Health
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "path":
			h.Path = value
		case "interval":
			err = h.Interval.UnmarshalText([]byte(value))
		case "timeout":
			err = h.Timeout.UnmarshalText([]byte(value))
		case "grace":
			err = h.Grace.UnmarshalText([]byte(value))
		default:
			return h, usagef("%q is no health rule", clean(name)).hint("the rules are path=/up, interval=1s, timeout=5s and grace=30s")
		}
		if err != nil {
			return h, usagef("%q is not a duration", clean(value)).hint("write it with its unit, like %s=30s or %s=1m30s", name, name)
		}
	}
	return h, nil
}
