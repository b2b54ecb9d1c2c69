package guard_test

import (
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

func newAnswers(tb testing.TB, rules landward.Headers) *guard.Answers {
	tb.Helper()
	a, err := guard.NewAnswers(rules)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

const (
	nosniff  = "X-Content-Type-Options: nosniff\r\n"
	frame    = "X-Frame-Options: DENY\r\n"
	referrer = "Referrer-Policy: strict-origin-when-cross-origin\r\n"
	hsts     = "Strict-Transport-Security: max-age=31536000\r\n"
)

func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		rules landward.Headers
		https bool
		sent  string // names of the app's headers
		want  string
		kept  string // of sent
	}{
		"defaults":           {sent: "Content-Type Server", want: nosniff + frame + referrer, kept: "Content-Type Server"},
		"defaults, HTTPS":    {https: true, want: nosniff + frame + referrer + hsts},
		"app's own":          {https: true, sent: "x-frame-options STRICT-TRANSPORT-SECURITY", want: nosniff + referrer, kept: "x-frame-options STRICT-TRANSPORT-SECURITY"},
		"app's own, the two": {https: true, sent: "Referrer-Policy X-Content-Type-Options", want: frame + hsts, kept: "Referrer-Policy X-Content-Type-Options"},
		"off":                {rules: landward.Headers{Security: landward.SwitchOff}, https: true, sent: "Server", kept: "Server"},
		"off, with a rule": {rules: landward.Headers{Security: landward.SwitchOff, Set: []landward.Header{{Name: "X-Robots-Tag", Value: "noindex"}}},
			https: true, want: "X-Robots-Tag: noindex\r\n"},
		"set": {rules: landward.Headers{Set: []landward.Header{{Name: "Cache-Control", Value: "no-store"}, {Name: "X-Frame-Options", Value: "SAMEORIGIN"}}},
			sent: "cache-control x-frame-options Etag", want: "Cache-Control: no-store\r\nX-Frame-Options: SAMEORIGIN\r\n" + nosniff + referrer, kept: "Etag"},
		"remove": {rules: landward.Headers{Remove: []string{"Server", "X-Powered-By", "Strict-Transport-Security"}}, https: true,
			sent: "server X-POWERED-BY X-Powered strict-transport-security", want: nosniff + frame + referrer, kept: "X-Powered"},
		"empty value": {rules: landward.Headers{Security: "on", Set: []landward.Header{{Name: "X-Empty", Value: ""}}}, want: "X-Empty: \r\n" + nosniff + frame + referrer},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswers(t, tc.rules)
			var sent guard.Sent
			var kept []string
			for _, n := range strings.Fields(tc.sent) {
				if a.Drop([]byte(n)) {
					continue
				}
				sent |= guard.Security([]byte(n))
				kept = append(kept, n)
			}
			if got := strings.Join(kept, " "); got != tc.kept {
				t.Errorf("the lines %q stay, want %q", got, tc.kept)
			}
			if got := string(a.Append([]byte("A: b\r\n"), tc.https, sent)); got != "A: b\r\n"+tc.want {
				t.Errorf("the answer gets %q, want %q", got, tc.want)
			}
		})
	}
	if newAnswers(t, landward.Headers{Security: landward.SwitchOff}) != nil {
		t.Error("rules that change nothing give a value")
	}
}

func TestSecurityNames(t *testing.T) {
	for name, want := range map[string]guard.Sent{
		"x-content-type-options": guard.SentNosniff, "X-Frame-Options": guard.SentFrame, "REFERRER-POLICY": guard.SentReferrer,
		"Strict-Transport-Security": guard.SentHSTS, "X-Frame-Option": 0, "Xxxxxxxxxxxxxxx": 0, "Rxxxxxxxxxxxxxx": 0,
		"Zzzzzzzzzzzzzzz": 0, "": 0, "X_Frame_Options": 0,
	} {
		if got := guard.Security([]byte(name)); got != want {
			t.Errorf("Security(%q) is %d, want %d", name, got, want)
		}
	}
}

