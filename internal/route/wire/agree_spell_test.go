package wire_test

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// pieces are what messages are spelt with here: bytes alone seldom make a
// message, and never the one that two parsers read in different ways.
var pieces = strings.Split("GET |POST |HEAD |OPTIONS |CONNECT |/|/a|*|http://a|//a|?b=c|%2e| |\t|\r|\n|\r\n|\r\n\r\n|\x00|\x0b|\xa0|"+
	"HTTP/1.1|HTTP/1.0|HTTP/1.2| HTTP/1.1\r\n| HTTP/1.0\r\n| HTTP/1.1\n|POST / HTTP/1.1\r\nHost: a\r\n|GET /b HTTP/1.1\r\nHost: a\r\n\r\n|"+
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n|POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello|"+
	"HTTP/1.1 200 OK\r\n|HTTP/1.1 204 \r\n|HTTP/1.1 304 X\r\n|HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.0 200\r\n|HTTP/1.1 101 S\r\n|"+
	"Host: a\r\n|Host: b\r\n|Host: |Host:a\r\n|a|[::1]|:80|Host\r\n|"+
	"Content-Length: 5\r\n|Content-Length: |Content-Length:|content-length: 0\r\n|Content_Length: 5\r\n|5|0|1|+|-|0x|,|, |;|"+
	"Transfer-Encoding: chunked\r\n|Transfer-Encoding: |transfer-encoding: identity\r\n|Transfer_Encoding: chunked\r\n|chunked|gzip|"+
	"Connection: close\r\n|Connection: keep-alive\r\n|Connection: |Connection: content-length\r\n|close|keep-alive|Upgrade: websocket\r\n|Upgrade: h2c\r\n|upgrade|"+
	"Trailer: Content-Length\r\n|Trailer: X\r\n|Expect: 100-continue\r\n|X: y\r\n|X|:|: |"+
	"5\r\nhello\r\n|0\r\n\r\n|0\r\n|5;x=y\r\n|5;|hello|a\r\n|1\r\nx\r\n|ffffffffffffffff\r\n|00000000000000|X: y\r\n\r\n", "|")

// spell makes a text of pieces, one for each byte.
func spell(which []byte) []byte {
	var out []byte
	for _, b := range which {
		out = append(out, pieces[int(b)%len(pieces)]...)
	}
	return out
}

// FuzzSpelt compares all readings of texts that are made of pieces.
func FuzzSpelt(f *testing.F) {
	for i := range pieces {
		f.Add([]byte{byte(i), byte(i + 1), 14}, false, uint8(i))
	}
	f.Fuzz(func(t *testing.T, which []byte, head bool, piece uint8) {
		raw := spell(which)
		compare(t, raw, int(piece)+1)
		compareAnswers(t, raw, head, int(piece)+1)
	})
}

// TestSpelt does so for some thousand texts, the same ones each time: a head
// that is right, with pieces put into it, taken out and doubled.
func TestSpelt(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not a secret
	place := map[string]byte{}
	for i, p := range pieces {
		place[p] = byte(i)
	}
	var good [][]byte
	for _, words := range [][]string{
		{"POST ", "/a", " HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "\r\n", "hello", "GET /b HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"POST ", "/", " HTTP/1.1\r\n", "Host: a\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "5\r\nhello\r\n", "0\r\n", "X: y\r\n", "\r\n"},
		{"GET ", "http://a", "/", " HTTP/1.0\r\n", "Host: a\r\n", "Connection: keep-alive\r\n", "\r\n", "GET /b HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n", "\r\n", "hello", "HTTP/1.1 204 \r\n", "X: y\r\n", "\r\n"},
		{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "5;x=y\r\n", "hello", "\r\n", "0\r\n\r\n"},
	} {
		var text []byte
		for _, w := range words {
			at, ok := place[w]
			if !ok {
				t.Fatalf("%q is no piece", w)
			}
			text = append(text, at)
		}
		good = append(good, text)
	}
	rounds := 20_000
	if testing.Short() {
		rounds = 2_000
	}
	taken := 0
	for range rounds {
		text := append([]byte(nil), good[rnd.IntN(len(good))]...)
		for range rnd.IntN(4) {
			i, p := rnd.IntN(len(text)), byte(rnd.IntN(len(pieces)))
			switch rnd.IntN(4) {
			case 0:
				text = append(text[:i], text[i+1:]...)
			case 1:
				text = append(text[:i:i], append([]byte{text[i]}, text[i:]...)...)
			default:
				text = append(text[:i:i], append([]byte{p}, text[i:]...)...)
			}
		}
		raw := spell(text)
		if list, _ := ours(raw, 1<<20); len(list) > 0 {
			taken++
		}
		compare(t, raw, 1+rnd.IntN(16))
		compareAnswers(t, raw, rnd.IntN(4) == 0, 1+rnd.IntN(16))
		if t.Failed() {
			t.Fatalf("of %q", raw)
		}
	}
	if taken < rounds/20 {
		t.Errorf("we accepted only %d of %d: little was compared", taken, rounds)
	}
}
