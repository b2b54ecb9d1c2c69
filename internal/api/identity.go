package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"landward/internal/auth"
	"landward/internal/landward"
)

// connKey is the context key of what is known about a connection.
type connKey struct{}

// conn is what is known about a connection.
type conn struct {
	local bool // its other end is this machine's root or Landward's own user
	edge  bool // its other end is the edge, which names the caller in a header
}

// LocalConn marks a connection of a unix socket whose other end is root or the
// user that this process runs as: its requests are the administrator's. It is a
// ConnContext for the command line's own socket and for no other: whatever
// forwards requests to that socket would make everybody administrator.
func LocalConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn{local: trusted(c)})
}

// EdgeConn marks a connection of a unix socket whose other end is the edge: the
// last address in its X-Forwarded-For is the caller's. It is a ConnContext for
// the socket that the edge forwards the API's own host to, which only the edge
// can open.
func EdgeConn(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn{edge: true})
}

func connOf(ctx context.Context) conn {
	c, _ := ctx.Value(connKey{}).(conn)
	return c
}

// address returns the caller's IP address; the zero value where there is none.
func address(r *http.Request) netip.Addr {
	text := r.RemoteAddr
	if connOf(r.Context()).edge {
		// The edge's own entry is the last of the last line.
		lines := r.Header.Values("X-Forwarded-For")
		list := strings.Split(strings.Join(lines, ","), ",")
		text = strings.TrimSpace(list[len(list)-1])
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr
	}
	peer, _ := netip.ParseAddrPort(text) // over a unix socket there is none
	return peer.Addr()
}

// authenticate finds out who sent r. Nobody in particular is no error; a token
// that is not valid is one.
func (a *API) authenticate(r *http.Request, c *call) error {
	if connOf(r.Context()).local && !forwarded(r.Header) {
		c.actor, c.known = landward.Actor{Kind: landward.ActorLocal, Name: "root", Admin: true}, true
		return nil
	}
	token, err := auth.ParseAuthorization(r.Header.Values("Authorization"))
	if token == "" && err == nil {
		return nil
	}
	if err := a.Limiter.Check(c.address, ""); err != nil {
		return err
	}
	hash := auth.HashToken(token)
	if err == nil {
		c.actor, err = a.Store.ActorByToken(r.Context(), hash)
	}
	if landward.CodeOf(err) == landward.CodeUnauthenticated {
		a.Limiter.Failed(c.address, "")
	}
	if err != nil {
		return err
	}
	c.known, c.tokenHash = true, hash
	return nil
}

// recheck reports whether the caller may still do what it does: a stream can
// outlive a token or a role.
func (a *API) recheck(ctx context.Context, c *call) error {
	again := *c
	if c.tokenHash != nil {
		actor, err := a.Store.ActorByToken(ctx, c.tokenHash)
		if err != nil {
			return err
		}
		again.actor = actor
	}
	if err := a.permit(ctx, &again); err != nil {
		return err
	}
	if again.app.ID != c.app.ID {
		return noApp(c.appName)
	}
	return nil
}

// forwarded reports whether a proxy has sent the request on: its other end is
// then not who is asking.
func forwarded(h http.Header) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}
