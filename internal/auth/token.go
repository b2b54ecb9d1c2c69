package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"regexp"
	"strings"

	"landward/internal/landward"
)

const (
	tokenStart     = "lw_"
	bootstrapStart = "lwboot_"
	secretBytes    = 32
	secretChars    = 43 // 32 bytes in base 62
	prefixChars    = len(tokenStart) + 6
)

var tokenForm = regexp.MustCompile(`^lw_[0-9A-Za-z]{43}$`)

// Token is a new token. Only its hash and prefix are stored; the text is shown
// once.
type Token struct {
	Text   string // lw_ and 32 random bytes in base 62
	Prefix string // the first characters, to recognise it by
	Hash   []byte // SHA-256 of Text
}

// NewToken makes a token.
func NewToken() Token {
	text := tokenStart + randomText()
	return Token{Text: text, Prefix: text[:prefixChars], Hash: HashToken(text)}
}

// randomText returns 32 random bytes in base 62, always 43 characters.
func randomText() string {
	b := make([]byte, secretBytes)
	rand.Read(b)
	digits := new(big.Int).SetBytes(b).Text(62)
	return strings.Repeat("0", secretChars-len(digits)) + digits
}

// HashToken returns what a token is looked up by. A plain hash is enough: 256
// random bits cannot be guessed.
func HashToken(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// NewBootstrap makes the one-time token of the first administrator: its text,
// and the fact to store for it, the hex SHA-256 of the text.
func NewBootstrap() (text, fact string) {
	text = bootstrapStart + randomText()
	return text, hex.EncodeToString(HashToken(text))
}

// ParseAuthorization returns the token in a request's Authorization headers:
// "" where there is none. It may be a Bearer token, or, as git sends it, the
// password of Basic with any user name (or the user name without a password).
// CodeUnauthenticated: there is something else.
func ParseAuthorization(headers []string) (token string, err error) {
	if len(headers) == 0 {
		return "", nil
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case len(headers) > 1:
		return "", badAuthorization("there is more than one Authorization header")
	case strings.EqualFold(scheme, "Bearer"):
		token = rest
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(rest)
		user, password, found := strings.Cut(string(plain), ":")
		if err != nil || !found {
			return "", badAuthorization("the Basic credentials are not base64 of user:password")
		}
		if token = password; password == "" {
			token = user
		}
	default:
		return "", badAuthorization("the Authorization header is neither Bearer nor Basic")
	}
	if !tokenForm.MatchString(token) {
		return "", badAuthorization("what was sent is not a token of Landward")
	}
	return token, nil
}

func badAuthorization(why string) error {
	return landward.Errorf(landward.CodeUnauthenticated, "%s", why).
		WithHint("send `Authorization: Bearer lw_…`; with git over HTTP, the token is the password")
}
