package cert_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"landward/internal/cert"
)

// names is a DNS server that knows 127.0.0.1 for all names, and the provider
// that changes its TXT records.
type names struct {
	addr string

	mu     sync.Mutex
	text   map[string][]string
	alias  map[string]string
	broken bool // the provider refuses
	added  int
}

func newNames(t testing.TB) *names {
	t.Helper()
	n := &names{text: map[string][]string{}, alias: map[string]string{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p, err := net.ListenPacket("udp", l.Addr().String())
	check(t, err)
	n.addr = l.Addr().String()
	for _, s := range []*dns.Server{{Listener: l, Handler: n}, {PacketConn: p, Handler: n}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			check(t, s.Shutdown())
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return n
}

func (n *names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	name, kind := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	head := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
	}
	if to, ok := n.alias[name]; ok {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: head(dns.TypeCNAME), Target: to})
		name = to
	}
	switch kind {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: head(kind), A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeSOA:
		if strings.Count(name, ".") == 2 { // a zone such as example.com.
			m.Answer = append(m.Answer, &dns.SOA{Hdr: head(kind), Ns: "ns.", Mbox: "ns."})
		}
	case dns.TypeTXT:
		for _, s := range n.text[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head(kind), Txt: []string{s}})
		}
	}
	_ = w.WriteMsg(m) // who asked may be gone
}

func (n *names) AppendRecords(_ context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		return nil, fmt.Errorf("the token is not allowed to change %s", zone)
	}
	for _, r := range list {
		rr := r.RR()
		name := libdns.AbsoluteName(rr.Name, zone)
		n.text[name] = append(n.text[name], rr.Data)
		n.added++
	}
	return list, nil
}

func (n *names) DeleteRecords(_ context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range list {
		delete(n.text, libdns.AbsoluteName(r.RR().Name, zone))
	}
	return list, nil
}

func (n *names) left() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.text)
}

// pebblePath finds the CA's program.
func pebblePath(t testing.TB) string {
	t.Helper()
	for _, path := range []string{os.Getenv("LANDWARD_TEST_PEBBLE"), "../../bin/tools/pebble"} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			abs, err := filepath.Abs(path)
			check(t, err)
			return abs
		}
	}
	if path, err := exec.LookPath("pebble"); err == nil {
		return path
	}
	const missing = "no pebble: `scripts/setup test` installs it, or say where it is with LANDWARD_TEST_PEBBLE"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// rig is an edge's two listeners, a DNS server and a CA.
type rig struct {
	dns       *names
	http, tls net.Listener
	now       atomic.Pointer[cert.Manager] // who answers
	log       *lines
	dir       string // of certificates

	program, config string
	api, manage     string // the CA's addresses
	roots           *x509.CertPool
	client          *http.Client
	env             []string
	output          *lines
	closedHTTP      atomic.Bool // port 80 is behind a firewall
	closedTLS       atomic.Bool
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newRig(t testing.TB, change func(config map[string]any)) *rig {
	t.Helper()
	r := &rig{program: pebblePath(t), dns: newNames(t), log: &lines{}, dir: t.TempDir(), output: &lines{}}
	r.listen(t)
	work := t.TempDir()
	ca := newCA(t, "the API's CA")
	chain, key := ca.issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, "localhost")
	check(t, os.WriteFile(filepath.Join(work, "cert.pem"), chain, 0o600))
	check(t, os.WriteFile(filepath.Join(work, "key.pem"), key, 0o600))
	r.roots = ca.pool()
	r.api = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r.manage = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true,
	}}
	config := map[string]any{
		"listenAddress": r.api, "managementListenAddress": r.manage, "keyAlgorithm": "ecdsa",
		"certificate": filepath.Join(work, "cert.pem"), "privateKey": filepath.Join(work, "key.pem"),
		"httpPort": r.http.Addr().(*net.TCPAddr).Port, "tlsPort": r.tls.Addr().(*net.TCPAddr).Port,
		"profiles": map[string]any{"default": map[string]any{"description": "90 days", "validityPeriod": 90 * 24 * 3600}},
	}
	if change != nil {
		change(config)
	}
	data, err := json.Marshal(map[string]any{"pebble": config})
	check(t, err)
	r.config = filepath.Join(work, "config.json")
	check(t, os.WriteFile(r.config, data, 0o600))
	r.env = []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", "PEBBLE_WFE_NONCEREJECT=5"}
	return r
}

