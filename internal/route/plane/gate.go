package plane

import (
	"bytes"
	"net/http"
	"strconv"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/guard"
)

// ambiguousPath is why a request is refused whose path servers read in
// different ways.
const ambiguousPath = "the path can be read in more than one way"

// misdirected refuses a request for a host that the connection's certificate is
// not for (RFC 9110 section 15.5.20): what one host demands of a connection
// must not be got round by asking for it on another's. A front proxy that is
// trusted speaks for all hosts.
func (x *exchange) misdirected() bool {
	s := x.s
	if x.p.covers == nil || s.scheme != "https" || s.trusted || string(x.host) == s.server || x.p.covers(s.server, string(x.host)) {
		return false
	}
	x.fault(route.Fault{Status: http.StatusMisdirectedRequest, Code: route.CodeMisdirected})
	return true
}

// challengePath is where certificate authorities ask (RFC 8555 section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// challenged answers a certificate authority, and whoever makes a question up:
// at once, whatever the app does.
func (x *exchange) challenged() bool {
	path := x.req.Path()
	if x.p.challenge == nil || x.s.scheme != "http" || len(path) <= len(challengePath) || string(path[:len(challengePath)]) != challengePath {
		return false
	}
	answer, ok := x.p.challenge(string(x.host), string(path))
	if !ok {
		x.fault(route.Fault{Status: http.StatusNotFound, Code: route.CodeNotFound})
		return true
	}
	x.answer(http.StatusOK, []byte("Content-Type: text/plain\r\n"), []byte(answer))
	return true
}

// gate asks all that a route demands before a request may go on. It reports
// false where it has answered.
func (x *exchange) gate() bool {
	s := x.site
	if x.scheme() == "http" && x.toHTTPS() {
		return false
	}
	r := s.rules
	if r == nil {
		return true
	}
	if !x.admitted(r) {
		return false
	}
	if r.redirects != nil && x.redirected(r) {
		return false
	}
	if m := r.maintenance; m != nil {
		x.fault(route.Fault{Status: http.StatusServiceUnavailable, Code: route.CodeMaintenance, App: s.app,
			Reason: m.Message, RetryAfter: 120})
		return false
	}
	if (r.basic != nil || r.forward != nil) && !x.oneAuthorization() {
		return false
	}
	if r.basic != nil && !x.signedIn(r) {
		return false
	}
	if r.forward != nil && !x.allowed(r) {
		return false
	}
	if r.static != nil {
		x.serveFile(r.static)
		return false
	}
	return true
}

// toHTTPS sends a plain request to HTTPS, where that is wanted.
func (x *exchange) toHTTPS() bool {
	switch x.site.https {
	case landward.HTTPSOff:
		return false
	case landward.HTTPSRedirect:
	default:
		if x.vhost.local || !x.p.toHTTPS(x.host) {
			return false
		}
	}
	host := append(bytes.Clone(x.host), x.p.httpsPort...)
	x.redirect(http.StatusPermanentRedirect, guard.AppendHTTPS(nil, host, x.req.Target))
	return true
}

func (x *exchange) redirected(r *rules) bool {
	path := x.req.Path()
	var query []byte
	if len(path) < len(x.req.Target) {
		query = x.req.Target[len(path)+1:]
	}
	loc, code := r.redirects.Match(nil, x.scheme(), x.host, path, query)
	switch code {
	case 0:
		return false
	case http.StatusBadRequest:
		x.fault(route.Fault{Status: code, Code: route.CodeBadRequest, Reason: ambiguousPath})
	default:
		x.redirect(code, loc)
	}
	return true
}

// redirect sends the client elsewhere.
func (x *exchange) redirect(code int, location []byte) {
	head := append([]byte("Location: "), location...)
	x.fault(route.Fault{Status: code, Code: route.CodeRedirected, Header: append(head, '\r', '\n')})
}

// page renders a fault: by the app's own page where it has one.
func (x *exchange) page(f route.Fault) (body []byte, contentType string) {
	if f.Code == route.CodeRedirected {
		return nil, "text/plain; charset=utf-8"
	}
	if x.site != nil && x.site.rules != nil {
		if body, kind, ok := x.site.rules.custom.Append(nil, f, x.req.Accept()); ok {
			return body, kind
		}
	}
	return x.p.pages.Append(nil, f, x.req.Accept())
}

// answer answers in the app's stead with something that is no fault. head holds
// whole lines.
func (x *exchange) answer(status int, head, body []byte) {
	x.entry.Status = status
	if x.keep && x.body != 0 {
		x.keep = false // what is left of the request's body is not wanted
	}
	out := append(x.out[:0], "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(append(append(out, ' '), http.StatusText(status)...), '\r', '\n')
	out = x.appendOurs(append(out, head...), false)
	out = append(append(out, "Content-Length: "...), strconv.Itoa(len(body))...)
	out = append(out, "\r\n\r\n"...)
	if string(x.req.Method) != http.MethodHead {
		out = append(out, body...)
	}
	x.out = out
	x.writeClient(out)
	x.answered = true
}
