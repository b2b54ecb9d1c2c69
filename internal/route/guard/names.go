package guard

import "strings"

// nameSet is a set of header names that is asked for every line of a head. Most
// lines are told apart by their length alone.
type nameSet struct {
	lengths uint64   // bit n: there is a name of n&63 bytes
	names   []string // in lower case, with dashes where twins count
	twins   bool     // '_' counts as '-': many servers make them one variable
}

func (s *nameSet) add(name string) {
	name = strings.ToLower(name)
	if s.twins {
		name = strings.ReplaceAll(name, "_", "-")
	}
	if s.has([]byte(name)) {
		return
	}
	s.names = append(s.names, name)
	s.lengths |= 1 << (len(name) & 63)
}

// has reports whether name is in the set, without regard to case.
func (s *nameSet) has(name []byte) bool {
	if s.lengths&(1<<(len(name)&63)) == 0 {
		return false
	}
	for _, n := range s.names {
		if len(n) == len(name) && s.same(name, n) {
			return true
		}
	}
	return false
}

func (s *nameSet) same(name []byte, lower string) bool {
	for i, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_' && s.twins:
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
