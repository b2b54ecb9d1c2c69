// Package page renders the answers that the edge makes itself: a small HTML
// page that asks nothing of any server, plain text, or problem+json
// (RFC 9457), as the client likes. It must never know about connections.
package page

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"landward/internal/route"
)

//go:embed page.html
var source string

// Pages renders faults. It is safe for concurrent use.
type Pages struct {
	html *template.Template
}

// New makes Pages.
func New() *Pages {
	return &Pages{html: template.Must(template.New("page").Parse(source))}
}

// view is what a page shows.
type view struct {
	Status int
	Title  string
	Text   string
	Reason string
	ID     string
	Wait   bool // reload after a while
	After  int
}

// Append appends the body for f to dst in the form that accept, an Accept
// header, asks for, and returns it with its media type.
func (p *Pages) Append(dst []byte, f route.Fault, accept []byte) (body []byte, contentType string) {
	title, text := words(f)
	switch choose(string(accept)) {
	case asJSON:
		problem := struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
			Code   string `json:"code"`
			Reason string `json:"reason,omitempty"`
			ID     string `json:"request_id"`
		}{"about:blank", title, f.Status, text, string(f.Code), f.Reason, f.RequestID}
		b, err := json.Marshal(problem)
		if err != nil {
			return append(dst, "{}\n"...), "application/problem+json"
		}
		return append(append(dst, b...), '\n'), "application/problem+json"
	case asHTML:
		w := bytes.NewBuffer(dst)
		v := view{Status: f.Status, Title: title, Text: text, Reason: f.Reason, ID: f.RequestID,
			Wait: f.Code == route.CodeNoTarget && f.State == route.StateStarting, After: f.RetryAfter}
		if err := p.html.Execute(w, v); err == nil {
			return w.Bytes(), "text/html; charset=utf-8"
		}
	}
	dst = append(append(append(append(dst, title...), "\n\n"...), text...), '\n')
	if f.Reason != "" {
		dst = append(append(append(dst, "Reason: "...), f.Reason...), '\n')
	}
	return append(append(append(dst, "Request: "...), f.RequestID...), '\n'), "text/plain; charset=utf-8"
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

// words says what happened, for a person.
func words(f route.Fault) (title, text string) {
	app := f.App
	if app == "" {
		app = "The app"
	}
	switch f.Code {
	case route.CodeUnknownHost:
		return "Nothing here", "No app answers at this address."
	case route.CodeNoTarget:
		return standing(f.State, app)
	case route.CodeRefused:
		return app + " is not answering", "The app is not taking connections at the moment. Please try again soon."
	case route.CodeReset:
		return app + " hung up", "The app closed the connection before it had answered."
	case route.CodeTimeout:
		return app + " took too long", "The app did not answer in time."
	case route.CodeBadAnswer:
		return app + " gave a broken answer", "What the app sent is not valid HTTP."
	case route.CodeTooLarge:
		return "Too much at once", "The request's body is larger than this app takes."
	case route.CodeHeaderLarge:
		return "Headers too large", "The request's headers are larger than this server takes. Removing cookies may help."
	case route.CodeSlow:
		return "Too slow", "The request did not arrive in time."
	case route.CodeCut:
		return "Interrupted", "The request was still running when its version of the app was retired."
	case route.CodeBadRequest:
		return "Bad request", "The request could not be understood."
	}
	return http.StatusText(f.Status), "The request could not be served."
}

func standing(s route.State, app string) (title, text string) {
	switch s {
	case route.StateStarting:
		return app + " is starting", "The first deployment is under way. This page tries again by itself."
	case route.StateStopped:
		return app + " is stopped", "Its owner has stopped it."
	case route.StateEmpty:
		return app + " has nothing deployed yet", "Push some code and it will answer here."
	}
	return app + " is down", "No part of the app is answering at the moment. Please try again soon."
}
