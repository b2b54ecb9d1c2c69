package door

import (
	"bytes"
	"net/netip"
)

// parseAddr is netip.ParseAddr for bytes, without zones and without allocating:
// every request that comes through a proxy asks it.
func parseAddr(b []byte) (netip.Addr, bool) {
	if bytes.IndexByte(b, ':') >= 0 {
		return parse6(b)
	}
	a, ok := parse4(b)
	return netip.AddrFrom4(a), ok
}

func parse4(b []byte) (a [4]byte, ok bool) {
	part, digits, value := 0, 0, 0
	for i := 0; ; i++ {
		if i == len(b) || b[i] == '.' {
			if digits == 0 || part == 4 {
				return a, false
			}
			a[part] = byte(value)
			part, digits, value = part+1, 0, 0
			if i == len(b) {
				return a, part == 4
			}
			continue
		}
		c := b[i]
		if c < '0' || c > '9' || digits > 0 && value == 0 {
			return a, false // a zero in front means octal to some
		}
		if value = value*10 + int(c-'0'); value > 255 {
			return a, false
		}
		digits++
	}
}

func parse6(b []byte) (netip.Addr, bool) {
	var a [16]byte
	n, gap := 0, -1 // bytes written; where "::" was
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		end := bytes.IndexByte(b, ':')
		word := b
		if end >= 0 {
			word = b[:end]
		}
		if end < 0 && bytes.IndexByte(word, '.') >= 0 {
			four, ok := parse4(word)
			if !ok || n > 12 {
				return netip.Addr{}, false
			}
			n += copy(a[n:], four[:])
			break
		}
		value, ok := parseHex(word)
		if !ok || n > 14 {
			return netip.Addr{}, false
		}
		a[n], a[n+1] = byte(value>>8), byte(value)
		n += 2
		if end < 0 {
			break
		}
		if b = b[end+1:]; len(b) == 0 {
			return netip.Addr{}, false // it ends with one colon
		}
		if b[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap, b = n, b[1:]
		}
	}
	switch {
	case gap < 0:
		return netip.AddrFrom16(a), n == 16
	case n > 14: // "::" stands for at least one word
		return netip.Addr{}, false
	}
	tail := n - gap
	copy(a[16-tail:], a[gap:n])
	clear(a[gap : 16-tail])
	return netip.AddrFrom16(a), true
}

func parseHex(b []byte) (v uint16, ok bool) {
	if len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint16(c)
	}
	return v, true
}
