package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"landward/client"
	"landward/internal/landward"
)

// serve answers every request with h and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL+"/", "lw_token", client.Options{UserAgent: "test/1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://landward.localhost:8080": true, "https://landward.example.com/": true, "https://example.com/landward": true,
		"": false, "landward.example.com": false, "ftp://x": false, "http://": false, "http://u:p@x": false,
		"http://x?token=1": false, "http://x#token": false, "://": false,
	} {
		if _, err := client.New(address, "", client.Options{}); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestRequests(t *testing.T) {
	var got *http.Request
	var body []byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = w.Write([]byte(`{}`))
	})
	ctx := t.Context()
	for want, call := range map[string]func() error{
		`GET /api/v1/apps `:                   func() error { _, err := c.Apps(ctx); return err },
		`GET /api/v1/apps/..%2Fx%3F `:         func() error { _, err := c.App(ctx, "../x?"); return err },
		`DELETE /api/v1/keys/SHA256:a%2Fb+c `: func() error { return c.DeleteKey(ctx, "SHA256:a/b+c") },
		`POST /api/v1/apps {"name":"shop"}`:   func() error { _, err := c.CreateApp(ctx, "shop"); return err },
		`PUT /api/v1/apps/shop/maintenance {"on":true,"message":"m"}`: func() error {
			return c.SetMaintenance(ctx, "shop", client.Maintenance{On: true, Message: "m"})
		},
		`POST /api/v1/apps/shop/pause `:                    func() error { return c.Pause(ctx, "shop", 0) },
		`POST /api/v1/apps/blog/pause {"max_pause":"30s"}`: func() error { return c.Pause(ctx, "blog", 30*time.Second) },
		`POST /api/v1/apps/shop/resume `:                   func() error { return c.Resume(ctx, "shop") },
		`GET /api/v1/certificates `:                        func() error { _, err := c.Certificates(ctx); return err },
		`GET /api/v1/certificate-authority `:               func() error { _, err := c.LocalRoot(ctx); return err },
		`GET /api/v1/apps/shop/certificates `:              func() error { _, err := c.AppCertificates(ctx, "shop"); return err },
		`PUT /api/v1/apps/shop/certificates/%2A.a.b {"certificate":"c","key":"k"}`: func() error {
			_, err := c.PutCertificate(ctx, "shop", "*.a.b", client.NewCertificate{Certificate: "c", Key: "k"})
			return err
		},
		`DELETE /api/v1/apps/shop/certificates/a.b `:     func() error { return c.RemoveCertificate(ctx, "shop", "a.b") },
		`GET /api/v1/apps/shop/domains/%2A.a.b/check `:   func() error { _, err := c.CheckDomain(ctx, "shop", "*.a.b"); return err },
		`PATCH /api/v1/apps/shop/scale {"web":2}`:        func() error { _, err := c.Scale(ctx, "shop", map[string]int{"web": 2}); return err },
		`POST /api/v1/apps/shop/restart `:                func() error { _, err := c.Restart(ctx, "shop"); return err },
		`GET /api/v1/apps/shop/config/diff?from=1&to=2 `: func() error { _, err := c.DiffConfig(ctx, "shop", 1, 2); return err },
		`GET /api/v1/events?before=7&limit=3 `:           func() error { _, err := c.Events(ctx, client.EventQuery{Before: 7, Limit: 3}); return err },
		`POST /api/v1/apps/shop/deploys/archive?no_cache=true tree`: func() error {
			_, err := c.DeployArchive(ctx, "shop", strings.NewReader("tree"), client.DeployOptions{NoCache: true})
			return err
		},
		`POST /api/v1/tokens {"name":"ci","expires_in":"1h30m0s"}`: func() error {
			_, err := c.CreateToken(ctx, client.NewToken{Name: "ci", ExpiresIn: client.Duration(90 * time.Minute)})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if line := got.Method + " " + got.URL.RequestURI() + " " + string(body); line != want {
			t.Errorf("sent %s, want %s", line, want)
		}
		if got.Header.Get("Authorization") != "Bearer lw_token" || got.Header.Get("User-Agent") != "test/1" {
			t.Errorf("%s: headers %v", want, got.Header)
		}
	}
}

// TestErrorsReadTheSameEverywhere holds the client's words to the server's.
func TestErrorsReadTheSameEverywhere(t *testing.T) {
	for _, e := range []*landward.Error{
		landward.Errorf(landward.CodeConflict, "taken"),
		landward.Invalid("name", "bad").WithCause("because\nof this\n").WithHint("do that"),
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
			w.WriteHeader(409)
			_ = json.NewEncoder(w).Encode(client.Error{Code: string(e.Code), Detail: e.Message, Cause: e.Cause, Hint: e.Hint, Field: e.Field, RequestID: "R"})
		})
		_, err := c.Version(t.Context())
		var got *client.Error
		if !errors.As(err, &got) || !slices.Equal(got.Explain(), e.Explain()) || got.Status != 409 || got.RequestID != "R" {
			t.Errorf("got %+v, want %q", err, e.Explain())
		}
		f := landward.FailureOf("building", e)
		if lines := (&client.Failure{Message: f.Message, Cause: f.Cause, Hint: f.Hint}).Explain(); !slices.Equal(lines, f.Err().Explain()) {
			t.Errorf("a failure reads %q, want %q", lines, f.Err().Explain())
		}
	}
}

