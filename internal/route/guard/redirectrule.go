package guard

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"landward/internal/landward"
)

// NewRedirects compiles an app's redirects. None give nil. An error names the
// rule's part, such as routes.redirects[2].to.
//
// Where Path ends in "/*" and To does too, what stands for the star follows To,
// with the query. Where Path is empty the whole path and query follow To, with
// or without a star. Any other To is the whole address.
func NewRedirects(list []landward.Redirect) (*Redirects, error) {
	if len(list) > maxRedirects {
		return nil, tooMany("routes.redirects", len(list), maxRedirects)
	}
	if len(list) == 0 {
		return nil, nil
	}
	r := &Redirects{exact: make(map[string][]int)}
	for i, rule := range list {
		c, err := compileRedirect(fmt.Sprintf("routes.redirects[%d]", i), rule)
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, c)
		r.paths = r.paths || c.path != ""
		if c.prefix {
			r.open = append(r.open, i)
		} else {
			r.exact[c.path] = append(r.exact[c.path], i)
		}
	}
	for i := range r.rules {
		if err := r.checkEnds(i); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func compileRedirect(at string, rule landward.Redirect) (redirect, error) {
	r := redirect{host: rule.Host, path: rule.Path, code: rule.Code}
	switch rule.Code {
	case 0:
		r.code = http.StatusFound
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return r, landward.Invalid(at+".code", "%d does not redirect", rule.Code).
			WithHint("use 301, 302, 303, 307 or 308")
	}
	if rule.Host != "" {
		name := strings.TrimPrefix(rule.Host, "*.")
		if n, ok := landward.NormalHost(name); !ok || n != name {
			return r, landward.Invalid(at+".host", "%q is not a host name", landward.Printable(rule.Host)).
				WithHint("write it in lower case, without port: www.example.com")
		}
	}
	switch {
	case rule.Path == "":
		r.prefix = true
	case strings.HasSuffix(rule.Path, "/*"):
		r.path, r.prefix = strings.TrimSuffix(rule.Path, "*"), true
		fallthrough
	default:
		if err := checkPath(at+".path", r.path); err != nil {
			return r, err
		}
	}
	return r, r.parseTo(at+".to", rule.To)
}

// parseTo reads the address that a rule sends to.
func (r *redirect) parseTo(field, to string) error {
	if err := checkAddress(field, to); err != nil {
		return err
	}
	star := strings.HasSuffix(to, "/*")
	base := strings.TrimSuffix(to, "*")
	switch {
	case strings.Contains(base, "*") || star != (base != to):
		return landward.Invalid(field, "a star may only stand behind the last slash of %q", landward.Printable(to)).
			WithHint("write %%2A for a star that is part of the address")
	case star && !r.prefix:
		return landward.Invalid(field, "the star stands for nothing: the path has none").
			WithHint("let the path end in /* too")
	case (star || r.path == "") && strings.ContainsAny(base, "?#"):
		return landward.Invalid(field, "the rest of the path would come behind %q", landward.Printable(base)).
			WithHint("the query of the request is kept")
	}
	r.rest = star || r.path == ""
	if strings.HasPrefix(base, "/") {
		if strings.HasPrefix(base, "//") {
			return landward.Invalid(field, "%q leads to another host", landward.Printable(to)).
				WithHint("write the scheme too, or one slash for a path of this host")
		}
		if r.path == "" {
			return landward.Invalid(field, "a redirect of all paths to a path of the same host never ends").
				WithHint("write a path, or an address with https:")
		}
		r.to = base
	} else if err := r.parseAbsolute(field, base); err != nil {
		return err
	}
	if r.path == "" {
		r.to = strings.TrimRight(r.to, "/") // the path that follows begins with one
	}
	tail := r.to[r.origin:]
	if n := skip([]byte(tail), r.path); r.rest && n >= 0 && n < len(tail) {
		r.grows = true
		if r.scheme == "" || r.toHost == r.host {
			return landward.Invalid(field, "%q is below what the rule redirects: it would never end", landward.Printable(to))
		}
	}
	return nil
}

// parseAbsolute reads an address with a scheme. What is kept has its scheme and
// host in lower case, no port that goes without saying, and a path.
func (r *redirect) parseAbsolute(field, to string) error {
	scheme, rest, ok := strings.Cut(to, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return landward.Invalid(field, "%q is neither a path nor an address with http: or https:", landward.Printable(to))
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := strings.ToLower(rest[:end]), rest[end:]
	host, port, ok := splitAuthority(authority)
	if !ok {
		return landward.Invalid(field, "%q is not a host", landward.Printable(authority))
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		authority, r.toHost = host, host
	} else {
		authority = host + ":" + port
	}
	if !strings.HasPrefix(tail, "/") {
		tail = "/" + tail
	}
	r.scheme = scheme
	r.origin = len(scheme) + len("://") + len(authority)
	r.to = scheme + "://" + authority + tail
	return nil
}

// splitAuthority takes "host", "host:port" or "[v6]:port" apart. A user before
// the host is refused: it makes one host look like another.
func splitAuthority(s string) (host, port string, ok bool) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.HasPrefix(port, "0") {
			return "", "", false
		}
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return host, port, found && err == nil && a.Is6() && a.Zone() == ""
	}
	name, ok := landward.NormalHost(host)
	return name, port, ok
}

