package edge_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/edge"
)

// offered is what was found out about a TLS server.
type offered struct {
	suites map[uint16][]uint16 // by version; a version without is not spoken
	groups map[uint16][]uint16
	key    any // the certificate's public key
	// The certificate is for the host, and leads to the root by what the server sends.
	valid, complete bool
	secureRenegot   bool // RFC 5746
	compresses      bool
	heartbeat       bool
	fallback        bool // a client that was talked down is told so (RFC 7507)
	tickets, master bool // RFC 5077, RFC 7627
	alpn            []string
	hsts            time.Duration
}

// scan finds out about a host of a TLS server.
func scan(t *testing.T, addr, host string, roots *x509.CertPool) offered {
	t.Helper()
	s := scanner{t, addr, host}
	o := offered{suites: map[uint16][]uint16{}, groups: map[uint16][]uint16{}}
	for _, v := range []uint16{versionSSL2, versionSSL3, tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		if v == versionSSL2 && s.speaks(v) {
			o.suites[v] = nil
		} else if v != versionSSL2 {
			if list := s.suites(v); len(list) > 0 {
				o.suites[v], o.groups[v] = list, s.groups(v)
			}
		}
	}
	best := slices.Max(slices.Collect(maps.Keys(o.suites)))
	old := ordinary(min(best, tls.VersionTLS12))
	old.suites = o.suites[old.version]
	m := s.meet(old)
	_, o.secureRenegot = m.ext[extRenegotiat]
	_, o.heartbeat = m.ext[extHeartbeat]
	_, o.tickets = m.ext[extTicket]
	_, o.master = m.ext[extMaster]
	deflating := old
	deflating.compress = []byte{1, 0}
	m = s.meet(deflating)
	o.compresses = m.alert < 0 && m.comp != 0
	lower := ordinary(min(best-1, tls.VersionTLS12))
	lower.suites = append(slices.Clone(old.suites), fallbackSCSV)
	m = s.meet(lower)
	o.fallback = m.alert == alertFallback || m.alert == alertVersion
	o.certificate(t, addr, host, roots)
	for _, p := range []string{"h2", "http/1.1", "http/1.0", "spdy/3", "h3"} {
		g := old
		g.alpn = []string{p}
		if m := s.meet(g); m.alert < 0 && len(m.ext[extALPN]) > 0 {
			o.alpn = append(o.alpn, p)
		}
	}
	return o
}

// certificate looks at what the server shows, with a client that believes
// nothing it has not been sent.
func (o *offered) certificate(t *testing.T, addr, host string, roots *x509.CertPool) {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	chain := c.ConnectionState().PeerCertificates
	o.key = chain[0].PublicKey
	o.valid = chain[0].VerifyHostname(host) == nil
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	o.complete = err == nil
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
	if resp, err := client.Get("https://" + host + "/"); err == nil {
		_ = resp.Body.Close()
		for part := range strings.SplitSeq(resp.Header.Get("Strict-Transport-Security"), ";") {
			if sec, ok := strings.CutPrefix(strings.TrimSpace(part), "max-age="); ok {
				n, _ := strconv.Atoi(sec)
				o.hsts = time.Duration(n) * time.Second
			}
		}
	}
}

// bits is how strong a cipher suite encrypts.
func bits(suite string) int {
	for name, n := range map[string]int{"AES_256": 256, "CHACHA20": 256, "AES_128": 128, "RC4_128": 128, "3DES": 112, "NULL": 0} {
		if strings.Contains(suite, name) {
			return n
		}
	}
	return 0
}

// strength is a key as RSA would have it (NIST SP 800-57 part 1, table 2).
func strength(key any) int {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return curveStrength(k.Params().BitSize)
	}
	return 0
}

func curveStrength(size int) int {
	switch {
	case size >= 384:
		return 7680
	case size >= 253:
		return 3072
	case size >= 224:
		return 2048
	}
	return 1024
}

// below returns the points of the first threshold that n is below.
func below(n int, table ...[2]int) int {
	for _, row := range table {
		if n < row[0] {
			return row[1]
		}
	}
	return 100
}

