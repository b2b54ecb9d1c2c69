package dns

import "strings"

// Names are kept in their wire form (RFC 1035 section 3.1), in lower case, as
// the keys of maps: "\x04shop\x04paas\x05local\x00". A label may hold any byte
// there, a dot too, so a written name could be read in two ways; this cannot.
const (
	maxName  = 255
	maxLabel = 63
	root     = "\x00"
)

// wireName returns the wire form of a written host name. Letters, digits,
// hyphens and underscores are allowed, and "*" as the first label.
func wireName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxName-2 {
		return "", false
	}
	b := make([]byte, 0, len(s)+2)
	for i, label := range strings.Split(s, ".") {
		if label == "" || len(label) > maxLabel || !plainLabel(label, i == 0) {
			return "", false
		}
		b = append(b, byte(len(label)))
		b = append(b, label...)
	}
	lower(b)
	return string(append(b, 0)), true
}

func plainLabel(label string, first bool) bool {
	if label == "*" {
		return first
	}
	for _, c := range []byte(label) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// lower makes letters small, in place. Lengths of labels are at most 63 and so
// never in the range of letters.
func lower(name []byte) {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c + 'a' - 'A'
		}
	}
}

// below says whether name is zone or below it; both in lower case.
func below(name []byte, zone string) bool {
	at := len(name) - len(zone)
	if at < 0 || string(name[at:]) != zone {
		return false
	}
	i := 0
	for i < at {
		i += int(name[i]) + 1
	}
	return i == at
}

// parent cuts the first label off; the root has none and stays.
func parent(name string) string {
	if name == root {
		return name
	}
	return name[int(name[0])+1:]
}

// letters counts what can be written in two cases.
func letters(name []byte) int {
	n := 0
	for _, c := range name {
		if 'a' <= c|0x20 && c|0x20 <= 'z' {
			n++
		}
	}
	return n
}