// listen opens the edge's ports. Each connection gets the Manager of the time.
func (r *rig) listen(t testing.TB) {
	t.Helper()
	var err error
	r.http, err = net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r.tls, err = net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	plain := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host, _, err := net.SplitHostPort(q.Host)
		if err != nil {
			host = q.Host
		}
		m := r.now.Load()
		if m == nil || r.closedHTTP.Load() {
			panic(http.ErrAbortHandler)
		}
		answer, ok := m.HTTPChallenge(host, q.URL.Path)
		if !ok {
			http.NotFound(w, q)
			return
		}
		_, _ = io.WriteString(w, answer)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = plain.Serve(r.http) }()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := r.tls.Accept()
			if err != nil {
				return
			}
			m := r.now.Load()
			if m == nil || r.closedTLS.Load() {
				_ = conn.Close()
				continue
			}
			wg.Go(func() {
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				s := tls.Server(conn, m.TLSConfig())
				if s.Handshake() == nil {
					_, _ = s.Write([]byte("x"))
				}
				_ = s.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = plain.Close()
		_ = r.tls.Close()
		<-done
		wg.Wait()
	})
}

// ca starts the CA and waits until it answers. Its memory begins empty.
func (r *rig) ca(t testing.TB) (stop func()) {
	t.Helper()
	cmd := exec.Command(r.program, "-config", r.config, "-dnsserver", r.dns.addr)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, r.output, r.output
	check(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the CA said:\n%s", tail(r.output.String()))
			t.Logf("the log:\n%s", tail(r.log.String()))
		}
	})
	until(t, "the CA answers", func() bool {
		resp, err := r.client.Get("https://" + r.api + "/dir")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
	return stop
}

func tail(s string) string { return s[max(0, len(s)-8000):] }

func (r *rig) options() cert.Options {
	return cert.Options{
		Dir: r.dir, Log: logTo(r.log), Poll: 10 * time.Millisecond,
		ACME: cert.ACME{
			Directory: "https://" + r.api + "/dir", Email: "ada@example.com", Roots: r.roots,
			Resolvers: []string{r.dns.addr},
		},
	}
}

// edge starts a Manager behind the ports.
func (r *rig) edge(t testing.TB, o cert.Options) (m *cert.Manager, stop func()) {
	t.Helper()
	m = manager(t, o)
	r.now.Store(m)
	return m, run(t, m)
}

// issuers are the roots of the CA's certificates.
func (r *rig) issuers(t testing.TB) *x509.CertPool {
	t.Helper()
	resp, err := r.client.Get("https://" + r.manage + "/roots/0")
	check(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	check(t, err)
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(data) {
		t.Fatal("no root")
	}
	return p
}

// dial does a handshake over the network.
func (r *rig) dial(t testing.TB, host string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{ServerName: host, RootCAs: roots}}
	conn, err := d.Dial("tcp", r.tls.Addr().String())
	if err != nil {
		return nil, err
	}
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return leaf, conn.Close()
}

// orders is how many orders the CA has seen.
func (r *rig) orders() int { return r.output.count("Added order") }

// serves waits until host has a certificate from the CA that is not the one
// with serial, and returns it.
func (r *rig) serves(t testing.TB, host, notSerial string) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	roots := r.issuers(t)
	until(t, host+" has a certificate", func() bool {
		var err error
		leaf, err = r.dial(t, host, roots)
		return err == nil && leaf.SerialNumber.String() != notSerial
	})
	return leaf
}

// storedKey is the account's key on disk.
func storedKey(t testing.TB, dir string) *pem.Block {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "acme", "*", "account.key"))
	check(t, err)
	if len(found) != 1 {
		t.Fatalf("account keys: %v", found)
	}
	data, err := os.ReadFile(found[0])
	check(t, err)
	b, _ := pem.Decode(data)
	return b
}
