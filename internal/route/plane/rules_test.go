package plane_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/crypto/bcrypt"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// ask sends a request and returns the answer, redirects not followed.
func (r *rig) ask(t testing.TB, method, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	c := r.client(t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRules: what a route demands is asked in front of the app, in the order
// that its author expects.
func TestRules(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("open"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	reached := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "app %s %s", r.URL.Path, r.Header.Get("Authorization"))
	})
	basic := landward.Auth{Basic: []landward.BasicUser{{Name: "alice", Hash: string(hash)}}, Realm: "Staff"}
	for name, tc := range map[string]struct {
		change func(r *route.Route)
		path   string
		header []string
		status int
		want   string // of the body's beginning, or of Location
	}{
		"nothing":      {func(*route.Route) {}, "/a", nil, 200, "app /a"},
		"address in":   {func(r *route.Route) { r.Auth.Allow = []string{"127.0.0.0/8"} }, "/", nil, 200, "app"},
		"address out":  {func(r *route.Route) { r.Auth.Allow = []string{"10.0.0.0/8"} }, "/", nil, 403, "forbidden|"},
		"denied":       {func(r *route.Route) { r.Auth.Deny = []string{"127.0.0.1"} }, "/", nil, 403, "forbidden|"},
		"no password":  {func(r *route.Route) { r.Auth = basic }, "/", nil, 401, "unauthorized|"},
		"password":     {func(r *route.Route) { r.Auth = basic }, "/x", []string{"Authorization", "Basic YWxpY2U6b3Blbg=="}, 200, "app /x "},
		"bad password": {func(r *route.Route) { r.Auth = basic }, "/x", []string{"Authorization", "Basic YWxpY2U6eA=="}, 401, "unauthorized|"},
		"maintenance":  {func(r *route.Route) { r.Maintenance = &route.Maintenance{Message: "back at nine"} }, "/", nil, 503, "maintenance||shop|back at nine"},
		"redirected": {func(r *route.Route) {
			r.Redirects = []landward.Redirect{{Path: "/old/*", To: "https://new.test/*", Code: 301}}
		}, "/old/a?b", nil, 301, "https://new.test/a?b"},
		"redirected before the password": {func(r *route.Route) {
			r.Auth = basic
			r.Redirects = []landward.Redirect{{Path: "/old", To: "/new"}}
		}, "/old", nil, 302, "/new"},
		"asked for HTTPS": {func(r *route.Route) { r.HTTPS = landward.HTTPSRedirect }, "/a?b=c", nil, 308, "https://shop.test/a?b=c"},
	} {
		t.Run(name, func(t *testing.T) {
			rt := app("shop", reached)
			tc.change(&rt)
			r := newRig(t, plane.Limits{}, rt)
			resp := r.ask(t, "GET", "http://shop.test"+tc.path, tc.header...)
			got := resp.Header.Get("Location")
			if got == "" {
				got = text(t, resp)
			}
			if resp.StatusCode != tc.status || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tc.status, tc.want)
			}
			if resp.StatusCode == 401 && resp.Header.Get("WWW-Authenticate") != `Basic realm="Staff", charset="UTF-8"` {
				t.Errorf("challenge: %q", resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	rt := app("shop", serve(t, func(http.ResponseWriter, *http.Request) {}))
	rt.Rate = landward.Rate{Requests: 1, Per: time.Hour, Burst: 3}
	r := newRig(t, plane.Limits{}, rt)
	for i := range 5 {
		// A table that changes something else must not hand out new buckets.
		r.apply(t, int64(i+2), func() route.Route { n := rt; n.Release = i + 2; return n }())
		resp := r.ask(t, "GET", "http://shop.test/")
		if want := 200; i < 3 && resp.StatusCode != want || i >= 3 && resp.StatusCode != 429 {
			t.Errorf("request %d: %d", i, resp.StatusCode)
		}
		if s, _ := strconv.Atoi(resp.Header.Get("Retry-After")); i >= 3 && s < 60 {
			t.Errorf("retry after %d s", s)
		}
	}
}

// TestHosts: exact names win over wildcards, wildcards stand for one label, and
// paths lead to their own targets.
func TestHostsAndPaths(t *testing.T) {
	say := func(word string) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, word, " ", r.URL.EscapedPath(), " ", r.Header.Get("X-Forwarded-Prefix"))
		})
	}
	web, api := app("shop", say("web")), app("shop", say("api"))
	api.Prefix, api.Strip = "/api", true
	wild := app("wild", say("wild"))
	wild.Hosts, wild.AppID = []string{"*.shop.test"}, 8
	r := newRig(t, plane.Limits{}, web, api, wild)
	for _, tc := range []struct{ host, path, want string }{
		{"shop.test", "/", "web / "},
		{"shop.test", "/apix", "web /apix "},
		{"shop.test", "/api", "api / /api"},
		{"SHOP.test.", "/api/a%20b?c", "api /a%20b /api"},
		{"a.shop.test", "/api", "wild /api "},
		{"a.b.shop.test", "/", "unknown_host|"},
		{"other.test", "/", "unknown_host|"},
		{"shop.test", "/api/../x", "bad_request|"},
		{"shop.test", "/%2e%2e/api", "bad_request|"},
		{"shop.test", "/x/..%2fapi/y", "bad_request|"},
		{"shop.test", "//api/x", "bad_request|"},
	} {
		c := r.dial(t)
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tc.path, tc.host)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, resp); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s%s: %q, want %q", tc.host, tc.path, got, tc.want)
		}
	}
}

