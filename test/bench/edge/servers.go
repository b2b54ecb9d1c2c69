package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"
)

// server is one running thing to measure.
type server struct {
	label string
	http  netip.AddrPort
	https netip.AddrPort // not valid: none
	proc  *process
}

// kind is a thing to measure that can be started.
type kind struct {
	label string
	start func(b *bench, ctx context.Context, o serverOptions) (*server, error)
}

// serverOptions are what a case needs of a server.
type serverOptions struct {
	tls    bool // as well as plain HTTP
	static bool // the files of www, and nothing proxied
	conns  int  // that it must bear at once, of clients and to the backend together
}

// The kinds.
var (
	landwardEdge = kind{"Landward", (*bench).startEdge}
	nginxTuned   = kind{"nginx tuned", startNginx("nginx-tuned.conf")}
	nginxCommon  = kind{"nginx as generated", startNginx("nginx-common.conf")}
	nginxStatic  = kind{"nginx tuned", startNginx("nginx-static.conf")}
	caddy        = kind{"Caddy", (*bench).startCaddy}
	haproxy      = kind{"HAProxy", (*bench).startHAProxy}
	reverseProxy = kind{"ReverseProxy tuned", (*bench).startReverseProxy}
)

// startWithin is how long a server has until it answers.
const startWithin = 10 * time.Second

// notAvailable is why something cannot be measured here, and no failure.
type notAvailable string

func (n notAvailable) Error() string { return string(n) }

// find returns the path of a peer's program.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && filepath.Base(name) == name {
		// Not in a normal user's PATH on Debian.
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		return "", notAvailable("not installed")
	}
	return path, nil
}

//go:embed conf
var confFiles embed.FS

// conf is what the files in conf/ are filled in with.
type conf struct {
	Dir     string // to write to
	User    string // to run as, where the server would change to another
	Addr    netip.AddrPort
	TLSAddr netip.AddrPort
	TLS     bool
	Host    string
	Backend netip.AddrPort
	Cert    certificate
	Root    string // static files
	Conns   int
	Files   int
}

// peer makes the folder, the addresses and the configuration of a peer.
func (b *bench) peer(name, file string, o serverOptions) (c conf, path string, err error) {
	c = conf{User: "root", Host: benchHost, Backend: b.backend, Cert: b.cert, Root: b.www, TLS: o.tls,
		Conns: max(o.conns, 4096), Files: b.files}
	if c.Dir, err = b.folder(name); err != nil {
		return c, "", err
	}
	if c.Addr, err = freeAddr(); err != nil {
		return c, "", err
	}
	if o.tls {
		if c.TLSAddr, err = freeAddr(); err != nil {
			return c, "", err
		}
	}
	t, err := template.New(file).Option("missingkey=error").ParseFS(confFiles, "conf/"+file)
	if err != nil {
		return c, "", fmt.Errorf("read %s: %w", file, err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, c); err != nil {
		return c, "", fmt.Errorf("fill in %s: %w", file, err)
	}
	path = filepath.Join(c.Dir, file)
	return c, path, os.WriteFile(path, text.Bytes(), 0o600)
}

// up waits until a server answers.
func (b *bench) up(ctx context.Context, p *process, s *server) (*server, error) {
	s.proc = p
	if err := await(ctx, p, s, "/1k", startWithin); err != nil {
		p.stop()
		return nil, err
	}
	return s, nil
}

// await waits until a server answers as it should, on every address that it has.
func await(ctx context.Context, p *process, s *server, path string, limit time.Duration) error {
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if err = s.verify(ctx, path); err == nil {
			return nil
		}
		if p.ended() {
			return fmt.Errorf("%s has ended: %s", s.label, p.said())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not answer: %w: %s", s.label, err, p.said())
}

// verify gets a path on every address and compares each byte.
func (s *server) verify(ctx context.Context, path string) error {
	if err := fetch(ctx, "http", s.http, path); err != nil {
		return err
	}
	if !s.https.IsValid() {
		return nil
	}
	return fetch(ctx, "https", s.https, path)
}

// fetch gets a path and compares each byte.
func fetch(ctx context.Context, scheme string, addr netip.AddrPort, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr.String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: benchHost}, //nolint:gosec // our own, of this run
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+benchHost+path, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s for %s", resp.Status, path)
	case !bytes.Equal(got, body(path)):
		return fmt.Errorf("%d bytes that are not those of %s", len(got), path)
	}
	return nil
}