func TestAnswersRefuse(t *testing.T) {
	type header = landward.Header
	fine := header{Name: "X-Fine", Value: "1"}
	for name, tc := range map[string]struct {
		rules landward.Headers
		field string
	}{
		"empty name":      {landward.Headers{Set: []header{fine, {Name: ""}}}, "routes.headers.set[1]"},
		"space in name":   {landward.Headers{Set: []header{{Name: "X Y"}}}, "routes.headers.set[0]"},
		"colon in name":   {landward.Headers{Set: []header{{Name: "X:"}}}, "routes.headers.set[0]"},
		"line in name":    {landward.Headers{Set: []header{{Name: "X\r\nY"}}}, "routes.headers.set[0]"},
		"long name":       {landward.Headers{Set: []header{{Name: strings.Repeat("x", 65)}}}, "routes.headers.set[0]"},
		"line in value":   {landward.Headers{Set: []header{fine, {Name: "X", Value: "a\r\nSet-Cookie: b"}}}, "routes.headers.set[1]"},
		"LF in value":     {landward.Headers{Set: []header{{Name: "X", Value: "a\nb"}}}, "routes.headers.set[0]"},
		"CR in value":     {landward.Headers{Set: []header{{Name: "X", Value: "a\rb"}}}, "routes.headers.set[0]"},
		"NUL in value":    {landward.Headers{Set: []header{{Name: "X", Value: "a\x00"}}}, "routes.headers.set[0]"},
		"DEL in value":    {landward.Headers{Set: []header{{Name: "X", Value: "a\x7f"}}}, "routes.headers.set[0]"},
		"not ASCII":       {landward.Headers{Set: []header{{Name: "X", Value: "ü"}}}, "routes.headers.set[0]"},
		"space at end":    {landward.Headers{Set: []header{{Name: "X", Value: "a "}}}, "routes.headers.set[0]"},
		"long value":      {landward.Headers{Set: []header{{Name: "X", Value: strings.Repeat("a", 8193)}}}, "routes.headers.set[0]"},
		"twice":           {landward.Headers{Set: []header{{Name: "X-A"}, {Name: "x-a"}}}, "routes.headers.set[1]"},
		"set and removed": {landward.Headers{Set: []header{{Name: "X-A"}}, Remove: []string{"X-A"}}, "routes.headers.remove[0]"},
		"removed twice":   {landward.Headers{Remove: []string{"X-A", "X-a"}}, "routes.headers.remove[1]"},
		"bad removal":     {landward.Headers{Remove: []string{"X-*"}, Set: []header{{Name: "Connection"}}}, "routes.headers.set[0]"},
		"cookies":         {landward.Headers{Set: []header{{Name: "Set-Cookie", Value: "a=b"}}}, "routes.headers.set[0]"},
		"security":        {landward.Headers{Security: "maybe"}, "routes.headers.security"},
		"too many":        {landward.Headers{Set: make([]header, 65)}, "routes.headers.set"},
		"too many gone":   {landward.Headers{Remove: make([]string, 65)}, "routes.headers.remove"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := guard.NewAnswers(tc.rules)
			wantField(t, err, tc.field)
		})
	}
	for _, name := range strings.Fields(`Connection Content-Length content-length Transfer-Encoding Trailer Upgrade Keep-Alive TE
		Proxy-Connection Proxy-Authenticate Proxy-Authorization Date X-Request-Id Sec-WebSocket-Accept Content-Encoding Content-Range Host`) {
		_, err := guard.NewAnswers(landward.Headers{Set: []header{{Name: name, Value: "x"}}})
		wantField(t, err, "routes.headers.set[0]")
		_, err = guard.NewAnswers(landward.Headers{Remove: []string{name}})
		wantField(t, err, "routes.headers.remove[0]")
	}
	if _, err := guard.NewAnswers(landward.Headers{Remove: []string{"Set-Cookie"}}); err != nil {
		t.Errorf("cookies cannot be removed: %v", err)
	}
}

func TestAnswersDoNotAllocate(t *testing.T) {
	a := newAnswers(t, landward.Headers{Remove: []string{"Server"}, Set: []landward.Header{{Name: "X-A", Value: "b"}}})
	name, buf := []byte("Content-Type"), make([]byte, 0, 1024)
	noAllocs(t, "Drop and Append", func() {
		a.Drop(name)
		a.Append(buf, true, guard.Security(name))
		a.Append(buf, true, guard.SentFrame)
	})
}

func BenchmarkAnswers(b *testing.B) {
	a, err := guard.NewAnswers(landward.Headers{Remove: []string{"Server", "X-Powered-By"}})
	if err != nil {
		b.Fatal(err)
	}
	var names [][]byte
	for _, n := range strings.Fields("Content-Type Content-Length Date Server Etag Last-Modified Cache-Control Vary Set-Cookie X-Powered-By") {
		names = append(names, []byte(n))
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var sent guard.Sent
		for _, n := range names {
			if !a.Drop(n) {
				sent |= guard.Security(n)
			}
		}
		a.Append(buf, true, sent)
	}
}
