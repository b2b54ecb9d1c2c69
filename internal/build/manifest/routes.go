package manifest

import (
	"fmt"
	"net/textproto"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"landward/internal/landward"
)

// Limits on what a file may say about traffic.
const (
	maxPaths     = 50
	maxRedirects = 1000
	maxHeaders   = 50
	maxImmutable = 50
	maxRate      = 1_000_000
	maxURL       = 2048
	maxValue     = 4096 // bytes of a header's value
	minBody      = 1 << 10
	maxIdle      = 30 * 24 * time.Hour
)

// The forms of values. schema.json has the same ones.
var (
	prefixForm    = regexp.MustCompile(`^(/[A-Za-z0-9._~!$&'()+,=:@-]+)+$`)
	hostForm      = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?$`)
	fromForm      = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()+,;=:@%/-]*|([A-Za-z0-9._~!$&'()+,;=:@%/-]*/)?\*)$`)
	toForm        = regexp.MustCompile(`^(/|/\*|/[A-Za-z0-9._~!$&'()+,;=:@%?#-]([A-Za-z0-9._~!$&'()+,;=:@%/?#-]*)|/[A-Za-z0-9._~!$&'()+,;=:@%-][A-Za-z0-9._~!$&'()+,;=:@%/-]*/\*|https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(|[/?#][A-Za-z0-9._~!$&'()+,;=:@%/?#-]*|/([A-Za-z0-9._~!$&'()+,;=:@%/-]*/)?\*))$`)
	headerForm    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
	valueForm     = regexp.MustCompile(`^[!-~]([\t -~]*[!-~])?$`)
	immutableForm = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()+,;=:@/-]*$`)
)

// framing are headers that say how a message ends, or belong to one connection:
// who changes them breaks the answer.
var framing = []string{
	"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Where returns the place of a key of the sections routes and deploy, such as
// "routes.paths[0].process", or of the nearest key around it that is there; ""
// where even the section is not.
func (m Manifest) Where(name string) string {
	for name != "" {
		if line, ok := m.lines[name]; ok {
			return reader{file: FileName}.at(line)
		}
		name = name[:max(strings.LastIndexAny(name, ".["), 0)]
	}
	return ""
}

// remember notes where everything in n is, for Where. n has been read already:
// only then is it known that its keys are few and short.
func (m *manifestReader) remember(name string, n *node) {
	if m.out.lines == nil {
		m.out.lines = map[string]int{}
	}
	m.out.lines[name] = n.line
	for _, e := range n.entries {
		m.remember(name+"."+e.key, e.value)
		m.out.lines[name+"."+e.key] = e.line
	}
	for i, item := range n.items {
		m.remember(fmt.Sprintf("%s[%d]", name, i), item)
	}
}

func (m *manifestReader) routes(n *node) error {
	r := &m.out.Routes
	err := m.mapping(n, "routes", fields{
		"https": func(n *node) (err error) { r.HTTPS, err = m.https(n, "routes.https"); return err },
		"paths": m.paths,
		"redirects": func(n *node) error {
			return m.list(n, "routes.redirects", maxRedirects, m.redirect)
		},
		"headers": func(n *node) error { return m.headers(n, &r.Headers) },
		"auth":    func(n *node) error { return m.auth(n, &r.Auth) },
		"rate":    func(n *node) error { return m.rate(n, &r.Rate) },
		"body":    func(n *node) (err error) { r.Body, err = m.size(n, "routes.body", minBody, "1K"); return err },
		"timeout": func(n *node) (err error) {
			r.Timeout, err = m.duration(n, "routes.timeout", maxWait)
			return err
		},
		"compress": func(n *node) (err error) { r.Compress, err = m.onOff(n, "routes.compress"); return err },
		"sticky":   func(n *node) (err error) { r.Sticky, err = m.boolean(n, "routes.sticky"); return err },
		"protocol": func(n *node) error {
			s, err := m.oneOf(n, "routes.protocol", "http", "https", "h2c", "h2")
			r.Protocol = landward.Protocol(s)
			return err
		},
		"errors":      func(n *node) error { return m.errorPages(n, &r.Errors) },
		"error_pages": func(n *node) error { return m.shortErrorPages(n, &r.Errors) },
		"idle":        func(n *node) error { return m.idle(n, &r.Idle) },
		"static":      func(n *node) error { return m.static(n, &r.Static) },
	})
	if err != nil {
		return err
	}
	m.remember("routes", n)
	if line, ok := m.out.lines["routes.error_pages"]; ok {
		m.out.lines["routes.errors"] = line
	}
	return nil
}

// oneOf reads one of some words.
func (r reader) oneOf(n *node, name string, words ...string) (string, error) {
	s, err := r.str(n, name)
	if err != nil || slices.Contains(words, s) {
		return s, err
	}
	e := r.errorf(n.line, "%s is %q; it must be %s", name, landward.Printable(s), either(words))
	if near := nearest(s, words); near != "" {
		e = e.WithHint("did you mean %q?", near)
	}
	return "", e
}

// either lists words: "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// boolean reads true or false.
func (r reader) boolean(n *node, name string) (bool, error) {
	if n.kind != kindBool {
		return false, r.wrong(n, name, "true or false")
	}
	return strings.EqualFold(n.text, "true"), nil
}

// onOff reads on or off, and true or false, which is what other readers of YAML
// make of them.
func (r reader) onOff(n *node, name string) (landward.Switch, error) {
	if n.kind == kindBool {
		if on, _ := r.boolean(n, name); on {
			return landward.SwitchOn, nil
		}
		return landward.SwitchOff, nil
	}
	s, err := r.oneOf(n, name, "on", "off")
	return landward.Switch(s), err
}

func (r reader) https(n *node, name string) (landward.HTTPSMode, error) {
	if n.kind == kindBool && strings.EqualFold(n.text, "false") {
		return landward.HTTPSOff, nil // what other readers of YAML make of off
	}
	s, err := r.oneOf(n, name, "redirect", "off")
	return landward.HTTPSMode(s), err
}

// paths reads the rules and puts the longest prefix first.
func (m *manifestReader) paths(n *node) error {
	type placed struct {
		rule landward.PathRule
		n    *node
	}
	var list []placed
	err := m.list(n, "routes.paths", maxPaths, func(n *node) error {
		rule, err := m.pathRule(n)
		if err != nil {
			return err
		}
		for _, o := range list {
			if o.rule.Prefix == rule.Prefix {
				return m.errorf(n.line, "two entries of routes.paths have the prefix %s", landward.Printable(rule.Prefix))
			}
		}
		list = append(list, placed{rule, n})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b placed) int { return len(b.rule.Prefix) - len(a.rule.Prefix) })
	for i, p := range list {
		m.out.Routes.Paths = append(m.out.Routes.Paths, p.rule)
		n.items[i] = p.n // so that Where finds them in the new order
	}
	return nil
}

func (m *manifestReader) pathRule(n *node) (p landward.PathRule, err error) {
	err = m.mapping(n, "an entry of routes.paths", fields{
		"prefix": func(n *node) error {
			s, err := m.str(n, "prefix")
			if err != nil {
				return err
			}
			if !prefixForm.MatchString(s) || path.Clean(s) != s || len(s) > maxURL {
				return m.errorf(n.line, "%q is not a path prefix", landward.Printable(s)).
					WithHint("write /api: a slash first and none last, without . and .. and without escapes; it stands for /api and all below it")
			}
			p.Prefix = s
			return nil
		},
		"process": func(n *node) error {
			s, err := m.str(n, "process")
			if err == nil {
				if err = landward.CheckProcessName(s); err != nil {
					err = m.rename(n.line, err)
				}
			}
			p.Process = s
			return err
		},
		"strip": func(n *node) (err error) { p.Strip, err = m.boolean(n, "strip"); return err },
	})
	if err == nil && (p.Prefix == "" || p.Process == "") {
		err = m.errorf(n.line, "an entry of routes.paths needs both prefix and process")
	}
	return p, err
}

func (m *manifestReader) redirect(n *node) error {
	var r landward.Redirect
	err := m.mapping(n, "an entry of routes.redirects", fields{
		"host": func(n *node) error {
			s, err := m.str(n, "host")
			if err != nil {
				return err
			}
			name, wild := strings.CutPrefix(s, "*.")
			host, ok := landward.NormalHost(name)
			if !ok || !hostForm.MatchString(s) {
				return m.errorf(n.line, "%q is not a host name", landward.Printable(s)).WithHint("write www.example.com, or *.example.com")
			}
			if r.Host = host; wild {
				r.Host = "*." + host
			}
			return nil
		},
		"path": func(n *node) (err error) {
			r.Path, err = m.form(n, "path", fromForm, "write /old, or /blog/* for all that begins with /blog/")
			return err
		},
		"to": func(n *node) (err error) {
			r.To, err = m.form(n, "to", toForm, "write /new, or https://example.com/new; a * may only stand at the end, behind a slash")
			return err
		},
		"code": func(n *node) (err error) { r.Code, err = m.redirectCode(n); return err },
	})
	switch {
	case err != nil:
		return err
	case r.To == "":
		return m.errorf(n.line, `an entry of routes.redirects needs "to"`)
	case strings.HasSuffix(r.To, "*") && r.Path != "" && !strings.HasSuffix(r.Path, "*"):
		return m.errorf(n.line, `"to" ends in *, but "path" does not: there is nothing to put in its place`)
	}
	if _, err := url.Parse(r.To); err != nil {
		return m.errorf(n.line, "%q is not an address", landward.Printable(r.To))
	}
	m.out.Routes.Redirects = append(m.out.Routes.Redirects, r)
	return nil
}

func (m *manifestReader) redirectCode(n *node) (int, error) {
	if n.kind != kindNumber {
		return 0, m.wrong(n, "code", "a number")
	}
	codes := map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308}
	code, ok := codes[n.text]
	if !ok {
		return 0, m.errorf(n.line, "code is %s; it must be 301, 302, 303, 307 or 308", landward.Printable(n.text))
	}
	return code, nil
}

// form reads a text that has a form, and is no longer than an address may be.
func (r reader) form(n *node, name string, form *regexp.Regexp, hint string) (string, error) {
	s, err := r.str(n, name)
	if err == nil && (!form.MatchString(s) || len(s) > maxURL) {
		err = r.errorf(n.line, "%s is %q, which it cannot be", name, landward.Printable(s)).WithHint("%s", hint)
	}
	return s, err
}

func (m *manifestReader) headers(n *node, h *landward.Headers) error {
	return m.mapping(n, "routes.headers", fields{
		"set": func(n *node) error { return m.setHeaders(n, h) },
		"remove": func(n *node) (err error) {
			h.Remove, err = m.headerNames(n, "routes.headers.remove", maxHeaders)
			return err
		},
		"security": func(n *node) (err error) {
			h.Security, err = m.onOff(n, "routes.headers.security")
			return err
		},
	})
}

func (m *manifestReader) setHeaders(n *node, h *landward.Headers) error {
	const name = "routes.headers.set"
	if n.kind != kindMapping {
		return m.wrong(n, name, "a mapping")
	}
	if len(n.entries) > maxHeaders {
		return m.errorf(n.line, "%s has %d entries; at most %d are allowed", name, len(n.entries), maxHeaders)
	}
	for _, e := range n.entries {
		key, err := m.headerName(e.line, e.key)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(h.Set, func(o landward.Header) bool { return o.Name == key }) {
			return m.errorf(e.line, "%s is in %s twice", key, name)
		}
		value, err := m.str(e.value, name+"."+e.key)
		if err != nil {
			return err
		}
		if !valueForm.MatchString(value) || len(value) > maxValue {
			return m.errorf(e.value.line, "%s.%s is not a header's value: it must be plain ASCII in one line, at most %d bytes",
				name, e.key, maxValue)
		}
		h.Set = append(h.Set, landward.Header{Name: key, Value: value})
	}
	return nil
}

// headerName returns a header's name in canonical form.
func (r reader) headerName(line int, s string) (string, error) {
	name := textproto.CanonicalMIMEHeaderKey(s)
	switch {
	case !headerForm.MatchString(s):
		return "", r.errorf(line, "%q is not the name of a header", landward.Printable(s))
	case slices.Contains(framing, name):
		return "", r.errorf(line, "the header %s cannot be changed: it says how an answer ends, or belongs to one connection", name)
	}
	return name, nil
}

func (r reader) headerNames(n *node, name string, limit int) ([]string, error) {
	var out []string
	err := r.list(n, name, limit, func(n *node) error {
		s, err := r.str(n, "an entry of "+name)
		if err != nil {
			return err
		}
		if s, err = r.headerName(n.line, s); err != nil {
			return err
		}
		if slices.Contains(out, s) {
			return r.errorf(n.line, "%s is in %s twice", s, name)
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

func (m *manifestReader) rate(n *node, r *landward.Rate) error {
	err := m.mapping(n, "routes.rate", fields{
		"requests": func(n *node) (err error) {
			r.Requests, err = m.integer(n, "routes.rate.requests", 1, maxRate)
			return err
		},
		"per":   func(n *node) (err error) { r.Per, err = m.duration(n, "routes.rate.per", 24*time.Hour); return err },
		"burst": func(n *node) (err error) { r.Burst, err = m.integer(n, "routes.rate.burst", 1, maxRate); return err },
	})
	if err == nil && r.Requests == 0 {
		err = m.errorf(n.line, "routes.rate needs requests")
	}
	return err
}
