package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"landward/internal/auth"
	"landward/internal/landward"
)

func publicKey(t testing.TB, public crypto.PublicKey) ssh.PublicKey {
	t.Helper()
	k, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func line(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

func ed25519Key(t testing.TB) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, public)
}

// rsaKey has a random number for a modulus: nobody signs with it, and real
// ones take seconds to make.
func rsaKey(t testing.TB, bits int) ssh.PublicKey {
	t.Helper()
	b := make([]byte, bits/8)
	rand.Read(b)
	n := new(big.Int).SetBytes(b)
	return publicKey(t, &rsa.PublicKey{N: n.SetBit(n.SetBit(n, bits-1, 1), 0, 1), E: 65537})
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) ssh.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, &k.PublicKey)
}

// skKey is a key of a security key, as OpenSSH writes it.
func skKey(t testing.TB) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	blob := ssh.Marshal(struct {
		Name        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"})
	return ssh.KeyAlgoSKED25519 + " " + base64.StdEncoding.EncodeToString(blob)
}

func TestParseSSHKey(t *testing.T) {
	ed := ed25519Key(t)
	tests := map[string]struct{ text, kind string }{
		"ed25519":   {line(ed), "ssh-ed25519"},
		"ecdsa 256": {line(ecdsaKey(t, elliptic.P256())), "ecdsa-sha2-nistp256"},
		"ecdsa 384": {line(ecdsaKey(t, elliptic.P384())), "ecdsa-sha2-nistp384"},
		"ecdsa 521": {line(ecdsaKey(t, elliptic.P521())), "ecdsa-sha2-nistp521"},
		"rsa 3072":  {line(rsaKey(t, 3072)), "ssh-rsa"},
		"security":  {skKey(t), "sk-ssh-ed25519@openssh.com"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k, err := auth.ParseSSHKey(" " + test.text + " ada@laptop of hers\r\n")
			if err != nil {
				t.Fatal(err)
			}
			if k.Type != test.kind || k.PublicKey != test.text || k.Comment != "ada@laptop of hers" || !strings.HasPrefix(k.Fingerprint, "SHA256:") {
				t.Errorf("got %+v", k)
			}
		})
	}
	k, err := auth.ParseSSHKey(line(ed))
	if err != nil || k.Fingerprint != ssh.FingerprintSHA256(ed) || k.Comment != "" {
		t.Errorf("got %+v, %v", k, err)
	}
}

func TestRefusedSSHKeys(t *testing.T) {
	good := line(ed25519Key(t))
	tests := map[string]struct{ text, says string }{
		"nothing":              {" \n", "no key"},
		"words":                {"hello world", "not an SSH public key"},
		"cut":                  {good[:40], "not an SSH public key"},
		"a comment":            {"# " + good, "not an SSH public key"},
		"two keys":             {good + "\n" + good, "more than one line"},
		"junk and a key":       {"junk\n" + good, "more than one line"},
		"an option":            {`command="sh" ` + good, "options"},
		"more options":         {"restrict,pty " + good, "options"},
		"weak RSA":             {line(rsaKey(t, 2048)), "2048 bits"},
		"a private key":        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----", "private key"},
		"a PuTTY private key":  {"PuTTY-User-Key-File-3: ssh-ed25519", "private key"},
		"another form":         {"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "RFC 4716"},
		"huge":                 {"ssh-ed25519 " + strings.Repeat("A", 1<<20), "too long"},
		"type and blob differ": {strings.Replace(good, "ssh-ed25519", "ssh-rsa", 1), ""},
		"a certificate":        {certificate(t), "not accepted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k, err := auth.ParseSSHKey(test.text)
			var e *landward.Error
			if !errors.As(err, &e) || e.Code != landward.CodeInvalid || e.Field != "key" || !strings.Contains(e.Message, test.says) || e.Hint == "" {
				t.Errorf("got %+v, error %+v; want one that says %q", k, err, test.says)
			}
		})
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: ed25519Key(t), CertType: ssh.UserCert, ValidPrincipals: []string{"root"}}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return line(cert)
}

func TestCheckUserName(t *testing.T) {
	for _, name := range []string{"a", "ada", "ada.l", "a-b_c9", strings.Repeat("a", 40)} {
		if err := auth.CheckUserName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "Ada", "9a", "a b", "a-", "-a", "../x", "a\n", "root", "landward", strings.Repeat("a", 41), "ädä"} {
		if landward.CodeOf(auth.CheckUserName(name)) != landward.CodeInvalid {
			t.Errorf("%q is a user name", name)
		}
	}
}

func FuzzParseSSHKey(f *testing.F) {
	f.Add(line(ed25519Key(f)))
	f.Add(skKey(f) + " comment")
	f.Add(`command="x y" ssh-ed25519 AAAA`)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := auth.ParseSSHKey(text)
		if err != nil {
			return
		}
		again, err := auth.ParseSSHKey(k.PublicKey)
		if err != nil || again.Fingerprint != k.Fingerprint || again.PublicKey != k.PublicKey {
			t.Errorf("%q was read as %+v, and that as %+v, %v", text, k, again, err)
		}
	})
}
