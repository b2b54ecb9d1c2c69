package cert_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"landward/internal/cert"
	"landward/internal/landward"
)

func rootsOf(t testing.TB, m *cert.Manager) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(m.LocalRoot()) {
		t.Fatal("LocalRoot is no certificate")
	}
	return p
}

func TestLocalCAVerifiesWithItsRoot(t *testing.T) {
	dir := t.TempDir()
	m := manager(t, cert.Options{Dir: dir, Local: []string{"localhost", "paas.local"}})
	roots := rootsOf(t, m)
	for _, host := range []string{"localhost", "a.localhost", "paas.local", "shop.paas.local", "x.y.paas.local"} {
		if _, err := hello(t, m, host, roots); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	m.SetHosts([]cert.Host{{Name: "shop.paas.local", App: "shop"}, {Name: "new.paas.local"}})
	for _, host := range []string{"shop.paas.local", "new.paas.local"} {
		if st := statusOf(m, host); st.Source != cert.SourceLocal || st.Issuer == "" || st.LastError != "" || st.Expiring {
			t.Errorf("%s: %+v", host, st)
		}
	}
	again := manager(t, cert.Options{Dir: dir, Local: []string{"localhost"}})
	if string(again.LocalRoot()) != string(m.LocalRoot()) {
		t.Error("another root after a restart with fewer domains")
	}
	if _, err := hello(t, again, "shop.paas.local", roots); err == nil {
		t.Error("signed for a domain that is not local any more")
	}
	wider := manager(t, cert.Options{Dir: dir, Local: []string{"localhost", "home.arpa"}})
	if string(wider.LocalRoot()) == string(m.LocalRoot()) {
		t.Error("the old root cannot sign below home.arpa")
	}
	if _, err := hello(t, wider, "nas.home.arpa", rootsOf(t, wider)); err != nil {
		t.Error(err)
	}
	if manager(t, cert.Options{}).LocalRoot() != nil {
		t.Error("a root without local domains")
	}
	if _, err := cert.New(cert.Options{Dir: t.TempDir(), Local: []string{"a b"}}); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("a bad domain: %v", err)
	}
}

// TestRootSignsForNothingElse takes the root's key, as a thief would.
func TestRootSignsForNothingElse(t *testing.T) {
	dir := t.TempDir()
	m := manager(t, cert.Options{Dir: dir, Local: []string{"localhost"}})
	stolen, err := tls.LoadX509KeyPair(filepath.Join(dir, "local", "root.pem"), filepath.Join(dir, "local", "root.pem"))
	check(t, err)
	root := stolen.Leaf
	if !root.PermittedDNSDomainsCritical || !root.IsCA || root.MaxPathLen != 0 ||
		root.NotAfter.Before(time.Now().AddDate(9, 11, 0)) {
		t.Errorf("root: %+v", root)
	}
	key := newKey(t)
	for _, c := range []x509.Certificate{
		{DNSNames: []string{"example.com"}},
		{DNSNames: []string{"notlocalhost"}},
		{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		{IPAddresses: []net.IP{net.IPv6loopback}},
	} {
		c.SerialNumber, c.NotBefore, c.NotAfter = serial(), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, &c, root, &key.PublicKey, stolen.PrivateKey.(*ecdsa.PrivateKey))
		check(t, err)
		leaf, err := x509.ParseCertificate(der)
		check(t, err)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: rootsOf(t, m)}); err == nil {
			t.Errorf("verified: %v %v", c.DNSNames, c.IPAddresses)
		}
	}
}

func TestLocalLeavesAreMintedAnew(t *testing.T) {
	c := &clock{}
	m := manager(t, cert.Options{Local: []string{"localhost"}, Now: c.now})
	first := servedSerial(t, m, "a.localhost")
	c.set(59 * 24 * time.Hour)
	if got := servedSerial(t, m, "a.localhost"); got != first {
		t.Error("minted anew before two thirds of its life")
	}
	c.set(61 * 24 * time.Hour)
	if got := servedSerial(t, m, "a.localhost"); got == first || got == "" {
		t.Error("not minted anew after two thirds of its life")
	}
}

func TestMadeUpLocalNamesAreBounded(t *testing.T) {
	m := manager(t, cert.Options{Local: []string{"localhost"}})
	conf := m.TLSConfig()
	for i := range cert.MaxMinted + 200 {
		info := &tls.ClientHelloInfo{ServerName: fmt.Sprintf("x%d.localhost", i)}
		if got, err := conf.GetCertificate(info); err != nil || got == nil {
			t.Fatalf("%s: %v", info.ServerName, err)
		}
	}
	if n := m.Minted(); n > cert.MaxMinted || n < cert.MaxMinted/2 {
		t.Errorf("%d are held", n)
	}
}

func TestBrokenLocalCAIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	m := manager(t, cert.Options{Dir: dir, Local: []string{"localhost"}})
	path := filepath.Join(dir, "local", "root.pem")
	check(t, os.WriteFile(path, []byte("x"), 0o600))
	again := manager(t, cert.Options{Dir: dir, Local: []string{"localhost"}})
	if _, err := hello(t, again, "a.localhost", rootsOf(t, again)); err != nil {
		t.Error(err)
	}
	if string(again.LocalRoot()) == string(m.LocalRoot()) {
		t.Error("the same root")
	}
	if b, _ := pem.Decode(again.LocalRoot()); b == nil || b.Type != "CERTIFICATE" {
		t.Error("LocalRoot is not one certificate")
	}
}
