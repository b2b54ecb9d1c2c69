package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"landward/test/harness"
)

// edgeAddress is what names of the base domain lead to. Nobody is there.
const edgeAddress = "192.0.2.7"

// named is an installation whose apps find each other by name.
type named struct {
	*harness.Server
	t        *testing.T
	dns      string // where it answers
	instance string
}

func startNamed(t *testing.T) *named {
	t.Helper()
	harness.NeedDocker(t)
	harness.LockDNS(t)
	addr := harness.FreeDNS(t, ":53", harness.BridgeDNS(t))
	if addr == "" {
		t.Skip("port 53 is taken on every address that apps could ask at")
	}
	n := &named{Server: start(t, "--domain", "names.test", "--dns", addr, "--dns-addresses", edgeAddress), t: t, dns: addr}
	n.Domain = "names.test"
	if strings.HasPrefix(addr, ":") {
		n.dns = "127.0.0.1" + addr
	}
	st, err := n.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	n.instance = st.Instance
	return n
}

// app is a work tree whose image has a resolver that is not Go's.
func (n *named) app(name, services string) *harness.Repo {
	repo := n.NewRepo(name)
	repo.Testapp("empty", "")
	repo.Write("Dockerfile", "FROM debian:bookworm-slim\nCOPY testapp /app/testapp\nCOPY VERSION BEHAVIOUR /app/\nCMD [\"/app/testapp\", \"serve\"]\n")
	repo.Write("landward.yaml", "services:\n"+services)
	return repo
}

// box returns a container of the app, and its address: of the newest release
// that has one.
func (n *named) box(app, process string) (id, addr string) {
	n.t.Helper()
	newest := 0
	for line := range strings.Lines(harness.Docker(n.t, "ps", "--filter", "label=landward.instance="+n.instance, "--filter", "label=landward.app_name="+app,
		"--filter", "label=landward.process="+process, "--format", `{{.ID}} {{.Label "landward.addr"}} {{.Label "landward.release"}}`)) {
		var box, at string
		var release int
		if _, err := fmt.Sscan(line, &box, &at, &release); err != nil {
			n.t.Fatalf("%q: %v", line, err)
		}
		if release >= newest {
			id, addr, newest = box, at, release
		}
	}
	if id == "" {
		n.t.Fatalf("no container of %s/%s", app, process)
	}
	return id, addr
}

// seen asks for a name inside a container, whoever of ours runs, and returns
// the address, or "none".
func seen(box, name string) string {
	out, err := exec.Command("docker", "exec", box, "getent", "ahostsv4", name).CombinedOutput()
	return lookedUp(string(out), err)
}

// lookedUp reads what getent has said.
func lookedUp(out string, err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		fields := strings.Fields(out)
		return cmp.Or(slices.Concat(fields, []string{""})[0], "nothing")
	case asExit(err, &exit) && exit.ExitCode() == 2: // its word for a name that is not there
		return "none"
	}
	return err.Error() + ": " + out
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

// want fails unless each name leads where it should, soon.
func (n *named) want(when, box string, names map[string]string) {
	n.t.Helper()
	for name, addr := range names {
		n.Eventually(when+": "+name, func() error {
			if got := seen(box, name); got != addr {
				return fmt.Errorf("leads to %s, want %s", got, addr)
			}
			return nil
		})
	}
}

