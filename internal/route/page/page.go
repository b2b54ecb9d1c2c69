// Package page renders the answers that the edge makes itself: a small HTML
// page that asks nothing of any server, plain text, or problem+json
// (RFC 9457), as the client likes; or a page of the app's own. It must never
// know about connections.
package page

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"landward/internal/landward"
	"landward/internal/route"
)

//go:embed page.html
var source string

// Pages renders faults. It is safe for concurrent use.
type Pages struct {
	html []byte
}

// New makes Pages.
func New() *Pages { return &Pages{html: []byte(source)} }

// The media types of the forms.
const (
	typeHTML = "text/html; charset=utf-8"
	typeText = "text/plain; charset=utf-8"
	typeJSON = "application/problem+json"
)

// Append appends the body for f to dst in the form that accept, an Accept
// header, asks for, and returns it with its media type.
func (p *Pages) Append(dst []byte, f route.Fault, accept []byte) (body []byte, contentType string) {
	switch choose(string(accept)) {
	case asJSON:
		return appendJSON(dst, f), typeJSON
	case asHTML:
		v := valuesOf(f)
		v.builtIn = true
		return v.fill(dst, p.html), typeHTML
	}
	return appendPlain(dst, f), typeText
}

// appendJSON appends a problem details object.
func appendJSON(dst []byte, f route.Fault) []byte {
	v := valuesOf(f)
	problem := struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
		Reason string `json:"reason,omitempty"`
		ID     string `json:"request_id"`
	}{"about:blank", v.title, f.Status, v.message, string(f.Code), v.reason, f.RequestID}
	b, err := json.Marshal(problem)
	if err != nil {
		return append(dst, "{}\n"...)
	}
	return append(append(dst, b...), '\n')
}

func appendPlain(dst []byte, f route.Fault) []byte {
	v := valuesOf(f)
	dst = append(append(dst, v.title...), "\n\n"...)
	dst = append(append(dst, v.message...), '\n')
	if v.reason != "" {
		dst = append(append(append(dst, "Reason: "...), v.reason...), '\n')
	}
	return append(append(append(dst, "Request: "...), f.RequestID...), '\n')
}

// form is how an answer is written.
type form uint8

const (
	asText form = iota
	asHTML
	asJSON
)

// choose takes the first type of accept that we can write; a browser names
// text/html, a client of an API JSON, and curl nothing in particular.
func choose(accept string) form {
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(part, ";")
		if strings.HasPrefix(strings.ReplaceAll(params, " ", ""), "q=0") &&
			strings.Trim(strings.ReplaceAll(params, " ", ""), "q=0.") == "" {
			continue
		}
		switch kind = strings.ToLower(strings.TrimSpace(kind)); {
		case kind == "text/html", kind == "application/xhtml+xml":
			return asHTML
		case kind == "text/plain":
			return asText
		case kind == "application/json", strings.HasSuffix(kind, "+json"):
			return asJSON
		}
	}
	return asText
}

// values are what the placeholders of a page stand for.
type values struct {
	status  int
	title   string
	message string
	reason  string
	app     string
	id      string
	again   bool // it makes sense to try again
	refresh int  // seconds after which the page tries by itself; 0: it does not
	builtIn bool // the page is ours: it has placeholders that make markup
}

// Lengths in bytes beyond which a value is cut. An owner's message may be a
// few sentences; what is wrong with a request is one.
const (
	maxMessage = 1000
	maxReason  = 300
	maxShort   = 128
)

func valuesOf(f route.Fault) values {
	title, message := words(f)
	v := values{status: f.Status, title: cut(title, maxReason), message: cut(message, maxMessage),
		reason: cut(f.Reason, maxReason), app: cut(f.App, maxShort), id: cut(f.RequestID, maxShort), again: worthwhile(f)}
	if f.Code == route.CodeMaintenance && f.Reason != "" {
		v.message, v.reason = cut(f.Reason, maxMessage), ""
	}
	switch {
	case f.Code == route.CodeNoTarget && f.State == route.StateStarting:
		v.refresh = f.RetryAfter
	case f.Code == route.CodeMaintenance && f.RetryAfter > 0:
		v.refresh = max(f.RetryAfter, 30)
	}
	return v
}

// cut shortens s to limit bytes, and takes out what a terminal would act on.
func cut(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	if strings.Contains(s, "\n") {
		list := strings.Split(s, "\n")
		for i, line := range list {
			list[i] = landward.CleanLine(strings.TrimSuffix(line, "\r"))
		}
		return strings.Join(list, "\n")
	}
	return landward.CleanLine(s)
}

// worthwhile reports whether the same request may well be answered later.
func worthwhile(f route.Fault) bool {
	if f.Code == route.CodeNoTarget && f.State == route.StateStopped {
		return false
	}
	switch f.Status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// fill appends page with its placeholders replaced.
func (v *values) fill(dst, page []byte) []byte {
	left := maxPlaces
	for left > 0 {
		at, name, end := place(page)
		if at < 0 {
			break
		}
		dst = append(dst, page[:at]...)
		if after, ok := v.put(dst, name); ok {
			dst, left = after, left-1
		} else {
			dst = append(dst, page[at:end]...)
		}
		page = page[end:]
	}
	return append(dst, page...)
}

// put appends the value called name.
func (v *values) put(dst []byte, name string) ([]byte, bool) {
	switch name {
	case "status":
		return strconv.AppendInt(dst, int64(v.status), 10), true
	case "title":
		return appendEscaped(dst, v.title), true
	case "message":
		return appendEscaped(dst, v.message), true
	case "app":
		return appendEscaped(dst, v.app), true
	case "request_id":
		return appendEscaped(dst, v.id), true
	}
	if !v.builtIn {
		return dst, false
	}
	switch name {
	case "reason":
		if v.reason != "" {
			dst = append(dst, `<p class="r">Reason: `...)
			dst = append(appendEscaped(dst, v.reason), "</p>\n"...)
		}
	case "retry":
		if v.again {
			dst = append(dst, `<a class="b" href="">Try again</a>`+"\n"...)
		}
	case "refresh":
		if v.refresh > 0 {
			dst = append(dst, `<meta http-equiv="refresh" content="`...)
			dst = append(strconv.AppendInt(dst, int64(v.refresh), 10), "\">\n"...)
		}
	default:
		return dst, false
	}
	return dst, true
}

// appendEscaped appends s so that it is text, in an element as in a quoted
// attribute.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&#34;"...)
		case '\'':
			dst = append(dst, "&#39;"...)
		case '`':
			dst = append(dst, "&#96;"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
