package guard

import (
	"bytes"
	"net/http"
	"strings"
)

// Redirects are an app's redirects, the first that fits first. A nil Redirects
// has none. It never changes.
type Redirects struct {
	rules []redirect
	exact map[string][]int // path → rules for that path alone, in their order
	open  []int            // the other rules, in their order
	paths bool             // some rule is about paths
}

// redirect is one rule, taken apart.
type redirect struct {
	host   string // "": all; "*.example.com": those one label below
	path   string // without the star
	prefix bool   // all below path, which ends with a slash; or all paths, where path is ""
	code   int

	to     string // its scheme and host in lower case
	rest   bool   // the rest of the path and the query follow
	grows  bool   // on its own host the rule fits its own address, and makes it longer
	scheme string // of to, "" where to is a path
	toHost string // of to, "" where to is a path or has a port
	origin int    // bytes of to before its path
}

// Match appends to dst the address that a request is sent to and returns the
// status code; 0 where no rule fits, with dst as it was, and 400 where one
// might but the path is not Sound. host is normalised, path and query are as
// the client sent them. A rule that would send a request to its own address
// does not fit.
//
// What the rest of a path holds stays behind the host that the rule names:
// slashes at its front are dropped, and bytes that do not belong into an
// address are percent-encoded. Escapes stay as they are.
func (r *Redirects) Match(dst []byte, scheme string, host, path, query []byte) (location []byte, code int) {
	if r == nil {
		return dst, 0
	}
	plain := true
	key := path
	var buf [maxPrefix + 1]byte
	if r.paths && !isPlain(path) {
		if !Sound(path) {
			return r.unsound(dst, scheme, host, path, query)
		}
		plain = false
		key = literal(buf[:0], path)
	}
	exact, open := r.exact[string(key)], r.open
	for len(exact) > 0 || len(open) > 0 {
		var i int
		if len(open) == 0 || len(exact) > 0 && exact[0] < open[0] {
			i, exact = exact[0], exact[1:]
		} else {
			i, open = open[0], open[1:]
		}
		rule := &r.rules[i]
		rest, ok := rule.fits(host, path, plain)
		if !ok {
			continue
		}
		out := rule.append(dst, rest, query)
		if rule.moves(out[len(dst):], scheme, host, path, query) {
			return out, rule.code
		}
	}
	return dst, 0
}

// unsound is Match for a path that no rule can be compared with. Rules for all
// paths of a host do not look at it.
func (r *Redirects) unsound(dst []byte, scheme string, host, path, query []byte) (location []byte, code int) {
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.host != "" && !hostFits(host, rule.host) {
			continue
		}
		if rule.path != "" {
			return dst, http.StatusBadRequest
		}
		if rest, ok := rule.fits(host, path, false); ok {
			if out := rule.append(dst, rest, query); rule.moves(out[len(dst):], scheme, host, path, query) {
				return out, rule.code
			}
		}
	}
	return dst, 0
}

// fits reports whether the rule is for such a request, and returns what of its
// path comes after the rule's. Rules for one path have been looked up already.
func (r *redirect) fits(host, path []byte, plain bool) (rest []byte, ok bool) {
	if r.host != "" && !hostFits(host, r.host) {
		return nil, false
	}
	switch {
	case !r.prefix:
		return nil, true
	case r.path == "":
		// "*" of OPTIONS must not become part of a host.
		return path, len(path) > 0 && path[0] == '/'
	case plain:
		if len(path) < len(r.path) || string(path[:len(r.path)]) != r.path {
			return nil, false
		}
		return path[len(r.path):], true
	}
	n := skip(path, r.path)
	if n < 0 {
		return nil, false
	}
	return path[n:], true
}

// hostFits reports whether host is rule, or one label below a rule with a star.
func hostFits(host []byte, rule string) bool {
	if rule[0] != '*' {
		return string(host) == rule
	}
	below := rule[1:]
	n := len(host) - len(below)
	if n < 1 || string(host[n:]) != below {
		return false
	}
	for _, c := range host[:n] {
		if c == '.' {
			return false
		}
	}
	return true
}

// append appends the rule's address for a request.
func (r *redirect) append(dst, rest, query []byte) []byte {
	dst = append(dst, r.to...)
	if !r.rest {
		return dst
	}
	if strings.HasSuffix(r.to, "/") {
		for len(rest) > 0 && (rest[0] == '/' || rest[0] == '\\') {
			rest = rest[1:]
		}
	}
	dst = appendEncoded(dst, rest)
	if len(query) > 0 {
		dst = appendEncoded(append(dst, '?'), query)
	}
	return dst
}

// moves reports whether location is another address than that of the request.
// A fixed address without a query is the same with any.
func (r *redirect) moves(location []byte, scheme string, host, path, query []byte) bool {
	if r.scheme != "" && (r.scheme != scheme || r.toHost != string(host)) {
		return true
	}
	if r.grows {
		return false
	}
	target := location[r.origin:]
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	i := bytes.IndexByte(target, '?')
	if i < 0 {
		return !bytes.Equal(target, path)
	}
	return !bytes.Equal(target[:i], path) || !bytes.Equal(target[i+1:], query)
}

// AppendHTTPS appends the address that a request by plain HTTP is sent to where
// the app wants HTTPS: host as for Match, target in origin form.
func AppendHTTPS(dst, host, target []byte) []byte {
	dst = append(append(dst, "https://"...), host...)
	if len(target) == 0 || target[0] != '/' {
		return append(dst, '/') // "*" must not become part of the host
	}
	return appendEncoded(dst, target)
}

// appendEncoded appends part of an address. Bytes that end a header line, that
// browsers take for a slash or that no address has are percent-encoded.
func appendEncoded(dst, part []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range part {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^`+"`{|}#", c) >= 0 {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
