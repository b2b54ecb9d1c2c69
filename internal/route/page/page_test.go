package page_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"landward/internal/route"
	"landward/internal/route/page"
)

func TestForms(t *testing.T) {
	p := page.New()
	f := route.Fault{Status: 404, Code: route.CodeUnknownHost, RequestID: "abc"}
	for accept, want := range map[string]string{
		"":    "text/plain; charset=utf-8",
		"*/*": "text/plain; charset=utf-8",
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html; charset=utf-8",
		"TEXT/HTML":                     "text/html; charset=utf-8",
		"application/json":              "application/problem+json",
		"application/vnd.api+json":      "application/problem+json",
		"text/html;q=0, text/plain":     "text/plain; charset=utf-8",
		"image/png, application/json":   "application/problem+json",
		"text/html; q=0.5":              "text/html; charset=utf-8",
		"nonsense;;;,,, \x80":           "text/plain; charset=utf-8",
		"text/html ;q=0.0, */*":         "text/plain; charset=utf-8",
		strings.Repeat("a/b,", 10000):   "text/plain; charset=utf-8",
		"application/json, text/html":   "application/problem+json",
		"text/event-stream":             "text/plain; charset=utf-8",
		"application/problem+json;q=.9": "application/problem+json",
	} {
		body, kind := p.Append([]byte("front"), f, []byte(accept))
		if kind != want {
			t.Errorf("%.40q: %s, want %s", accept, kind, want)
		}
		if !strings.HasPrefix(string(body), "front") || !strings.Contains(string(body), "abc") {
			t.Errorf("%.40q: %q", accept, body)
		}
	}
}

// TestWords holds that each standing of an app has its own words, and that no
// page asks anything of another server.
func TestWords(t *testing.T) {
	p := page.New()
	outside := regexp.MustCompile(`(?i)https?://|src=|<script|@import|url\(|<link rel="icon" href="[^d]`)
	seen := map[string]string{}
	for _, f := range []route.Fault{
		{Status: 503, Code: route.CodeNoTarget, State: route.StateStarting, App: "shop", RetryAfter: 2},
		{Status: 503, Code: route.CodeNoTarget, State: route.StateStopped, App: "shop"},
		{Status: 503, Code: route.CodeNoTarget, State: route.StateEmpty, App: "shop"},
		{Status: 503, Code: route.CodeNoTarget, State: route.StateDown, App: "shop"},
		{Status: 502, Code: route.CodeRefused, App: "shop"},
		{Status: 502, Code: route.CodeReset, App: "shop"},
		{Status: 502, Code: route.CodeBadAnswer, App: "shop"},
		{Status: 504, Code: route.CodeTimeout, App: "shop"},
		{Status: 503, Code: route.CodeCut, App: "shop"},
		{Status: 413, Code: route.CodeTooLarge, App: "shop"},
		{Status: 431, Code: route.CodeHeaderLarge},
		{Status: 408, Code: route.CodeSlow},
		{Status: 404, Code: route.CodeUnknownHost},
		{Status: 400, Code: route.CodeBadRequest},
		{Status: 503, Code: route.CodeHeld, State: route.StatePaused, App: "shop"},
		{Status: 503, Code: route.CodeHeld, State: route.StateAsleep, App: "shop"},
		{Status: 503, Code: route.CodeMaintenance, App: "shop"},
		{Status: 403, Code: route.CodeForbidden},
		{Status: 401, Code: route.CodeUnauthorized},
		{Status: 429, Code: route.CodeRateLimited, RetryAfter: 5},
		{Status: 421, Code: route.CodeMisdirected},
		{Status: 404, Code: route.CodeNotFound},
		{Status: 502, Code: route.CodeUpstream},
		{Status: 308, Code: route.CodeRedirected},
		{Status: 503, Code: route.CodeBusy},
		{Status: 500, Code: route.CodeInternal},
		{Status: 503, Code: route.CodeShuttingDown},
		{Status: 405, Code: "of a later version"},
		{Status: 999, Code: "of a later version"},
	} {
		b, _ := p.Append(nil, f, []byte("text/html"))
		html := string(b)
		if m := outside.FindString(html); m != "" {
			t.Errorf("%s: %q", f.Code, m)
		}
		if !strings.Contains(html, "prefers-color-scheme:dark") {
			t.Errorf("%s: no dark form", f.Code)
		}
		if len(html) > 4<<10 {
			t.Errorf("%s: %d bytes", f.Code, len(html))
		}
		if strings.Contains(html, "{{") || !strings.Contains(html, `<html lang="en">`) || strings.Contains(html, "<title></title>") {
			t.Errorf("%s: %s", f.Code, html)
		}
		if refresh := strings.Contains(html, `http-equiv="refresh" content="2"`); refresh != (f.State == route.StateStarting) {
			t.Errorf("%s %s: refresh %v", f.Code, f.State, refresh)
		}
		text, _ := p.Append(nil, f, nil)
		if other, ok := seen[string(text)]; ok {
			t.Errorf("%s %s says the same as %s", f.Code, f.State, other)
		}
		seen[string(text)] = string(f.Code) + " " + string(f.State)
		if f.App != "" && f.Code != route.CodeTooLarge && f.Code != route.CodeCut && !strings.Contains(html, "shop") {
			t.Errorf("%s does not name the app", f.Code)
		}
		if f.App == "" && strings.Contains(html, "The app is") {
			t.Errorf("%s speaks of an app", f.Code)
		}
	}
}

