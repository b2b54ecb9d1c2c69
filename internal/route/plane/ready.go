package plane

import (
	"bufio"
	"io"
	"net/http"
	"time"

	"landward/internal/landward"
)

// readyHead bounds what is read of an answer that says whether an app is ready.
const readyHead = 16 << 10

// ready reports whether an app that was woken a moment ago can answer. Of all the
// requests that wait for it one asks at a time, and once it is ready nobody does.
func (x *exchange) ready(t *target) bool {
	s := x.site
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.warm.Load() == 0 {
		return true // another has heard so
	}
	if !x.p.isReady(t, x.host, s.ready, s.readyWithin) {
		return false
	}
	s.warm.Store(0)
	return true
}

// isReady asks a target for a path, on a connection of its own.
func (p *Plane) isReady(t *target, host []byte, path string, within time.Duration) bool {
	u, err := t.dial(p.ctx, host, min(within, p.limits.ConnectTimeout))
	if err != nil {
		return false
	}
	defer u.close()
	if u.conn.SetDeadline(time.Now().Add(within)) != nil {
		return false
	}
	const rest = "User-Agent: " + landward.HealthAgent + "\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(u.conn, "GET "+path+" HTTP/1.1\r\nHost: "+string(host)+"\r\n"+rest); err != nil {
		return false
	}
	answer := bufio.NewReader(io.LimitReader(u.conn, readyHead))
	for {
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		if resp.StatusCode >= 200 {
			return resp.StatusCode < 400
		}
	}
}
