package h2_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"landward/internal/route/h2"
	"landward/internal/waittest"
)

// TestBodyErrors holds that a body must be what its head has announced.
func TestBodyErrors(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	tests := []struct {
		name string
		code http2.ErrCode
		send func(p *peer)
	}{
		{"more than announced", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count", "content-length 3")...)
			p.write(raw(0, 1, 1, "abcd"))
		}},
		{"more than announced, in two", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count", "content-length 3")...)
			p.write(raw(0, 0, 1, "abc") + raw(0, 0, 1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		}},
		{"less than announced", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count", "content-length 3")...)
			p.write(raw(0, 1, 1, "ab"))
		}},
		{"less than announced, with a trailer", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count", "content-length 3")...)
			p.write(raw(0, 0, 1, "ab"))
			p.headers(1, true, "x-sum 1")
		}},
		{"trailer without end", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count")...)
			p.headers(1, false, "x-sum 1")
		}},
		{"pseudo-header in a trailer", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count")...)
			p.headers(1, true, ":path /")
		}},
		{"CRLF in a trailer", http2.ErrCodeProtocol, func(p *peer) {
			p.headers(1, false, ask("POST", "/count")...)
			p.headers(1, true, "x-sum 1\r\n\r\nGET / HTTP/1.1")
		}},
		{"data after the end", http2.ErrCodeStreamClosed, func(p *peer) {
			p.get(1, "/wait")
			p.write(raw(0, 0, 1, "x"))
		}},
		{"trailer after the end", http2.ErrCodeStreamClosed, func(p *peer) {
			p.get(1, "/wait")
			p.headers(1, true, "x-sum 1")
		}},
		{"window of a stream too large", http2.ErrCodeFlowControl, func(p *peer) {
			p.get(1, "/wait")
			p.write(raw(8, 0, 1, "\x7f\xff\xff\xff"))
		}},
		{"window update of nothing", http2.ErrCodeProtocol, func(p *peer) {
			p.get(1, "/wait")
			p.write(raw(8, 0, 1, "\x00\x00\x00\x00"))
		}},
		{"depends on itself", http2.ErrCodeProtocol, func(p *peer) {
			p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(ask("GET", "/")...), EndStream: true,
				EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 1}}))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := r.dial(t)
			tt.send(p)
			p.wantReset(1, tt.code)
			p.get(3, "/hello")
			if a := p.ended(3); a.body != "hello, /hello" {
				t.Errorf("afterwards: %+v", a)
			}
		})
	}
	waittest.Eventually(t, "lanes closed", func() bool { return r.app.Open.Load() <= int64(len(tests)) })
}

// TestAnswersOfOurs are those that no app sees.
func TestAnswersOfOurs(t *testing.T) {
	r := newRig(t, h2.Limits{Header: 8 << 10}, false)
	p := r.dial(t)
	for i, tt := range []struct {
		status string
		fields []string
	}{
		{"405", []string{":method CONNECT", ":authority shop.test:443"}},
		{"501", []string{":method CONNECT", ":protocol other", ":scheme http", ":path /", ":authority shop.test"}},
		{"431", ask("GET", "/", "x-large "+strings.Repeat("y", 9000))},
		{"431", ask("GET", "/", strings.Split(strings.Repeat("a b\n", 300)+"c d", "\n")...)},
		{"431", ask("GET", "/"+strings.Repeat("y", 9000))},
	} {
		for _, end := range []bool{true, false} {
			id := uint32(i*4 + 1)
			if !end {
				id += 2
			}
			p.headers(id, end, tt.fields...)
			a := p.ended(id)
			if a.status() != tt.status || !a.ended {
				t.Errorf("%d: %+v, want %s", i, a, tt.status)
			}
			if !end {
				p.wantReset(id, http2.ErrCodeNo)
				p.write(raw(0, 1, id, "on its way"))
			}
		}
	}
	p.get(99, "/hello")
	if a := p.ended(99); a.body != "hello, /hello" {
		t.Errorf("afterwards: %+v", a)
	}
	if n := r.app.Requests.Load(); n != 1 {
		t.Errorf("the app saw %d requests", n)
	}
}

// TestAccepted are requests at the edge of what is allowed.
func TestAccepted(t *testing.T) {
	r := newRig(t, h2.Limits{}, false)
	p := r.dial(t)
	for i, tt := range []struct {
		name   string
		fields []string
		want   string // in the head that the app sees
	}{
		{"host instead of :authority", []string{":method GET", ":scheme http", ":path /head", "host shop.test"}, "\r\nhost: shop.test\r\n"},
		{"host agrees", ask("GET", "/head", "host SHOP.test"), "\r\nhost: shop.test\r\n"},
		{"te trailers", ask("GET", "/head", "te trailers"), "\r\nte: trailers\r\n"},
		{"empty value", ask("GET", "/head", "x-empty "), "\r\nx-empty: \r\n"},
		{"bytes above ASCII", ask("GET", "/head", "x-high \xc3\xa9"), "\r\nx-high: \xc3\xa9\r\n"},
		{"content-length 0", ask("POST", "/head", "content-length 0"), "\r\ncontent-length: 0\r\n"},
		{"own method", ask("PURGE", "/head"), "PURGE /head HTTP/1.1\r\n"},
	} {
		id := uint32(2*i + 1)
		p.headers(id, true, tt.fields...)
		if a := p.ended(id); a.status() != "200" || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s: %+v", tt.name, a)
		}
	}
	if !strings.HasSuffix(fmt.Sprint(r.app.Requests.Load()), "7") {
		t.Error("not all reached the app")
	}
}