// checkAddress says whether to has bytes that an address cannot have.
func checkAddress(field, to string) error {
	switch {
	case to == "":
		return landward.Invalid(field, "a redirect needs an address")
	case len(to) > maxURL:
		return landward.Invalid(field, "an address of %d bytes is too long: the limit is %d", len(to), maxURL)
	}
	for i := range len(to) {
		c := to[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^`+"`{|}", c) >= 0 ||
			c == '%' && (i+2 >= len(to) || unhex(to[i+1]) > 15 || unhex(to[i+2]) > 15) {
			return landward.Invalid(field, "%q has characters that an address cannot have", landward.Printable(to)).
				WithHint("percent-encode them: %%20 for a space")
		}
	}
	return nil
}

// maxHops is after how many redirects browsers give up.
const maxHops = 20

// checkEnds follows rule i for a request of its own and says whether that ends.
func (r *Redirects) checkEnds(i int) error {
	rule := &r.rules[i]
	field := fmt.Sprintf("routes.redirects[%d].to", i)
	host := []byte(strings.Replace(rule.host, "*", "any", 1))
	if len(host) == 0 {
		host = []byte("any.invalid")
	}
	path := []byte(rule.path)
	switch {
	case rule.path == "":
		path = []byte("/x")
	case rule.prefix:
		path = append(path, 'x')
	}
	var query []byte
	if rest, ok := rule.fits(host, path, true); ok && rule.scheme == "" {
		if !rule.moves(rule.append(nil, rest, nil), "https", host, path, nil) {
			return landward.Invalid(field, "the rule redirects to its own address")
		}
	}
	for range maxHops {
		to, code := r.Match(nil, "https", host, path, query)
		if code == 0 || code == http.StatusBadRequest {
			return nil
		}
		if host, to = r.next(host, to); host == nil {
			return nil
		}
		to, _, _ = bytes.Cut(to, []byte("#"))
		path, query, _ = bytes.Cut(to, []byte("?"))
	}
	return landward.Invalid(field, "the redirects go in a circle, or through more than %d addresses", maxHops)
}

// next takes an address apart: the host that it leads to, nil where no rule is
// known to be for it, and the rest. Plain HTTP counts as HTTPS, where it ends.
func (r *Redirects) next(host, to []byte) (on, target []byte) {
	_, rest, absolute := bytes.Cut(to, []byte("://"))
	if to[0] == '/' || !absolute {
		return host, to
	}
	i := bytes.IndexByte(rest, '/')
	if i < 0 {
		return nil, nil
	}
	on = rest[:i]
	if bytes.Equal(on, host) {
		return on, rest[i:]
	}
	for _, rule := range r.rules {
		if rule.host != "" && hostFits(on, rule.host) {
			return on, rest[i:]
		}
	}
	return nil, nil
}
