package dns

import "net/netip"

// IsPrivate says whether an address means something inside only: a name on the
// internet that points to it is a mistake or an attack.
func IsPrivate(addr netip.Addr) bool {
	addr = inner(addr)
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() {
		return true
	}
	if addr.Is4() {
		b := addr.As4()
		return b[0] == 0 || b[0] >= 240 || // this network; reserved
			b[0] == 100 && b[1]&0xC0 == 64 || // RFC 6598, providers' inside
			b[0] == 192 && b[1] == 0 && b[2] == 0 || // RFC 6890
			b[0] == 198 && b[1]&0xFE == 18 // RFC 2544
	}
	b := addr.As16()
	return b[0] == 0xFE && b[1]&0xC0 == 0xC0 || // fec0::/10, RFC 3879
		b[0] == 0x01 && [7]byte(b[1:8]) == [7]byte{} // 100::/64, RFC 6666
}

// inner returns the IPv4 address that an IPv6 one stands for, or the address
// itself.
func inner(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if addr.Is4() {
		return addr
	}
	b := addr.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0x00, 0x64, 0xFF, 0x9B}, // NAT64, RFC 6052
		[6]byte(b[:6]) == [6]byte{0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01}, // RFC 8215, /96 of it
		[12]byte(b[:12]) == [12]byte{} && b[12] != 0:                  // ::a.b.c.d, RFC 4291
		return netip.AddrFrom4([4]byte(b[12:]))
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}
