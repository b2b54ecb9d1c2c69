package server

import (
	"net"
	"net/netip"
	"strings"

	"landward/internal/config"
	"landward/internal/engine/docker"
)

// dnsPort is the only one that resolvers of containers ask at.
const dnsPort = "53"

// appResolver returns where apps can ask the edge's DNS server for names: the
// address that it listens on, or, where that is all of the host's, the
// unspecified one. Invalid where they cannot: it is off, on another port, on a
// loopback address or on IPv6, which the apps' networks do not have.
func appResolver(cfg config.Config) netip.Addr {
	host, port, err := net.SplitHostPort(cfg.DNS)
	if err != nil || port != dnsPort || !local(cfg) {
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

// doors are where apps can reach the edge, as everybody can: where it listens,
// but for loopback addresses and for IPv6, which the apps' networks do not have.
func doors(cfg config.Config) []docker.Door {
	if !local(cfg) {
		return nil
	}
	var list []docker.Door
	for _, listen := range []string{cfg.HTTP, cfg.HTTPS} {
		if d, ok := doorAt(listen); ok {
			list = append(list, d)
		}
	}
	if d, ok := doorAt(cfg.HTTPS); ok && cfg.HTTP3 {
		d.UDP = true
		list = append(list, d)
	}
	return list
}

// doorAt is the door that a listening address makes.
func doorAt(listen string) (d docker.Door, ok bool) {
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return d, false // off
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return d, false
	}
	addr := netip.IPv4Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return d, false
		}
	}
	if addr = addr.Unmap(); addr == netip.IPv6Unspecified() {
		addr = netip.IPv4Unspecified() // both families
	}
	d.Addr = netip.AddrPortFrom(addr, uint16(port)) //nolint:gosec // LookupPort gives ports
	return d, addr.Is4() && !addr.IsLoopback() && port != 0
}

// local reports whether Docker is on this host.
func local(cfg config.Config) bool { return strings.HasPrefix(cfg.Docker, "unix:") }

// inside are the networks of machines that belong to whoever runs the host.
func inside() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
