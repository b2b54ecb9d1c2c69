package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"landward/internal/landward"
)

// Bounds of one question to an auth server.
const (
	askTime        = 10 * time.Second // in all
	askDialTime    = 2 * time.Second
	askHeadTime    = 8 * time.Second
	askHeadBytes   = 32 << 10
	askBodyBytes   = 64 << 10
	askConns       = 64  // to the server at once
	askIdleConns   = 16  // kept
	askAtOnce      = 512 // questions in progress
	askIdleTime    = 30 * time.Second
	maxCopiedBytes = 16 << 10 // of the copied headers
)

// ForwardOptions are what a Forward needs beside its rule.
type ForwardOptions struct {
	// Dial connects to the auth server. Without one the usual dialling is done,
	// but not to loopback, link-local, multicast or unspecified addresses:
	// whoever writes a landward.yaml must not make the edge speak to the host's
	// own services.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Forward asks another service about each request. It is safe for concurrent
// use. Close it when no table needs it any more.
type Forward struct {
	rule      landward.ForwardAuth
	url       *url.URL
	copied    []string // canonical
	removed   nameSet
	transport *http.Transport
	asking    atomic.Int64
}

// Question is what the auth server is told of a request. Cookies and
// Authorization are the values of the client's headers; Authorization is nil
// where Basic has used it.
type Question struct {
	Method        []byte
	Scheme        string // of the client's request: "http" or "https"
	Host          []byte // as the client sent it
	Target        []byte // path and query as the client sent them
	Client        netip.Addr
	Cookies       [][]byte
	Authorization []byte
	Accept        []byte // lets the server choose between a page and a bare 401
	ID            []byte // X-Request-Id
}

// Verdict is what the auth server said.
type Verdict struct {
	// Pass lets the request in.
	Pass bool
	// Status is that of the answer to the client where Pass is not set.
	Status int
	// Lines are whole header lines with their CRLF: for the app where Pass is
	// set, else for the client.
	Lines []byte
	// Body goes to the client with Lines.
	Body []byte
	// Err is why the server could not be asked, for the log. Status is 502 or
	// 503 then, and the answer is the edge's own.
	Err error
}

// NewForward compiles a rule. No URL gives nil. An error names the part, such
// as routes.auth.forward.copy[1].
func NewForward(rule landward.ForwardAuth, o ForwardOptions) (*Forward, error) {
	u, err := parseForward(rule)
	if u == nil || err != nil {
		return nil, err
	}
	f := &Forward{rule: rule, url: u, removed: nameSet{twins: true}}
	f.rule.Copy = slices.Clone(rule.Copy)
	for _, name := range rule.Copy {
		f.copied = append(f.copied, textproto.CanonicalMIMEHeaderKey(name))
		f.removed.add(name)
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: askDialTime, ControlContext: refuseLocal}).DialContext
	}
	f.transport = &http.Transport{
		DialContext:            dial,
		TLSHandshakeTimeout:    askDialTime,
		ResponseHeaderTimeout:  askHeadTime,
		MaxResponseHeaderBytes: askHeadBytes,
		MaxConnsPerHost:        askConns,
		MaxIdleConnsPerHost:    askIdleConns,
		MaxIdleConns:           askIdleConns,
		IdleConnTimeout:        askIdleTime,
		DisableCompression:     true, // the body goes to the client as it is
	}
	return f, nil
}

// refuseLocal looks at an address after its name was resolved.
func refuseLocal(_ context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read address: %w", err)
	}
	switch ip := a.Addr().Unmap(); {
	case ip.IsLoopback(), ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified():
		return fmt.Errorf("%s is the host's own and no auth server's", ip)
	}
	return nil
}

// Same reports whether f is what NewForward would make of rule, so that its
// connections outlive a table.
func (f *Forward) Same(rule landward.ForwardAuth) bool {
	if f == nil {
		return rule.URL == ""
	}
	return f.rule.URL == rule.URL && slices.Equal(f.rule.Copy, rule.Copy)
}

// Close closes the connections that are not in use; the others close after
// their question.
func (f *Forward) Close() {
	if f != nil {
		f.transport.CloseIdleConnections()
	}
}

// Removes reports whether the client's line of that name must not reach the
// app, whatever the auth server says: only the server's copy does. A name with
// underscores counts as the one with dashes, because many servers make them one.
func (f *Forward) Removes(name []byte) bool { return f != nil && f.removed.has(name) }

// Names are the names that Removes is about, in lower case and with dashes.
func (f *Forward) Names() []string {
	if f == nil {
		return nil
	}
	return slices.Clone(f.removed.names)
}

// errAsking and the others are why a server was not asked.
var (
	errAsking = errors.New("too many questions to the auth server in progress")
	errItself = errors.New("the auth server is the host that it guards")
	errStatus = errors.New("the auth server's answer has no usable status")
	errLarge  = errors.New("the auth server's headers are too large")
	errHeader = errors.New("the auth server's answer has a malformed header")
)

