package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"landward/internal/route/wire"
)

// parse finds the end of the head and parses it.
func parse(raw string) (*wire.Request, error) {
	end, err := wire.HeadEnd([]byte(raw), 0)
	if err != nil {
		return nil, err
	}
	if end == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	var r wire.Request
	return &r, r.Parse([]byte(raw)[:end])
}

func TestParseRefuses(t *testing.T) {
	many := strings.Repeat("A: b\r\n", wire.MaxFields)
	tokens := "Connection: " + strings.Repeat("a,", 40) + "b\r\n"
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"length and chunked":       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", wire.ErrFraming},
		"chunked and length":       {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", wire.ErrFraming},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", wire.ErrLengthTwice},
		"two equal lengths":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", wire.ErrLengthTwice},
		"length list":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", wire.ErrLength},
		"signed length":            {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", wire.ErrLength},
		"negative length":          {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", wire.ErrLength},
		"hex length":               {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", wire.ErrLength},
		"empty length":             {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", wire.ErrLength},
		"huge length":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", wire.ErrLength},
		"length of two words":      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n", wire.ErrLength},
		"coding we do not know":    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", wire.ErrCoding},
		"identity":                 {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", wire.ErrCoding},
		"chunked twice":            {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", wire.ErrCoding},
		"chunked with a tail":      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", wire.ErrCoding},
		"xchunked":                 {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", wire.ErrCoding},
		"chunked with vtab":        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", wire.ErrControl},
		"chunked in 1.0":           {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", wire.ErrCodingVersion},
		"folded line":              {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", wire.ErrFold},
		"first line folded":        {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", wire.ErrFold},
		"bare line feeds":          {"GET / HTTP/1.1\nHost: a\n\n", wire.ErrBareLF},
		"bare line feed in head":   {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", wire.ErrBareLF},
		"bare carriage return":     {"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", wire.ErrBareCR},
		"two carriage returns":     {"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", wire.ErrBareCR},
		"NUL in value":             {"GET / HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n", wire.ErrControl},
		"NUL in name":              {"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n", wire.ErrFieldName},
		"space before colon":       {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n", wire.ErrFieldName},
		"tab before colon":         {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\n", wire.ErrFieldName},
		"no colon":                 {"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", wire.ErrFieldName},
		"no name":                  {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", wire.ErrFieldName},
		"no host":                  {"GET / HTTP/1.1\r\nX: y\r\n\r\n", wire.ErrHost},
		"two hosts":                {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", wire.ErrHost},
		"two equal hosts":          {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", wire.ErrHost},
		"empty host":               {"GET / HTTP/1.1\r\nHost: \r\n\r\n", wire.ErrHost},
		"host with path":           {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", wire.ErrHost},
		"host with user":           {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", wire.ErrHost},
		"host list":                {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", wire.ErrHost},
		"host with backtick":       {"GET / HTTP/1.1\r\nHost: a`b\r\n\r\n", wire.ErrHost},
		"host with quote":          {"GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", wire.ErrHost},
		"host with bad port":       {"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", wire.ErrHost},
		"host with empty port":     {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", wire.ErrHost},
		"host with signed port":    {"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", wire.ErrHost},
		"host not ASCII":           {"GET / HTTP/1.1\r\nHost: ä\r\n\r\n", wire.ErrHost},
		"absolute, other host":     {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrHostMismatch},
		"absolute, other port":     {"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrHostMismatch},
		"absolute, no host":        {"GET http://a/ HTTP/1.0\r\n\r\n", wire.ErrHostMismatch},
		"absolute with user":       {"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrHostMismatch},
		"absolute, other scheme":   {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"absolute without path":    {"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"connect":                  {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", wire.ErrMethod},
		"trace":                    {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrMethod},
		"star for get":             {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"relative target":          {"GET foo HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"fragment":                 {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"half an escape":           {"GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"no escape":                {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"control in target":        {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrTarget},
		"tab in request line":      {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"two spaces":               {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"space after version":      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"space in target":          {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"no version":               {"GET /\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", wire.ErrVersion},
		"HTTP/1.2":                 {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", wire.ErrVersion},
		"lower-case version":       {"GET / http/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"empty line first":         {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"method with bracket":      {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", wire.ErrRequestLine},
		"too many lines":           {"GET / HTTP/1.1\r\nHost: a\r\n" + many + "\r\n", wire.ErrFieldCount},
		"too many connections":     {"GET / HTTP/1.1\r\nHost: a\r\n" + tokens + "\r\n", wire.ErrConnection},
		"bad connection":           {"GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", wire.ErrConnection},
		"unknown expectation":      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", wire.ErrExpect},
		"two upgrades":             {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", wire.ErrConnection},
		"underscore coding hidden": {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", wire.ErrFieldName},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(tc.raw); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for name, tc := range map[string]struct {
		raw, target, host string
		length            int64
		keep              bool
		upgrade           string
	}{
		"plain":          {"GET /a?b=c%zz HTTP/1.1\r\nHost: a\r\n\r\n", "/a?b=c%zz", "a", 0, true, ""},
		"absolute":       {"GET http://A:80/x HTTP/1.1\r\nHost: a:80\r\n\r\n", "/x", "a:80", 0, true, ""},
		"options":        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a", 0, true, ""},
		"closing":        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", "/", "a", 0, false, ""},
		"1.0":            {"GET / HTTP/1.0\r\n\r\n", "/", "", 0, false, ""},
		"1.0 kept":       {"GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n", "/", "a", 0, true, ""},
		"body":           {"POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length:  0042 \r\n\r\n", "/", "[::1]:80", 42, true, ""},
		"chunked":        {"POST / HTTP/1.1\r\nHost: a.\r\nTransfer-Encoding: Chunked\r\n\r\n", "/", "a.", -1, true, ""},
		"websocket":      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "/", "a", 0, true, "WebSocket"},
		"h2c refused":    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", "/", "a", 0, true, ""},
		"upgrade alone":  {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "/", "a", 0, true, ""},
		"upgrade body":   {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", "/", "a", 1, true, ""},
		"upgrade TLS":    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n", "/", "a", 0, true, ""},
		"bytes over 127": {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", "/\xc3\xa4", "a", 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parse(tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Target) != tc.target || string(r.Host()) != tc.host || r.Length() != tc.length ||
				r.KeepAlive() != tc.keep || string(r.Upgrade()) != tc.upgrade {
				t.Fatalf("got target %q host %q length %d keep %v upgrade %q", r.Target, r.Host(), r.Length(), r.KeepAlive(), r.Upgrade())
			}
		})
	}
}

func TestDroppedFields(t *testing.T) {
	raw := "GET / HTTP/1.1\r\nHost: a\r\n" +
		"Connection: close, x-secret, X-REAL-IP, Keep-Alive\r\nKeep-Alive: timeout=5\r\nX-Secret: 1\r\n" +
		"X-Real-IP: 1\r\nx_real_ip: 1\r\nX-Forwarded-For: 1\r\nX_FORWARDED_PROTO: 1\r\nx-forwarded_host: 1\r\n" +
		"X-Forwarded: 1\r\nForwarded: for=1\r\nX-Request-ID: 1\r\nX_Request_Id: 1\r\nProxy: http://evil\r\n" +
		"Proxy-Connection: x\r\nProxy-Authorization: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" +
		"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n" +
		"Proxy_Authorization: x\r\nPROXY_CONNECTION: x\r\nKeep_Alive: x\r\nhttp2_settings: x\r\n" +
		"Accept: */*\r\nCookie: a=b\r\nX-Other: y\r\nX-Forward: kept\r\n\r\n"
	r, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, f := range r.Fields() {
		if !f.Kind.Dropped() {
			kept = append(kept, string(f.Name))
		}
	}
	if got, want := strings.Join(kept, " "), "Accept Cookie X-Other X-Forward"; got != want {
		t.Fatalf("kept %q, want %q", got, want)
	}
}

func TestHostname(t *testing.T) {
	for host, want := range map[string]string{
		"A.Example.": "a.example", "a:80": "a", "A.B.:8080": "a.b", "[::1]:80": "[::1]", "[::1]": "[::1]", "": "",
	} {
		if got := string(wire.Hostname(nil, []byte(host))); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
