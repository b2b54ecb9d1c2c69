package cert_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/waittest"
)

func TestPutPairServesAtOnceAndSurvivesRestart(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	chain, key := ca.issue(t, nil, "www.example.com")
	st, err := m.PutPair("WWW.example.com", chain, key)
	check(t, err)
	if st.Source != cert.SourceOwn || st.Host != "www.example.com" || st.Fingerprint == "" || st.Expiring || st.LastError != "" {
		t.Errorf("status %+v", st)
	}
	if _, err := hello(t, m, "www.example.com", ca.pool()); err != nil {
		t.Errorf("after PutPair: %v", err)
	}
	again := manager(t, cert.Options{Dir: dir})
	if _, err := hello(t, again, "www.example.com", ca.pool()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	check(t, again.RemovePair("www.example.com"))
	if got := servedSerial(t, again, "www.example.com"); got != "" {
		t.Error("served after RemovePair")
	}
	if err := again.RemovePair("www.example.com"); landward.CodeOf(err) != landward.CodeNotFound {
		t.Errorf("second RemovePair: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "own")); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestFilesAreOnlyOurs(t *testing.T) {
	dir, ca := filepath.Join(t.TempDir(), "certs"), newCA(t, "ca")
	check(t, os.Mkdir(dir, 0o755))
	m := manager(t, cert.Options{Dir: dir, Local: []string{"localhost"}})
	chain, key := ca.issue(t, nil, "*.example.com")
	_, err := m.PutPair("*.example.com", chain, key)
	check(t, err)
	found := 0
	check(t, filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if st.IsDir() {
			want = 0o700
		} else {
			found++
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return nil
	}))
	if found < 4 {
		t.Errorf("%d files", found)
	}
}

func TestPutPairRefuses(t *testing.T) {
	ca, other := newCA(t, "ca"), newCA(t, "other")
	good, goodKey := ca.issue(t, nil, "a.example.com")
	_, otherKey := ca.issue(t, nil, "a.example.com")
	expired, expiredKey := ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "a.example.com")
	early, earlyKey := ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "a.example.com")
	client, clientKey := ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "a.example.com")
	nameless, namelessKey := ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "a.example.com" })
	wild, wildKey := ca.issue(t, nil, "*.example.com")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	weak, weakKey := ca.issueFor(t, small, nil, "a.example.com")
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	curve, curveKey := ca.issueFor(t, p224, nil, "a.example.com")
	leafOnly, _ := pem.Decode(good)
	leaf := pem.EncodeToMemory(leafOnly)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})

	for _, c := range []struct {
		name, host string
		cert, key  []byte
		field      string
		says       string
	}{
		{"no host", "a b", good, goodKey, "host", "not a host name"},
		{"path for a host", "../../x", good, goodKey, "host", "not a host name"},
		{"nothing", "a.example.com", nil, nil, "cert", "no certificate"},
		{"not PEM", "a.example.com", []byte("hello"), goodKey, "cert", "no certificate"},
		{"broken DER", "a.example.com", broken, goodKey, "cert", "cannot be read"},
		{"no key", "a.example.com", good, []byte("hello"), "key", "no private key"},
		{"key of another", "a.example.com", good, otherKey, "key", "does not belong"},
		{"encrypted key", "a.example.com", good, encrypted, "key", "encrypted"},
		{"other host", "b.example.com", good, goodKey, "cert", "not for b.example.com"},
		{"wildcard two labels up", "a.b.example.com", wild, wildKey, "cert", "not for a.b.example.com"},
		{"wildcard host without the name", "*.example.com", good, goodKey, "cert", "not for *.example.com"},
		{"only a common name", "a.example.com", nameless, namelessKey, "cert", "not for a.example.com"},
		{"expired", "a.example.com", expired, expiredKey, "cert", "expired"},
		{"not yet valid", "a.example.com", early, earlyKey, "cert", "not valid before"},
		{"for clients", "a.example.com", client, clientKey, "cert", "serverAuth"},
		{"1024 bits", "a.example.com", weak, weakKey, "cert", "1024 bits"},
		{"P-224", "a.example.com", curve, curveKey, "cert", "P-256"},
		{"order", "a.example.com", append(bytes.Clone(ca.pem), leaf...), goodKey, "cert", "not for"},
		{"stranger in the chain", "a.example.com", append(bytes.Clone(leaf), other.pem...), goodKey, "cert", "not signed by the next"},
		{"too many", "a.example.com", bytes.Repeat(leaf, 11), goodKey, "cert", "more than 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := manager(t, cert.Options{})
			_, err := m.PutPair("a.example.com", good, goodKey)
			check(t, err)
			before := servedSerial(t, m, "a.example.com")
			_, err = m.PutPair(c.host, c.cert, c.key)
			if err == nil {
				t.Fatal("it was taken")
			}
			if f := fieldOf(err); f != c.field || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q of field %q, want one of %q that says %q", err, f, c.field, c.says)
			}
			if landward.CodeOf(err) != landward.CodeInvalid {
				t.Errorf("code %q", landward.CodeOf(err))
			}
			if after := servedSerial(t, m, "a.example.com"); after != before {
				t.Error("the pair before is gone")
			}
		})
	}
	if _, err := manager(t, cert.Options{}).PutPair("a.example.com", make([]byte, 1<<20), goodKey); landward.CodeOf(err) != landward.CodeTooLarge {
		t.Errorf("a megabyte: %v", err)
	}
}

