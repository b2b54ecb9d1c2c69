package door

import (
	"bytes"
	"net/netip"

	"landward/internal/route/cidr"
	"landward/internal/route/wire"
)

// Source says which headers trusted proxies write. It is one kind only: a proxy
// that writes one of them passes the other on as the client sent it, so that
// whoever believes both believes the client.
type Source uint8

// The sources.
const (
	FromXForwarded Source = iota // X-Forwarded-For and X-Forwarded-Proto
	FromForwarded                // Forwarded (RFC 7239)
)

// Bounds of what is read of a claim. It is read from its end, where the proxies
// nearest to us write, so that nothing a client puts before makes it too long.
const (
	maxHops   = 32
	maxClaimV = 4096 // bytes
)

// Trust says who a client is behind proxies that are trusted. A nil Trust
// trusts nobody. It never changes.
type Trust struct {
	proxies cidr.Set
	source  Source
}

// Claims are the values of a request's headers, one for each line, in their
// order. Only those of the Trust's Source are looked at.
type Claims struct {
	For       [][]byte // X-Forwarded-For
	Proto     [][]byte // X-Forwarded-Proto
	Forwarded [][]byte
}

// NewTrust compiles networks of proxies. None give nil.
func NewTrust(proxies []netip.Prefix, source Source) *Trust {
	if len(proxies) == 0 {
		return nil
	}
	return &Trust{proxies: cidr.NewSet(proxies), source: source}
}

// Trusts reports whether addr is a proxy's.
func (t *Trust) Trusts(addr netip.Addr) bool {
	return t != nil && t.proxies.Has(addr)
}

// Client returns the client's address and scheme ("http" or "https") for a
// request that came from peer by scheme. It follows the claim from its end for
// as long as the hop that wrote it is trusted; the first that is not is the
// client. Where a trusted hop wrote what is no address, the answer is peer.
func (t *Trust) Client(peer netip.Addr, scheme string, c Claims) (client netip.Addr, by string) {
	peer = peer.Unmap().WithZone("")
	if !t.Trusts(peer) {
		return peer, scheme
	}
	w := walk{lines: c.For, left: maxClaimV}
	if t.source == FromForwarded {
		w.lines = c.Forwarded
	}
	client, last := peer, 0
	var proto []byte
	for hop := 0; ; hop++ {
		item, ok := w.next()
		if !ok {
			break
		}
		node := item
		if t.source == FromForwarded {
			node, proto, ok = element(item)
		}
		addr, valid := parseNode(node)
		if !ok || !valid || hop == maxHops || w.left < 0 {
			return peer, scheme
		}
		client, last = addr, hop
		if !t.Trusts(addr) {
			break
		}
	}
	if t.source == FromXForwarded {
		proto = protoAt(c.Proto, last)
	}
	return client, schemeOf(proto, scheme)
}

// schemeOf reads a claim of a scheme; one that is no claim changes nothing.
func schemeOf(claim []byte, scheme string) string {
	switch {
	case wire.EqualFold(claim, "https"), wire.EqualFold(claim, "wss"):
		return "https"
	case wire.EqualFold(claim, "http"), wire.EqualFold(claim, "ws"):
		return "http"
	}
	return scheme
}

// protoAt is the scheme in the place that the address has, from the end. A list
// that is shorter was written by the first proxies and passed on by the others:
// its first entry counts then.
func protoAt(lines [][]byte, hop int) (proto []byte) {
	w := walk{lines: lines, left: maxClaimV}
	for range hop + 1 {
		item, ok := w.next()
		if !ok || w.left < 0 {
			break
		}
		proto = item
	}
	return proto
}

// walk goes over the members of a list in several lines, the last one first.
type walk struct {
	lines [][]byte // those not begun, and the rest of the one begun
	rest  []byte
	begun bool
	left  int // bytes that may still be looked at
}

// next cuts the last member off. Empty ones do not count (RFC 9110 section
// 5.6.1). A comma in quotes parts members too: no address, scheme or host has
// one, and a quote that a client left open must not hide what a proxy wrote
// after it.
func (w *walk) next() (item []byte, ok bool) {
	for w.left >= 0 {
		if !w.begun {
			n := len(w.lines)
			if n == 0 {
				return nil, false
			}
			w.rest, w.lines, w.begun = w.lines[n-1], w.lines[:n-1], true
		}
		from := max(len(w.rest)-w.left, 0)
		i := bytes.LastIndexByte(w.rest[from:], ',')
		if i < 0 && from > 0 {
			w.left = -1
			return w.rest[from:], true // too long: no address
		}
		if i >= 0 {
			i += from
		}
		item = trim(w.rest[i+1:])
		w.left -= len(w.rest) - i
		w.rest, w.begun = w.rest[:max(i, 0)], i >= 0
		if len(item) > 0 {
			return item, true
		}
	}
	return nil, false
}

// element reads "for=192.0.2.1;proto=https" (RFC 7239 section 4). A parameter
// may be there once.
func element(item []byte) (node, proto []byte, ok bool) {
	for rest := item; ; {
		for len(rest) > 0 && rest[0] == ';' {
			rest = trim(rest[1:])
		}
		if len(rest) == 0 {
			return node, proto, node != nil
		}
		var name, value []byte
		if name, value, rest, ok = pair(rest); !ok {
			return nil, nil, false
		}
		switch {
		case wire.EqualFold(name, "for"):
			if node != nil {
				return nil, nil, false
			}
			node = value
		case wire.EqualFold(name, "proto"):
			if proto != nil {
				return nil, nil, false
			}
			proto = value
		}
	}
}

// pair cuts "name=value" off; rest begins with a semicolon where there is one. A
// value with a quoted pair in it is refused: no address has one.
func pair(b []byte) (name, value, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '=')
	if i < 0 || bytes.IndexByte(b[:i], ';') >= 0 {
		return nil, nil, nil, false
	}
	name, b = trim(b[:i]), trim(b[i+1:])
	if len(b) > 0 && b[0] == '"' {
		end := bytes.IndexAny(b[1:], "\"\\")
		if end < 0 || b[1+end] == '\\' {
			return nil, nil, nil, false
		}
		value, b = b[1:1+end], trim(b[end+2:])
		return name, value, b, len(name) > 0 && (len(b) == 0 || b[0] == ';')
	}
	end := bytes.IndexByte(b, ';')
	if end < 0 {
		end = len(b)
	}
	return name, trim(b[:end]), b[end:], len(name) > 0
}

// parseNode reads an address, with or without a port, IPv6 with or without
// brackets. "unknown" and hidden names are no addresses.
func parseNode(b []byte) (netip.Addr, bool) {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || len(b) > end+1 && (b[end+1] != ':' || !isPort(b[end+2:])) {
			return netip.Addr{}, false
		}
		a, ok := parse6(b[1:end])
		return a.Unmap(), ok
	}
	if i := bytes.IndexByte(b, ':'); i >= 0 && bytes.IndexByte(b[i+1:], ':') < 0 {
		if !isPort(b[i+1:]) {
			return netip.Addr{}, false
		}
		b = b[:i]
	}
	a, ok := parseAddr(b)
	return a.Unmap(), ok
}

// isPort accepts a port, and the name that stands for a hidden one (RFC 7239
// section 6).
func isPort(b []byte) bool {
	if len(b) > 1 && b[0] == '_' {
		return true
	}
	_, ok := parsePort(b)
	return ok
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
