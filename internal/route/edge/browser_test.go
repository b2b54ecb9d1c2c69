package edge_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"landward/internal/route"
)

// page does in a browser what pages do, and tells the app how it went.
const page = `<!doctype html><title>page</title><script type="module">
const said = {errors: []};
const how = url => performance.getEntriesByName(new URL(url, location).href).at(-1)?.nextHopProtocol;
try {
	said.page = performance.getEntriesByType("navigation")[0].nextHopProtocol;
	said.secure = isSecureContext;
	const text = await fetch("/text");
	said.coding = text.headers.get("content-encoding");
	said.length = (await text.text()).length;
	said.text = how("/text");
	const big = new Uint8Array(2 << 20).fill(7);
	said.uploaded = await (await fetch("/upload", {method: "POST", body: big})).text();
	said.parallel = (await Promise.all(Array.from({length: 60}, (_, i) => fetch("/hello?" + i).then(r => r.text())))).filter(t => t === "hello").length;
	said.socket = await new Promise((yes, no) => {
		const ws = new WebSocket("wss://" + location.host + "/socket", ["second"]);
		const heard = [];
		ws.onopen = () => { ws.send("hello"); ws.send("x".repeat(200000)); };
		ws.onmessage = e => { heard.push(e.data.length); if (heard.length === 2) ws.close(4321, "bye"); };
		ws.onclose = e => yes([ws.protocol, ...heard, e.code, e.wasClean].join(" "));
		ws.onerror = () => no(new Error("socket"));
	});
	said.events = await new Promise((yes, no) => {
		const es = new EventSource("/events");
		const heard = [];
		es.onmessage = e => { heard.push(e.data); if (heard.length === 3) { es.close(); yes(heard.join(" ")); } };
		es.onerror = () => no(new Error("events"));
	});
	for (let i = 0; i < 50 && location.search === "?alt"; i++) {
		await fetch("/hello?again" + i).then(r => r.text());
		said.later = how("/hello?again" + i);
		if (said.later === "h3") break;
		await new Promise(r => setTimeout(r, 100));
	}
} catch (e) {
	said.errors.push(String(e));
}
await fetch("/report", {method: "POST", body: JSON.stringify(said)});
</script>`

// said is what the page tells.
type said struct {
	Page, Text, Later string // protocols, as ALPN calls them (RFC 7301)
	Secure            bool
	Coding, Uploaded  string
	Length, Parallel  int
	Socket, Events    string
	Errors            []string
}

// pageApp is the app with the page.
func pageApp(t *testing.T) (route.Target, <-chan said) {
	t.Helper()
	reports := make(chan said, 10)
	text := letters(64 << 10)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"second"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		for {
			kind, b, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, b) != nil {
				return
			}
		}
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 1; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/report", func(_ http.ResponseWriter, r *http.Request) {
		var s said
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&s); err != nil {
			t.Errorf("report: %v", err)
		}
		reports <- s
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	addr := s.Listener.Addr().String()
	return route.Target{Addr: netip.MustParseAddrPort(addr), Unit: "web.1", ID: addr}, reports
}

// browse has the page opened, and wants what it reports to be so. A browser drops
// what it is at when the machine's network changes, as it does when Docker makes a
// bridge for another test: then the page is opened again.
func browse(t *testing.T, reports <-chan said, so func(said) bool, home, url string, flags ...string) {
	t.Helper()
	for tries := 1; ; tries++ {
		changed := watchNetwork(t)
		s, log := view(t, reports, changed, home, url, flags...)
		if tries < 10 && changed() {
			t.Logf("the machine's network has changed meanwhile: once more after %+v", s)
			continue
		}
		if !so(s) {
			t.Errorf("%+v\n%s", s, log)
		}
		return
	}
}

// watchNetwork returns what tells whether links or addresses of the machine have
// changed since (rtnetlink(7)).
func watchNetwork(t *testing.T) (changed func() bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1<<16), unix.MSG_PEEK)
		return n > 0 || err == unix.ENOBUFS // so many that some were lost
	}
}

