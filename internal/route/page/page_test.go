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
	outside := regexp.MustCompile(`(?i)https?://|src=|<script|<link|@import|url\(`)
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
	} {
		b, _ := p.Append(nil, f, []byte("text/html"))
		html := string(b)
		if m := outside.FindString(html); m != "" {
			t.Errorf("%s: %q", f.Code, m)
		}
		if !strings.Contains(html, "prefers-color-scheme:dark") {
			t.Errorf("%s: no dark form", f.Code)
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
