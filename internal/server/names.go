package server

import (
	"net"
	"net/netip"
	"strings"

	"landward/internal/config"
)

// dnsPort is the only one that resolvers of containers ask at.
const dnsPort = "53"

// appResolver returns where apps can ask the edge's DNS server for names: the
// address that it listens on, or, where that is all of the host's, the
// unspecified one. Invalid where they cannot: it is off, on another port, on a
// loopback address or on IPv6, which the apps' networks do not have.
func appResolver(cfg config.Config) netip.Addr {
	host, port, err := net.SplitHostPort(cfg.DNS)
	if err != nil || port != dnsPort || !strings.HasPrefix(cfg.Docker, "unix:") {
		return netip.Addr{}
	}
	if host == "" {
		return netip.IPv4Unspecified()
	}
	addr, err := netip.ParseAddr(host)
	if addr = addr.Unmap(); err != nil || !addr.Is4() || addr.IsLoopback() {
		return netip.Addr{}
	}
	return addr
}

// inside are the networks of machines that belong to whoever runs the host.
func inside() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// without cuts a network out of others: what is left of each, in as few
// networks as can be.
func without(list []netip.Prefix, hole netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		switch {
		case !p.Overlaps(hole):
			out = append(out, p)
		case p.Bits() < hole.Bits(): // it is wider, and has two halves
			low, high := halves(p)
			out = append(out, without([]netip.Prefix{low, high}, hole)...)
		}
	}
	return out
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Masked().Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Masked().Addr(), bits), netip.PrefixFrom(upper, bits)
}