func TestPutPairTakes(t *testing.T) {
	ca := newCA(t, "ca")
	key2048, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	rsaChain, rsaKey := ca.issueFor(t, key2048, nil, "a.example.com")
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key2048)})
	ecKey := newKey(t)
	ecChain, ecPKCS8 := ca.issueFor(t, ecKey, nil, "a.example.com", "b.example.com")
	sec1DER, err := x509.MarshalECPrivateKey(ecKey)
	check(t, err)
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER})
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte("x")})
	wild, wildKey := ca.issue(t, nil, "*.example.com")
	for name, c := range map[string]struct{ chain, key []byte }{
		"RSA":                 {rsaChain, rsaKey},
		"PKCS #1":             {rsaChain, pkcs1},
		"ECDSA":               {ecChain, ecPKCS8},
		"SEC 1 with params":   {ecChain, append(params, sec1...)},
		"a wildcard":          {wild, wildKey},
		"text around":         {append([]byte("subject=x\n"), ecChain...), ecPKCS8},
		"key in the one file": {append(bytes.Clone(ecPKCS8), ecChain...), append(bytes.Clone(ecPKCS8), ecChain...)},
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, cert.Options{})
			_, err := m.PutPair("a.example.com", c.chain, c.key)
			check(t, err)
			if _, err := hello(t, m, "a.example.com", ca.pool()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPreferences(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{Local: []string{"paas.local"}})
	serialOf := func(chain []byte) string {
		b, _ := pem.Decode(chain)
		c, err := x509.ParseCertificate(b.Bytes)
		check(t, err)
		return c.SerialNumber.String()
	}
	put := func(host string, names ...string) string {
		chain, key := ca.issue(t, nil, names...)
		_, err := m.PutPair(host, chain, key)
		check(t, err)
		return serialOf(chain)
	}
	wild := put("*.example.com", "*.example.com")
	exact := put("a.example.com", "a.example.com", "c.example.org")
	localOwn := put("own.paas.local", "own.paas.local")
	for host, want := range map[string]string{
		"a.example.com":   exact,
		"A.Example.COM":   exact,
		"b.example.com":   wild,
		"x.b.example.com": "", // one label
		"example.com":     "",
		"c.example.org":   "", // a name in a pair for another host is not taken
		"own.paas.local":  localOwn,
	} {
		if got := servedSerial(t, m, host); got != want {
			t.Errorf("%s: serial %q, want %q", host, got, want)
		}
	}
	if servedSerial(t, m, "other.paas.local") == "" {
		t.Error("no local certificate for other.paas.local")
	}
	m.SetHosts([]cert.Host{{Name: "b.example.com", App: "shop"}})
	if st := statusOf(m, "b.example.com"); st.Via != "*.example.com" || st.Source != cert.SourceOwn || st.App != "shop" || st.LastError != "" {
		t.Errorf("status of a covered host: %+v", st)
	}
}

