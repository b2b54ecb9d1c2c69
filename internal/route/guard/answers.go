package guard

import (
	"fmt"
	"strings"

	"landward/internal/landward"
	"landward/internal/route/wire"
)

// Sent is a set of security headers that an app sent itself.
type Sent uint8

// The security headers that are added where an app sends none.
const (
	SentNosniff Sent = 1 << iota // X-Content-Type-Options
	SentFrame                    // X-Frame-Options
	SentReferrer
	SentHSTS // Strict-Transport-Security
)

// The lines that are added, for each of Sent.
const (
	lineNosniff  = "X-Content-Type-Options: nosniff\r\n"
	lineFrame    = "X-Frame-Options: DENY\r\n"
	lineReferrer = "Referrer-Policy: strict-origin-when-cross-origin\r\n"
	lineHSTS     = "Strict-Transport-Security: max-age=31536000\r\n"
)

// Answers changes the headers of an app's answers. A nil Answers changes
// nothing. It never changes.
type Answers struct {
	drop     nameSet
	set      []byte // whole lines
	ours     Sent   // security headers that are ours to add
	defaults []byte // the lines of ours but HSTS, for the app that sends none
}

// NewAnswers compiles an app's rules. It gives nil where they change nothing. An
// error names the rule, such as routes.headers.set[2].
func NewAnswers(rules landward.Headers) (*Answers, error) {
	if err := checkHeaders(rules); err != nil {
		return nil, err
	}
	a := &Answers{}
	if rules.Security != landward.SwitchOff {
		a.ours = SentNosniff | SentFrame | SentReferrer | SentHSTS
	}
	for _, name := range rules.Remove {
		a.take(name)
	}
	for _, h := range rules.Set {
		a.take(h.Name)
		a.set = append(append(append(append(a.set, h.Name...), ": "...), h.Value...), '\r', '\n')
	}
	if a.ours == 0 && len(a.drop.names) == 0 {
		return nil, nil
	}
	a.defaults = a.appendMissing(nil, false, 0)
	return a, nil
}

// take keeps the app's lines of that name away. Who sets or removes a security
// header has decided about it: nothing is added.
func (a *Answers) take(name string) {
	a.drop.add(name)
	a.ours &^= Security([]byte(name))
}

// Drop reports whether the app's line of that name does not go to the client.
func (a *Answers) Drop(name []byte) bool { return a != nil && a.drop.has(name) }

// Security returns which security header a name is, 0 for none.
func Security(name []byte) Sent {
	switch len(name) {
	case 15:
		switch name[0] | 0x20 {
		case 'x':
			if wire.EqualFold(name, "x-frame-options") {
				return SentFrame
			}
		case 'r':
			if wire.EqualFold(name, "referrer-policy") {
				return SentReferrer
			}
		}
	case 22:
		if wire.EqualFold(name, "x-content-type-options") {
			return SentNosniff
		}
	case 25:
		if wire.EqualFold(name, "strict-transport-security") {
			return SentHSTS
		}
	}
	return 0
}

// Append appends our lines to an answer's head. sent is what Security said of
// the lines that the app sent. HSTS is added over HTTPS only.
func (a *Answers) Append(dst []byte, https bool, sent Sent) []byte {
	if a == nil {
		return dst
	}
	dst = append(dst, a.set...)
	if sent&a.ours == 0 {
		dst = append(dst, a.defaults...)
		if https && a.ours&SentHSTS != 0 {
			dst = append(dst, lineHSTS...)
		}
		return dst
	}
	return a.appendMissing(dst, https, sent)
}

func (a *Answers) appendMissing(dst []byte, https bool, sent Sent) []byte {
	missing := a.ours &^ sent
	if missing&SentNosniff != 0 {
		dst = append(dst, lineNosniff...)
	}
	if missing&SentFrame != 0 {
		dst = append(dst, lineFrame...)
	}
	if missing&SentReferrer != 0 {
		dst = append(dst, lineReferrer...)
	}
	if missing&SentHSTS != 0 && https {
		dst = append(dst, lineHSTS...)
	}
	return dst
}

func checkHeaders(rules landward.Headers) error {
	if err := checkSwitch("routes.headers.security", rules.Security); err != nil {
		return err
	}
	if n := len(rules.Set); n > maxHeaders {
		return tooMany("routes.headers.set", n, maxHeaders)
	}
	if n := len(rules.Remove); n > maxHeaders {
		return tooMany("routes.headers.remove", n, maxHeaders)
	}
	seen := make(map[string]string)
	for i, h := range rules.Set {
		at := fmt.Sprintf("routes.headers.set[%d]", i)
		if err := checkAnswerName(at, h.Name, seen); err != nil {
			return err
		}
		switch lower := strings.ToLower(h.Name); {
		case lower == "set-cookie":
			return landward.Invalid(at, "Set-Cookie would take the place of every cookie of the app")
		case len(h.Value) > maxValue:
			return landward.Invalid(at, "a value of %d bytes is too long: the limit is %d", len(h.Value), maxValue)
		case !isText(h.Value):
			return landward.Invalid(at, "the value of %s has characters that a header cannot have", h.Name).
				WithHint("use printable ASCII on one line, without space at its ends")
		}
	}
	for i, name := range rules.Remove {
		if err := checkAnswerName(fmt.Sprintf("routes.headers.remove[%d]", i), name, seen); err != nil {
			return err
		}
	}
	return nil
}

// checkAnswerName says why no rule may be about the header of that name.
func checkAnswerName(at, name string, seen map[string]string) error {
	if !isToken(name) || len(name) > maxName {
		return landward.Invalid(at, "%q is not the name of a header", landward.Printable(name)).
			WithHint("use letters, digits and dashes: X-Robots-Tag")
	}
	lower := strings.ToLower(name)
	if framing(lower) || lower == "date" || lower == "x-request-id" || strings.HasPrefix(lower, "sec-websocket-") {
		return landward.Invalid(at, "%s is the edge's own: no rule may change it", name)
	}
	if other, taken := seen[lower]; taken {
		return landward.Invalid(at, "%s already has a rule in %s", name, other)
	}
	seen[lower] = at
	return nil
}

// framing is for the names of headers that say how a message is carried and
// what its bytes are (RFC 9110 section 7.6.1, RFC 9112 section 6). They are in
// lower case.
func framing(lower string) bool {
	switch lower {
	case "connection", "content-length", "transfer-encoding", "trailer", "upgrade", "keep-alive", "te",
		"proxy-connection", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info",
		"http2-settings", "host", "expect", "content-encoding", "content-range":
		return true
	}
	return false
}
