package api

import (
	"crypto/rsa"
	"strings"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
)

// minRSABits is the smallest RSA key that is taken.
const minRSABits = 2048

// parseKey reads one line of an authorized_keys file. Options in front of the
// key are refused: they would look as if they did something.
func parseKey(text string) (ssh.PublicKey, error) {
	const hint = "paste one line of a .pub file: ssh-ed25519 AAAA… name"
	text = strings.TrimSpace(text)
	if strings.Contains(text, "PRIVATE KEY") {
		return nil, landward.Invalid("public_key", "this is a private key").
			WithHint("keep it to yourself, and give the file that ends in .pub")
	}
	if strings.ContainsAny(text, "\r\n\x00") {
		return nil, landward.Invalid("public_key", "this is more than one line").WithHint(hint)
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, landward.Invalid("public_key", "this is not an SSH public key").WithHint(hint)
	}
	if len(options) > 0 {
		return nil, landward.Invalid("public_key", "the key has options in front of it").WithHint(hint)
	}
	return key, checkKey(key)
}

func checkKey(key ssh.PublicKey) error {
	const hint = "make one with: ssh-keygen -t ed25519"
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if k, ok := key.(ssh.CryptoPublicKey); ok {
			if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() >= minRSABits {
				return nil
			}
		}
		return landward.Invalid("public_key", "the RSA key is shorter than %d bits", minRSABits).WithHint(hint)
	}
	return landward.Invalid("public_key", "keys of type %s are not taken", landward.Printable(key.Type())).WithHint(hint)
}