func TestExpiredOwnPairGivesWay(t *testing.T) {
	ca, c := newCA(t, "ca"), &clock{}
	m := manager(t, cert.Options{Now: c.now, Local: []string{"paas.local"}})
	run(t, m)
	for _, host := range []string{"a.paas.local", "a.example.com"} {
		chain, key := ca.issue(t, nil, host)
		_, err := m.PutPair(host, chain, key)
		check(t, err)
	}
	own := servedSerial(t, m, "a.example.com")
	c.set(90 * time.Hour)
	if st := statusOf(m, "a.example.com"); !st.Expiring {
		t.Errorf("a tenth of its life is left: %+v", st)
	}
	c.set(101 * time.Hour)
	waittest.Eventually(t, "the local CA takes over", func() bool { return statusOf(m, "a.paas.local").Source == cert.SourceLocal })
	if got := servedSerial(t, m, "a.example.com"); got != own {
		t.Error("with nothing better an expired pair must be served")
	}
	if st := statusOf(m, "a.example.com"); !strings.Contains(st.LastError, "expired") || !st.Expiring {
		t.Errorf("status %+v", st)
	}
}

// replaceFiles changes a pair as an operator would: in place, one file after
// the other.
func replaceFiles(t testing.TB, dir string, chain, key []byte) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(dir, "cert.pem"), chain, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600))
}

func TestReplaceUnderLoadFailsNoHandshake(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	run(t, m)

	var shakes atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := hello(t, m, "a.example.com", ca.pool()); err != nil {
					t.Errorf("handshake: %v", err)
					return
				}
				shakes.Add(1)
			}
		})
	}
	own := filepath.Join(dir, "own", "a.example.com")
	for i := range 6 {
		chain, key := ca.issue(t, nil, "a.example.com")
		if i%2 == 0 {
			_, err := m.PutPair("a.example.com", chain, key)
			check(t, err)
		} else {
			replaceFiles(t, own, chain, key)
		}
		block, _ := pem.Decode(chain)
		c, err := x509.ParseCertificate(block.Bytes)
		check(t, err)
		waittest.Eventually(t, "the new pair is served", func() bool { return servedSerial(t, m, "a.example.com") == c.SerialNumber.String() })
	}
	enough := shakes.Load() + 50
	waittest.Eventually(t, "handshakes go on", func() bool { return shakes.Load() >= enough || t.Failed() })
	cancel()
	wg.Wait()
}

func TestHalfWrittenFilesAreNotUsed(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	stop := run(t, m)
	before := servedSerial(t, m, "a.example.com")
	own := filepath.Join(dir, "own", "a.example.com")
	next, nextKey := ca.issue(t, nil, "a.example.com")
	expired, expiredKey := ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "a.example.com")

	steps := []struct {
		name string
		do   func() error
		says string
	}{
		{"half a certificate", func() error { return os.WriteFile(filepath.Join(own, "cert.pem"), next[:100], 0o600) }, "no certificate"},
		{"the other's key", func() error { return os.WriteFile(filepath.Join(own, "cert.pem"), next, 0o600) }, "does not belong"},
		{"no key", func() error { return os.Remove(filepath.Join(own, "key.pem")) }, "no key.pem"},
		{"a folder", func() error { return os.Mkdir(filepath.Join(own, "key.pem"), 0o700) }, "key.pem cannot be read"},
		{"expired", func() error {
			if err := os.Remove(filepath.Join(own, "key.pem")); err != nil {
				return err
			}
			replaceFiles(t, own, expired, expiredKey)
			return nil
		}, "expired"},
	}
	for _, s := range steps {
		check(t, s.do())
		waittest.Eventually(t, "the status says what is wrong: "+s.name, func() bool {
			st := statusOf(m, "a.example.com")
			return strings.Contains(st.LastError, s.says) && strings.Contains(st.LastError, "not used")
		})
		if got := servedSerial(t, m, "a.example.com"); got != before {
			t.Fatalf("%s: the pair before is not served any more", s.name)
		}
	}
	// The same with a restart in the middle.
	stop()
	m = manager(t, cert.Options{Dir: dir})
	if got := servedSerial(t, m, "a.example.com"); got != before {
		t.Error("after a restart the pair before is not served")
	}
	if st := statusOf(m, "a.example.com"); !strings.Contains(st.LastError, "expired") {
		t.Errorf("after a restart: %+v", st)
	}
	run(t, m)
	replaceFiles(t, own, next, nextKey)
	waittest.Eventually(t, "the whole pair is used", func() bool {
		st := statusOf(m, "a.example.com")
		return st.LastError == "" && servedSerial(t, m, "a.example.com") != before
	})
	// An operator who takes the folder away takes the pair away.
	check(t, os.RemoveAll(own))
	waittest.Eventually(t, "the pair is gone", func() bool { return servedSerial(t, m, "a.example.com") == "" })
}

