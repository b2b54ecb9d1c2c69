package cert_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"strings"
	"testing"

	"landward/internal/cert"
)

func TestProtocolsAndCiphers(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{})
	chain, key := ca.issue(t, nil, "ec.example.com")
	_, err := m.PutPair("ec.example.com", chain, key)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	chain, key = ca.issueFor(t, rsaKey, nil, "rsa.example.com")
	_, err = m.PutPair("rsa.example.com", chain, key)
	check(t, err)

	type row struct {
		host     string
		min, max uint16
		suite    uint16 // 0: all that the client has
		curve    tls.CurveID
		ok       bool
	}
	rows := []row{
		{host: "ec.example.com", min: tls.VersionTLS13, max: tls.VersionTLS13, ok: true},
		{host: "ec.example.com", min: tls.VersionTLS13, max: tls.VersionTLS13, curve: tls.X25519MLKEM768, ok: true},
		{host: "ec.example.com", min: tls.VersionTLS13, max: tls.VersionTLS13, curve: tls.X25519, ok: true},
		{host: "ec.example.com", min: tls.VersionTLS13, max: tls.VersionTLS13, curve: tls.CurveP256, ok: true},
		{host: "ec.example.com", min: tls.VersionTLS12, max: tls.VersionTLS12, curve: tls.CurveP384, ok: true},
		{host: "ec.example.com", min: tls.VersionTLS12, max: tls.VersionTLS12, curve: tls.CurveP521, ok: false},
		{host: "ec.example.com", min: tls.VersionTLS11, max: tls.VersionTLS11, ok: false},
		{host: "ec.example.com", min: tls.VersionTLS10, max: tls.VersionTLS10, ok: false},
		{host: "ec.example.com", min: tls.VersionTLS10, max: tls.VersionTLS12, ok: true},
	}
	good := map[uint16]string{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ec", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: "ec",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ec",
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "rsa", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: "rsa",
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "rsa",
	}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if s.SupportedVersions[0] == tls.VersionTLS13 {
			continue // not to be chosen
		}
		for _, kind := range []string{"ec", "rsa"} {
			rows = append(rows, row{kind + ".example.com", tls.VersionTLS12, tls.VersionTLS12, s.ID, 0, good[s.ID] == kind})
		}
	}
	for _, r := range rows {
		c := &tls.Config{ServerName: r.host, RootCAs: ca.pool(), MinVersion: r.min, MaxVersion: r.max}
		name := r.host + " " + tls.VersionName(r.max)
		if r.suite != 0 {
			c.CipherSuites = []uint16{r.suite}
			name += " " + tls.CipherSuiteName(r.suite)
		}
		if r.curve != 0 {
			c.CurvePreferences = []tls.CurveID{r.curve}
			name += " " + r.curve.String()
		}
		st, err := shake(t, m.TLSConfig(), c)
		if (err == nil) != r.ok {
			t.Errorf("%s: %v, want ok %v", name, err, r.ok)
		}
		if err == nil && (r.suite != 0 && st.CipherSuite != r.suite || r.curve != 0 && st.CurveID != r.curve) {
			t.Errorf("%s: got %s with %s", name, tls.CipherSuiteName(st.CipherSuite), st.CurveID)
		}
	}
	// What a client of today and we agree on.
	st, err := hello(t, m, "ec.example.com", ca.pool())
	check(t, err)
	if st.Version != tls.VersionTLS13 || st.CurveID != tls.X25519MLKEM768 {
		t.Errorf("%s with %s", tls.VersionName(st.Version), st.CurveID)
	}
}

func TestProtocolsOverTLS(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	for _, c := range []struct {
		offers []string
		gets   string
		ok     bool
	}{
		{[]string{"h2", "http/1.1"}, "h2", true},
		{[]string{"http/1.1"}, "http/1.1", true},
		{nil, "", true},
		{[]string{"spdy/3"}, "", false},
		{[]string{"acme-tls/1"}, "", false}, // no challenge is expected
		{[]string{"acme-tls/1", "h2"}, "h2", true},
	} {
		st, err := shake(t, m.TLSConfig(), &tls.Config{ServerName: "a.example.com", RootCAs: ca.pool(), NextProtos: c.offers})
		if (err == nil) != c.ok || st.NegotiatedProtocol != c.gets && c.ok {
			t.Errorf("%v: %q, %v", c.offers, st.NegotiatedProtocol, err)
		}
	}
}

func TestNobodyElsesCertificate(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{Local: []string{"paas.local"}})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, host := range []string{
			"b.example.com", "example.com", "xa.example.com", "paas.localx", "xpaas.local", "com", "", // no name at all
			"-.paas.local", "a b.paas.local", strings.Repeat("a", 64) + ".paas.local",
		} {
			_, err := shake(t, m.TLSConfig(), &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("%q with %s: %v", host, tls.VersionName(version), err)
			}
		}
	}
}

func TestSessionsResumeAcrossRotation(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{
			ServerName: "a.example.com", RootCAs: ca.pool(), MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
		again := func() bool {
			st, err := shake(t, m.TLSConfig(), client)
			check(t, err)
			return st.DidResume
		}
		if again() {
			t.Error("the first handshake resumed something")
		}
		for i := range 3 { // a new configuration each time: the keys are the Manager's
			if !again() {
				t.Errorf("%s: not resumed", tls.VersionName(version))
			}
			_ = i
			check(t, m.RotateTickets())
		}
		session := client.ClientSessionCache
		if s, ok := session.Get("a.example.com"); !ok || s == nil {
			t.Fatal("no session")
		}
		for range 4 {
			check(t, m.RotateTickets())
		}
		if again() {
			t.Errorf("%s: a session outlives its key", tls.VersionName(version))
		}
	}
}

func TestSessionEndsWithItsHost(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{})
	chain, key := ca.issue(t, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(t, err)
	client := &tls.Config{
		ServerName: "a.example.com", RootCAs: ca.pool(), ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	_, err = shake(t, m.TLSConfig(), client)
	check(t, err)
	check(t, m.RemovePair("a.example.com"))
	if _, err := shake(t, m.TLSConfig(), client); err == nil {
		t.Error("the session goes on without its host")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	ca := newCA(t, "ca")
	m := manager(t, cert.Options{Local: []string{"paas.local"}})
	chain, key := ca.issue(t, nil, "*.example.com")
	_, err := m.PutPair("*.example.com", chain, key)
	check(t, err)
	c := m.TLSConfig()
	for _, host := range []string{"a.example.com", "a.paas.local"} {
		info := &tls.ClientHelloInfo{ServerName: host, SupportedProtos: []string{"h2", "http/1.1"}}
		n := testing.AllocsPerRun(100, func() {
			conf, err := c.GetConfigForClient(info)
			if err != nil || conf == nil {
				t.Fatal("no configuration")
			}
			if got, err := conf.GetCertificate(info); err != nil || got == nil {
				t.Fatal("no certificate")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}