func TestAnswerHeaders(t *testing.T) {
	rt := app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "secret")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		w.Header().Set("X-Robots-Tag", "all")
	}))
	rt.Headers = landward.Headers{Set: []landward.Header{{Name: "X-Robots-Tag", Value: "noindex"}}, Remove: []string{"Server"}}
	r := newRig(t, plane.Limits{}, rt)
	h := r.ask(t, "GET", "http://shop.test/").Header
	for name, want := range map[string]string{
		"Server": "", "X-Robots-Tag": "noindex", "X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "strict-origin-when-cross-origin", "Strict-Transport-Security": "",
	} {
		if got := strings.Join(h[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestCompression(t *testing.T) {
	long := strings.Repeat("all work and no play makes a dull text. ", 4000)
	next := make(chan struct{})
	rt := app("shop", serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("ETag", `"v1"`)
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long)
		case "/chunks":
			_, _ = io.WriteString(w, long)
		case "/short":
			_, _ = io.WriteString(w, "short")
		case "/coded":
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, long)
		case "/stream":
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-next
			_, _ = io.WriteString(w, "second")
		case "/torn":
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long[:len(long)/2])
			panic(http.ErrAbortHandler)
		}
	}))
	r := newRig(t, plane.Limits{}, rt)
	for path, want := range map[string]string{"/length": "gzip", "/chunks": "gzip", "/short": "", "/coded": "br"} {
		resp := r.ask(t, "GET", "http://shop.test"+path, "Accept-Encoding", "gzip")
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: coding %q, want %q", path, got, want)
		}
		if want != "gzip" {
			continue
		}
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil || string(b) != long {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if resp.Header.Get("ETag") != `W/"v1"` || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	if e := r.ask(t, "GET", "http://shop.test/length").Header.Get("Content-Encoding"); e != "" {
		t.Errorf("coding %q for who asked for none", e)
	}
	resp := r.ask(t, "GET", "http://shop.test/stream", "Accept-Encoding", "gzip")
	resp.Body.Close() //nolint:errcheck // too short to be coded once its length is known; here it is not
	close(next)
	resp = r.ask(t, "GET", "http://shop.test/torn", "Accept-Encoding", "gzip")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a torn answer ended well")
	}
}

