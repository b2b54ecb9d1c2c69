package cli_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/internal/cli"
)

// authority makes a certificate; change makes it another than a good root.
func authority(t *testing.T, change func(*x509.Certificate)) (text, fingerprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Landward local CA"},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"apps.localhost"},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), hex.EncodeToString(sum[:])
}

// machine is a computer in a folder, with tools that only note that they ran.
type machine struct {
	cli.Machine
	ran  []string
	fed  []string
	fail map[string]error // by the beginning of a line of ran
}

func newMachine(t *testing.T, tools ...cli.Tool) *machine {
	m := &machine{fail: map[string]error{}}
	m.Machine = cli.Machine{
		OS: "linux", Root: t.TempDir(), Home: filepath.Join(t.TempDir(), "[ann]"), UID: 1000,
		Has: func(tool cli.Tool) bool { return slices.Contains(tools, tool) },
		Run: func(_ context.Context, input string, tool cli.Tool, args ...string) (string, error) {
			line := strings.Join(append([]string{filepath.Base(string(tool))}, args...), " ")
			m.ran, m.fed = append(m.ran, line), append(m.fed, input)
			for front, err := range m.fail {
				if strings.HasPrefix(line, front) {
					return "", err
				}
			}
			return "", nil
		},
	}
	return m
}

