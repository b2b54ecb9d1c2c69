package hostcheck_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"landward/client"
	"landward/internal/cli/hostcheck"
	"landward/internal/config"
)

// engine serves GET /version on a unix socket.
func engine(t *testing.T, status int, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/version" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return "unix://" + path
}

func check(t *testing.T, got client.Check, state, message string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Message, message) {
		t.Errorf("got %+v, want %s with %q", got, state, message)
	}
	if got.State == "fail" && got.Hint == "" {
		t.Errorf("%+v does not say how to mend it", got)
	}
}

func TestDocker(t *testing.T) {
	refusing := filepath.Join(t.TempDir(), "gone.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: refusing, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, address, state, message string }{
		{"good", engine(t, 200, `{"Version":"20.10.24","ApiVersion":"1.41"}`), "ok", "Docker Engine 20.10.24, API 1.41"},
		{"newer", engine(t, 200, `{"Version":"29.0","ApiVersion":"1.100"}`), "ok", "1.100"},
		{"too old", engine(t, 200, `{"Version":"19.03","ApiVersion":"1.40"}`), "fail", "is too old"},
		{"broken", engine(t, 500, ""), "fail", "500"},
		{"not Docker", engine(t, 200, "hello"), "fail", "cannot be read"},
		{"none", "unix:///nowhere/docker.sock", "fail", "there is no Docker Engine"},
		{"stopped", "unix://" + refusing, "fail", "is not running"},
		{"no address", "docker", "fail", "is not the address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, hostcheck.Docker(t.Context(), tt.address), tt.state, tt.message)
		})
	}
}

func TestPort(t *testing.T) {
	check(t, hostcheck.Port("http", ""), "ok", "off")
	check(t, hostcheck.Port("http", "127.0.0.1:0"), "ok", "is free")
	check(t, hostcheck.Port("http", "127.0.0.1:99999"), "fail", "cannot listen")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a listener of the test
	check(t, hostcheck.Port("http", l.Addr().String()), "fail", "another program listens")
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	check(t, hostcheck.Disk(dir, 1), "ok", "free at "+dir)
	check(t, hostcheck.Disk(filepath.Join(dir, "not", "yet"), 1), "ok", "free at "+dir)
	check(t, hostcheck.Disk(dir, 1<<55), "fail", "builds need")
}

func TestData(t *testing.T) {
	dir := t.TempDir()
	check(t, hostcheck.Data(filepath.Join(dir, "new")), "ok", "will be made")
	check(t, hostcheck.Data(dir), "ok", dir)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "keys", "master")
	if err := os.WriteFile(key, []byte("x"), 0o400); err != nil {
		t.Fatal(err)
	}
	check(t, hostcheck.Data(dir), "ok", dir)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	check(t, hostcheck.Data(dir), "fail", "others can read the key")
	check(t, hostcheck.Data(key), "fail", "is not a folder")
}

func TestRun(t *testing.T) {
	c := config.Default()
	c.Data, c.Docker, c.HTTP, c.SSH = t.TempDir(), "unix:///nowhere/docker.sock", "127.0.0.1:0", "127.0.0.1:0"
	names := func(checks []client.Check) string {
		var list []string
		for _, c := range checks {
			if c.State != "ok" && c.State != "warn" && c.State != "fail" || c.Message == "" {
				t.Errorf("half a check: %+v", c)
			}
			list = append(list, c.Name)
		}
		return strings.Join(list, ", ")
	}
	const always = "docker, git, disk, data folder, clock"
	if got := names(hostcheck.Run(t.Context(), c, true)); got != always {
		t.Errorf("while a server runs: %s", got)
	}
	if got := names(hostcheck.Run(t.Context(), c, false)); got != always+", port for HTTP, port for git over SSH" {
		t.Errorf("while none runs: %s", got)
	}
}
