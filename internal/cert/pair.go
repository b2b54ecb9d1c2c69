package cert

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"landward/internal/landward"
)

// pair is a certificate with its key, ready to be served. Only what
// its CA says about it changes.
type pair struct {
	served      atomic.Pointer[tls.Certificate]
	leaf        *x509.Certificate
	issuer      *x509.Certificate // nil where the chain has none
	fingerprint string            // SHA-256 of the leaf, hex
	revoked     atomic.Bool       // its CA says so
	staple      staple
}

const (
	maxChain   = 10
	minRSABits = 2048
	// maxRSABits keeps a pair from costing every handshake many milliseconds.
	maxRSABits = 4096
)

// parsePair makes a pair for host from PEM. It checks everything but the time:
// the key fits, the leaf covers host, the chain is in order. The error is a
// *landward.Error whose Field is "cert" or "key".
func parsePair(host string, certPEM, keyPEM []byte) (*pair, error) {
	chain, err := parseChain(certPEM)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if err := checkLeaf(host, leaf); err != nil {
		return nil, err
	}
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, landward.Invalid("cert", "certificate %d of the file is not signed by the next one", i+1).
				WithHint("the order is: the host's certificate, then its issuer, then that one's issuer").Wrap(err)
		}
	}
	keyBlock, err := findKey(keyPEM)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, c := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	made, err := tls.X509KeyPair([]byte(b.String()), pem.EncodeToMemory(keyBlock))
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, landward.Invalid("key", "the key does not belong to the certificate").Wrap(err)
		}
		return nil, landward.Invalid("key", "the key cannot be used").
			WithCause(landward.Printable(err.Error())).Wrap(err)
	}
	made.Leaf = leaf
	sum := sha256.Sum256(leaf.Raw)
	p := &pair{leaf: leaf, fingerprint: hex.EncodeToString(sum[:])}
	if len(chain) > 1 {
		p.issuer = chain[1]
	}
	p.served.Store(&made)
	return p, nil
}

func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue // a key in the same file, parameters
		}
		if len(chain) == maxChain {
			return nil, landward.Invalid("cert", "more than %d certificates are in the file", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, landward.Invalid("cert", "certificate %d of the file cannot be read", len(chain)+1).
				WithCause(landward.Printable(err.Error())).Wrap(err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, landward.Invalid("cert", "there is no certificate in the file").
			WithHint("it must be PEM: it begins with -----BEGIN CERTIFICATE-----")
	}
	return chain, nil
}

// findKey finds the private key in PEM.
func findKey(data []byte) (*pem.Block, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, landward.Invalid("key", "there is no private key in the file").
				WithHint("it must be PEM: it begins with -----BEGIN PRIVATE KEY-----")
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, landward.Invalid("key", "the key is encrypted").
				WithHint("`openssl pkey -in key.pem -out plain.pem` takes the password off")
		}
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			return block, nil
		}
	}
}

func checkLeaf(host string, leaf *x509.Certificate) error {
	if !covers(leaf, host) {
		e := landward.Invalid("cert", "the certificate is not for %s", host)
		if len(leaf.DNSNames) == 0 {
			return e.WithCause("it has no subject alternative names; browsers do not look at the common name")
		}
		return e.WithCause("it is for " + nameList(leaf.DNSNames))
	}
	usage := leaf.ExtKeyUsage
	if len(usage)+len(leaf.UnknownExtKeyUsage) > 0 &&
		!slices.Contains(usage, x509.ExtKeyUsageServerAuth) && !slices.Contains(usage, x509.ExtKeyUsageAny) {
		return landward.Invalid("cert", "the certificate is not for servers: its extended key usage lacks serverAuth")
	}
	switch leaf.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1, x509.DSAWithSHA256:
		return landward.Invalid("cert", "the certificate is signed with %s, which no browser takes", leaf.SignatureAlgorithm)
	}
	return checkKeyType(leaf.PublicKey)
}

func checkKeyType(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return landward.Invalid("cert", "an RSA key of %d bits; it must have %d to %d", n, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return landward.Invalid("cert", "the key's curve is not P-256, P-384 or P-521")
		}
	case ed25519.PublicKey:
	default:
		return landward.Invalid("cert", "the key is neither RSA, ECDSA nor Ed25519")
	}
	return nil
}

// covers says whether a certificate is good for host (RFC 9525 §6.3). For a
// wildcard it must have that very name.
func covers(leaf *x509.Certificate, host string) bool {
	if strings.HasPrefix(host, "*.") {
		return slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, host) })
	}
	return leaf.VerifyHostname(host) == nil
}

// nameList bounds what a stranger's certificate can make a message.
func nameList(names []string) string {
	const shown = 5
	var out []string
	for _, n := range names[:min(len(names), shown)] {
		out = append(out, landward.Printable(n))
	}
	if len(names) > shown {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

// checkTime says what is wrong with serving the pair now.
func (p *pair) checkTime(now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	if now.After(p.leaf.NotAfter) {
		return landward.Invalid("cert", "the certificate expired at %s", p.leaf.NotAfter.UTC().Format(day))
	}
	if now.Before(p.leaf.NotBefore) {
		return landward.Invalid("cert", "the certificate is not valid before %s", p.leaf.NotBefore.UTC().Format(day)).
			WithHint("check this machine's clock")
	}
	return nil
}

func (p *pair) valid(now time.Time) bool {
	return p != nil && !now.After(p.leaf.NotAfter) && !now.Before(p.leaf.NotBefore)
}

func (p *pair) life() time.Duration { return p.leaf.NotAfter.Sub(p.leaf.NotBefore) }

// issuerName is who signed, for people.
func (p *pair) issuerName() string {
	n := p.leaf.Issuer
	for _, s := range append(slices.Clone(n.Organization), n.CommonName) {
		if s != "" {
			return landward.Printable(strings.TrimSpace(strings.Join(append(slices.Clone(n.Organization), n.CommonName), " ")))
		}
	}
	return landward.Printable(n.String())
}
