package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/cli"
)

// asking answers each METHOD PATH with the JSON of a value, and notes what it
// was asked with which body.
func asking(t *testing.T, answers map[string]any) (url string, asked *[]string) {
	t.Helper()
	var log []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		key := r.Method + " " + strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1")
		log = append(log, strings.TrimSpace(key+" "+r.URL.RawQuery+string(body)))
		v, ok := answers[key]
		switch {
		case !ok:
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusServiceUnavailable)
			v = client.Error{Code: client.CodeUnavailable, Detail: "this is not there"}
		case v == nil:
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		if text, ok := v.(string); ok {
			_, _ = io.WriteString(rw, text)
			return
		}
		_ = json.NewEncoder(rw).Encode(v)
	}))
	t.Cleanup(server.Close)
	return server.URL, &log
}

func TestStatesOfApps(t *testing.T) {
	url, _ := asking(t, map[string]any{
		"GET /apps": client.AppList{Apps: []client.App{
			{Name: "a", State: "deployed"}, {Name: "b", State: "deployed", Asleep: true}, {Name: "c", State: "deployed", Paused: true, Maintenance: true},
			{Name: "d", State: "stopped", Maintenance: true}, {Name: "e", State: "empty"},
		}},
		"GET /apps/b":    client.App{Name: "b", State: "deployed", Asleep: true, Paused: true, Maintenance: true},
		"GET /apps/b/ps": client.UnitList{Units: []client.Unit{}},
	})
	w := newWorld(t, url, "apps")
	if code := w.run(t.Context()); code != 0 {
		t.Fatal(w.err.String())
	}
	for _, want := range []string{"a     deployed ", "b     asleep ", "c     paused, maintenance ", "d     stopped, maintenance ", "e     empty "} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, w.out.String())
		}
	}
	w = newWorld(t, url, "ps", "-a", "b")
	if code := w.run(t.Context()); code != 0 || w.out.Len() > 0 {
		t.Errorf("exit code %d: %s", code, w.out.String())
	}
	for _, want := range []string{"b runs nothing.", "b is asleep", "landward resume -a b", "landward maintenance off -a b"} {
		if !strings.Contains(w.err.String(), want) {
			t.Errorf("%q is not in\n%s", want, w.err.String())
		}
	}
}

