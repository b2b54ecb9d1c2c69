package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"landward/internal/route/edge"
	"landward/internal/route/plane"
)

// bounded makes an edge that takes little.
func bounded(o *edge.Options) {
	o.HTTP3 = true
	o.Limits = plane.Limits{Header: 8 << 10, MaxBody: 64 << 10, Tick: 5 * time.Millisecond}
}

// endless repeats a text.
type endless struct {
	text string
	at   int
}

// Read goes on with the text.
func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		m := copy(p[n:], e.text[e.at:])
		n += m
		e.at = (e.at + m) % len(e.text)
	}
	return len(p), nil
}

// flood is a text, and then another one without end, where there is one.
func flood(text, more string) io.Reader {
	if more == "" {
		return strings.NewReader(text)
	}
	return io.MultiReader(strings.NewReader(text), &endless{text: more})
}

// TestHeadFloods: a head has a limit in lines and in bytes, and who sends more
// is told so while he still does.
func TestHeadFloods(t *testing.T) {
	r := besieged(t, bounded)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for name, tc := range map[string]struct{ text, more string }{
		"many lines":          {strings.Repeat("X: y\r\n", 200) + "\r\n", ""},
		"a long line":         {"X: " + strings.Repeat("y", 10<<10) + "\r\n\r\n", ""},
		"lines without end":   {"", "X: y\r\n"},
		"a line without end":  {"X: ", "y"},
		"a name without end":  {"", "x"},
		"colons without end":  {"", ":"},
		"cookies without end": {"", "Cookie: a=b\r\n"},
		"hosts without end":   {"", "Host: shop.test\r\n"},
	} {
		for _, server := range []string{"", "shop.test"} {
			t.Run("TLS "[:4*min(len(server), 1)]+name, func(t *testing.T) {
				c := r.dial(t, server)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = io.Copy(c, flood(ask+tc.text, tc.more)) // until the edge has had enough
				}()
				resp, _, err := hears(bufio.NewReader(c), http.MethodGet)
				if err != nil || resp.StatusCode != 431 {
					t.Errorf("%v, %v, want 431", resp, err)
				}
				_ = c.Close()
				<-sent
			})
		}
	}
	t.Run("a target without end", func(t *testing.T) {
		c := r.dial(t, "")
		go func() { _, _ = io.Copy(c, flood("GET /", "a")) }()
		if resp, _, err := hears(bufio.NewReader(c), http.MethodGet); err != nil || resp.StatusCode != 431 {
			t.Errorf("%v, %v, want 431", resp, err)
		}
		_ = c.Close()
	})
	r.each(t, "shop.test", func(t *testing.T, proto string, c *http.Client) {
		many := http.Header{}
		for i := range 200 {
			many[fmt.Sprintf("x-%d", i)] = []string{"y"}
		}
		for name, h := range map[string]http.Header{"many lines": many, "a long line": {"x": {strings.Repeat("y", 10<<10)}}} {
			status, _, err := send(t, c, http.MethodGet, "shop.test", "/a", h, nil)
			if (err != nil || status != 431) && (err == nil || proto == "HTTP/1.1") {
				t.Errorf("%s: %d, %v, want 431 or a reset", name, status, err)
			}
		}
	})
	if w.count() > 0 {
		t.Errorf("the app saw %q", w.last(t))
	}
	// A limit is no obstacle to who is below it.
	if resp, _ := r.says(t, "", ask+strings.Repeat("X: y\r\n", 100)+"\r\n"); resp.StatusCode != 200 {
		t.Errorf("100 lines: %s", resp.Status)
	}
}

