package plane_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// crowdOf is a limit that one connection is a crowd for.
var crowdOf = plane.Limits{MaxConns: 1, WriteTimeout: 16 * time.Second}

// TestSlowBodyInCrowd holds that a body which comes in drops is waited for, but
// not where it keeps others out.
func TestSlowBodyInCrowd(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			crowd := newRig(t, crowdOf, app("shop", addr))
			calm := newRig(t, plane.Limits{}, app("shop", addr))
			// Some bytes at once do not make up for all that follows.
			start := "POST / HTTP/1.1\r\nHost: shop.test\r\n" + framing + "\r\n\r\n" + "40\r\n" + strings.Repeat("x", 64) + "\r\n"
			slow, patient := crowd.dial(t), calm.dial(t)
			say(t, slow, start)
			say(t, patient, start)
			answered := make(chan string, 1)
			go func() {
				resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
				if err != nil {
					answered <- err.Error()
					return
				}
				_ = resp.Body.Close()
				answered <- resp.Status
			}()
			drop := time.NewTicker(50 * time.Millisecond)
			defer drop.Stop()
			for {
				select {
				case got := <-answered:
					if got != "408 Request Timeout" {
						t.Errorf("in a crowd it got %q", got)
					}
					if list := calm.sink.all(); len(list) > 0 {
						t.Errorf("without a crowd it ended too: %+v", list)
					}
					say(t, patient, "1\r\ny\r\n")
					return
				case <-drop.C:
					_, _ = io.WriteString(slow, "1\r\ny\r\n") // may have ended
					say(t, patient, "1\r\ny\r\n")
				case <-time.After(patience):
					t.Fatal("it was waited for")
				}
			}
		})
	}
}

// TestSteadyBodyInCrowd holds that a body that comes at a modest pace is spared,
// whatever the crowd.
func TestSteadyBodyInCrowd(t *testing.T) {
	t.Parallel()
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	r := newRig(t, crowdOf, app("shop", addr))
	other := newRig(t, crowdOf, app("shop", addr))
	c, slow := r.dial(t), other.dial(t)
	const piece, pieces = 200, 400 // 4 kB a second
	say(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n", piece*pieces))
	say(t, slow, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 9\r\n\r\n")
	steady := time.NewTicker(50 * time.Millisecond)
	defer steady.Stop()
	sent := 0
	for ; len(other.sink.all()) == 0; sent++ { // until one that says nothing has ended
		if sent == pieces {
			t.Fatal("a body that does not come at all was waited for")
		}
		say(t, c, strings.Repeat("x", piece))
		<-steady.C
	}
	say(t, c, strings.Repeat("x", piece*(pieces-sent)))
	if got, want := hear(t, bufio.NewReader(c), "POST"), fmt.Sprintf("200 %d", piece*pieces); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSlowReaderInCrowd holds that a client which takes nothing of its answer is
// waited for, but for less time where it keeps others out.
func TestSlowReaderInCrowd(t *testing.T) {
	t.Parallel()
	large := pattern(32 << 20)
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	crowd := newRig(t, crowdOf, app("shop", addr))
	calm := newRig(t, plane.Limits{WriteTimeout: crowdOf.WriteTimeout}, app("shop", addr))
	for _, r := range []*rig{calm, crowd} {
		say(t, r.dial(t), "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	}
	waittest.Eventually(t, "the crowd's has ended", func() bool { return len(crowd.sink.all()) > 0 })
	if got := crowd.sink.all()[0]; got.Code != route.CodeSlow {
		t.Errorf("it ended with %q", got.Code)
	}
	if list := calm.sink.all(); len(list) > 0 {
		t.Errorf("without a crowd it ended as soon: %+v", list)
	}
}
