package edge_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"landward/internal/dns"
	"landward/internal/route"
	"landward/internal/route/edge"
	"landward/internal/waittest"
)

// tool finds a program that a test needs. Where it is missing the test is
// skipped, but never in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: scripts/setup test installs it", name)
	}
	t.Skipf("no %s: scripts/setup test installs it", name)
	return ""
}

// do runs a program to its end and returns what it printed and its exit code.
func do(t *testing.T, stdin, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v, %v\n%s%s", path, err, ctx.Err(), &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// letters is text that can be compressed, but is not the same everywhere.
func letters(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefgh \n"[r.IntN(10)]
	}
	return string(b)
}

// clientApp is an edge with an app and a static site for clients to try. It
// returns the file with the root of the local authority.
func clientApp(t *testing.T) (r *running, root string) {
	t.Helper()
	text := letters(64 << 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/text":
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, text)
		case "/upload":
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
		case "/refuse":
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprintf(w, "hello over %s", r.Header.Get("X-Forwarded-Proto"))
		}
	}))
	t.Cleanup(s.Close)
	r = start(t, t.TempDir())
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "file.bin"), []byte(letters(1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.put(t, 1, &route.Route{App: "shop", AppID: 7, Hosts: []string{"shop.localhost"}, State: route.StateUp,
		Targets: []route.Target{{Addr: netip.MustParseAddrPort(s.Listener.Addr().String()), Unit: "web.1", ID: "a"}}},
		&route.Route{App: "site", AppID: 8, Hosts: []string{"site.localhost"}, State: route.StateUp, Static: &route.Static{Dir: site}})
	pem, err := r.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, root
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// curl is curl with what it needs to find and trust the edge.
func (r *running) curl(t *testing.T, root string) func(args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, port := tool(t, "curl"), portOf(r.SecureAddr())
	return func(args ...string) (string, string, int) {
		t.Helper()
		all := []string{"--silent", "--show-error", "--max-time", "20", "--cacert", root, "--noproxy", "*"}
		for _, host := range []string{"shop.localhost", "site.localhost"} {
			all = append(all, "--resolve", host+":"+port+":127.0.0.1")
		}
		for _, a := range args {
			all = append(all, strings.ReplaceAll(a, "PORT", port))
		}
		return do(t, "", path, all...)
	}
}

// TestCurl: what curl can do, with HTTP/1.1 and HTTP/2.
func TestCurl(t *testing.T) {
	r, root := clientApp(t)
	curl := r.curl(t, root)
	for flag, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		t.Run(version, func(t *testing.T) {
			const shop, site = "https://shop.localhost:PORT", "https://site.localhost:PORT"
			out, errs, code := curl(flag, "-w", " %{http_version} %{http_code} %{ssl_verify_result}", shop+"/")
			if code != 0 || out != "hello over https "+version+" 200 0" {
				t.Errorf("GET: %d %q %s", code, out, errs)
			}
			if out, _, code := curl(flag, "--tls-max", "1.2", shop+"/"); code != 0 || out != "hello over https" {
				t.Errorf("TLS 1.2: %d %q", code, out)
			}
			if out, _, code := curl(flag, "-I", shop+"/"); code != 0 || !strings.Contains(out, "200") || strings.Contains(out, "hello") {
				t.Errorf("HEAD: %d %q", code, out)
			}
			// Ten at once over as many connections as it likes.
			out, errs, code = curl(flag, "--parallel", "--parallel-immediate", shop+"/[1-10]")
			if code != 0 || strings.Count(out, "hello over https") != 10 {
				t.Errorf("in parallel: %d %q %s", code, out, errs)
			}
			whole := letters(1 << 20)
			for rng, want := range map[string]string{"0-99": whole[:100], "-100": whole[len(whole)-100:], "1000000-": whole[1000000:]} {
				if out, _, code := curl(flag, "-r", rng, site+"/file.bin"); code != 0 || out != want {
					t.Errorf("range %s: %d, %d bytes", rng, code, len(out))
				}
			}
			if out, _, _ := curl(flag, "-r", "0-0,10-19", "-w", "%{content_type}", site+"/file.bin"); !strings.HasSuffix(out, whole[10:20]) &&
				!strings.Contains(out, "multipart/byteranges") && out != whole {
				t.Errorf("two ranges: %q", out[:min(len(out), 500)])
			}
			text := letters(64 << 10)
			for _, coding := range []string{"gzip", "br", "zstd", "gzip, br;q=0.1"} {
				out, errs, code := curl(flag, "--compressed", "-H", "Accept-Encoding: "+coding, "-w", "%{stderr}%{size_download}", shop+"/text")
				if code != 0 || out != text || errs == fmt.Sprint(len(text)) {
					t.Errorf("%s: %d, %d bytes from %s", coding, code, len(out), errs)
				}
			}
			if out, _, code := curl(flag, shop+"/text"); code != 0 || out != text {
				t.Errorf("not compressed: %d, %d bytes", code, len(out))
			}
		})
	}
}

// TestCurlUploads: with and without leave to continue.
func TestCurlUploads(t *testing.T) {
	r, root := clientApp(t)
	curl := r.curl(t, root)
	body := letters(3 << 20)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d %x <nil>", len(body), sha256.Sum256([]byte(body)))
	for _, flag := range []string{"--http1.1", "--http2"} {
		for _, how := range [][]string{
			{"-H", "Expect: 100-continue"}, {"-H", "Expect:"}, {"-H", "Transfer-Encoding: chunked"},
			{"-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"},
		} {
			out, errs, code := curl(append(how, flag, "-T", file, "https://shop.localhost:PORT/upload")...)
			if code != 0 || out != want {
				t.Errorf("%s %q: %d %q %s", flag, how, code, out, errs)
			}
		}
	}
	_, errs, code := curl("--http1.1", "-v", "-H", "Expect: 100-continue", "--expect100-timeout", "19", "-T", file, "https://shop.localhost:PORT/upload")
	if code != 0 || !strings.Contains(errs, "100 Continue") {
		t.Errorf("no leave to continue: %d", code)
	}
	// An app that says no at once gets nothing of the body.
	out, errs, code := curl("--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "19", "-w", "%{http_code} %{size_upload}",
		"-T", file, "https://shop.localhost:PORT/refuse")
	if code != 0 || out != "403 0" {
		t.Errorf("refused: %d %q %s", code, out, errs)
	}
	if out, _, _ := curl("--http2", "-w", "%{http_code}", "-T", file, "https://shop.localhost:PORT/refuse"); out != "403" {
		t.Errorf("refused over HTTP/2: %q", out)
	}
}

// TestCurlPlain: in clear text there is HTTP/1.1 and nothing else. Who begins
// with HTTP/2 all the same is told so at once; the offer of an upgrade is
// passed over.
func TestCurlPlain(t *testing.T) {
	r, _ := clientApp(t)
	path, at := tool(t, "curl"), "http://"+r.Addr().String()+"/"
	plain := []string{"-sS", "--noproxy", "*", "--max-time", "20", "-H", "Host: shop.localhost", "-w", " %{http_version}", at}
	if out, _, code := do(t, "", path, plain...); code != 0 || out != "hello over http 1.1" {
		t.Errorf("%d %q", code, out)
	}
	if out, _, code := do(t, "", path, append([]string{"--http2"}, plain...)...); code != 0 || out != "hello over http 1.1" {
		t.Errorf("an upgrade: %d %q", code, out)
	}
	const timedOut = 28
	if out, _, code := do(t, "", path, append([]string{"--http2-prior-knowledge"}, plain...)...); code == 0 || code == timedOut {
		t.Errorf("prior knowledge: %d %q", code, out)
	}
	// A client of HTTPS that has the wrong port, and the other way round.
	if out, _, code := do(t, "", path, append([]string{"-k"}, append(plain[:len(plain)-1:len(plain)-1], "https://"+r.Addr().String()+"/")...)...); code == 0 || code == timedOut {
		t.Errorf("TLS to the plain port: %d %q", code, out)
	}
	if out, _, code := do(t, "", path, append(plain[:len(plain)-1:len(plain)-1], "http://"+r.SecureAddr().String()+"/")...); code == 0 || code == timedOut {
		t.Errorf("no TLS to the other port: %d %q", code, out)
	}
}

// TestOpenSSLResumes: another TLS library takes up its sessions again.
func TestOpenSSLResumes(t *testing.T) {
	r, root := clientApp(t)
	path := tool(t, "openssl")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(t.TempDir(), "session")
		ask := func(more ...string) string {
			t.Helper()
			out, errs, _ := do(t, "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n", path,
				append([]string{"s_client", version, "-connect", r.SecureAddr().String(), "-servername", "shop.localhost", "-CAfile", root,
					"-verify_return_error", "-ign_eof"}, more...)...)
			if !strings.Contains(out, "hello over https") {
				t.Fatalf("%s: %s%s", version, out, errs)
			}
			return out
		}
		if out := ask("-sess_out", session); !strings.Contains(out, "New, TLSv1") {
			t.Errorf("%s: the first is not new", version)
		}
		if out := ask("-sess_in", session); !strings.Contains(out, "Reused, TLSv1") {
			t.Errorf("%s: not resumed", version)
		}
	}
}