// TestCompressionVaries: an answer that is sent plain says that another client
// would get it compressed (RFC 9110 section 12.5.5), if that is so.
func TestCompressionVaries(t *testing.T) {
	long := strings.Repeat("all work and no play makes a dull text. ", 100)
	h := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("Content-Length", strconv.Itoa(len(long)))
		body, status := long, http.StatusOK
		switch r.URL.Path {
		case "/varies":
			h["Vary"] = []string{"Origin", "Accept-Encoding, Cookie"}
		case "/origin":
			h.Set("Vary", "Origin")
		case "/image":
			h.Set("Content-Type", "image/png")
		case "/short":
			body = "short"
			h.Set("Content-Length", "5")
		case "/coded":
			h.Set("Content-Encoding", "br")
		case "/as-it-is":
			h.Set("Cache-Control", "no-transform")
		case "/part":
			h.Set("Content-Range", "bytes 0-3999/8000")
			status = http.StatusPartialContent
		case "/missing":
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	off := app("off", serve(t, h))
	off.AppID, off.Compress = 8, landward.SwitchOff
	r := newRig(t, plane.Limits{}, app("shop", serve(t, h)), off)
	for _, tc := range []struct{ method, url, accept, vary string }{
		{"GET", "http://shop.test/", "", "Accept-Encoding"},
		{"GET", "http://shop.test/", "identity", "Accept-Encoding"},
		{"GET", "http://shop.test/", "gzip;q=0, compress", "Accept-Encoding"},
		{"GET", "http://shop.test/", "gzip", "Accept-Encoding"},
		{"HEAD", "http://shop.test/", "gzip", "Accept-Encoding"},
		{"GET", "http://shop.test/missing", "", "Accept-Encoding"},
		{"GET", "http://shop.test/varies", "", "Origin|Accept-Encoding, Cookie"},
		{"GET", "http://shop.test/origin", "", "Origin|Accept-Encoding"},
		{"GET", "http://shop.test/image", "", ""},
		{"GET", "http://shop.test/short", "", ""},
		{"GET", "http://shop.test/coded", "", ""},
		{"GET", "http://shop.test/as-it-is", "", ""},
		{"GET", "http://shop.test/part", "", ""},
		{"GET", "http://off.test/", "", ""},
	} {
		var headers []string
		if tc.accept != "" {
			headers = []string{"Accept-Encoding", tc.accept}
		}
		resp := r.ask(t, tc.method, tc.url, headers...)
		if got := strings.Join(resp.Header.Values("Vary"), "|"); got != tc.vary {
			t.Errorf("%s %s for %q: Vary %q, want %q", tc.method, tc.url, tc.accept, got, tc.vary)
		}
		if got := resp.Header.Get("Content-Encoding"); tc.accept != "gzip" && got != "" && got != "br" {
			t.Errorf("%s %s for %q: coding %q", tc.method, tc.url, tc.accept, got)
		}
	}
	old := r.raw(t, "GET / HTTP/1.0\r\nHost: shop.test\r\nAccept-Encoding: gzip\r\n\r\n")
	if !strings.Contains(old, "\r\nVary: Accept-Encoding\r\n") || strings.Contains(old, "Content-Encoding") {
		t.Errorf("an old client got %q", old[:200])
	}
}

// TestCompressionStreams: what an app sends piece by piece arrives so.
func TestCompressionStreams(t *testing.T) {
	next := make(chan struct{})
	rt := app("shop", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "second")
	}))
	r := newRig(t, plane.Limits{}, rt)
	resp := r.ask(t, "GET", "http://shop.test/", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("coding %q", resp.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(z, b); err != nil || string(b) != "first" {
		t.Fatalf("%q, %v", b, err)
	}
	close(next)
	if rest, err := io.ReadAll(z); err != nil || string(rest) != "second" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestStaticSite(t *testing.T) {
	dir := t.TempDir()
	big := string(pattern(3 << 20))
	for name, body := range map[string]string{"index.html": "<h1>home</h1>", "about.html": "about", "app.3f2a9c1b.js": "x", "big.bin": big, "404.html": "lost"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rt := route.Route{App: "site", AppID: 7, Hosts: []string{"site.test"}, State: route.StateUp, Static: &route.Static{Dir: dir}}
	r := newRig(t, plane.Limits{}, rt)
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/": {200, "<h1>home</h1>"}, "/about": {200, "about"}, "/big.bin": {200, big}, "/none": {404, "lost"}} {
		resp := r.ask(t, "GET", "http://site.test"+path)
		if got := text(t, resp); resp.StatusCode != want.status || got != want.body {
			t.Errorf("%s: %d, %d bytes", path, resp.StatusCode, len(got))
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	resp := r.ask(t, "GET", "http://site.test/big.bin", "Range", "bytes=10-19")
	if got := text(t, resp); resp.StatusCode != 206 || got != big[10:20] {
		t.Errorf("range: %d %q", resp.StatusCode, got)
	}
	first := r.ask(t, "GET", "http://site.test/")
	if resp := r.ask(t, "GET", "http://site.test/", "If-None-Match", first.Header.Get("ETag")); resp.StatusCode != 304 {
		t.Errorf("unmodified: %d", resp.StatusCode)
	}
	if got := r.ask(t, "GET", "http://site.test/app.3f2a9c1b.js").Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("cache control %q", got)
	}
	if resp := r.ask(t, "POST", "http://site.test/"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	waittest.Eventually(t, "the refusal is in the log", func() bool {
		return slices.ContainsFunc(r.sink.all(), func(e entry) bool { return e.AppID == 7 && e.Status == 405 })
	})
}

// TestOwnPages: an app's pages take the place of ours, and of its own errors
// where it wants that.
func TestOwnPages(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{"5xx.html": "sorry {{status}}", "404.html": "nothing here", "maintenance.html": "closed: {{message}}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		http.Error(w, "the app's words", 404)
	})
	rt := app("shop", addr)
	rt.Pages = route.Pages{Dir: dir}
	r := newRig(t, plane.Limits{}, rt)
	page := func(accept string) (int, string, http.Header) {
		resp := r.ask(t, "GET", "http://shop.test/", "Accept", accept)
		return resp.StatusCode, text(t, resp), resp.Header
	}
	if code, got, _ := page("text/html"); code != 404 || got != "the app's words\n" {
		t.Errorf("%d %q", code, got)
	}
	rt.Pages.Replace = true
	r.apply(t, 2, rt)
	if code, got, h := page("text/html"); code != 404 || got != "nothing here" || h.Get("Set-Cookie") != "a=b" {
		t.Errorf("%d %q %v", code, got, h)
	}
	if code, got, _ := page("application/json"); code != 404 || got != "the app's words\n" {
		t.Errorf("%d %q", code, got)
	}
	rt.Targets, rt.State = nil, route.StateDown
	r.apply(t, 3, rt)
	if code, got, _ := page("text/html"); code != 503 || got != "sorry 503" {
		t.Errorf("%d %q", code, got)
	}
	rt.Maintenance = &route.Maintenance{Message: "<soon>"}
	r.apply(t, 4, rt)
	if code, got, _ := page("text/html"); code != 503 || got != "closed: &lt;soon&gt;" {
		t.Errorf("%d %q", code, got)
	}
}
