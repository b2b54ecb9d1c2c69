package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strings"
)

// hostPrefixes are the networks that this host has addresses in or routes to,
// but the default route. What cannot be read is not there.
func hostPrefixes() []netip.Prefix {
	var out []netip.Prefix
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	table, _ := os.ReadFile("/proc/net/route")
	for _, r := range parseRoutes(table) {
		if r.to.Bits() > 0 {
			out = append(out, r.to)
		}
	}
	return out
}

// uplinkMTU is the packet size of the interface with the default route where
// it is below Ethernet's, and 0 otherwise.
func uplinkMTU() int {
	table, _ := os.ReadFile("/proc/net/route")
	for _, r := range parseRoutes(table) {
		if r.to.Bits() != 0 {
			continue
		}
		if i, err := net.InterfaceByName(r.via); err == nil && i.MTU >= 576 && i.MTU < 1500 {
			return i.MTU
		}
	}
	return 0
}

type hostRoute struct {
	to  netip.Prefix
	via string // interface
}

// parseRoutes reads /proc/net/route: addresses in hexadecimal, in the machine's
// byte order.
func parseRoutes(table []byte) []hostRoute {
	var out []hostRoute
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 8 {
			continue
		}
		dest, ok1 := hexIPv4(f[1])
		mask, ok2 := hexIPv4(f[7])
		if !ok1 || !ok2 {
			continue
		}
		ones := bits.LeadingZeros32(^ipv4(mask))
		out = append(out, hostRoute{to: netip.PrefixFrom(dest, ones).Masked(), via: f[0]})
	}
	return out
}

func hexIPv4(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	return fromIPv4(nativeUint32(b)), true
}

// nativeUint32 reads 32 bits that the kernel printed as one number, so that
// the first byte on the wire is the highest of the result.
func nativeUint32(b []byte) uint32 {
	printed := binary.BigEndian.Uint32(b) // the number as it was printed
	var mem [4]byte
	binary.NativeEndian.PutUint32(mem[:], printed)
	return binary.BigEndian.Uint32(mem[:])
}

// resolvers are the name servers that containers may be sent to: those of the
// host's resolver files that are not on a loopback address.
func resolvers() []netip.Addr {
	var out []netip.Addr
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, _ := os.ReadFile(file)
		out = append(out, parseResolvers(text)...)
	}
	return out
}

func parseResolvers(text []byte) []netip.Addr {
	var out []netip.Addr
	scan := bufio.NewScanner(bytes.NewReader(text))
	for scan.Scan() {
		f := strings.Fields(scan.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() && a.Zone() == "" {
			out = append(out, a.Unmap())
		}
	}
	return out
}
