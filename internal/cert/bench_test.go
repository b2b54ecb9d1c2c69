package cert_test

import (
	"crypto/tls"
	"testing"

	"landward/internal/cert"
)

// The handshakes run over memory, both ends in one process: they tell what a
// change costs, not what a machine serves.

func benchmark(b *testing.B, client func(*tls.Config)) {
	ca := newCA(b, "ca")
	m := manager(b, cert.Options{})
	chain, key := ca.issue(b, nil, "a.example.com")
	_, err := m.PutPair("a.example.com", chain, key)
	check(b, err)
	server := m.TLSConfig()
	conf := &tls.Config{ServerName: "a.example.com", RootCAs: ca.pool()}
	client(conf)
	b.ReportAllocs()
	if conf.ClientSessionCache != nil {
		if _, err := shake(b, server, conf); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		st, err := shake(b, server, conf)
		if err != nil {
			b.Fatal(err)
		}
		if st.DidResume != (conf.ClientSessionCache != nil) {
			b.Fatalf("resumed: %v", st.DidResume)
		}
	}
}

func BenchmarkFull(b *testing.B) { benchmark(b, func(*tls.Config) {}) }

func BenchmarkFullX25519(b *testing.B) {
	benchmark(b, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} })
}

func BenchmarkFullTLS12(b *testing.B) {
	benchmark(b, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
}

func BenchmarkResumed(b *testing.B) {
	benchmark(b, func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
}

// BenchmarkPlainConfig is the same without a Manager, to compare with.
func BenchmarkPlainConfig(b *testing.B) {
	ca := newCA(b, "ca")
	chain, key := ca.issue(b, nil, "a.example.com")
	pair, err := tls.X509KeyPair(chain, key)
	check(b, err)
	server := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := shake(b, server, &tls.Config{ServerName: "a.example.com", RootCAs: ca.pool()}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLookup is our own part of a handshake, with many hosts.
func BenchmarkLookup(b *testing.B) {
	ca := newCA(b, "ca")
	m := manager(b, cert.Options{})
	for _, host := range []string{"a.example.com", "*.example.org"} {
		chain, key := ca.issue(b, nil, host)
		_, err := m.PutPair(host, chain, key)
		check(b, err)
	}
	c := m.TLSConfig()
	info := &tls.ClientHelloInfo{ServerName: "x.example.org", SupportedProtos: []string{"h2"}}
	b.ReportAllocs()
	for b.Loop() {
		conf, err := c.GetConfigForClient(info)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conf.GetCertificate(info); err != nil {
			b.Fatal(err)
		}
	}
}