func (m *machine) makeDir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (m *machine) makeProfile(t *testing.T, dir string) string {
	t.Helper()
	dir = m.makeDir(t, m.Home, dir)
	if err := os.WriteFile(filepath.Join(dir, "cert9.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// trust runs the command against a server with the authority.
func (m *machine) trust(t *testing.T, text string, args ...string) (*world, int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/certificate-authority" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_ = json.NewEncoder(rw).Encode(map[string]string{"certificate": text})
	}))
	defer server.Close()
	w := newWorld(t, server.URL, append([]string{"trust"}, args...)...)
	w.Machine = m.Machine
	return w, w.run(t.Context())
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTrustOnEachSystem(t *testing.T) {
	text, fp := authority(t, nil)
	file := "landward-" + fp[:8] + ".crt"
	for _, tt := range []struct {
		dir       string
		tool      cli.Tool
		in, out   string
		otherDirs []string
	}{
		{"usr/local/share/ca-certificates", cli.ToolCACertificates, "update-ca-certificates", "update-ca-certificates --fresh", nil},
		{"etc/pki/ca-trust/source/anchors", cli.ToolCATrust, "update-ca-trust", "update-ca-trust", []string{"usr/local/share/ca-certificates"}},
		{"etc/ca-certificates/trust-source/anchors", cli.ToolCATrust, "update-ca-trust", "update-ca-trust", nil},
		{"etc/pki/trust/anchors", cli.ToolCACertificates, "update-ca-certificates", "update-ca-certificates --fresh", nil},
	} {
		t.Run(tt.dir, func(t *testing.T) {
			m := newMachine(t, tt.tool)
			for _, other := range tt.otherDirs {
				m.makeDir(t, m.Root, other)
			}
			dir := m.makeDir(t, m.Root, tt.dir)
			for range 2 { // twice is as good as once
				w, code := m.trust(t, text)
				if code != 0 {
					t.Fatalf("exit code %d: %s", code, w.err.String())
				}
				for _, want := range []string{strings.ToUpper(fp[:2]) + ":" + strings.ToUpper(fp[2:4]) + ":", "apps.localhost and all names below", "2036-01-01"} {
					if !strings.Contains(w.err.String(), want) {
						t.Errorf("%q was not shown: %s", want, w.err.String())
					}
				}
				if !strings.Contains(w.out.String(), "This machine trusts it.") || strings.Contains(w.out.String(), "Left for you") {
					t.Errorf("said %q", w.out.String())
				}
			}
			if got := files(t, dir); !slices.Equal(got, []string{file}) {
				t.Fatalf("the folder has %q", got)
			}
			data, err := os.ReadFile(filepath.Join(dir, file))
			info, _ := os.Stat(filepath.Join(dir, file))
			if err != nil || string(data) != text || info.Mode().Perm() != 0o644 {
				t.Errorf("the file is %q, %v, %v", data, info.Mode(), err)
			}
			if _, code := m.trust(t, text, "--remove"); code != 0 || len(files(t, dir)) != 0 {
				t.Errorf("removed: exit code %d, the folder has %q", code, files(t, dir))
			}
			if want := []string{tt.in, tt.in, tt.out}; !slices.Equal(m.ran, want) {
				t.Errorf("ran %q, want %q", m.ran, want)
			}
			w, code := m.trust(t, text, "--remove")
			if code != 0 || !strings.Contains(w.out.String(), "was not there") || len(m.ran) != 3 {
				t.Errorf("removed again: exit code %d, %q, ran %q", code, w.out.String(), m.ran)
			}
		})
	}
}

func TestTrustOfBrowsers(t *testing.T) {
	text, fp := authority(t, nil)
	name := "Landward " + fp[:8]
	m := newMachine(t, cli.ToolNSS)
	chromium := m.makeProfile(t, ".pki/nssdb")
	firefox := m.makeProfile(t, ".mozilla/firefox/x1.default")
	m.makeDir(t, m.Home, ".mozilla/firefox/Crash Reports")
	w, code := m.trust(t, text, "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	want := []string{
		"certutil -A -d sql:" + chromium + " -n " + name + " -t C,, -a", "certutil -A -d sql:" + firefox + " -n " + name + " -t C,, -a",
	}
	if !slices.Equal(m.ran, want) || m.fed[0] != text || m.fed[1] != text {
		t.Errorf("ran %q", m.ran)
	}
	var report struct {
		Fingerprint string
		Done, Left  []string
	}
	if err := json.Unmarshal(w.out.Bytes(), &report); err != nil || report.Fingerprint != fp || len(report.Done) != 2 || len(report.Left) != 2 {
		t.Errorf("the answer is %s, %v", w.out.String(), err)
	}
	// One does not have it, the other does not give it up.
	m.ran = nil
	m.fail["certutil -L -d sql:"+chromium] = errors.New("not found")
	m.fail["certutil -D"] = errors.New("database is locked")
	w, code = m.trust(t, "", "--remove", "--fingerprint", strings.ToUpper(fp))
	if code != 1 || len(m.ran) != 3 || !strings.Contains(w.out.String(), "database is locked") || strings.Contains(w.out.String(), "not trusted any more") {
		t.Errorf("exit code %d, ran %q, said %q", code, m.ran, w.out.String())
	}
	// Without the tool, what it needs is said.
	m.Has = func(cli.Tool) bool { return false }
	w, code = m.trust(t, text)
	if code != 1 || !strings.Contains(w.out.String(), "libnss3-tools") || strings.Contains(w.out.String(), "trusts it") {
		t.Errorf("exit code %d, said %q", code, w.out.String())
	}
}

func TestTrustInAKeychain(t *testing.T) {
	text, fp := authority(t, nil)
	m := newMachine(t)
	m.OS = "darwin"
	if _, code := m.trust(t, text); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.UID = 0
	if _, code := m.trust(t, text); code != 0 {
		t.Errorf("exit code %d as root", code)
	}
	if _, code := m.trust(t, text, "--remove"); code != 0 {
		t.Errorf("exit code %d for --remove", code)
	}
	for i, want := range []string{
		"security add-trusted-cert -r trustRoot -k " + m.Home + "/Library/Keychains/login.keychain-db /",
		"security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain /",
		"security delete-certificate -Z " + fp + " -t /Library/Keychains/System.keychain",
	} {
		if i >= len(m.ran) || !strings.HasPrefix(m.ran[i], want) {
			t.Errorf("ran %q, want %q", m.ran, want)
		}
	}
	m.fail["security add"] = errors.New("the user said no")
	if w, code := m.trust(t, text); code != 1 || !strings.Contains(w.out.String(), "the user said no") {
		t.Errorf("exit code %d, said %q", code, w.out.String())
	}
}

// Nothing is trusted that is no root, is not the one that was meant, or that
// the user does not want.
func TestWhatIsNotTrusted(t *testing.T) {
	good, fp := authority(t, nil)
	other, _ := authority(t, nil)
	change := func(f func(*x509.Certificate)) string { text, _ := authority(t, f); return text }
	for name, tt := range map[string]struct {
		text string
		args []string
		say  string
		code int
	}{
		"nothing":          {text: "", say: "not one certificate"},
		"two":              {text: good + other, say: "not one certificate"},
		"a key behind":     {text: good + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", say: "not one certificate"},
		"a key":            {text: strings.ReplaceAll(good, "CERTIFICATE", "PRIVATE KEY"), say: "not one certificate"},
		"garbage":          {text: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", say: "cannot be read"},
		"a site's":         {text: change(func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.PermittedDNSDomains = false, 0, nil }), say: "not one of an authority"},
		"one that is old":  {text: change(func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Hour) }), say: "clock"},
		"one to come":      {text: change(func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(-time.Hour) }), say: "clock"},
		"another":          {text: other, args: []string{"--fingerprint", fp}, say: "another fingerprint"},
		"half a print":     {text: good, args: []string{"--fingerprint", fp[:8]}, say: "64 hexadecimal", code: 2},
		"print and remove": {text: good, args: []string{"--print", "--remove"}, say: "exclude each other", code: 2},
	} {
		m := newMachine(t, cli.ToolCACertificates, cli.ToolNSS)
		dir := m.makeDir(t, m.Root, "usr/local/share/ca-certificates")
		m.makeProfile(t, ".pki/nssdb")
		w, code := m.trust(t, tt.text, tt.args...)
		if want := max(tt.code, 1); code != want || !strings.Contains(w.err.String(), tt.say) {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, want, w.err.String())
		}
		if len(m.ran) > 0 || len(files(t, dir)) > 0 {
			t.Errorf("%s: ran %q, the folder has %q", name, m.ran, files(t, dir))
		}
	}
	for typed, code := range map[string]int{"y\n": 0, "YES\n": 0, "\n": 1, "no\n": 1, "": 1} {
		m := newMachine(t, cli.ToolCACertificates)
		dir := m.makeDir(t, m.Root, "usr/local/share/ca-certificates")
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(rw).Encode(map[string]string{"certificate": good})
		}))
		w := newWorld(t, server.URL, "trust")
		w.Machine, w.Terminal.In, w.Stdin = m.Machine, true, strings.NewReader(typed)
		if got := w.run(t.Context()); got != code || len(files(t, dir)) != 1-code {
			t.Errorf("typed %q: exit code %d, the folder has %q", typed, got, files(t, dir))
		}
		server.Close()
	}
}

