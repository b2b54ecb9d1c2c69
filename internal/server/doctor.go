package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"landward/client"
	"landward/internal/engine"
	"landward/internal/landward"
)

// Status implements api.Doctor: a quick look at every part.
func (c *Control) Status(ctx context.Context) (client.Status, error) {
	apps, err := c.store.Apps(ctx)
	if err != nil {
		return client.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := client.Status{
		Version: Version().Version, Instance: c.instance, Domain: c.cfg.Domain, StartedAt: c.started, Apps: len(apps),
		Components: []client.Component{{Name: "control", State: "ok"}},
	}
	part := func(name, message string, err error) {
		p := client.Component{Name: name, State: "ok", Message: message}
		if err != nil {
			p.State, p.Message = "down", landward.AsError(err).Message
		}
		s.Components = append(s.Components, p)
	}
	info, err := c.parts.Engine.Info(ctx)
	part("engine", fmt.Sprintf("%s %s", info.Name, info.Version), err)
	if err == nil && len(info.Warnings) > 0 {
		last := &s.Components[len(s.Components)-1]
		last.State, last.Message = "degraded", info.Warnings[0]
	}
	generation, err := edgeOf{c.parts.Edge}.Generation(ctx)
	part("edge", fmt.Sprintf("routes of generation %d", generation), err)
	return s, nil
}

// Diagnose implements api.Doctor: it looks at everything that commonly goes
// wrong, and says how to mend it.
func (c *Control) Diagnose(ctx context.Context) ([]client.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	checks := c.checkEngine(ctx)
	checks = append(checks, c.checkEdge(ctx), c.checkCertificates(ctx), c.checkDatabase(ctx), c.checkData(), checkClock(), checkGit(ctx))
	return checks, nil
}

func ok(name, format string, args ...any) client.Check {
	return client.Check{Name: name, State: "ok", Message: fmt.Sprintf(format, args...)}
}

func bad(state, name, message, hint string) client.Check {
	return client.Check{Name: name, State: state, Message: message, Hint: hint}
}

func (c *Control) checkEngine(ctx context.Context) []client.Check {
	info, err := c.parts.Engine.Info(ctx)
	if err != nil {
		e := landward.AsError(err)
		hint := e.Hint
		if hint == "" {
			hint = "is dockerd running? `systemctl status docker`; then look at `landward engine`'s log"
		}
		return []client.Check{bad("fail", "docker", e.Message, hint)}
	}
	checks := []client.Check{ok("docker", "%s %s (API %s)", info.Name, info.Version, info.APIVersion)}
	for _, w := range info.Warnings {
		hint := "" // the others say what to do themselves
		if strings.HasPrefix(w, "runc") {
			hint = "apt-get update && apt-get install --only-upgrade docker.io containerd runc"
		}
		checks = append(checks, bad("warn", "docker", w, hint))
	}
	if info.Firewall == "ok" {
		checks = append(checks, ok("firewall", "apps are fenced off from the host and from private networks"))
	} else {
		checks = append(checks, bad("warn", "firewall", info.Firewall, "the engine needs the right to change nftables (CAP_NET_ADMIN)"))
	}
	if info.DiskTotal > 0 {
		checks = append(checks, diskCheck("disk of images", info.DiskFree, info.DiskTotal, c.cfg.BuildDiskFree))
	}
	return append(checks, memoryCheck(info))
}

func memoryCheck(info engine.Info) client.Check {
	const little = 700 << 20
	if info.Memory > 0 && info.Memory < little {
		return bad("warn", "memory", fmt.Sprintf("the host has %d MiB", info.Memory>>20), "builds may need more; add swap")
	}
	return ok("memory", "%d MiB, %d cores", info.Memory>>20, info.CPUs)
}

func diskCheck(name string, free, total, reserve int64) client.Check {
	text := fmt.Sprintf("%.1f GiB of %.1f GiB free", float64(free)/(1<<30), float64(total)/(1<<30))
	hint := "remove what is not needed, lower keep-releases, or set disk-budget"
	switch {
	case free < reserve:
		return bad("fail", name, text+": builds are refused", hint)
	case free < total/10:
		return bad("warn", name, text, hint)
	}
	return ok(name, "%s", text)
}

func (c *Control) checkEdge(ctx context.Context) client.Check {
	if _, err := c.parts.Edge.Status(ctx); err != nil {
		return bad("fail", "edge", landward.AsError(err).Message, "it serves on with its last routes; look at its log: does another program have the port "+c.cfg.HTTP+"?")
	}
	return ok("edge", "listens on %s", c.cfg.HTTP)
}

// checkCertificates tells of certificates that end soon with nothing coming in
// their place, and of hosts that have none though one was ordered.
func (c *Control) checkCertificates(ctx context.Context) client.Check {
	list, err := c.parts.Edge.Certs(ctx)
	if err != nil {
		return bad("warn", "certificates", landward.AsError(err).Message, "the edge knows; see what it says above")
	}
	var ending, failing []string
	hint := ""
	for _, s := range list {
		switch {
		case s.Expiring || s.Revoked:
			ending = append(ending, s.Host)
		case s.Wanted && s.LastError != "":
			failing = append(failing, s.Host+" ("+s.LastError+")")
		default:
			continue
		}
		hint = cmp.Or(hint, s.Hint, "`landward certs` shows why")
	}
	switch {
	case len(ending) > 0:
		return bad("fail", "certificates", "these end soon, and nothing is coming in their place: "+strings.Join(ending, ", "), hint)
	case len(failing) > 0:
		return bad("warn", "certificates", "not to be had so far: "+strings.Join(failing, ", "), hint)
	}
	return ok("certificates", "%d hosts, none in trouble", len(list))
}

func (c *Control) checkDatabase(ctx context.Context) client.Check {
	if err := c.store.Ping(ctx); err != nil {
		return bad("fail", "database", landward.AsError(err).Message, "is the disk full? The server's log says more")
	}
	return ok("database", "%s answers", c.cfg.DBPath())
}

func (c *Control) checkData() client.Check {
	var st unix.Statfs_t
	if err := unix.Statfs(c.cfg.Data, &st); err != nil {
		return bad("fail", "data folder", "cannot be read", "check the folder "+c.cfg.Data)
	}
	block := st.Bsize
	return diskCheck("disk of data", int64(st.Bavail)*block, int64(st.Blocks)*block, 64<<20) //nolint:gosec // blocks of a disk fit
}

// checkClock asks the kernel whether somebody keeps its clock right.
func checkClock() client.Check {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0) {
		return bad("warn", "clock", "nobody keeps the clock right", "apt-get install chrony")
	}
	return ok("clock", "%s", time.Now().UTC().Format(time.RFC3339))
}

func checkGit(ctx context.Context) client.Check {
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		return bad("fail", "git", "git is not installed", "apt-get install git")
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return ok("git", "%s", line)
}
