package access

import (
	"strconv"
	"time"

	"landward/internal/route"
)

// Lengths beyond which a value is cut.
const (
	maxPath   = 2048
	maxMethod = 32
)

// append appends one line for e. The keys are: at, app_id, method, path, host,
// status, code, unit, in, out, ms, connect_ms, service_ms, id, ip, proto.
func (f *file) append(b []byte, e *route.Entry) []byte {
	b = append(b, `{"at":"`...)
	b = f.appendTime(b, e.At)
	b = append(b, `","app_id":`...)
	b = strconv.AppendInt(b, e.AppID, 10)
	b = append(b, `,"method":"`...)
	b = appendText(b, e.Method, maxMethod)
	b = append(b, `","path":"`...)
	b = appendText(b, e.Path, maxPath)
	b = append(b, `","host":"`...)
	b = appendText(b, e.Host, 255)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	if e.Code != "" {
		b = append(b, `,"code":"`...)
		b = append(b, e.Code...)
		b = append(b, '"')
	}
	if e.Unit != "" {
		b = append(b, `,"unit":"`...)
		b = appendText(b, e.Unit, 80)
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
	b = append(b, e.ID...)
	b = append(b, `","ip":"`...)
	if e.IP.IsValid() {
		b = e.IP.AppendTo(b)
	}
	b = append(b, `","proto":"HTTP/1.`...)
	b = append(b, '0'+byte(e.Minor)) //nolint:gosec // 0 or 1
	return append(b, "\"}\n"...)
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
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
