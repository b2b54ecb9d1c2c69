package wire_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"landward/internal/route/wire"
	"landward/internal/route/wire/wiretest"
)

// reply is one answer as a parser has read it.
type reply struct {
	status  int
	framing wire.Framing
	length  int64 // announced; -1: not
	body    string
	last    bool // the connection ends after it
	end     int
}

// ourAnswer reads one answer of a connection that ends behind raw.
func ourAnswer(raw []byte, head bool, piece int) (a reply, err error) {
	end, seen := 0, 0
	for have := 0; end == 0; seen = have {
		if have == len(raw) {
			return a, io.ErrUnexpectedEOF
		}
		have = min(have+piece, len(raw))
		if end, err = wire.HeadEnd(raw[:have], seen); err != nil {
			return a, err
		}
	}
	var p wire.Answer
	if err := p.Parse(raw[:end]); err != nil {
		return a, err
	}
	a = reply{status: p.Status, framing: p.Framing(head), length: p.Length(), last: !p.KeepAlive()}
	rest := raw[end:]
	switch a.framing {
	case wire.ByLength:
		if int64(len(rest)) < a.length {
			return a, io.ErrUnexpectedEOF
		}
		a.body, a.end = string(rest[:a.length]), end+int(a.length)
	case wire.ByChunks:
		body, used, err := dechunk(rest, piece)
		a.body, a.end = string(body), end+used
		return a, err
	case wire.ByClosing:
		a.body, a.end, a.last = string(rest), len(raw), true
	default:
		a.end = end
	}
	return a, nil
}

// theirAnswer is ourAnswer by net/http.
func (r *reader) theirAnswer(head bool) (a reply, err error) {
	q := &http.Request{Method: http.MethodGet}
	if head {
		q.Method = http.MethodHead
	}
	resp, err := http.ReadResponse(r.Reader, q)
	if err != nil {
		return a, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, fmt.Errorf("body: %w", err)
	}
	a = reply{status: resp.StatusCode, length: resp.ContentLength, body: string(body), last: resp.Close, end: r.at()}
	chunked := len(resp.TransferEncoding) == 1 && resp.TransferEncoding[0] == "chunked"
	switch {
	case resp.Body == http.NoBody:
		// An empty body by length is none for net/http.
		a.framing = wire.NoBody
		if q.Method == http.MethodGet && resp.StatusCode >= 200 && resp.StatusCode != 204 && resp.StatusCode != 304 && resp.ContentLength == 0 {
			a.framing = wire.ByLength
		}
	case chunked:
		a.framing = wire.ByChunks
	case resp.ContentLength >= 0:
		a.framing = wire.ByLength
	default:
		a.framing = wire.ByClosing
	}
	return a, nil
}

// compareAnswers holds that every answer that we accept of raw, one behind the
// other, is the same for net/http.
func compareAnswers(t *testing.T, raw []byte, head bool, piece int) {
	t.Helper()
	in := newReader(raw)
	for at, i := 0, 0; ; i++ {
		a, err := ourAnswer(raw[at:], head, piece)
		if err != nil {
			return
		}
		at += a.end
		a.end = at
		got, err := in.theirAnswer(head)
		if err != nil {
			t.Fatalf("answer %d, %+v: we accept what net/http refuses: %v", i, a, err)
		}
		// What an answer without a body announces is about another one.
		if a.framing == wire.NoBody {
			got.length = a.length
		}
		if got != a {
			t.Fatalf("answer %d:\n    ours %+v\nnet/http %+v", i, a, got)
		}
		if a.last {
			return
		}
	}
}

// FuzzAnswersAgainstNetHTTP is FuzzAgainstNetHTTP for the other direction.
func FuzzAnswersAgainstNetHTTP(f *testing.F) {
	for i, c := range wiretest.Answers() {
		f.Add([]byte(c.Raw), c.Method == http.MethodHead, uint8(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool, piece uint8) {
		compareAnswers(t, raw, head, int(piece)+1)
	})
}

// TestAnswerCorpus holds what becomes of each answer of the corpus.
func TestAnswerCorpus(t *testing.T) {
	for _, c := range wiretest.Answers() {
		t.Run(c.Name, func(t *testing.T) {
			head := c.Method == http.MethodHead
			for _, piece := range []int{1, 2, 5, 64, 1 << 20} {
				raw := []byte(c.Raw)
				var a reply
				var err error
				for a.status < 200 {
					raw = raw[a.end:]
					if a, err = ourAnswer(raw, head, piece); err != nil || a.status == http.StatusSwitchingProtocols {
						break
					}
				}
				switch {
				case !errors.Is(err, c.Err):
					t.Errorf("pieces of %d: error %v, want %v", piece, err, c.Err)
				case err == nil && (a.status != c.Status || a.body != c.Body):
					t.Errorf("pieces of %d: %d %q, want %d %q", piece, a.status, a.body, c.Status, c.Body)
				case err == nil && c.Surplus != (a.end < len(raw)):
					t.Errorf("pieces of %d: %d of %d bytes, surplus is %v", piece, a.end, len(raw), c.Surplus)
				}
				compareAnswers(t, []byte(c.Raw), head, piece)
			}
		})
	}
}

// TestStricterAnswers lists what net/http takes for an answer and we do not.
func TestStricterAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"bare line feeds":        {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", wire.ErrBareLF},
		"folded line":            {"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n", wire.ErrFold},
		"two equal lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", wire.ErrLengthTwice},
		"length and chunked":     {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", wire.ErrFraming},
		"chunked in HTTP/1.0":    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", wire.ErrCodingVersion},
		"a status above 599":     {"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n", wire.ErrStatusLine},
		"HTTP/1.2":               {"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", wire.ErrStatusLine},
		"a tab in front of a no": {"HTTP/1.1   200 OK\r\nContent-Length: 0\r\n\r\n", wire.ErrStatusLine},
		"a control in the line":  {"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n", wire.ErrStatusLine},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ourAnswer([]byte(tc.raw), false, 1<<20); !errors.Is(err, tc.want) {
				t.Errorf("ours: %v, want %v", err, tc.want)
			}
			if _, err := newReader([]byte(tc.raw)).theirAnswer(false); err != nil {
				t.Errorf("net/http refuses it, too: %v", err)
			}
		})
	}
}