// view opens an address in Chromium with a profile of its own, until the page
// has reported. Where it does not, there is Chromium's log.
func view(t *testing.T, reports <-chan said, changed func() bool, home, url string, flags ...string) (s said, says []byte) {
	t.Helper()
	cmd := exec.Command(tool(t, "chromium"), append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--host-resolver-rules=MAP page.localhost 127.0.0.1",
		"--user-data-dir=" + filepath.Join(home, "profile")}, append(flags, url)...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"), "XDG_CACHE_HOME="+filepath.Join(home, ".cache"))
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts processes of its own
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}()
	look := time.NewTicker(patience / 2)
	defer look.Stop()
	for looks := 0; looks < 6 && (looks == 0 || !changed()); { // it takes a while to start on a machine that is busy
		select {
		case s := <-reports:
			return s, nil
		case <-ended:
			looks = 6
		case <-look.C:
			looks++
		}
	}
	says, err = os.ReadFile(log.Name())
	if err != nil {
		t.Error(err)
	}
	return said{Errors: []string{"the page has not reported"}}, says
}

// over reports whether a page tells what it should, by that protocol.
func over(version string) func(said) bool {
	return func(s said) bool {
		return s.Page == version && s.Text == version && s.Secure && s.Length == 64<<10 && s.Coding != "" && s.Uploaded == fmt.Sprint(2<<20, error(nil)) &&
			s.Parallel == 60 && s.Socket == "second 5 200000 4321 true" && s.Events == "1 2 3" && len(s.Errors) == 0
	}
}

// TestBrowser: a browser that has the local root in its store, as `landward
// trust` puts it there, has nothing to complain of, and speaks HTTP/2.
func TestBrowser(t *testing.T) {
	certutil := tool(t, "certutil")
	_ = tool(t, "chromium")
	r, reports := browserRig(t)
	home := t.TempDir()
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(home, "root.pem")
	pem, err := r.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-n", "root", "-t", "C,,", "-i", root}} {
		if out, errs, code := do(t, "", certutil, append([]string{"-d", "sql:" + store}, args...)...); code != 0 {
			t.Fatalf("certutil: %s%s", out, errs)
		}
	}
	browse(t, reports, over("h2"), home, "https://page.localhost:"+portOf(r.SecureAddr())+"/")
	r.wantSocketOver(t, "HTTP/2.0") // RFC 8441: not over a connection of its own
}

// wantSocketOver stops the edge and looks into its log for how the WebSocket
// came.
func (r *running) wantSocketOver(t *testing.T, proto string) {
	t.Helper()
	r.stop()
	b, err := os.ReadFile(filepath.Join(r.dir, "logs", "5", "router.log"))
	if err != nil {
		t.Fatal(err)
	}
	socket := "none"
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, `"/socket"`) {
			socket = line // the last one counts: see browse
		}
	}
	if !strings.Contains(socket, proto) {
		t.Errorf("the WebSocket: %s", socket)
	}
}

// browserRig is an edge with the page.
func browserRig(t *testing.T) (*running, <-chan said) {
	t.Helper()
	r := start(t, t.TempDir())
	target, reports := pageApp(t)
	r.put(t, 1, &route.Route{App: "page", AppID: 5, Hosts: []string{"page.localhost"}, State: route.StateUp, Targets: []route.Target{target}})
	return r, reports
}

// TestBrowserHTTP3: the same over HTTP/3, from the start and as Alt-Svc has
// told of it. Browsers take no root but a public one for QUIC, so this one is
// told which key to take.
func TestBrowserHTTP3(t *testing.T) {
	_ = tool(t, "chromium")
	r, reports := browserRig(t)
	c, err := tls.Dial("tcp", r.SecureAddr().String(), &tls.Config{RootCAs: r.localRoots(t), ServerName: "page.localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(c.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	_ = c.Close()
	trust := "--ignore-certificate-errors-spki-list=" + base64.StdEncoding.EncodeToString(key[:])
	origin := "page.localhost:" + portOf(r.SecureAddr())
	browse(t, reports, over("h3"), t.TempDir(), "https://"+origin+"/", trust, "--enable-quic", "--origin-to-force-quic-on="+origin)
	// It takes unknown roots for hosts of which it was told so, on another port
	// too: on this one it finds out by itself.
	byAltSvc := func(s said) bool { return s.Page == "h2" && s.Later == "h3" && len(s.Errors) == 0 }
	browse(t, reports, byAltSvc, t.TempDir(), "https://"+origin+"/?alt", trust, "--enable-quic", "--origin-to-force-quic-on=page.localhost:1")
}
