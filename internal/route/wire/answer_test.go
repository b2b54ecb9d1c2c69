package wire_test

import (
	"errors"
	"testing"

	"landward/internal/route/wire"
)

func parseAnswer(raw string) (*wire.Answer, error) {
	end, err := wire.HeadEnd([]byte(raw), 0)
	if err != nil {
		return nil, err
	}
	var a wire.Answer
	return &a, a.Parse([]byte(raw)[:end])
}

func TestParseAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		raw     string
		head    bool
		status  int
		framing wire.Framing
		keep    bool
		idle    int
	}{
		"length":      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, 200, wire.ByLength, true, 0},
		"to HEAD":     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, 200, wire.NoBody, true, 0},
		"chunked":     {"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, 200, wire.ByChunks, true, 0},
		"closing":     {"HTTP/1.0 404 Not Found\r\n\r\n", false, 404, wire.ByClosing, false, 0},
		"no content":  {"HTTP/1.1 204 \r\n\r\n", false, 204, wire.NoBody, true, 0},
		"unmodified":  {"HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n", false, 304, wire.NoBody, true, 0},
		"keep for 5":  {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: max=3, timeout=5\r\nContent-Length: 0\r\n\r\n", false, 200, wire.ByLength, true, 5},
		"closes":      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false, 200, wire.ByLength, false, 0},
		"1.0 that is": {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", false, 200, wire.ByLength, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := parseAnswer(tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != tc.status || a.Framing(tc.head) != tc.framing || a.KeepAlive() != tc.keep || a.IdleFor() != tc.idle {
				t.Fatalf("got %d framing %v keep %v idle %d", a.Status, a.Framing(tc.head), a.KeepAlive(), a.IdleFor())
			}
		})
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"both framings":  {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", wire.ErrFraming},
		"two lengths":    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", wire.ErrLengthTwice},
		"not HTTP":       {"SSH-2.0-OpenSSH\r\n\r\n", wire.ErrStatusLine},
		"HTTP/2":         {"HTTP/2.0 200 OK\r\n\r\n", wire.ErrStatusLine},
		"two digits":     {"HTTP/1.1 20 OK\r\n\r\n", wire.ErrStatusLine},
		"four digits":    {"HTTP/1.1 2000 OK\r\n\r\n", wire.ErrStatusLine},
		"status 99":      {"HTTP/1.1 099 OK\r\n\r\n", wire.ErrStatusLine},
		"status 600":     {"HTTP/1.1 600 OK\r\n\r\n", wire.ErrStatusLine},
		"control":        {"HTTP/1.1 200 O\x00K\r\n\r\n", wire.ErrStatusLine},
		"folded":         {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", wire.ErrFold},
		"bare feed":      {"HTTP/1.1 200 OK\nA: b\n\n", wire.ErrBareLF},
		"chunked in 1.0": {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", wire.ErrCodingVersion},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseAnswer(tc.raw); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}
