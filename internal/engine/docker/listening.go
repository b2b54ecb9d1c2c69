package docker

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// listening reads which TCP sockets the processes in pid's network namespace
// listen on. nil where the host does not let us see, or pid is not (or no
// longer) the container's.
func listening(pid int, container string) []netip.AddrPort {
	if pid <= 0 {
		return nil
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !bytes.Contains(cgroup, []byte(container)) {
		return nil
	}
	var out []netip.AddrPort
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		out = append(out, parseListening(text)...)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// dockerResolver is where Docker listens in every container.
var dockerResolver = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// parseListening reads /proc/net/tcp or tcp6: the local address in
// hexadecimal, 32 bits at a time in the machine's byte order, and state 0A.
func parseListening(table []byte) []netip.AddrPort {
	var out []netip.AddrPort
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 4 || f[3] != "0A" {
			continue
		}
		host, portHex, ok := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(portHex, 16, 16)
		addr, okAddr := hexAddr(host)
		if !ok || err != nil || !okAddr || addr == dockerResolver {
			continue
		}
		out = append(out, netip.AddrPortFrom(addr, uint16(port)))
	}
	return out
}

func hexAddr(s string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.Addr{}, false
	}
	var b []byte
	for i := 0; i < len(raw); i += 4 {
		word := fromIPv4(nativeUint32(raw[i : i+4])).As4()
		b = append(b, word[:]...)
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}