// TestAgain holds that there is a way to try again where that may help, and
// only there.
func TestAgain(t *testing.T) {
	p := page.New()
	for _, tt := range []struct {
		f     route.Fault
		again bool
	}{
		{route.Fault{Status: 502, Code: route.CodeRefused}, true},
		{route.Fault{Status: 503, Code: route.CodeNoTarget, State: route.StateDown}, true},
		{route.Fault{Status: 503, Code: route.CodeNoTarget, State: route.StateStopped}, false},
		{route.Fault{Status: 504, Code: route.CodeTimeout}, true},
		{route.Fault{Status: 429, Code: route.CodeRateLimited}, true},
		{route.Fault{Status: 421, Code: route.CodeMisdirected}, true},
		{route.Fault{Status: 401, Code: route.CodeUnauthorized}, true},
		{route.Fault{Status: 403, Code: route.CodeForbidden}, false},
		{route.Fault{Status: 404, Code: route.CodeUnknownHost}, false},
		{route.Fault{Status: 413, Code: route.CodeTooLarge}, false},
	} {
		b, _ := p.Append(nil, tt.f, []byte("text/html"))
		if got := strings.Contains(string(b), `href=""`); got != tt.again {
			t.Errorf("%d %s %s: %v", tt.f.Status, tt.f.Code, tt.f.State, got)
		}
	}
}

// TestMaintenance holds that the owner's message is what is said, in each form.
func TestMaintenance(t *testing.T) {
	p := page.New()
	f := route.Fault{Status: 503, Code: route.CodeMaintenance, App: "shop", Reason: "Back at <b>noon</b>.\nTea & cake\x1b[31m.", RetryAfter: 5, RequestID: "id1"}
	html, _ := p.Append(nil, f, []byte("text/html"))
	for _, want := range []string{"Back at &lt;b&gt;noon&lt;/b&gt;.\nTea &amp; cake\uFFFD[31m.", `http-equiv="refresh" content="30"`, "shop is under maintenance"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("no %q in %s", want, html)
		}
	}
	if strings.Contains(string(html), "Reason:") || strings.Contains(string(html), "back soon") {
		t.Errorf("%s", html)
	}
	text, _ := p.Append(nil, f, nil)
	if want := "shop is under maintenance\n\nBack at <b>noon</b>.\nTea & cake\uFFFD[31m.\nRequest: id1\n"; string(text) != want {
		t.Errorf("%q", text)
	}
	raw, _ := p.Append(nil, f, []byte("application/json"))
	var back struct{ Detail, Code, Reason string }
	if err := json.Unmarshal(raw, &back); err != nil || back.Detail != "Back at <b>noon</b>.\nTea & cake\uFFFD[31m." || back.Code != "maintenance" || back.Reason != "" {
		t.Errorf("%v %s", err, raw)
	}
	f.Reason = strings.Repeat("\u00e4<", 10000)
	if html, _ = p.Append(nil, f, []byte("text/html")); len(html) > 12<<10 {
		t.Errorf("a long message makes %d bytes", len(html))
	}
}

// TestEscaping holds that nothing in a fault can become markup.
func TestEscaping(t *testing.T) {
	p := page.New()
	const evil = `"><script>alert(1)</script>&'` + "`"
	f := route.Fault{Status: 502, Code: route.CodeRefused, App: evil, Reason: evil, RequestID: evil}
	html, _ := p.Append(nil, f, []byte("text/html"))
	if strings.Contains(string(html), "<script") || strings.Contains(string(html), `"><`) {
		t.Errorf("%s", html)
	}
	raw, _ := p.Append(nil, f, []byte("application/json"))
	var back map[string]any
	if err := json.Unmarshal(raw, &back); err != nil || back["request_id"] != evil || back["status"] != 502.0 || back["code"] != "refused" {
		t.Errorf("%v %s", err, raw)
	}
	if strings.Contains(string(raw), "<script") {
		t.Errorf("JSON that a browser may take for HTML: %s", raw)
	}
}

func BenchmarkHTML(b *testing.B) {
	p := page.New()
	f := route.Fault{Status: 429, Code: route.CodeRateLimited, RequestID: "0123456789abcdef0123456789abcdef", RetryAfter: 1}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = p.Append(dst[:0], f, []byte("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"))
	}
}