// points are the scores of the SSL Labs Server Rating Guide, version 2009q:
// protocols, key exchange, and cipher strength.
func (o offered) points() (protocol, exchange, cipher int) {
	of := map[uint16]int{versionSSL2: 0, versionSSL3: 80, tls.VersionTLS10: 90, tls.VersionTLS11: 95, tls.VersionTLS12: 100, tls.VersionTLS13: 100}
	best, worst, strong, weak := 0, 100, 0, 100
	least := strength(o.key)
	for v, suites := range o.suites {
		best, worst = max(best, of[v]), min(worst, of[v])
		for _, name := range names(suites) {
			p := below(bits(name), [2]int{1, 0}, [2]int{128, 20}, [2]int{256, 80})
			strong, weak = max(strong, p), min(weak, p)
		}
		for _, g := range o.groups[v] {
			if g != 0 {
				least = min(least, curveStrength(map[tls.CurveID]int{tls.CurveP384: 384, tls.CurveP521: 521}[tls.CurveID(g)]+256))
			}
		}
	}
	exchange = below(least, [2]int{512, 20}, [2]int{1024, 40}, [2]int{2048, 80}, [2]int{4096, 90})
	return (best + worst) / 2, exchange, (strong + weak) / 2
}

// grades, from the best.
var grades = []string{"A+", "A", "A-", "B", "C", "D", "E", "F", "T", "M"}

// grade is the guide's, with the rules of its changes up to 2009r, and why it
// is not better.
func (o offered) grade() (grade string, score float64, why []string) {
	protocol, exchange, cipher := o.points()
	score = 0.3*float64(protocol) + 0.3*float64(exchange) + 0.4*float64(cipher)
	if protocol == 0 || exchange == 0 || cipher == 0 {
		score = 0
	}
	at := 1 + slices.IndexFunc([]float64{80, 65, 50, 35, 20, -1}, func(least float64) bool { return score >= least })
	grade = []string{"A", "B", "C", "D", "E", "F"}[at-1]
	no := func(bad bool, to, because string) {
		if bad {
			why = append(why, because)
			grade = grades[max(slices.Index(grades, grade), slices.Index(grades, to))]
		}
	}
	speaks := func(v uint16) bool { _, ok := o.suites[v]; return ok }
	var list []string
	for _, s := range o.suites {
		list = append(list, names(s)...)
	}
	has := func(part ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			return slices.ContainsFunc(part, func(p string) bool { return strings.Contains(s, p) })
		})
	}
	no(!o.valid, "M", "the certificate is for another host")
	no(!o.complete, "T", "no chain to a root that is trusted")
	no(speaks(versionSSL2), "F", "SSL 2")
	no(speaks(versionSSL3), "C", "SSL 3")
	no(speaks(tls.VersionTLS10), "B", "TLS 1.0")
	no(speaks(tls.VersionTLS11), "B", "TLS 1.1")
	no(!speaks(tls.VersionTLS12) && !speaks(tls.VersionTLS13), "C", "neither TLS 1.2 nor 1.3")
	no(!speaks(tls.VersionTLS13), "A-", "no TLS 1.3")
	no(has("NULL", "EXPORT", "anon"), "F", "a suite without encryption or identity")
	no(has("RC4"), "C", "RC4")
	no(has("3DES"), "C", "3DES")
	no(!has("ECDHE", "TLS_AES", "TLS_CHACHA20"), "B", "no forward secrecy")
	no(has("TLS_RSA_"), "A-", "suites without forward secrecy")
	no(!has("GCM", "POLY1305"), "B", "no AEAD")
	no(strength(o.key) < 2048, "B", "a small key")
	no(o.compresses, "C", "compression")
	no(!o.secureRenegot, "A-", "no secure renegotiation")
	no(!o.fallback, "A", "no protection from being talked down")
	no(o.heartbeat, "A-", "heartbeats")
	if grade == "A" && len(why) == 0 && o.hsts >= 180*24*time.Hour {
		grade = "A+"
	}
	return grade, score, why
}