func TestSeveralFields(t *testing.T) {
	e := client.Error{Detail: "too short", Field: "a", Hint: "mend them", Errors: []client.FieldError{{Field: "a", Message: "too short"}, {Field: "b", Message: "unknown"}}}
	if got := strings.Join(e.Explain(), "|"); got != "a: too short|b: unknown|mend them" {
		t.Errorf("it reads %q", got)
	}
}

func TestAnswersOfSomebodyElse(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
		code        string
	}{
		"a proxy's page": {502, "text/html", "<h1>Bad Gateway</h1>", client.CodeUnavailable},
		"another API":    {404, "application/json", `{"error":"nope"}`, client.CodeNotFound},
		"broken JSON":    {401, "application/problem+json", `{"code":`, client.CodeUnauthenticated},
		"a huge page":    {500, "text/plain", strings.Repeat("x", 3<<20), client.CodeUnavailable},
		"a redirect":     {302, "text/html", "moved", client.CodeInvalid},
		"too many":       {429, "", "", client.CodeLimited},
		"too large":      {413, "", "", client.CodeTooLarge},
		"forbidden":      {403, "", "", client.CodeForbidden},
	} {
		followed := false
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			followed = followed || r.URL.Path == "/elsewhere"
			w.Header().Set("Content-Type", tc.contentType)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body)
		})
		_, err := c.Version(t.Context())
		var got *client.Error
		if !errors.As(err, &got) || got.Code != tc.code || got.Status != tc.status || got.Hint == "" || followed {
			t.Errorf("%s: %+v, followed %v", name, err, followed)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	c := client.NewUnix("/nonexistent/socket")
	_, err := c.Version(t.Context())
	if client.CodeOf(err) != client.CodeUnavailable || len(err.(*client.Error).Explain()) != 3 { //nolint:errorlint // it is the one thing that is returned
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	if _, err := c.Exec(t.Context(), "shop", client.Start{Command: []string{"ls"}}, client.Attach{}); client.CodeOf(err) != client.CodeUnavailable {
		t.Errorf("a command: %v", err)
	}
}

func TestStreams(t *testing.T) {
	const line = `{"line":{"at":"2030-01-01T00:00:00Z","source":"web.1","kind":"app","text":"hi"}}` + "\n"
	for name, tc := range map[string]struct {
		body  string
		lines int
		err   string
	}{
		"whole":           {line + "\n\n" + line + `{"deployment":{"number":7,"state":"live","ended":true}}` + "\n", 2, ""},
		"cut off":         {line, 1, "unexpected EOF"},
		"a problem":       {line + `{"error":{"code":"unavailable","detail":"stopping"}}` + "\n", 1, "stopping"},
		"not JSON":        {line + "oops\n", 1, "decode stream"},
		"an endless line": {strings.Repeat("x", 2<<20), 0, "token too long"},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.body) })
		n := 0
		d, err := c.DeployOutput(t.Context(), "shop", 7, true, func(l client.LogLine) error {
			if l.Text == "hi" {
				n++
			}
			return nil
		})
		switch {
		case tc.err == "" && (err != nil || d.Number != 7 || !d.Live() || d.Err() != nil):
			t.Errorf("%s: %+v, %v", name, d, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: %v", name, err)
		case n != tc.lines:
			t.Errorf("%s: %d lines", name, n)
		}
	}
}

func TestTheConnectionBreaksInAStream(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"line":{"text":"hi"}}`+"\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	lines, last := 0, error(nil)
	for _, err := range c.Logs(t.Context(), "shop", client.LogQuery{Follow: true, Since: time.Unix(0, 0), Tail: 1, Process: "web", Grep: "x", Router: true}) {
		if last = err; err == nil {
			lines++
		}
	}
	if lines != 1 || last == nil {
		t.Errorf("%d lines, then %v", lines, last)
	}
}

func TestDurations(t *testing.T) {
	var h client.Health
	if err := json.Unmarshal([]byte(`{"interval":"1m30s"}`), &h); err != nil || time.Duration(h.Interval) != 90*time.Second {
		t.Errorf("read %v, %v", h, err)
	}
	if out, err := json.Marshal(h); err != nil || string(out) != `{"interval":"1m30s"}` {
		t.Errorf("written %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"interval":"30"}`), &h); err == nil {
		t.Error("30 was taken for a duration")
	}
}

func TestHowADeploymentEnded(t *testing.T) {
	for state, want := range map[string]string{"live": "", "building": "", "cancelled": client.CodeCancelled, "superseded": client.CodeConflict, "failed": client.CodeFailed} {
		d := client.Deployment{Number: 1, State: state, Ended: state != "building"}
		if state == "failed" {
			d.Failure = &client.Failure{Code: client.CodeFailed, Message: "no"}
		}
		if state == "superseded" {
			d.SupersededBy = 2
		}
		if got := client.CodeOf(d.Err()); got != want || (d.Err() == nil) != (want == "") {
			t.Errorf("%s: %v", state, d.Err())
		}
	}
}

func FuzzReadStream(f *testing.F) {
	for _, seed := range []string{"", "\n", `{"line":{"text":"x"}}`, `{"error":{}}`, `{"deployment":null}`, "{", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c, err := client.New("http://x", "", client.Options{Transport: answer(body)})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range c.Logs(t.Context(), "shop", client.LogQuery{}) {
			_ = err
		}
	})
}

// answer is a transport that answers everything with 200 and this.
type answer string

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(a))), Request: r}, nil
}
