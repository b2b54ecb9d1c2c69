package static

import (
	"errors"
)

// maxRanges is how many ranges one answer has at most. A request for more
// gets the whole file: nobody who plays a video asks for so many pieces.
const maxRanges = 16

// span is one range of a file.
type span struct{ offset, length int64 }

// errRange means that none of the ranges can be had: 416.
var errRange = errors.New("range not satisfiable")

// parseRange reads a Range header (RFC 9110 section 14.2) for a file of that
// size. No spans and no error mean that the header is ignored: another unit,
// too many ranges, or more bytes in all than the file has, which asks for the
// same bytes over and over.
func parseRange(list []span, header []byte, size int64) ([]span, error) {
	list = list[:0]
	rest, ok := afterUnit(header)
	if !ok {
		return list, nil
	}
	total, beyond := int64(0), false
	for more := true; more; {
		item := rest
		more = false
		for i, c := range rest {
			if c == ',' {
				item, rest, more = rest[:i], rest[i+1:], true
				break
			}
		}
		if item = trim(item); len(item) == 0 {
			continue
		}
		s, ok := parseSpan(item, size)
		if !ok {
			return nil, errRange
		}
		if s.length == 0 {
			beyond = true
			continue
		}
		if len(list) == maxRanges {
			return list[:0], nil
		}
		total += s.length // no overflow: 16 files
		list = append(list, s)
	}
	switch {
	case len(list) == 0 && beyond && size > 0:
		return nil, errRange
	case total > size:
		return list[:0], nil
	}
	return list, nil
}

// afterUnit takes "bytes=" off the front.
func afterUnit(h []byte) ([]byte, bool) {
	h = trim(h)
	const unit = "bytes="
	if len(h) < len(unit) {
		return nil, false
	}
	for i := range len(unit) {
		if c := h[i]; c != unit[i] && c|0x20 != unit[i] {
			return nil, false
		}
	}
	return h[len(unit):], true
}

// parseSpan reads "first-last", "first-" or "-last". The span is empty where
// the file has no byte of it.
func parseSpan(b []byte, size int64) (span, bool) {
	dash := -1
	for i, c := range b {
		if c == '-' {
			dash = i
			break
		}
	}
	if dash < 0 {
		return span{}, false
	}
	first, last := trim(b[:dash]), trim(b[dash+1:])
	if len(first) == 0 {
		n, ok := parsePosition(last)
		n = min(n, size)
		return span{size - n, n}, ok
	}
	from, ok := parsePosition(first)
	if !ok {
		return span{}, false
	}
	to := size - 1
	if len(last) > 0 {
		n, ok := parsePosition(last)
		if !ok || n < from {
			return span{}, false
		}
		to = min(n, to)
	}
	if from >= size {
		return span{}, true
	}
	return span{from, to - from + 1}, true
}

// parsePosition reads digits. What is too large for a number is as large as
// one gets: no file has that byte.
func parsePosition(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (1<<62)/10 {
			n = 1 << 62
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
