package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"landward/internal/auth"
	"landward/internal/landward"
)

func TestNewToken(t *testing.T) {
	form := regexp.MustCompile(`^lw_[0-9A-Za-z]{43}$`)
	seen := map[string]bool{}
	for range 1000 {
		tok := auth.NewToken()
		if !form.MatchString(tok.Text) || seen[tok.Text] {
			t.Fatalf("token %q", tok.Text)
		}
		seen[tok.Text] = true
		if !strings.HasPrefix(tok.Text, tok.Prefix) || len(tok.Prefix) != 9 {
			t.Fatalf("prefix %q of %q", tok.Prefix, tok.Text)
		}
		if sum := sha256.Sum256([]byte(tok.Text)); string(tok.Hash) != string(sum[:]) {
			t.Fatal("the hash is not that of the text")
		}
	}
}

func TestNewBootstrap(t *testing.T) {
	text, fact := auth.NewBootstrap()
	if sum := sha256.Sum256([]byte(text)); fact != hex.EncodeToString(sum[:]) {
		t.Errorf("fact %q does not fit %q", fact, text)
	}
	if again, _ := auth.NewBootstrap(); again == text {
		t.Error("two are the same")
	}
	if token, err := auth.ParseAuthorization([]string{"Bearer " + text}); err == nil {
		t.Errorf("it is taken for a token: %q", token)
	}
}

func TestParseAuthorization(t *testing.T) {
	token := auth.NewToken().Text
	basic := func(userinfo string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) }
	for name, header := range map[string]string{
		"bearer":             "Bearer " + token,
		"small letters":      "bearer  " + token,
		"basic":              basic("git:" + token),
		"basic, any user":    basic("anybody at all:" + token),
		"basic, as the user": basic(token + ":"),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := auth.ParseAuthorization([]string{header})
			if err != nil || got != token {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if got, err := auth.ParseAuthorization(nil); got != "" || err != nil {
		t.Errorf("no header: got %q, %v", got, err)
	}
	for name, headers := range map[string][]string{
		"empty":              {""},
		"no scheme":          {token},
		"another scheme":     {"Digest " + token},
		"two headers":        {"Bearer " + token, "Bearer " + token},
		"two tokens":         {"Bearer " + token + ", " + token},
		"nothing":            {"Bearer "},
		"cut":                {"Bearer " + token[:40]},
		"longer":             {"Bearer " + token + "x"},
		"a newline after it": {"Bearer " + token + "\n" + token},
		"not base64":         {"Basic !!!"},
		"no colon":           {"Basic " + base64.StdEncoding.EncodeToString([]byte(token))},
		"a password":         {basic("ada:hunter2")},
		"nobody":             {basic(":")},
		"huge":               {"Bearer lw_" + strings.Repeat("a", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := auth.ParseAuthorization(headers)
			if got != "" || landward.CodeOf(err) != landward.CodeUnauthenticated {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), token[:20]) {
				t.Error("the error shows the token")
			}
		})
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add("Bearer lw_x")
	f.Add("Basic Z2l0Omx3Xw==")
	f.Add("basic \x00")
	form := regexp.MustCompile(`^lw_[0-9A-Za-z]{43}$`)
	f.Fuzz(func(t *testing.T, header string) {
		token, err := auth.ParseAuthorization([]string{header})
		if (err == nil) != form.MatchString(token) {
			t.Errorf("%q gives %q, %v", header, token, err)
		}
	})
}