func TestTrustOfEverything(t *testing.T) {
	text, _ := authority(t, func(c *x509.Certificate) { c.PermittedDNSDomains = nil })
	m := newMachine(t, cli.ToolCACertificates)
	m.makeDir(t, m.Root, "usr/local/share/ca-certificates")
	if w, code := m.trust(t, text); code != 0 || !strings.Contains(w.err.String(), "every name there is") {
		t.Errorf("exit code %d, said %q", code, w.err.String())
	}
}

func TestTrustThatStopsHalfway(t *testing.T) {
	text, fp := authority(t, nil)
	m := newMachine(t, cli.ToolCACertificates)
	dir := m.makeDir(t, m.Root, "usr/local/share/ca-certificates")
	m.fail["update-ca-certificates"] = errors.New("disk full")
	w, code := m.trust(t, text)
	if code != 0 || !strings.Contains(w.out.String(), "disk full") || strings.Contains(w.out.String(), "This machine trusts it") {
		t.Errorf("exit code %d, said %q", code, w.out.String())
	}
	if os.Getuid() == 0 {
		return // to whom nothing is forbidden
	}
	if err := os.Remove(filepath.Join(dir, "landward-"+fp[:8]+".crt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if w, code = m.trust(t, text); code != 1 || !strings.Contains(w.out.String(), "--fingerprint "+fp+" | sudo tee /usr/local/share/ca-certificates/landward-") {
		t.Errorf("exit code %d, said %q", code, w.out.String())
	}
}

func TestTrustPrints(t *testing.T) {
	text, _ := authority(t, nil)
	m := newMachine(t)
	// What stands around a certificate is not part of it.
	if w, code := m.trust(t, "subject=evil\n"+text, "--print"); code != 0 || w.out.String() != text {
		t.Errorf("exit code %d, printed %q", code, w.out.String())
	}
	w, code := m.trust(t, text, "--print", "--json")
	var got struct{ Certificate string }
	if err := json.Unmarshal(w.out.Bytes(), &got); err != nil || code != 0 || got.Certificate != text {
		t.Errorf("exit code %d, printed %q", code, w.out.String())
	}
}

// certutil itself takes the certificate, and gives it up again.
func TestTrustWithTheRealTool(t *testing.T) {
	real := cli.System("test").Machine
	if !real.Has(cli.ToolNSS) {
		t.Skip("certutil is not installed")
	}
	text, fp := authority(t, nil)
	m := newMachine(t)
	dir := m.makeDir(t, m.Home, ".pki/nssdb")
	if out, err := real.Run(t.Context(), "", cli.ToolNSS, "-N", "-d", "sql:"+dir, "--empty-password"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.Run = real.Run
	m.Has = func(tool cli.Tool) bool { return tool == cli.ToolNSS }
	list := func() string {
		out, err := real.Run(t.Context(), "", cli.ToolNSS, "-L", "-d", "sql:"+dir)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for range 2 {
		if w, code := m.trust(t, text); code != 0 || !strings.Contains(list(), "Landward "+fp[:8]) || !strings.Contains(list(), "C,,") {
			t.Fatalf("exit code %d: %s %s\n%s", code, w.out.String(), w.err.String(), list())
		}
	}
	if w, code := m.trust(t, text, "--remove"); code != 0 || strings.Contains(list(), fp[:8]) {
		t.Errorf("exit code %d: %s\n%s", code, w.out.String(), list())
	}
	if _, err := real.Run(t.Context(), "", "/bin/true"); err == nil {
		t.Error("a program that is no tool was started")
	}
}
