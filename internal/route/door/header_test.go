package door_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"landward/internal/route/door"
)

const limit = 4096

// v2 makes a header of version 2.
func v2(command, family byte, block ...[]byte) []byte {
	all := bytes.Join(block, nil)
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(all)))
	return append(h, all...)
}

func tlv(kind byte, value string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))
	return append(b, value...)
}

// withChecksum puts the checksum into a header that has an entry for it as its
// last one.
func withChecksum(h []byte) []byte {
	at := len(h) - 4
	binary.BigEndian.PutUint32(h[at:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	return h
}

var (
	tcp4 = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0xc8, 0x22, 0x01, 0xbb} // 192.0.2.7:51234 to 198.51.100.1:443
	tcp6 = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0xc8, 0x22, 0x01, 0xbb)
)

func TestParseHeader(t *testing.T) {
	mapped := append(append(netip.MustParseAddr("::ffff:192.0.2.7").AsSlice(), tcp6[16:]...), nil...)
	for name, tc := range map[string]struct {
		header string
		client string // "": the peer's own
	}{
		"v1 TCP4":              {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", "192.0.2.7:51234"},
		"v1 shortest":          {"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", "1.1.1.1:0"},
		"v1 TCP6":              {"PROXY TCP6 2001:db8::7 2001:DB8::1 51234 443\r\n", "[2001:db8::7]:51234"},
		"v1 mapped":            {"PROXY TCP6 ::ffff:192.0.2.7 ::1 51234 443\r\n", "192.0.2.7:51234"},
		"v1 longest":           {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		"v1 unknown":           {"PROXY UNKNOWN\r\n", ""},
		"v1 unknown, more":     {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", ""},
		"v1 unknown, nonsense": {"PROXY UNKNOWN  a \x00\r\n", ""},
		"v2 TCP4":              {string(v2(0x21, 0x11, tcp4)), "192.0.2.7:51234"},
		"v2 TCP6":              {string(v2(0x21, 0x21, tcp6)), "[2001:db8::7]:51234"},
		"v2 mapped":            {string(v2(0x21, 0x21, mapped)), "192.0.2.7:51234"},
		"v2 local":             {string(v2(0x20, 0x00)), ""},
		"v2 local, block":      {string(v2(0x20, 0x11, tcp4)), ""},
		"v2 local, nonsense":   {string(v2(0x20, 0xff, []byte("x"))), ""},
		"v2 unspec":            {string(v2(0x21, 0x00)), ""},
		"v2 unspec, block":     {string(v2(0x21, 0x00, []byte("anything"))), ""},
		"v2 unix":              {string(v2(0x21, 0x31, make([]byte, 216))), ""},
		"v2 extras":            {string(v2(0x21, 0x11, tcp4, tlv(0x02, "example.com"), tlv(0x04, ""), tlv(0xe0, "x"))), "192.0.2.7:51234"},
		"v2 checksum":          {string(withChecksum(v2(0x21, 0x11, tcp4, tlv(0x02, "example.com"), tlv(0x03, "\x00\x00\x00\x00")))), "192.0.2.7:51234"},
		"v2 checksum, v6":      {string(withChecksum(v2(0x21, 0x21, tcp6, tlv(0x03, "\x00\x00\x00\x00")))), "[2001:db8::7]:51234"},
		"v2 at the limit":      {string(v2(0x21, 0x11, tcp4, tlv(0x04, strings.Repeat("x", limit-16-12-3)))), "192.0.2.7:51234"},
	} {
		t.Run(name, func(t *testing.T) {
			const behind = "GET / HTTP/1.1\r\n\r\n"
			client, n, err := door.ParseHeader([]byte(tc.header+behind), limit)
			if err != nil || n != len(tc.header) {
				t.Fatalf("%d bytes of %d: %v", n, len(tc.header), err)
			}
			if got := client.String(); client.IsValid() != (tc.client != "") || client.IsValid() && got != tc.client {
				t.Errorf("the client is %s, want %q", got, tc.client)
			}
			// However little is there: never is more asked for than the header has.
			for i := range len(tc.header) {
				_, n, err := door.ParseHeader([]byte(tc.header[:i]), limit)
				if err != nil || n <= i || n > len(tc.header) {
					t.Fatalf("after %d bytes of %d: %d, %v", i, len(tc.header), n, err)
				}
			}
		})
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	sum := func(h []byte) string { h[len(h)-1] ^= 1; return string(h) }
	for name, tc := range map[string]struct {
		header string
		want   error
	}{
		"HTTP":                {"GET / HTTP/1.1\r\n\r\n", door.ErrNoHeader},
		"POST":                {"P", nil},
		"POST, two":           {"PO", door.ErrNoHeader},
		"TLS":                 {"\x16\x03\x01", door.ErrNoHeader},
		"lower case":          {"proxy TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrNoHeader},
		"no space":            {"PROXYTCP4 ", door.ErrNoHeader},
		"empty lines":         {"\r\n\r\nGET", door.ErrNoHeader},
		"v1 two spaces":       {"PROXY  TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 two spaces later": {"PROXY TCP4  192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 space at end":     {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 \r\n", door.ErrMalformed},
		"v1 more words":       {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 x\r\n", door.ErrMalformed},
		"v1 fewer words":      {"PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n", door.ErrMalformed},
		"v1 no words":         {"PROXY TCP4      \r\n", door.ErrMalformed},
		"v1 UDP":              {"PROXY UDP4 192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 unknown, longer":  {"PROXY UNKNOWNS\r\n", door.ErrMalformed},
		"v1 lower":            {"PROXY tcp4 192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 LF":               {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\n", door.ErrMalformed},
		"v1 CR":               {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\rx", door.ErrMalformed},
		"v1 CRs":              {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\r\n", door.ErrMalformed},
		"v1 6 in 4":           {"PROXY TCP4 2001:db8::7 2001:db8::1 51234 443\r\n", door.ErrMalformed},
		"v1 4 in 6":           {"PROXY TCP6 192.0.2.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 other kinds":      {"PROXY TCP4 192.0.2.7 2001:db8::1 51234 443\r\n", door.ErrMalformed},
		"v1 octal":            {"PROXY TCP4 192.0.02.7 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 zone":             {"PROXY TCP6 fe80::1%eth0 2001:db8::1 51234 443\r\n", door.ErrMalformed},
		"v1 name":             {"PROXY TCP4 localhost 198.51.100.1 51234 443\r\n", door.ErrMalformed},
		"v1 port zero first":  {"PROXY TCP4 192.0.2.7 198.51.100.1 051234 443\r\n", door.ErrMalformed},
		"v1 port signed":      {"PROXY TCP4 192.0.2.7 198.51.100.1 +5123 443\r\n", door.ErrMalformed},
		"v1 port large":       {"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", door.ErrMalformed},
		"v1 other port":       {"PROXY TCP4 192.0.2.7 198.51.100.1 51234 x\r\n", door.ErrMalformed},
		"v1 too long":         {"PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", door.ErrMalformed},
		"v1 without end":      {"PROXY UNKNOWN " + strings.Repeat("x", 200), door.ErrMalformed},
		"v2 version":          {string(v2(0x11, 0x11, tcp4)), door.ErrMalformed},
		"v2 version, early":   {string(v2(0x31, 0x11, tcp4)[:13]), door.ErrMalformed},
		"v2 command":          {string(v2(0x22, 0x11, tcp4)), door.ErrMalformed},
		"v2 UDP":              {string(v2(0x21, 0x12, tcp4)), door.ErrMalformed},
		"v2 UDP6":             {string(v2(0x21, 0x22, tcp6)), door.ErrMalformed},
		"v2 no transport":     {string(v2(0x21, 0x10, tcp4)), door.ErrMalformed},
		"v2 other family":     {string(v2(0x21, 0x41, tcp4)), door.ErrMalformed},
		"v2 short":            {string(v2(0x21, 0x11, tcp4[:11])), door.ErrMalformed},
		"v2 short 6":          {string(v2(0x21, 0x21, tcp6[:35])), door.ErrMalformed},
		"v2 short unix":       {string(v2(0x21, 0x31, make([]byte, 215))), door.ErrMalformed},
		"v2 half an entry":    {string(v2(0x21, 0x11, tcp4, []byte{4, 0})), door.ErrMalformed},
		"v2 long entry":       {string(v2(0x21, 0x11, tcp4, []byte{4, 0, 2, 0})), door.ErrMalformed},
		"v2 too large":        {string(v2(0x21, 0x11, tcp4, tlv(4, strings.Repeat("x", limit)))), door.ErrTooLarge},
		"v2 too large, early": {string(v2(0x21, 0x11, make([]byte, limit))[:16]), door.ErrTooLarge},
		"v2 checksum":         {sum(withChecksum(v2(0x21, 0x11, tcp4, tlv(3, "\x00\x00\x00\x00")))), door.ErrChecksum},
		"v2 checksum short":   {string(v2(0x21, 0x11, tcp4, tlv(3, "\x00\x00\x00"))), door.ErrMalformed},
		"v2 checksums":        {string(v2(0x21, 0x11, tcp4, tlv(3, "\x00\x00\x00\x00"), tlv(3, "\x00\x00\x00\x00"))), door.ErrChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			client, _, err := door.ParseHeader([]byte(tc.header), limit)
			if !errors.Is(err, tc.want) || client.IsValid() {
				t.Errorf("gives %s, %v; want %v", client, err, tc.want)
			}
		})
	}
}

// FuzzHeader says that a header is read the same however it arrives, that never
// more is asked for than it has, and that a header of version 1 is the one way
// to write what it says.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET"))
	f.Add([]byte("PROXY TCP6 ::1 ::1 1 1\r\n"))
	f.Add([]byte("PROXY UNKNOWN x\r\n"))
	f.Add(v2(0x21, 0x11, tcp4))
	f.Add(withChecksum(v2(0x21, 0x21, tcp6, tlv(3, "\x00\x00\x00\x00"))))
	f.Add(v2(0x20, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := door.ParseHeader(b, limit)
		have := 0
		for {
			c, want, e := door.ParseHeader(b[:have], limit)
			if e != nil {
				if !errors.Is(err, e) {
					t.Fatalf("%q: whole %v, byte by byte %v", b, err, e)
				}
				return
			}
			if want <= have {
				if c != client || want != n || err != nil {
					t.Fatalf("%q: whole %s %d %v, byte by byte %s %d", b, client, n, err, c, want)
				}
				break
			}
			if err == nil && n <= len(b) && want > n {
				t.Fatalf("%q: after %d bytes %d are asked for, of %d", b, have, want, n)
			}
			if want > max(limit, 107) {
				t.Fatalf("%q: %d bytes are asked for", b, want)
			}
			if want > len(b) {
				return
			}
			have = want
		}
		if line, ok := bytes.CutPrefix(b[:n], []byte("PROXY TCP")); ok && client.IsValid() {
			words := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
			if a, err := netip.ParseAddr(words[1]); err != nil || a.Unmap() != client.Addr() || len(words) != 5 {
				t.Fatalf("%q gives %s", b, client)
			}
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	for name, h := range map[string][]byte{
		"v1": []byte("PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"),
		"v2": v2(0x21, 0x11, tcp4, tlv(0x02, "example.com")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := door.ParseHeader(h, limit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