// TestHTTP2Floods: what costs us and carries nothing ends the connection.
func TestHTTP2Floods(t *testing.T) {
	r := besieged(t, bounded)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for name, send := range map[string]func(f *framer) error{
		"CONTINUATION": func(f *framer) error { return f.WriteContinuation(1, false, nil) },
		"PING":         func(f *framer) error { return f.WritePing(false, [8]byte{}) },
		"SETTINGS":     func(f *framer) error { return f.WriteSettings() },
		"PRIORITY":     func(f *framer) error { return f.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"empty DATA":   func(f *framer) error { return f.WriteData(1, false, nil) },
		"WINDOW_UPDATE": func(f *framer) error {
			return f.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, []byte{0, 0, 0, 1})
		},
		"unknown": func(f *framer) error { return f.WriteRawFrame(0xbe, 0, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			f := r.h2(t)
			f.hello()
			if name == "CONTINUATION" {
				f.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head("GET", "/a")[:3], EndStream: true}))
			} else {
				f.request(1, false, "POST", "/a")
			}
			go func() {
				for send(f) == nil { // until the edge has had enough
				}
			}()
			if h := f.untilEnd(); !h.away {
				t.Errorf("%+v, want GOAWAY", h)
			}
		})
	}
	t.Run("rapid reset", func(t *testing.T) {
		f := r.h2(t)
		f.hello()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for id := uint32(1); ; id += 2 {
				f.buf.Reset()
				block := []byte{0x82, 0x87, 0x84, 0x41, 9} // GET, https, /, :authority
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: append(block, "shop.test"...), EndStream: true, EndHeaders: true}) != nil ||
					f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}()
		if h := f.untilEnd(); !h.away {
			t.Errorf("%+v, want GOAWAY", h)
		}
		_ = f.c.Close()
		<-ended
	})
	// Others are served.
	if resp, body := r.says(t, "shop.test", ask+"\r\n"); resp.StatusCode != 200 || body != "GET /a" {
		t.Errorf("afterwards: %s %q", resp.Status, body)
	}
}

// TestBodyFloods: a body has a limit, announced or not, and an app never sees a
// request over it as whole.
func TestBodyFloods(t *testing.T) {
	r := besieged(t, bounded)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	post := "POST" + ask[3:]
	for name, tc := range map[string]struct{ text, more string }{
		"announced":        {"Content-Length: 65537\r\n\r\n", "x"},
		"announced, huge":  {"Content-Length: 999999999999999999\r\n\r\n", "x"},
		"not sent at all":  {"Content-Length: 65537\r\n\r\n", ""},
		"to be waited for": {"Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", ""},
		"chunks":           {"Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"},
		"one chunk":        {"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "x"},
		"small chunks":     {"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
	} {
		for _, server := range []string{"", "shop.test"} {
			t.Run("TLS "[:4*min(len(server), 1)]+name, func(t *testing.T) {
				c := r.dial(t, server)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = io.Copy(c, flood(post+tc.text, tc.more)) // until the edge has had enough
				}()
				resp, _, err := hears(bufio.NewReader(c), http.MethodPost)
				if err != nil || resp.StatusCode != 413 || !resp.Close {
					t.Errorf("%v, %v, want 413", resp, err)
				}
				_ = c.Close()
				<-sent
			})
		}
	}
	r.each(t, "shop.test", func(t *testing.T, proto string, c *http.Client) {
		for name, length := range map[string]int64{"announced": 1 << 20, "not announced": -1} {
			req, err := http.NewRequest(http.MethodPost, "https://shop.test/a", io.LimitReader(&endless{text: "x"}, 1<<20))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			resp, err := c.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if err == nil && resp.StatusCode != 413 || err != nil && proto != "HTTP/1.1" && length > 0 {
				t.Errorf("%s: %v, %v, want 413", name, resp, err)
			}
		}
		status, _, err := send(t, c, http.MethodPost, "shop.test", "/fits", nil, strings.NewReader(strings.Repeat("x", 64<<10)))
		if err != nil || status != 200 {
			t.Errorf("as much as may be: %d, %v", status, err)
		}
	})
	r.apply(t)
	for _, s := range w.all(t) {
		if s.RequestURI != "/fits" || len(s.body) != 64<<10 {
			t.Errorf("the app saw %s %s with %d bytes", s.Method, s.RequestURI, len(s.body))
		}
	}
}