// TestNames: processes find each other by name, those of other apps do not, and
// names follow what serves: a new release, a rollback, with and without control.
func TestNames(t *testing.T) {
	n := startNamed(t)
	mail := n.app("mail", "  web: {}\n")
	mail.Commit("one")
	mail.Push()
	shop := n.app("shop", "  web: {}\n  worker: {command: [/app/testapp, work]}\n")
	shop.Testapp("one", "")
	shop.Push()
	n.WantGet("shop", "/", "one")

	worker, workerAddr := n.box("shop", "worker")
	_, one := n.box("shop", "web")
	foreign, foreignAddr := n.box("mail", "web")
	n.want("at first", worker, map[string]string{
		"web": one, "web.internal": one, "web.shop.internal": one, "worker": workerAddr, "worker.shop.internal": workerAddr,
		"mail.names.test": edgeAddress, "nobody.names.test": "none", "nothing": "none",
		"web.mail.internal": "none", "mail": "none",
	})
	n.want("from another app", foreign, map[string]string{
		"web": foreignAddr, "worker": "none", "web.shop.internal": "none", "worker.internal": "none", "shop.names.test": edgeAddress,
	})
	// From loopback: Docker hides the source of what the host sends to its bridge.
	host := &dns.Client{Timeout: 20 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, Timeout: 20 * time.Second}}
	for name, code := range map[string]int{"web.shop.internal": dns.RcodeNameError, "web": dns.RcodeNameError, "shop.names.test": dns.RcodeSuccess} {
		m, _, err := host.Exchange(new(dns.Msg).SetQuestion(name+".", dns.TypeA), n.dns)
		if err != nil || m.Rcode != code {
			t.Errorf("from the host, %s: %v %v", name, m, err)
		}
	}
	for _, verb := range []string{"run", "exec"} {
		if out, err := n.TryCLI(nil, verb, "-a", "shop", "--", "getent", "ahostsv4", "worker"); lookedUp(out, err) != workerAddr {
			t.Errorf("landward %s: %q %v", verb, out, err)
		}
	}

	// A new process that web cannot start without, and a way back.
	shop.Write("landward.yaml", "services:\n  web: {}\n  worker: {command: [/app/testapp, work]}\n  db: {command: [/app/testapp, work]}\n")
	shop.Testapp("two", "needs db")
	want(t, shop.Push(), "=====> Deployed shop v2")
	n.WantGet("shop", "/", "two")
	_, two := n.box("shop", "web")
	db, dbAddr := n.box("shop", "db")
	if two == one {
		t.Fatalf("web of both releases is at %s", two)
	}
	n.want("a new release", db, map[string]string{"web": two, "db": dbAddr, "db.shop.internal": dbAddr})
	n.probation(shop, db, two)
	n.CLI("rollback", "-a", "shop", "v1")
	n.WantGet("shop", "/", "one")
	worker, workerAddr = n.box("shop", "worker")
	n.Eventually("one web", func() error {
		if ids := strings.Fields(harness.Docker(t, "ps", "-q", "--filter", "label=landward.instance="+n.instance, "--filter", "label=landward.app_name=shop",
			"--filter", "label=landward.process=web")); len(ids) != 1 {
			return fmt.Errorf("%d run", len(ids))
		}
		return nil
	})
	_, back := n.box("shop", "web")
	after := map[string]string{"web": back, "worker": workerAddr, "db": "none", "db.internal": "none", "mail.names.test": edgeAddress, "web.mail.internal": "none"}
	n.want("after a rollback", worker, after)

	// The edge alone has names, from what it keeps on disk.
	n.KillAll()
	stop := n.Alone("edge")
	defer stop()
	n.want("without control and engine", worker, after)
	n.want("without control and engine", foreign, map[string]string{"web": foreignAddr, "worker": "none"})
	stop()
	n.Up()
	n.want("with all of them again", worker, after)
	n.Kill("control")
	n.Kill("edge")
	n.want("after kills", worker, after)
}

// probation pushes a release that does not become healthy until there is a
// host that it looks for. Until then nobody finds its web, and itself it finds
// the one that serves.
func (n *named) probation(repo *harness.Repo, asks, serves string) {
	n.t.Helper()
	repo.Testapp("three", "needs gate."+n.Domain)
	pushed := make(chan error, 1)
	go func() {
		out, err := repo.TryGit("push", "landward", "HEAD:main")
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		pushed <- err
	}()
	var candidate, addr string
	n.Eventually("a candidate runs", func() error {
		if candidate, addr = n.box(repo.App, "web"); addr == serves {
			return errors.New("not yet")
		}
		return nil
	})
	for _, box := range []string{asks, candidate} {
		if got := seen(box, "web"); got != serves {
			n.t.Errorf("on probation: web leads to %s, want %s; the candidate is at %s", got, serves, addr)
		}
	}
	n.CLI("apps", "create", "gate")
	if err := <-pushed; err != nil {
		n.t.Fatal(err)
	}
	asks, _ = n.box(repo.App, "db")
	n.want("after probation", asks, map[string]string{"web": addr})
}

// TestNothingOfTheHost: what an app may ask of the host is names. The address
// that the base domain leads to is closed to it where it is the host's own.
func TestNothingOfTheHost(t *testing.T) {
	n := startNamed(t)
	repo := n.app("curious", "  web: {}\n")
	repo.Testapp("one", "")
	repo.Push()
	n.WantGet("curious", "/", "one")
	_, addr := n.box("curious", "web")
	gateway := strings.Split(harness.Docker(t, "network", "ls", "-q", "--filter", "label=landward.instance="+n.instance), "\n")[0]
	gateway = harness.Docker(t, "network", "inspect", gateway, "-f", "{{(index .IPAM.Config 0).Gateway}}")
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only listens
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if code, body := n.Get("curious", "/dial?addr="+addr+":5000"); code != 200 || body != "connected" {
		t.Errorf("itself: %d %s", code, body)
	}
	if code, body := n.Get("curious", "/dial?addr="+gateway+":"+port); code == 200 {
		t.Errorf("the host: %s", body)
	}
}
