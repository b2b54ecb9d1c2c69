package auth

import (
	"crypto/rsa"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
)

const (
	maxKeyLine = 16 << 10 // bytes; the longest RSA key takes some 3 KiB
	minRSABits = 3072
)

// SSHKey is a public key that somebody may sign in with.
type SSHKey struct {
	Fingerprint string // SHA256:…
	Type        string // ssh-ed25519, …
	PublicKey   string // "type base64", without options or comment
	Comment     string // as it was given, cleaned
}

// ParseSSHKey reads the one line of a .pub file. CodeInvalid: it is not one,
// or a kind of key that is not accepted.
func ParseSSHKey(text string) (SSHKey, error) {
	const howto = "paste the one line of your .pub file; `ssh-keygen -t ed25519` makes a pair"
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return SSHKey{}, badKey("there is no key").WithHint(howto)
	case len(text) > maxKeyLine:
		return SSHKey{}, badKey("this is too long for a key").WithHint(howto)
	case strings.Contains(text, "PRIVATE KEY") || strings.HasPrefix(text, "PuTTY-User-Key-File"):
		return SSHKey{}, badKey("this is a private key").WithHint("never give it to anybody; the public key is in the file with .pub at the end")
	case strings.HasPrefix(text, "---- BEGIN SSH2"):
		return SSHKey{}, badKey("this key has the form of RFC 4716").WithHint("convert it: ssh-keygen -i -f FILE")
	case strings.ContainsAny(text, "\r\n"):
		return SSHKey{}, badKey("there is more than one line").WithHint("add one key at a time")
	}
	public, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return SSHKey{}, badKey("this is not an SSH public key").WithHint(howto).Wrap(err)
	}
	if len(options) > 0 {
		return SSHKey{}, badKey("options before a key are not accepted").WithHint("remove what is before %q", public.Type())
	}
	if err := checkKeyType(public); err != nil {
		return SSHKey{}, err
	}
	return SSHKey{
		Fingerprint: ssh.FingerprintSHA256(public),
		Type:        public.Type(),
		PublicKey:   strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))),
		Comment:     landward.Printable(comment),
	}, nil
}

func checkKeyType(public ssh.PublicKey) error {
	const howto = "make a newer one: ssh-keygen -t ed25519"
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		k, ok := public.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		r, ok := k.CryptoPublicKey().(*rsa.PublicKey)
		if !ok {
			break
		}
		if bits := r.N.BitLen(); bits < minRSABits {
			return badKey("an RSA key of %d bits is too weak; %d is the least", bits, minRSABits).WithHint(howto)
		}
		return nil
	}
	return badKey("keys of type %s are not accepted", landward.Printable(public.Type())).WithHint(howto)
}

func badKey(format string, args ...any) *landward.Error {
	return landward.Invalid("key", format, args...)
}

var userName = regexp.MustCompile(`^[a-z]([a-z0-9._-]{0,38}[a-z0-9])?$`)

// CheckUserName says what is wrong with a user's name, or nil.
func CheckUserName(name string) error {
	if !userName.MatchString(name) {
		return landward.Invalid("name", "%q is not a user name", landward.Printable(name)).
			WithHint("use 1 to 40 lower-case letters, digits, dots, dashes and underscores, a letter first: ada.l")
	}
	// Actors of these names are not users; events must tell them apart.
	if name == landward.System.Name || name == "root" {
		return landward.Invalid("name", "%q is reserved", name).WithHint("choose another name")
	}
	return nil
}