func TestNewFolderIsFound(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	run(t, m)
	own := filepath.Join(dir, "own", "wildcard_.example.com")
	check(t, os.Mkdir(own, 0o700))
	chain, key := ca.issue(t, nil, "*.example.com")
	replaceFiles(t, own, chain, key)
	waittest.Eventually(t, "the pair is found", func() bool {
		_, err := hello(t, m, "x.example.com", ca.pool())
		return err == nil
	})
	check(t, os.Mkdir(filepath.Join(dir, "own", "not a host"), 0o700))
}

// TestSameSizeAndTime replaces files so that only their change time differs.
func TestSameSizeAndTime(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	key := newKey(t)
	chain, keyPEM := ca.issueFor(t, key, nil, "a.example.com")
	m := manager(t, cert.Options{Dir: dir})
	own := filepath.Join(dir, "own", "a.example.com")
	check(t, os.Mkdir(own, 0o700))
	replaceFiles(t, own, chain, keyPEM)
	run(t, m)
	waittest.Eventually(t, "the first is served", func() bool { return servedSerial(t, m, "a.example.com") != "" })
	before := servedSerial(t, m, "a.example.com")
	path := filepath.Join(own, "cert.pem")
	st, err := os.Stat(path)
	check(t, err)
	var next []byte
	for next == nil || len(next) != len(chain) {
		next, _ = ca.issueFor(t, key, nil, "a.example.com")
	}
	check(t, os.WriteFile(path, next, 0o600))
	check(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	waittest.Eventually(t, "the second is served", func() bool { s := servedSerial(t, m, "a.example.com"); return s != "" && s != before })
}

func TestCutOffPutIsFinished(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	old, oldKey := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", old, oldKey)
	check(t, err)
	before := servedSerial(t, m, "a.example.com")
	// The power goes after the key, before the certificate.
	next, nextKey := ca.issue(t, nil, "a.example.com")
	own := filepath.Join(dir, "own", "a.example.com")
	check(t, os.WriteFile(filepath.Join(own, cert.PutFile), append(bytes.Clone(next), nextKey...), 0o600))
	check(t, os.WriteFile(filepath.Join(own, "key.pem"), nextKey, 0o600))
	m = manager(t, cert.Options{Dir: dir})
	if got := servedSerial(t, m, "a.example.com"); got == "" || got == before {
		t.Errorf("serial %q after the restart, %q before", got, before)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(own, "cert.pem"), filepath.Join(own, "key.pem")); err != nil {
		t.Errorf("the files: %v", err)
	}
	if st := statusOf(m, "a.example.com"); st.LastError != "" {
		t.Errorf("status %+v", st)
	}
	if _, err := os.Stat(filepath.Join(own, cert.PutFile)); err == nil {
		t.Error("the journal is still there")
	}
}

func TestPutPairOnAFullDisk(t *testing.T) {
	dir, ca := t.TempDir(), newCA(t, "ca")
	m := manager(t, cert.Options{Dir: dir})
	old, oldKey := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", old, oldKey)
	check(t, err)
	before := servedSerial(t, m, "a.example.com")
	own := filepath.Join(dir, "own", "a.example.com")
	// What cannot be replaced stands for a disk that takes nothing more.
	check(t, os.Remove(filepath.Join(own, "cert.pem")))
	check(t, os.MkdirAll(filepath.Join(own, "cert.pem", "x"), 0o700))
	next, nextKey := ca.issue(t, nil, "a.example.com")
	if _, err := m.PutPair("a.example.com", next, nextKey); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Fatalf("PutPair: %v", err)
	}
	if got := servedSerial(t, m, "a.example.com"); got != before {
		t.Error("another pair is served")
	}
	m = manager(t, cert.Options{Dir: dir})
	if got := servedSerial(t, m, "a.example.com"); got != before {
		t.Error("another pair is served after a restart")
	}
}
