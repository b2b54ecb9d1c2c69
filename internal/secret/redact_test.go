package secret_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"landward/internal/secret"
)

func TestRedact(t *testing.T) {
	const value = `p@ss/w<rd "1"+ü`
	marshal := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	tests := map[string]struct{ line, want string }{
		"nothing":                 {"all is well", "all is well"},
		"as it is":                {"password=" + value + "!", "password=••••••!"},
		"twice":                   {value + value, "••••••••••••"},
		"base64":                  {std.EncodeToString([]byte(value)), "••••••"},
		"base64 for URLs":         {"x " + raw.EncodeToString([]byte(value)) + " x", "x •••••• x"},
		"URL query":               {"?q=" + url.QueryEscape(value) + "&x", "?q=••••••&x"},
		"URL path":                {"/" + url.PathEscape(value) + "/x", "/••••••/x"},
		"URL in small letters":    {strings.ToLower(url.QueryEscape("P@ss")) + " p%40ss%2fw%3crd+%221%22%2b%c3%bc", "p%40ss ••••••"},
		"JSON":                    {marshal(map[string]string{"a": value}), `{"a":"••••••"}`},
		"JSON without HTML rules": {`"p@ss/w<rd \"1\"+ü"`, `"••••••"`},
	}
	r := secret.NewRedactor(value)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := r.Line(test.line); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestRedactInsideBase64 has the secret at each place that it can have in the
// groups of a longer text, as in the header of Basic authentication.
func TestRedactInsideBase64(t *testing.T) {
	const value = "hunter2hunter2"
	r := secret.NewRedactor(value)
	for before := range 6 {
		for after := range 6 {
			text := strings.Repeat("u", before) + value + strings.Repeat("v", after)
			line := r.Line("Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text)))
			if !strings.Contains(line, secret.Mask) {
				t.Errorf("%d before, %d after: %q shows all", before, after, line)
				continue
			}
			// What is left around the mask must not give back more than an
			// edge of the secret.
			shown := strings.TrimPrefix(strings.ReplaceAll(line, secret.Mask, ""), "Authorization: Basic ")
			if most := (before+after)*4/3 + 8; len(shown) > most {
				t.Errorf("%d before, %d after: %q shows %d characters", before, after, line, len(shown))
			}
		}
	}
}

func TestRedactLines(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\r\n  c2Vjb25kbGluZQ\nend\n"
	r := secret.NewRedactor(key)
	for line, want := range map[string]string{
		"MIIEpAIBAAKCAQEA":       "••••••",
		"> c2Vjb25kbGluZQ <":     "> •••••• <",
		"-----BEGIN KEY-----":    "••••••",
		"end":                    "end",
		`"MIIEpAIBAAKCAQEA\r\n"`: `"••••••\r\n"`,
	} {
		if got := r.Line(line); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
	long := strings.Repeat("0123456789abcdef", 20)
	r = secret.NewRedactor(long)
	encoded := base64.StdEncoding.EncodeToString([]byte(long))
	for _, width := range []int{64, 76} {
		for rest := encoded; len(rest) >= 6; {
			n := min(width, len(rest))
			if got := r.Line(rest[:n]); got != secret.Mask {
				t.Errorf("wrapped at %d: %q became %q", width, rest[:n], got)
			}
			rest = rest[n:]
		}
	}
}

func TestRedactTheLongestFirst(t *testing.T) {
	r := secret.NewRedactor("secret", "secret-and-more", "more-than")
	if got := r.Line("secret-and-more-than"); got != "••••••-than" {
		t.Errorf("got %q", got)
	}
}

func TestShortValuesAreLeftAlone(t *testing.T) {
	for _, r := range []*secret.Redactor{nil, secret.NewRedactor(), secret.NewRedactor("", "true", "12345", "  a  \n  b  ")} {
		if got := r.Line("true 12345 a b"); got != "true 12345 a b" {
			t.Errorf("got %q", got)
		}
	}
	if got := secret.NewRedactor("123456").Line("x123456x"); got != "x••••••x" {
		t.Errorf("six bytes: got %q", got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("secret value", "before ", " after")
	f.Add("\xff\xfe\xfd\xfc\xfb\xfa", "\xff", "")
	f.Add(strings.Repeat("ab", 100), "", "%")
	f.Fuzz(func(t *testing.T, value, before, after string) {
		trimmed := strings.TrimSpace(value)
		if len(trimmed) < 6 || strings.ContainsAny(value, "\r\n") {
			return
		}
		r := secret.NewRedactor(value)
		for what, form := range map[string]string{
			"as it is": trimmed,
			"base64":   base64.StdEncoding.EncodeToString([]byte(value)),
			"URL":      url.QueryEscape(trimmed),
		} {
			// Text around it may belong to another form of the value, so only
			// this is certain: the whole is not there any more.
			if got := r.Line(before + form + after); strings.Count(got, form) > strings.Count(before+secret.Mask+after, form) {
				t.Errorf("%s: %q is still in %q", what, form, got)
			}
		}
	})
}
