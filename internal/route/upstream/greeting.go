package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// greeting is a socket that tells when the target's first frame, its settings
// (RFC 9113 section 3.4), has been taken note of. Before that nobody knows how
// many requests it takes at once, nor whether it speaks HTTP/2 at all.
type greeting struct {
	net.Conn
	once  sync.Once
	ready chan struct{} // closed when the frame was read, or reading has failed
	err   error         // why, valid after ready

	head [9]byte
	have int
	left int // bytes of the frame's payload to come, once have is 9
}

var errGreeting = errors.New("the target does not speak HTTP/2")

// Read reads. The one who reads has dealt with the frame when it asks for what
// comes after it.
func (g *greeting) Read(b []byte) (int, error) {
	if g.have == len(g.head) && g.left <= 0 {
		g.tell(nil)
		return g.Conn.Read(b)
	}
	n, err := g.Conn.Read(b)
	if err != nil {
		g.tell(fmt.Errorf("read the target's settings: %w", err))
		return n, err
	}
	rest := b[:n]
	if g.have < len(g.head) {
		m := copy(g.head[g.have:], rest)
		g.have += m
		rest = rest[m:]
		if g.have == len(g.head) {
			g.left = int(g.head[0])<<16 | int(g.head[1])<<8 | int(g.head[2])
			const settings = 4
			if g.head[3] != settings {
				g.tell(errGreeting)
			}
		}
	}
	g.left -= len(rest)
	return n, nil
}

// Close closes the socket.
func (g *greeting) Close() error {
	g.tell(errGreeting)
	return g.Conn.Close()
}

func (g *greeting) tell(err error) {
	g.once.Do(func() {
		g.err = err
		close(g.ready)
	})
}

// greeted waits for the greeting.
func (g *greeting) greeted(ctx context.Context) error {
	select {
	case <-g.ready:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the target's settings: %w", context.Cause(ctx))
	}
}
