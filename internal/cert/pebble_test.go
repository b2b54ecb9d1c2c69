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
	"landward/internal/waittest"
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
	l, p := bothNetworks(t)
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

// bothNetworks listens on one port with TCP and UDP. A port that is free for the
// one may be somebody's for the other.
func bothNetworks(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	var last error
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, p
		}
		last = err
		check(t, l.Close())
	}
	t.Fatal(last)
	return nil, nil
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

	program    string
	config     map[string]any
	api        string                 // the CA's address: ours, and handed on to the CA
	inner      atomic.Pointer[string] // where the CA listens; nil: it is down
	manage     string                 // where it is managed
	pair       tls.Certificate        // of its API
	roots      *x509.CertPool
	client     *http.Client
	env        []string
	output     *lines
	closedHTTP atomic.Bool // port 80 is behind a firewall
	closedTLS  atomic.Bool
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
	var err error
	r.pair, err = tls.X509KeyPair(chain, key)
	check(t, err)
	r.front(t)
	r.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true,
	}}
	r.config = map[string]any{
		"keyAlgorithm": "ecdsa",
		"certificate":  filepath.Join(work, "cert.pem"), "privateKey": filepath.Join(work, "key.pem"),
		"httpPort": r.http.Addr().(*net.TCPAddr).Port, "tlsPort": r.tls.Addr().(*net.TCPAddr).Port,
		"profiles": map[string]any{"default": map[string]any{"description": "90 days", "validityPeriod": 90 * 24 * 3600}},
	}
	if change != nil {
		change(r.config)
	}
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

// front holds the CA's address for as long as the rig is there, and hands
// connections on to where the CA listens just now. The CA opens its ports by
// number: between the choice of a number and that, another process may take it.
func (r *rig) front(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r.api = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.handOn(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
}

// handOn joins a connection with one to the CA until either ends.
func (r *rig) handOn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	to := r.inner.Load()
	if to == nil {
		return
	}
	out, err := new(net.Dialer).DialContext(ctx, "tcp", *to)
	if err != nil {
		return
	}
	both := func() {
		_ = conn.Close()
		_ = out.Close()
	}
	defer context.AfterFunc(ctx, both)()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, out}, {out, conn}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			both()
		})
	}
	wg.Wait()
}

// maintenance has a page in the CA's place that says to come back later. Only
// the question when to renew is answered (RFC 9773 §4.2), which would otherwise
// be tried for seconds each time.
func (r *rig) maintenance(t testing.TB) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/renewalInfo/") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"suggestedWindow":{"start":"2199-01-01T00:00:00Z","end":"2199-01-02T00:00:00Z"}}`)
			return
		}
		http.Error(w, "back soon", http.StatusServiceUnavailable)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{r.pair}}))
	}()
	at := l.Addr().String()
	r.inner.Store(&at)
	stop = sync.OnceFunc(func() {
		_ = s.Close()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// freePorts are numbers that nobody has at the moment.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close() // not before all are chosen
		out = append(out, l.Addr().String())
	}
	return out
}

// ca starts the CA and waits until it answers. Its memory begins empty. Where
// somebody else was faster at one of its ports, it gets others.
func (r *rig) ca(t testing.TB) (stop func()) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the CA said:\n%s", tail(r.output.String()))
			t.Logf("the log:\n%s", tail(r.log.String()))
		}
	})
	for range 10 {
		if stop = r.tryCA(t); stop != nil {
			t.Cleanup(stop)
			return stop
		}
	}
	t.Fatal("the CA does not start")
	return nil
}

// tryCA is one try to start the CA. It returns nil when the CA ends instead.
func (r *rig) tryCA(t testing.TB) (stop func()) {
	t.Helper()
	ports := freePorts(t, 2)
	r.config["listenAddress"], r.config["managementListenAddress"] = ports[0], ports[1]
	data, err := json.Marshal(map[string]any{"pebble": r.config})
	check(t, err)
	file := filepath.Join(t.TempDir(), "config.json")
	check(t, os.WriteFile(file, data, 0o600))
	cmd := exec.Command(r.program, "-config", file, "-dnsserver", r.dns.addr)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, r.output, r.output
	check(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	stop = sync.OnceFunc(func() {
		r.inner.Store(nil)
		_ = cmd.Process.Kill()
		<-ended
	})
	r.inner.Store(&ports[0])
	r.manage = ports[1]
	gone := false
	waittest.Eventually(t, "the CA answers", func() bool {
		select {
		case <-ended:
			gone = true
			return true
		default:
		}
		for _, at := range []string{r.api + "/dir", r.manage + "/roots/0"} {
			resp, err := r.client.Get("https://" + at)
			if err != nil || resp.Body.Close() != nil {
				return false
			}
		}
		return true
	})
	if gone {
		stop()
		return nil
	}
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
	waittest.Eventually(t, host+" has a certificate", func() bool {
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