func TestMaintenanceAndPause(t *testing.T) {
	url, asked := asking(t, map[string]any{
		"PUT /apps/b/maintenance": nil, "POST /apps/b/pause": nil, "POST /apps/b/resume": nil,
		"GET /apps/b": client.App{Name: "b", Maintenance: true, Message: "Back\x1b[2J at noon."},
	})
	for _, tt := range []struct{ args, asked, out string }{
		{"maintenance", "GET /apps/b", "The maintenance page of b is on: Back at noon.\n"},
		{"maintenance on --message Soon.", `PUT /apps/b/maintenance {"on":true,"message":"Soon."}`, "Every request for b gets the maintenance page.\n"},
		{"maintenance:off", `PUT /apps/b/maintenance {"on":false}`, "b answers again.\n"},
		{"pause", "POST /apps/b/pause", "Requests for b wait.\n"},
		{"resume --json", "POST /apps/b/resume", "{\n  \"app\": \"b\",\n  \"ok\": true\n}\n"},
	} {
		*asked = nil
		w := newWorld(t, url, append(strings.Fields(tt.args), "-a", "b")...)
		if code := w.run(t.Context()); code != 0 || w.out.String() != tt.out || strings.ReplaceAll(strings.Join(*asked, "|"), "maintenance{", "maintenance {") != tt.asked {
			t.Errorf("%s: exit code %d, said %q, asked %q", tt.args, code, w.out.String()+w.err.String(), *asked)
		}
	}
	for _, args := range []string{"maintenance maybe", "pause now"} {
		w := newWorld(t, url, append(strings.Fields(args), "-a", "b")...)
		if code := w.run(t.Context()); code != 2 {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
}

func TestCerts(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)
	list := client.CertificateList{Certificates: []client.Certificate{
		{Host: "a.example.com", Source: "acme", Issuer: "R11", NotAfter: now.AddDate(0, 0, 60)},
		{Host: "b.example.com", Source: "none", LastError: "the CA got 404\x1b[2J", Hint: "Point b.example.com here.", NextTry: now.Add(5 * time.Minute), Attempts: 3},
		{Host: "c.example.com", Source: "own", Via: "*.example.com", Issuer: "Me", NotAfter: now.Add(-time.Hour)},
		{Host: "d.example.com", Source: "none", Ordering: true}, {Host: "e.example.com", Source: "none"},
		{Host: "f.example.com", Source: "acme", Revoked: true, NotAfter: now.Add(time.Hour)},
		{Host: "g.example.com", Source: "own", Expiring: true, NotAfter: now.Add(30 * time.Minute)},
		{Host: "h.example.com", Source: "acme", Ordering: true, NotAfter: now.Add(30 * time.Second)}, {Host: "i.localhost", Source: "local"},
	}}
	url, asked := asking(t, map[string]any{"GET /certificates": list, "GET /apps/b/certificates": list})
	w := newWorld(t, url, "certs")
	if code := w.run(t.Context()); code != 0 {
		t.Fatal(w.err.String())
	}
	want := `HOST           SOURCE                ISSUER  EXPIRES             STATE
a.example.com  acme                  R11     2026-10-21, in 60d  ok
b.example.com  none                  -       -                   failed
  the CA got 404
  Point b.example.com here.
  The next try is in 5m, after 3 that failed.
c.example.com  own by *.example.com  Me      2026-08-22, 1h ago  expired
d.example.com  none                  -       -                   ordering
e.example.com  none                  -       -                   none
f.example.com  acme                  -       2026-08-22, in 1h   revoked
g.example.com  own                   -       2026-08-22, in 30m  expires soon
h.example.com  acme                  -       2026-08-22, in 30s  renewing
i.localhost    local                 -       -                   ok
`
	if w.out.String() != want {
		t.Errorf("got\n%s", w.out.String())
	}
	w = newWorld(t, url, "certs:list", "-a", "b", "--json")
	if code := w.run(t.Context()); code != 0 || !slices.Equal(*asked, []string{"GET /certificates", "GET /apps/b/certificates"}) {
		t.Errorf("exit code %d, asked %q", code, *asked)
	}
}

func TestCertsOfOnesOwn(t *testing.T) {
	url, asked := asking(t, map[string]any{
		"PUT /apps/b/certificates/%2A.example.com":      client.Certificate{Host: "*.example.com", Issuer: "Me", NotAfter: time.Date(2026, 9, 22, 10, 0, 0, 0, time.UTC)},
		"DELETE /apps/b/certificates/%2A.example.com":   nil,
		"DELETE /apps/b/certificates/www.example.com":   nil,
		"PUT /apps/b/certificates/www.example.com":      client.Certificate{Host: "www.example.com"},
		"PUT /apps/b/certificates/refused.example.com ": nil,
	})
	run := func(in string, args ...string) (*world, int) {
		w := newWorld(t, url, append([]string{"certs"}, append(args, "-a", "b")...)...)
		if err := os.WriteFile(filepath.Join(w.Dir, "c.pem"), []byte("CERT"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.Dir, "big.pem"), make([]byte, 257<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Stdin = strings.NewReader(in)
		return w, w.run(t.Context())
	}
	w, code := run("KEY", "add", "*.example.com", "--cert", "c.pem", "--key", "-")
	if code != 0 || w.out.String() != "*.example.com has your certificate, by Me, until 2026-09-22, in 31d.\n" {
		t.Errorf("exit code %d: %s%s", code, w.out.String(), w.err.String())
	}
	if want := `PUT /apps/b/certificates/%2A.example.com {"certificate":"CERT","key":"KEY"}`; len(*asked) != 1 || strings.Replace((*asked)[0], "com{", "com {", 1) != want {
		t.Errorf("asked %q", *asked)
	}
	*asked = nil
	for args, code := range map[string]int{
		"add www.example.com": 2, "add www.example.com --cert c.pem": 2, "add www.example.com --cert - --key -": 2, "add --cert c.pem --key c.pem": 2,
		"add www.example.com --cert none.pem --key c.pem": 1, "add www.example.com --cert c.pem --key big.pem": 1, "remove": 2,
	} {
		if w, got := run("KEY", strings.Fields(args)...); got != code || strings.Contains(w.err.String()+w.out.String(), "KEY") || len(*asked) > 0 {
			t.Errorf("%s: exit code %d, asked %q: %s", args, got, *asked, w.err.String())
		}
	}
	if w, code := run("", "remove", "www.example.com"); code != 0 || w.out.String() != "Took your certificate of www.example.com away.\n" {
		t.Errorf("exit code %d: %s%s", code, w.out.String(), w.err.String())
	}
}

func TestDomainsSayWhatToDo(t *testing.T) {
	report := client.DomainReport{
		Host: "*.example.com", Problems: []string{"*.example.com leads to 192.0.2.9."},
		Records: []client.DNSRecord{
			{Action: "remove", Type: "A", Name: "*", Value: "192.0.2.9", TTL: 60},
			{Action: "add", Type: "A", Name: "*", Value: "203.0.113.7", TTL: 300},
			{Action: "add", Type: "AAAA", Name: "*", Value: "2001:db8::7"},
		},
		Instead: []client.DNSRecord{{Action: "add", Type: "CNAME", Name: "*", Value: "landward.example.net.", TTL: 300}},
		Advice:  []string{"Others may remember the old answer for an hour."},
	}
	answers := map[string]any{
		"GET /apps/b/domains/%2A.example.com/check": report, "POST /apps/b/domains": client.Changed{},
		"GET /apps/b/domains/www.example.com/check": client.DomainReport{Host: "www.example.com", OK: true},
		"GET /apps/b/domains":                       client.DomainList{Domains: []client.Domain{{Host: "*.example.com", Custom: true}, {Host: "www.example.com", Custom: true}, {Host: "b.localhost"}}},
	}
	url, _ := asking(t, answers)
	said := `*.example.com does not lead here yet.
  *.example.com leads to 192.0.2.9.
Remove at your DNS provider:
  type A, name *, value 192.0.2.9
Make at your DNS provider:
  type A, name *, value 203.0.113.7, TTL 300
  type AAAA, name *, value 2001:db8::7
Or, in place of what is to be made:
  type CNAME, name *, value landward.example.net., TTL 300
  Others may remember the old answer for an hour.
`
	w := newWorld(t, url, "domains", "check", "-a", "b")
	if code := w.run(t.Context()); code != 1 || w.out.String() != said+"\nwww.example.com leads here.\n" {
		t.Errorf("exit code %d, said\n%s%s", code, w.out.String(), w.err.String())
	}
	w = newWorld(t, url, "domains", "check", "www.example.com", "-a", "b", "--json")
	var got []client.DomainReport
	if code := w.run(t.Context()); code != 0 || json.Unmarshal(w.out.Bytes(), &got) != nil || len(got) != 1 || !got[0].OK {
		t.Errorf("exit code %d, said\n%s", code, w.out.String())
	}
	w = newWorld(t, url, "domains", "add", "*.example.com", "-a", "b")
	if code := w.run(t.Context()); code != 0 || w.err.String() != "\n"+said+"Look again with: landward domains check '*.example.com' -a b\n" {
		t.Errorf("exit code %d, said\n%s", code, w.err.String())
	}
	// All is well, nobody can say, or a program asked: then it says nothing.
	for _, args := range []string{"add www.example.com", "add other.example.com", "add *.example.com --json"} {
		w = newWorld(t, url, append([]string{"domains"}, append(strings.Fields(args), "-a", "b")...)...)
		if code := w.run(t.Context()); code != 0 || w.err.Len() > 0 || w.out.Len() == 0 {
			t.Errorf("%s: exit code %d, said %q", args, code, w.err.String())
		}
	}
}

func TestAccessLogOfAnApp(t *testing.T) {
	line := client.AccessLine{
		At: time.Date(2026, 8, 22, 12, 0, 1, 5e8, time.FixedZone("", 7200)), Method: "GET", Path: "/a\"b", Host: "b.localhost", Status: 200, Out: 512,
		IP: "192.0.2.1", Proto: "HTTP/2.0", Agent: "curl/8.5\u009b31m", MS: 1.5,
	}
	data, err := json.Marshal(map[string]any{"access": line})
	if err != nil {
		t.Fatal(err)
	}
	url, asked := asking(t, map[string]any{"GET /apps/b/access-log": "\n" + string(data) + "\n"})
	want := `192.0.2.1 - - [22/Aug/2026:10:00:01 +0000] "GET /a\"b HTTP/2.0" 200 512 "-" "curl/8.5\xc2\x9b31m"` + "\n"
	for _, tt := range []struct{ args, asked, out string }{
		{"", "tail=100", want},
		{"-f -n 0 --status 5XX", "follow=true&status=5xx", want},
		{"--since 1h --format json", "since=2026-08-22T09%3A00%3A00Z", `"path":"/a\"b"`},
		{"--since 1h -n 5 --json", "since=2026-08-22T09%3A00%3A00Z&tail=5", `\u009b31m`},
	} {
		*asked = nil
		w := newWorld(t, url, append([]string{"access-log", "-a", "b"}, strings.Fields(tt.args)...)...)
		if code := w.run(t.Context()); code != 0 || !strings.Contains(w.out.String(), tt.out) || (*asked)[0] != "GET /apps/b/access-log "+tt.asked {
			t.Errorf("%q: exit code %d, said %q, asked %q", tt.args, code, w.out.String()+w.err.String(), *asked)
		}
	}
	for _, args := range []string{"-n -1", "--status 6xx", "--status 20", "--format xml", "--since soon", "what"} {
		w := newWorld(t, url, append([]string{"access-log", "-a", "b"}, strings.Fields(args)...)...)
		if code := w.run(t.Context()); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestCombined(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, l := range map[string]client.AccessLine{
		`- - - [02/Jan/2026:03:04:05 +0000] "  " - - "-" "-"`:                                                {At: at},
		`2001:db8::1 - - [02/Jan/2026:03:04:05 +0000] "GET /é HTTP/1.1" 404 - "https://a/b\\" "x\x0ay"`:      {At: at, IP: "2001:db8::1", Method: "GET", Path: "/é", Proto: "HTTP/1.1", Status: 404, Referer: `https://a/b\`, Agent: "x\ny"},
		`- - - [02/Jan/2026:03:04:05 +0000] "G\xffT /\xe2\x80\xae HTTP/1.1" 200 1 "-" "\"\" - - [x]\x1b[0m"`: {At: at, IP: "1 2", Method: "G\xffT", Path: "/\u202e", Proto: "HTTP/1.1", Status: 200, Out: 1, Agent: "\"\" - - [x]\x1b[0m"},
	} {
		if got := cli.Combined(l); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// No client can end a line, close a quote early or reach a terminal.
func FuzzCombined(f *testing.F) {
	f.Add("GET", "/", "1.2.3.4", "curl")
	f.Add("\"", "\\", "[", "\x1b]0;x\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, method, path, ip, agent string) {
		got := cli.Combined(client.AccessLine{Method: method, Path: path, IP: ip, Agent: agent, Proto: path, Referer: agent})
		quotes := 0
		for i := 0; i < len(got); i++ {
			switch got[i] {
			case '\\':
				i++
			case '"':
				quotes++
			}
		}
		if quotes != 6 {
			t.Fatalf("%d quotes in %s", quotes, got)
		}
		if got != cli.Clean(got) {
			t.Fatalf("%q is not clean", got)
		}
	})
}

func TestUntil(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", -time.Hour: "1h ago", 30 * time.Second: "in 30s", 59 * time.Minute: "in 59m", 47 * time.Hour: "in 47h", 72 * time.Hour: "in 3d",
	} {
		if got := cli.Until(now, now.Add(d)); got != want {
			t.Errorf("%s: %q, want %q", fmt.Sprint(d), got, want)
		}
	}
}
