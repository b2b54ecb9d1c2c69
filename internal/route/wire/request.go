package wire

import (
	"bytes"
	"net/netip"
)

// Request is a request's head. Its slices point into the parsed buffer. Use it
// again and again: Parse resets it.
type Request struct {
	fields
	Method []byte
	// Target is in origin form ("/path?query") or "*".
	Target []byte
	// Minor is the minor version: 0 or 1.
	Minor int
}

// Host is the value of the Host header, as the client wrote it; empty only for
// HTTP/1.0.
func (r *Request) Host() []byte { return r.host }

// Length is the announced length of the body, 0 without one, -1 for chunked.
func (r *Request) Length() int64 {
	switch {
	case r.chunked:
		return -1
	case r.length < 0:
		return 0
	}
	return r.length
}

// HasLength reports whether there is a Content-Length.
func (r *Request) HasLength() bool { return r.length >= 0 }

// Chunked reports whether the body is chunked.
func (r *Request) Chunked() bool { return r.chunked }

// Expects reports whether the client waits for "100 Continue".
func (r *Request) Expects() bool { return r.expect && r.Minor == 1 }

// Accept is the first Accept header.
func (r *Request) Accept() []byte { return r.accept }

// Agent is what the client calls itself: User-Agent.
func (r *Request) Agent() []byte { return r.agent }

// Referer is where the client says that it comes from.
func (r *Request) Referer() []byte { return r.referer }

// KeepAlive reports whether the client wants the connection to stay.
func (r *Request) KeepAlive() bool {
	return !r.close && (r.Minor == 1 || r.keep)
}

// Upgrade is the protocol that the client asks for, or nil. A request with a
// body asks in vain, and so does one for another HTTP or TLS: those would be a
// tunnel around everything that the edge checks.
func (r *Request) Upgrade() []byte {
	if !r.upgradeTok || len(r.upgrade) == 0 || r.Minor != 1 || r.Length() != 0 {
		return nil
	}
	if !all(r.upgrade, classToken) {
		return nil // a list of protocols, or one with a version
	}
	if EqualFold(r.upgrade, "h2c") || EqualFold(r.upgrade, "h2") || EqualFold(r.upgrade, "tls") {
		return nil
	}
	return r.upgrade
}

// WebSocket reports whether Upgrade is "websocket".
func (r *Request) WebSocket() bool { return EqualFold(r.Upgrade(), "websocket") }

// Idempotent reports whether sending the request twice does what sending it
// once does (RFC 9110 section 9.2.2).
func (r *Request) Idempotent() bool {
	switch string(r.Method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// Path is the target without its query.
func (r *Request) Path() []byte {
	if i := bytes.IndexByte(r.Target, '?'); i >= 0 {
		return r.Target[:i]
	}
	return r.Target
}

// Parse reads a head that HeadEnd has found the end of. After an error, Method
// and Target may be set, for the log.
func (r *Request) Parse(head []byte) error {
	r.reset()
	r.Method, r.Target, r.Minor = nil, nil, 1
	n, err := r.line(head)
	if err != nil {
		return err
	}
	if err := r.fields.parse(head[n:]); err != nil {
		return err
	}
	if r.chunked && r.Minor == 0 {
		return ErrCodingVersion
	}
	return r.authority()
}

// line reads the request line.
func (r *Request) line(head []byte) (int, error) {
	end := bytes.IndexByte(head, '\n')
	if end < 1 || head[end-1] != '\r' {
		return 0, ErrBareLF
	}
	line := head[:end-1]
	sp := bytes.IndexByte(line, ' ')
	if sp < 1 || sp > 32 || !all(line[:sp], classToken) {
		return 0, ErrRequestLine
	}
	rest := line[sp+1:]
	sp2 := bytes.IndexByte(rest, ' ')
	if sp2 < 1 {
		return 0, ErrRequestLine
	}
	method, target, version := line[:sp], rest[:sp2], rest[sp2+1:]
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.Minor = 0
	default:
		if len(version) == 8 && string(version[:5]) == "HTTP/" && version[6] == '.' {
			return 0, ErrVersion
		}
		return 0, ErrRequestLine
	}
	if !all(target, classTarget) {
		return 0, ErrTarget
	}
	r.Method, r.Target = method, target
	if string(method) == "CONNECT" || string(method) == "TRACE" || string(method) == "TRACK" {
		return 0, ErrMethod
	}
	return end + 1, nil
}

// authority checks Host, and brings an absolute target to origin form.
func (r *Request) authority() error {
	if r.hosts > 1 || r.hosts == 0 && r.Minor == 1 {
		return ErrHost
	}
	if r.hosts == 1 && !validAuthority(r.host) {
		return ErrHost
	}
	switch {
	case r.Target[0] == '/':
	case string(r.Target) == "*":
		if string(r.Method) != "OPTIONS" {
			return ErrTarget
		}
		return nil
	default:
		if err := r.absolute(); err != nil {
			return err
		}
	}
	return checkEscapes(r.Path())
}

// absolute takes "http://host/path" apart. It is accepted only where it says
// the same as Host: one request, one host.
func (r *Request) absolute() error {
	t := r.Target
	switch {
	case len(t) > 7 && EqualFold(t[:7], "http://"):
		t = t[7:]
	case len(t) > 8 && EqualFold(t[:8], "https://"):
		t = t[8:]
	default:
		return ErrTarget
	}
	slash := bytes.IndexByte(t, '/')
	if slash < 0 {
		return ErrTarget
	}
	if r.hosts == 0 || !bytes.EqualFold(t[:slash], r.host) {
		return ErrHostMismatch
	}
	r.Target = t[slash:]
	return nil
}

// checkEscapes refuses a path whose percent signs are not followed by two hex
// digits: servers disagree about what it means.
func checkEscapes(path []byte) error {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return nil
		}
		if len(path) < i+3 || unhex(path[i+1]) > 15 || unhex(path[i+2]) > 15 {
			return ErrTarget
		}
		path = path[i+3:]
	}
}

// validAuthority accepts "name", "name:port", "[v6]" and "[v6]:port".
func validAuthority(host []byte) bool {
	name := host
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && (host[0] != '[' || host[i-1] == ']') {
		port := host[i+1:]
		if n, ok := parseLength(port); !ok || len(port) > 5 || n == 0 || n > 65535 {
			return false
		}
		name = host[:i]
	}
	if len(name) == 0 || len(name) > 255 {
		return false
	}
	if name[0] == '[' {
		return validV6(name)
	}
	return all(name, classHost)
}

// validV6 accepts "[v6]" without a zone, which means nothing to anybody else.
func validV6(name []byte) bool {
	if len(name) < 4 || len(name) > 47 || name[len(name)-1] != ']' {
		return false
	}
	ip, err := netip.ParseAddr(string(name[1 : len(name)-1]))
	return err == nil && ip.Is6() && ip.Zone() == ""
}

// Hostname writes host without port and final dot, in lower case, into dst.
func Hostname(dst, host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && (host[0] != '[' || host[i-1] == ']') {
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	for _, c := range host {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// Port is the port in a Host header, or nil.
func Port(host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && (host[0] != '[' || host[i-1] == ']') {
		return host[i+1:]
	}
	return nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
