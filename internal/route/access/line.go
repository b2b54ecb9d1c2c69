package access

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"time"

	"landward/internal/route"
)

// Lengths in bytes beyond which a value is cut.
const (
	maxPath    = 2048
	maxMethod  = 32
	maxHost    = 255
	maxUnit    = 80
	maxID      = 128
	maxProto   = 16
	maxAgent   = 256
	maxReferer = 512
)

// append appends one line for e. The keys are: at, app_id, method, path, host,
// status, code, unit, in, out, ms, connect_ms, service_ms, id, ip, proto,
// scheme, user_agent, referer. Package accesslog reads them, and logs some.
func (f *file) append(b []byte, e *route.Entry) []byte {
	b = append(b, `{"at":"`...)
	b = f.appendTime(b, e.At)
	b = append(b, `","app_id":`...)
	b = strconv.AppendInt(b, e.AppID, 10)
	b = append(b, `,"method":"`...)
	b = appendText(b, e.Method, maxMethod)
	b = append(b, `","path":"`...)
	b = appendBytes(b, e.Path, maxPath)
	b = append(b, `","host":"`...)
	b = appendBytes(b, e.Host, maxHost)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	if e.Code != "" {
		b = append(b, `,"code":"`...)
		b = append(b, e.Code...)
		b = append(b, '"')
	}
	if e.Unit != "" {
		b = append(b, `,"unit":"`...)
		b = appendText(b, e.Unit, maxUnit)
		b = append(b, '"')
	}
	b = append(b, `,"in":`...)
	b = strconv.AppendInt(b, e.In, 10)
	b = append(b, `,"out":`...)
	b = strconv.AppendInt(b, e.Out, 10)
	b = append(b, `,"ms":`...)
	b = appendMillis(b, e.Total)
	b = append(b, `,"connect_ms":`...)
	b = appendMillis(b, e.Connect)
	b = append(b, `,"service_ms":`...)
	b = appendMillis(b, e.Service)
	b = append(b, `,"id":"`...)
	b = appendBytes(b, e.ID, maxID)
	b = append(b, `","ip":"`...)
	if e.IP.IsValid() {
		// A zone may hold anything, and says nothing to others.
		b = e.IP.WithZone("").AppendTo(b)
	}
	return appendClient(b, e)
}

// appendClient appends what a line ends with: how the client came, and what it
// says of itself.
func appendClient(b []byte, e *route.Entry) []byte {
	if e.Proto != "" {
		b = append(b, `","proto":"`...)
		b = appendText(b, e.Proto, maxProto)
	} else {
		b = append(b, `","proto":"HTTP/1.`...)
		b = append(b, '0'+byte(e.Minor)) //nolint:gosec // 0 or 1
	}
	if e.TLS {
		b = append(b, `","scheme":"https"`...)
	} else {
		b = append(b, `","scheme":"http"`...)
	}
	if len(e.Agent) > 0 {
		b = append(b, `,"user_agent":"`...)
		b = appendBytes(b, e.Agent, maxAgent)
		b = append(b, '"')
	}
	// A query may hold secrets: where a path is shown without, a referer is too.
	referer, _, _ := bytes.Cut(e.Referer, []byte{'?'})
	referer, _, _ = bytes.Cut(referer, []byte{'#'})
	if len(referer) > 0 {
		b = append(b, `,"referer":"`...)
		b = appendBytes(b, referer, maxReferer)
		b = append(b, '"')
	}
	return append(b, "}\n"...)
}

// appendTime appends t in UTC with milliseconds, by RFC 3339.
func (f *file) appendTime(b []byte, t time.Time) []byte {
	if sec := t.Unix(); sec != f.sec {
		f.sec = sec
		t.UTC().AppendFormat(f.stamp[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, f.stamp[:]...)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// appendMillis appends d in milliseconds with three digits after the point.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	us %= 1000
	return append(b, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

// appendBytes is appendText for what is long and nearly always plain.
func appendBytes(b, s []byte, limit int) []byte {
	if len(s) > limit {
		s = s[:limit]
	}
	if plain(s) {
		return append(b, s...)
	}
	return appendText(b, s, limit)
}

// plain reports whether s can stand in a JSON string as it is: printable ASCII
// without quotes and backslashes. It looks at eight bytes at a time: x-n*ones
// has a high bit, where x has none, exactly if a byte of x is less than n.
func plain(s []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	for ; len(s) >= 8; s = s[8:] {
		x := binary.LittleEndian.Uint64(s)
		quote, slash, del := x^'"'*ones, x^'\\'*ones, x^0x7f*ones
		if (x|(x-0x20*ones)&^x|(quote-ones)&^quote|(slash-ones)&^slash|(del-ones)&^del)&highs != 0 {
			return false
		}
	}
	for _, c := range s {
		if !clean(c) {
			return false
		}
	}
	return true
}

func clean(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

// appendText appends s inside a JSON string. What is not plain ASCII is written
// as in a URL, so that a line can be shown in any terminal and parsed by
// anything.
func appendText[T string | []byte](b []byte, s T, limit int) []byte {
	const digits = "0123456789ABCDEF"
	if len(s) > limit {
		s = s[:limit]
	}
	for i := range len(s) {
		switch c := s[i]; {
		case clean(c):
			b = append(b, c)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}