// Ask asks the auth server about a request. It waits for at most ten seconds,
// less where ctx ends. Whatever goes wrong, the request is not let in.
func (f *Forward) Ask(ctx context.Context, q Question) Verdict {
	if f.asking.Add(1) > askAtOnce {
		f.asking.Add(-1)
		return Verdict{Status: http.StatusServiceUnavailable, Err: errAsking}
	}
	defer f.asking.Add(-1)
	if f.isItself(string(q.Host)) {
		return Verdict{Status: http.StatusBadGateway, Err: errItself}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := f.transport.RoundTrip(f.request(ctx, q))
	if err != nil {
		return Verdict{Status: http.StatusBadGateway, Err: fmt.Errorf("ask auth server: %w", err)}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		// What is left of a short body is read, so that the connection stays.
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
		return f.pass(res.Header)
	}
	return refusal(res)
}

// isItself reports whether the question would come back to the host that it is
// about, and be asked again without end. The same host at another port is
// another server.
func (f *Forward) isItself(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if !strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(f.url.Hostname(), ".")) {
		return false
	}
	p := f.url.Port()
	return p == "" || p == "80" || p == "443" || p == port
}

func (f *Forward) request(ctx context.Context, q Question) *http.Request {
	client := "unknown"
	if q.Client.IsValid() {
		client = q.Client.String()
	}
	h := http.Header{
		"User-Agent":         {"landward"},
		"X-Forwarded-Method": {string(q.Method)},
		"X-Forwarded-Proto":  {q.Scheme},
		"X-Forwarded-Host":   {string(q.Host)},
		"X-Forwarded-Uri":    {string(q.Target)},
		"X-Forwarded-For":    {client},
	}
	for _, c := range q.Cookies {
		h["Cookie"] = append(h["Cookie"], string(c))
	}
	for name, value := range map[string][]byte{
		"Authorization": q.Authorization, "Accept": q.Accept, "X-Request-Id": q.ID,
	} {
		if value != nil {
			h[name] = []string{string(value)}
		}
	}
	r := &http.Request{Method: http.MethodGet, URL: f.url, Host: f.url.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return r.WithContext(ctx)
}

// pass takes the headers that the app gets.
func (f *Forward) pass(h http.Header) Verdict {
	var lines []byte
	for _, name := range f.copied {
		for _, value := range h[name] {
			if !isValue(value) {
				return Verdict{Status: http.StatusBadGateway, Err: errHeader}
			}
			lines = appendLine(lines, name, value)
		}
	}
	if len(lines) > maxCopiedBytes {
		return Verdict{Status: http.StatusBadGateway, Err: errLarge}
	}
	return Verdict{Pass: true, Lines: lines}
}

// refusal is the answer that the client gets.
func refusal(res *http.Response) Verdict {
	if res.StatusCode < 300 || res.StatusCode > 599 || res.StatusCode == http.StatusNotModified {
		return Verdict{Status: http.StatusBadGateway, Err: errStatus}
	}
	v := Verdict{Status: res.StatusCode}
	for _, name := range []string{"Location", "Set-Cookie", "Www-Authenticate", "Content-Type"} {
		for _, value := range res.Header[name] {
			if !isValue(value) {
				return Verdict{Status: http.StatusBadGateway, Err: errHeader}
			}
			v.Lines = appendLine(v.Lines, name, value)
		}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, askBodyBytes))
	if err != nil {
		return Verdict{Status: http.StatusBadGateway, Err: fmt.Errorf("read answer of auth server: %w", err)}
	}
	v.Body = body
	return v
}

func appendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), '\r', '\n')
}

// isValue reports whether s can stand in a header line: no control character
// but tabs.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// parseForward says what is wrong with a rule; nil, nil is for none.
func parseForward(rule landward.ForwardAuth) (*url.URL, error) {
	const field = "routes.auth.forward.url"
	if rule.URL == "" {
		if len(rule.Copy) > 0 {
			return nil, landward.Invalid(field, "there is nobody to copy headers from")
		}
		return nil, nil
	}
	if err := checkAddress(field, rule.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(rule.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return nil, landward.Invalid(field, "%q is not an address with http: or https:", landward.Printable(rule.URL))
	}
	if _, _, ok := splitAuthority(strings.ToLower(u.Host)); !ok || u.User != nil || u.Fragment != "" {
		return nil, landward.Invalid(field, "the address must be a host and a path alone").
			WithHint("write http://auth.example.com/verify, without user and without #")
	}
	return u, checkCopied(rule.Copy)
}

func checkCopied(names []string) error {
	if len(names) > maxCopied {
		return tooMany("routes.auth.forward.copy", len(names), maxCopied)
	}
	seen := make(map[string]int, len(names))
	for i, name := range names {
		at := fmt.Sprintf("routes.auth.forward.copy[%d]", i)
		if !isToken(name) || len(name) > maxName {
			return landward.Invalid(at, "%q is not the name of a header", landward.Printable(name)).
				WithHint("use letters, digits and dashes: Remote-User")
		}
		lower := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if framing(lower) || notCopied(lower) {
			return landward.Invalid(at, "%s cannot come from the auth server", name)
		}
		if other, taken := seen[lower]; taken {
			return landward.Invalid(at, "%s is already in routes.auth.forward.copy[%d]", name, other)
		}
		seen[lower] = i
	}
	return nil
}

// notCopied is for headers that are the client's or the edge's own. They are in
// lower case.
func notCopied(lower string) bool {
	switch lower {
	case "cookie", "set-cookie", "date", "content-type", "forwarded", "x-real-ip", "x-request-id",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix":
		return true
	}
	return strings.HasPrefix(lower, "sec-websocket-")
}
