package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"regexp"
	"strings"
	"time"
)

// root is an authority that a machine is to trust, or to trust no more. Of the
// latter only the fingerprint may be known.
type root struct {
	name        string
	fingerprint string // SHA-256, 64 hexadecimal digits
	pem         string // the certificate and nothing else
	until       time.Time
	names       []string // the domains that it may sign for; none: all there are
}

// parseRoot reads the certificate of an authority. It refuses what is none: a
// list of trusted authorities is no place for anything else.
func parseRoot(text string, now time.Time) (root, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return root{}, failf("the server's answer is not one certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return root{}, failf("the server's certificate cannot be read: %v", err)
	}
	switch {
	case !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return root{}, failf("the server's certificate is not one of an authority")
	case c.CheckSignatureFrom(c) != nil:
		return root{}, failf("the server's authority is signed by another; only a root is trusted")
	case now.Before(c.NotBefore) || now.After(c.NotAfter):
		return root{}, failf("the server's authority is good from %s to %s, and not now",
			c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly)).hint("is this machine's clock right?")
	}
	sum := sha256.Sum256(c.Raw)
	return root{
		name: c.Subject.CommonName, fingerprint: hex.EncodeToString(sum[:]), until: c.NotAfter,
		pem:   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
		names: c.PermittedDNSDomains,
	}, nil
}

// short tells roots apart where there is little room.
func (r root) short() string { return r.fingerprint[:8] }

// file is what the root's file is called in a folder of authorities.
func (r root) file() string { return "landward-" + r.short() + ".crt" }

// nickname is what the root is called in a database of NSS.
func (r root) nickname() string { return "Landward " + r.short() }

// scope says for which hosts the root may sign.
func (r root) scope() string {
	if len(r.names) == 0 {
		return "every name there is: nothing in it sets bounds"
	}
	names := make([]string, len(r.names))
	for i, n := range r.names {
		names[i] = strings.TrimPrefix(n, ".")
	}
	return strings.Join(names, ", ") + " and all names below"
}

// colons writes a fingerprint as other programs show it.
func colons(fingerprint string) string {
	var b strings.Builder
	for i, c := range strings.ToUpper(fingerprint) {
		if i > 0 && i%2 == 0 {
			b.WriteByte(':')
		}
		b.WriteRune(c)
	}
	return b.String()
}

var sha256Digits = regexp.MustCompile(`^[0-9a-f]{64}$`)

// parseFingerprint reads a SHA-256 fingerprint, with or without colons.
func parseFingerprint(s string) (string, error) {
	digits := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
	if !sha256Digits.MatchString(digits) {
		return "", usagef("%q is not a SHA-256 fingerprint", clean(s)).hint("it has 64 hexadecimal digits; colons between them are fine")
	}
	return digits, nil
}