// shown makes a chain of root, intermediate and a leaf for the host with that
// key. The intermediate's RSA keeps the suites to the leaf's own kind.
func shown(t *testing.T, host string, key crypto.Signer) (edge.Pair, *x509.CertPool) {
	t.Helper()
	serial := int64(0)
	sign := func(name string, pub crypto.PublicKey, by *x509.Certificate, with crypto.Signer, isCA bool) *x509.Certificate {
		t.Helper()
		serial++
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(48 * time.Hour), IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
		if isCA {
			c.KeyUsage |= x509.KeyUsageCertSign
		} else {
			c.DNSNames, c.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		if by == nil {
			by = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, pub, with)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	middleKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := sign("a root", rootKey.Public(), nil, rootKey, true)
	middle := sign("an intermediate", middleKey.Public(), root, rootKey, true)
	leaf := sign(host, key.Public(), middle, middleKey, false)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var p edge.Pair
	for _, c := range []*x509.Certificate{leaf, middle} {
		p.Certificate += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	p.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return p, roots
}

// TestGrade: what a scanner of the public kind says of a host with a key pair
// of its own, and that the documentation says the same.
func TestGrade(t *testing.T) {
	r := start(t, t.TempDir())
	r.put(t, 1, &route.Route{App: "shop", AppID: 7, Hosts: []string{"rsa.example.com", "ec.example.com"}, State: route.StateUp,
		Targets: []route.Target{echo(t)}})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]offered{}
	for host, key := range map[string]crypto.Signer{"rsa.example.com": rsaKey, "ec.example.com": ecKey} {
		pair, roots := shown(t, host, key)
		if _, err := r.PutPair(t.Context(), host, pair); err != nil {
			t.Fatal(err)
		}
		o := scan(t, r.SecureAddr().String(), host, roots)
		if grade, score, why := o.grade(); grade != "A+" {
			t.Errorf("%s: %s with %.0f points: %q\n%+v", host, grade, score, why, o)
		}
		if !o.tickets || !o.master || o.hsts != 365*24*time.Hour || !slices.Equal(o.alpn, []string{"h2", "http/1.1"}) {
			t.Errorf("%s: %+v", host, o)
		}
		found[host] = o
	}
	for row, want := range rows(found["rsa.example.com"], found["ec.example.com"]) {
		if got := documented(t)[row]; got != want {
			t.Errorf("docs/certificates.md, %s:\n got %q\nwant %q", row, got, want)
		}
	}
	// Nothing is there for those who name another host, or none.
	for _, host := range []string{"", "other.example.com"} {
		if m := (scanner{t, r.SecureAddr().String(), host}).meet(ordinary(tls.VersionTLS12)); m.alert != alertUnknownName && m.alert != 50 {
			t.Errorf("%q gets alert %d", host, m.alert)
		}
	}
	g := ordinary(tls.VersionTLS12)
	g.alpn = []string{"spdy/3"}
	if m := (scanner{t, r.SecureAddr().String(), "ec.example.com"}).meet(g); m.alert != alertNoProtocol {
		t.Errorf("a protocol that is not spoken: alert %d", m.alert)
	}
}

// rows are what the table of the documentation has to say.
func rows(both ...offered) map[string]string {
	suites, groups, protocols := map[uint16][]string{}, []string{}, []string{}
	refused := []string{"SSL 2", "SSL 3", "TLS 1.0", "TLS 1.1", "CBC", "RC4", "3DES", "RSA key exchange", "compression", "heartbeats"}
	drop := func(what string) { refused = slices.DeleteFunc(refused, func(s string) bool { return s == what }) }
	version := map[uint16]string{versionSSL2: "SSL 2", versionSSL3: "SSL 3", tls.VersionTLS10: "TLS 1.0", tls.VersionTLS11: "TLS 1.1",
		tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"}
	for _, v := range slices.Backward(slices.Sorted(maps.Keys(both[0].suites))) {
		protocols = append(protocols, version[v])
	}
	for _, o := range both {
		for v, list := range o.suites {
			drop(version[v])
			suites[v] = append(suites[v], names(list)...)
			for what, sign := range map[string]string{"CBC": "_CBC_", "RC4": "RC4", "3DES": "3DES", "RSA key exchange": "TLS_RSA_"} {
				if strings.Contains(strings.Join(names(list), " "), sign) {
					drop(what)
				}
			}
		}
		for what, is := range map[string]bool{"compression": o.compresses, "heartbeats": o.heartbeat} {
			if is {
				drop(what)
			}
		}
	}
	for _, g := range both[0].groups[tls.VersionTLS13] {
		name := strings.Replace(tls.CurveID(g).String(), "CurveP", "P-", 1)
		if g == uint16(tls.X25519MLKEM768) {
			name += " (post-quantum)"
		}
		groups = append(groups, name)
	}
	ciphers := func(v uint16) []string {
		var list []string
		for _, n := range [][2]string{{"AES_128_GCM", "AES-128-GCM"}, {"AES_256_GCM", "AES-256-GCM"}, {"CHACHA20_POLY1305", "ChaCha20-Poly1305"}} {
			if strings.Contains(strings.Join(suites[v], " "), n[0]) {
				list = append(list, n[1])
			}
		}
		return list
	}
	old := ciphers(tls.VersionTLS12)
	protocol, exchange, cipher := both[0].points()
	grade, _, _ := both[0].grade()
	return map[string]string{
		"protocols":    strings.Join(protocols, ", "),
		"key exchange": strings.Join(groups, ", "),
		"TLS 1.3":      strings.Join(ciphers(tls.VersionTLS13), ", "),
		"TLS 1.2": fmt.Sprintf("ECDHE with ECDSA or RSA, with %s or %s", strings.Join(old[:len(old)-1], ", "),
			old[len(old)-1]) + map[bool]string{false: ", and others"}[len(suites[tls.VersionTLS12]) == 2*len(old)],
		"refused":  strings.Join(refused, ", "),
		"over TLS": "`" + strings.Join(both[0].alpn, "`, `") + "`",
		"grade": fmt.Sprintf("%s by the rules of the SSL Labs Server Rating Guide, for a host with HSTS: protocols %d, key exchange %d, cipher strength %d",
			grade, protocol, exchange, cipher),
	}
}

// documented is the table of docs/certificates.md.
func documented(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "certificates.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "## What clients can speak\n")
	if !ok {
		t.Fatal("the section is gone")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	table := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) == 2 {
			table[strings.TrimSpace(cells[0])] = strings.TrimSpace(cells[1])
		}
	}
	return table
}

// TestScanner: what the scanner must find where it is there. A test that
// praises whatever it meets would be of no use.
func TestScanner(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pair, roots := shown(t, "old.example.com", key)
	own, err := tls.X509KeyPair([]byte(pair.Certificate), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	alone := own
	alone.Certificate = own.Certificate[:1]
	for name, tc := range map[string]struct {
		config *tls.Config
		host   string
		grade  string
		why    []string
	}{
		"good but for HSTS": {&tls.Config{Certificates: []tls.Certificate{own}}, "old.example.com", "A", nil},
		"old protocols":     {&tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS10}, "old.example.com", "B", []string{"TLS 1.0", "TLS 1.1"}},
		"no TLS 1.3":        {&tls.Config{Certificates: []tls.Certificate{own}, MaxVersion: tls.VersionTLS12}, "old.example.com", "A-", []string{"no TLS 1.3"}},
		"old suites": {&tls.Config{Certificates: []tls.Certificate{own}, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA,
			tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, "old.example.com", "C",
			[]string{"RC4", "3DES", "suites without forward secrecy"}},
		"half a chain": {&tls.Config{Certificates: []tls.Certificate{alone}}, "old.example.com", "T", []string{"no chain to a root that is trusted"}},
		"another host": {&tls.Config{Certificates: []tls.Certificate{own}}, "new.example.com", "M", []string{"the certificate is for another host"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.NextProtos = []string{"http/1.1"}
			l, err := tls.Listen("tcp", "127.0.0.1:0", tc.config)
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: discard(), ReadHeaderTimeout: patience}
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = s.Serve(l)
			}()
			defer func() {
				_ = s.Close()
				<-served
			}()
			o := scan(t, l.Addr().String(), tc.host, roots)
			if grade, _, why := o.grade(); grade != tc.grade || !slices.Equal(why, tc.why) {
				t.Errorf("%s: %q, want %s: %q\n%+v", grade, why, tc.grade, tc.why, o)
			}
		})
	}
}