// TestH2load: many streams at once, and many requests on each connection.
func TestH2load(t *testing.T) {
	r, _ := clientApp(t)
	path := tool(t, "h2load")
	for _, flags := range [][]string{{"-m", "100"}, {"-m", "1"}, {"--h1"}, {"-m", "32", "-w", "14", "-W", "14"}} {
		for _, what := range []string{"shop.localhost:PORT/", "shop.localhost:PORT/text", "site.localhost:PORT/file.bin"} {
			n := "1000"
			if strings.HasSuffix(what, ".bin") {
				n = "40"
			}
			args := append([]string{"-n", n, "-c", "4", "--connect-to", r.SecureAddr().String()}, flags...)
			out, errs, code := do(t, "", path, append(args, "https://"+strings.ReplaceAll(what, "PORT", portOf(r.SecureAddr())))...)
			if code != 0 || !strings.Contains(out, "0 failed, 0 errored, 0 timeout") || !strings.Contains(out, "status codes: "+n+" 2xx") {
				t.Errorf("%v %s: %d %s%s", flags, what, code, out, errs)
			}
		}
	}
}

var dnsFlags = regexp.MustCompile(`;; flags: ([a-z ]*);`)

// TestDig: names of the base domain, as the usual tool asks for them.
func TestDig(t *testing.T) {
	path := tool(t, "dig")
	dir := t.TempDir()
	host := waittest.Loopback()
	addr := net.JoinHostPort(host, "5353")
	e, err := edge.New(edge.Options{HTTP: "127.0.0.1:0", RoutesFile: filepath.Join(dir, "routes"), Socket: filepath.Join(dir, "sock"),
		LogDir: dir, Log: slog.New(slog.DiscardHandler), Quiet: true, DNSAddr: addr,
		DNS: dns.Options{Zone: "paas.local", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r := &running{Edge: e, Client: edge.NewClient(filepath.Join(dir, "sock"))}
	t.Cleanup(r.Close)
	r.put(t, 1, &route.Route{App: "shop", AppID: 7, Hosts: []string{"shop.paas.local"}, State: route.StateDown})
	waittest.Eventually(t, "DNS is answered", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	dig := func(args ...string) string {
		t.Helper()
		_, port, _ := net.SplitHostPort(addr)
		out, errs, code := do(t, "", path, append([]string{"@" + host, "-p", port, "+time=5", "+tries=4"}, args...)...)
		if code != 0 {
			t.Errorf("%q: %d %s%s", args, code, out, errs)
		}
		return out
	}
	for _, over := range []string{"+notcp", "+tcp", "+noedns", "+dnssec", "+bufsize=512"} {
		for args, want := range map[string]string{
			"+short shop.paas.local A": "192.0.2.7\n", "+short shop.paas.local AAAA": "2001:db8::7\n", "+short ShOp.PaaS.LoCaL A": "192.0.2.7\n",
			"+short paas.local NS": "ns.paas.local.\n", "+short shop.paas.local MX": "",
		} {
			if got := dig(append(strings.Fields(args), over)...); got != want {
				t.Errorf("%s %s: %q", over, args, got)
			}
		}
		out := dig("nobody.paas.local", "A", over)
		if f := dnsFlags.FindStringSubmatch(out); !strings.Contains(out, "status: NXDOMAIN") || f == nil || !strings.Contains(f[1], "aa") || !strings.Contains(out, "SOA") {
			t.Errorf("%s: a name that is not there: %s", over, out)
		}
		if out := dig("example.com", "A", over); !strings.Contains(out, "status: REFUSED") {
			t.Errorf("%s: a foreign name: %s", over, out)
		}
	}
	if out := dig("paas.local", "AXFR"); strings.Contains(out, "192.0.2.7") {
		t.Errorf("the zone is given away: %s", out)
	}
	if out := dig("+short", "version.bind", "CH", "TXT"); strings.TrimSpace(out) != "" {
		t.Errorf("a version is told: %s", out)
	}
}
