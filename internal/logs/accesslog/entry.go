package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Entry is one line: one request.
type Entry struct {
	At        time.Time `json:"at"` // when the request began
	AppID     int64     `json:"app_id"`
	Method    string    `json:"method"`
	Path      string    `json:"path"` // without the query
	Host      string    `json:"host"`
	Status    int       `json:"status"`         // 0: the connection ended before an answer
	Code      string    `json:"code,omitempty"` // why the edge answered itself, or cut the answer
	Unit      string    `json:"unit,omitempty"` // who answered: "web.1"
	In        int64     `json:"in"`             // bytes of the request's body
	Out       int64     `json:"out"`            // bytes of the answer
	MS        float64   `json:"ms"`             // milliseconds until the answer's last byte
	ConnectMS float64   `json:"connect_ms"`     // milliseconds until there was a connection to the app
	ServiceMS float64   `json:"service_ms"`     // milliseconds from then to the answer's head
	ID        string    `json:"id"`
	IP        string    `json:"ip"`
	Proto     string    `json:"proto"`  // "HTTP/1.1", "HTTP/2.0"
	Scheme    string    `json:"scheme"` // "http", "https"
	Agent     string    `json:"user_agent,omitempty"`
	Referer   string    `json:"referer,omitempty"` // without the query
}

// Parse reads a line. It refuses what is no line of an access log, such as one
// that a crash has cut off.
func Parse(line []byte, e *Entry) error {
	*e = Entry{}
	if !whole(line) {
		return fmt.Errorf("read access log line: it is not whole")
	}
	if err := json.Unmarshal(line, e); err != nil {
		return fmt.Errorf("read access log line: %w", err)
	}
	return nil
}

// A line begins with its time, always as long and always in UTC, so that the
// times of two lines compare as text.
const (
	lineFront = `{"at":"`
	timeForm  = "2006-01-02T15:04:05.000Z"
)

// whole reports whether line looks like one that was written to its end.
func whole(line []byte) bool {
	return len(line) > len(lineFront)+len(timeForm) && bytes.HasPrefix(line, []byte(lineFront)) && line[len(line)-1] == '}'
}

// timeOf is the time of a whole line, as text.
func timeOf(line []byte) []byte { return line[len(lineFront) : len(lineFront)+len(timeForm)] }

// Began returns the time of a line without reading the rest of it.
func Began(line []byte) (time.Time, bool) {
	if len(line) < len(lineFront)+len(timeForm) || !bytes.HasPrefix(line, []byte(lineFront)) {
		return time.Time{}, false
	}
	at, err := time.Parse(timeForm, string(timeOf(line)))
	return at, err == nil
}

// Combined appends line to dst in the Combined Log Format of the common web
// servers, with a newline. It reports false, and appends nothing, where line is
// not whole. Times are in UTC; a request whose client went away before there
// was an answer has the status 499.
func Combined(dst, line []byte) ([]byte, bool) {
	var e Entry
	if Parse(line, &e) != nil {
		return dst, false
	}
	dst = appendWord(dst, e.IP)
	dst = append(dst, " - - ["...)
	dst = e.At.UTC().AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	if e.Method == "" { // what came was no HTTP
		dst = append(dst, '-')
	} else {
		dst = appendQuoted(dst, e.Method)
		dst = append(dst, ' ')
		dst = appendQuoted(dst, orDash(e.Path))
		dst = append(dst, ' ')
		dst = appendQuoted(dst, orDash(e.Proto))
	}
	dst = append(dst, `" `...)
	if e.Status <= 0 {
		e.Status = 499
	}
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, max(e.Out, 0), 10)
	dst = append(dst, ` "`...)
	dst = appendQuoted(dst, orDash(e.Referer))
	dst = append(dst, `" "`...)
	dst = appendQuoted(dst, orDash(e.Agent))
	return append(dst, "\"\n"...), true
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// appendWord appends a field that stands without quotes.
func appendWord(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '[' {
			return append(dst, '-')
		}
	}
	return append(dst, orDash(s)...)
}

// appendQuoted appends a field that stands in quotes. Backslash and quote are
// escaped, and everything that is not plain ASCII, as those servers do it.
func appendQuoted(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c >= 0x7f:
			dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
