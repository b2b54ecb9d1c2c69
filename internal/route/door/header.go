package door

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Sizes of headers (PROXY protocol, sections 2.1 and 2.2).
const (
	leastV1 = len("PROXY UNKNOWN\r\n")
	maxV1   = 107
	headV2  = 16
	maxV2   = headV2 + 0xffff
)

// How a header of each version begins.
const (
	beginV1 = "PROXY "
	beginV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// The errors of a header. Conn wraps them.
var (
	ErrNoHeader  = errors.New("no PROXY header")
	ErrMalformed = errors.New("malformed PROXY header")
	ErrTooLarge  = errors.New("PROXY header too large")
	ErrChecksum  = errors.New("PROXY header with a wrong checksum")
)

// ParseHeader reads the PROXY header at the front of b: version 1 or 2. n is its
// length, or, where that is more than b has, how long b must be before it is
// worth looking again: there is no header of fewer bytes. client is not valid
// where the header says that the connection is the proxy's own (LOCAL), or does
// not say whose it is (UNKNOWN, and other families than IP). limit bounds a
// header of version 2.
func ParseHeader(b []byte, limit int) (client netip.AddrPort, n int, err error) {
	switch {
	case len(b) == 0:
		return client, leastV1, nil
	case begins(b, beginV2):
		return parseV2(b, limit)
	case begins(b, beginV1):
		return parseV1(b)
	}
	return client, 0, ErrNoHeader
}

// begins reports whether b begins with s, or is the beginning of s.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// parseV1 reads "PROXY TCP4 192.0.2.1 198.51.100.1 51234 443\r\n".
func parseV1(b []byte) (client netip.AddrPort, n int, err error) {
	end := bytes.IndexAny(b[:min(len(b), maxV1)], "\r\n")
	switch {
	case end < 0 && len(b) >= maxV1-1:
		return client, 0, ErrMalformed
	case end < 0:
		return client, min(max(len(b)+leftV1(b), leastV1), maxV1), nil
	case b[end] != '\r' || end+1 < len(b) && b[end+1] != '\n' || end+2 > maxV1:
		return client, 0, ErrMalformed
	case end+2 > len(b):
		return client, end + 2, nil
	}
	client, ok := parseLine(b[:end])
	if !ok {
		return netip.AddrPort{}, 0, ErrMalformed
	}
	return client, end + 2, nil
}

// leftV1 is how many bytes at least are missing of a line, so that not one byte
// behind it is read with it: what follows is the client's.
func leftV1(b []byte) int {
	const lineEnd = 2
	if begins(b, beginV1+"UNKNOWN") {
		return lineEnd
	}
	return 2*max(5-bytes.Count(b, []byte(" ")), 0) + lineEnd
}

// parseLine reads a line without its end.
func parseLine(line []byte) (client netip.AddrPort, ok bool) {
	word, rest, more := bytes.Cut(line[len(beginV1):], []byte(" "))
	switch string(word) {
	case "UNKNOWN": // whatever follows is to be ignored
		return client, true
	case "TCP4", "TCP6":
	default:
		return client, false
	}
	var parts [4][]byte
	for i := range parts {
		if !more {
			return client, false
		}
		parts[i], rest, more = bytes.Cut(rest, []byte(" "))
	}
	if more {
		return client, false
	}
	from, ok1 := parseAddr(parts[0])
	to, ok2 := parseAddr(parts[1])
	port, ok3 := parsePort(parts[2])
	_, ok4 := parsePort(parts[3])
	six := string(word) == "TCP6"
	if !ok1 || !ok2 || !ok3 || !ok4 || from.Is6() != six || to.Is6() != six {
		return client, false
	}
	return netip.AddrPortFrom(from.Unmap(), port), true
}

// parsePort reads a port in its one form: digits without a zero in front.
func parsePort(b []byte) (port uint16, ok bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if n > 0xffff {
		return 0, false
	}
	return uint16(n), true //nolint:gosec // looked at above
}

// The numbers of version 2.
const (
	commandLocal = 0x20
	commandProxy = 0x21

	familyUnspec = 0x00
	familyTCP4   = 0x11
	familyTCP6   = 0x21
	familyUnix   = 0x31

	sizeTCP4 = 12
	sizeTCP6 = 36
	sizeUnix = 216

	typeChecksum = 0x03
)

func parseV2(b []byte, limit int) (client netip.AddrPort, n int, err error) {
	if len(b) < headV2 {
		if len(b) > 12 && b[12]&0xf0 != 0x20 {
			return client, 0, ErrMalformed
		}
		// Version 1 may be shorter, but this is not version 1 once it has begun.
		return client, headV2, nil
	}
	n = headV2 + int(binary.BigEndian.Uint16(b[14:]))
	if b[12] != commandLocal && b[12] != commandProxy {
		return client, 0, ErrMalformed
	}
	if n > limit {
		return client, 0, ErrTooLarge
	}
	if n > len(b) {
		return client, n, nil
	}
	if b[12] == commandLocal {
		return client, n, nil // the rest, with the family, is to be ignored
	}
	block := b[headV2:n]
	size := 0
	switch b[13] {
	case familyTCP4:
		size = sizeTCP4
	case familyTCP6:
		size = sizeTCP6
	case familyUnix:
		size = sizeUnix
	case familyUnspec:
		return client, n, nil // what is in the block is not known
	default:
		return client, 0, ErrMalformed // datagrams do not come by a connection
	}
	if len(block) < size {
		return client, 0, ErrMalformed
	}
	if err := checkExtras(b[:n], headV2+size); err != nil {
		return client, 0, err
	}
	switch size {
	case sizeTCP4:
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
	case sizeTCP6:
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
	}
	return client, n, nil
}

// checkExtras goes over the type-length-value entries from at on, and verifies
// the checksum where there is one (section 2.2.3).
func checkExtras(header []byte, at int) error {
	sums := 0
	for at < len(header) {
		if len(header)-at < 3 {
			return ErrMalformed
		}
		size := int(binary.BigEndian.Uint16(header[at+1:]))
		value := at + 3
		if size > len(header)-value {
			return ErrMalformed
		}
		if header[at] == typeChecksum {
			if sums++; size != 4 || sums > 1 {
				return ErrMalformed
			}
			if binary.BigEndian.Uint32(header[value:]) != checksum(header, value) {
				return ErrChecksum
			}
		}
		at = value + size
	}
	return nil
}

// checksum is the CRC32c of a header with the four bytes at that place as zero.
func checksum(header []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	sum := crc32.Update(0, table, header[:at])
	sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
	return crc32.Update(sum, table, header[at+4:])
}
