package api

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"strings"
	"time"

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

// address returns the caller's IP address, or what there is of one.
func address(r *http.Request) string {
	if connOf(r.Context()).edge {
		list := r.Header.Values("X-Forwarded-For")
		if len(list) > 0 {
			parts := strings.Split(list[len(list)-1], ",")
			return strings.TrimSpace(parts[len(parts)-1])
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// limited is how long somebody has to wait.
type limited struct {
	For time.Duration
}

func (l *limited) Error() string { return "wait " + l.For.String() }

// authenticate finds out who sent r. Nobody in particular is no error; a token
// that is not valid is one.
func (a *API) authenticate(r *http.Request, c *call) error {
	if connOf(r.Context()).local && !forwarded(r.Header) {
		c.actor, c.known = landward.Actor{Kind: landward.ActorLocal, Name: "root", Admin: true}, true
		return nil
	}
	token, ok := credential(r)
	if !ok {
		return nil
	}
	if err := a.limit(c); err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(token))
	actor, err := a.Store.ActorByToken(r.Context(), hash[:])
	if landward.CodeOf(err) == landward.CodeUnauthenticated {
		a.Limiter.Failed(c.address)
	}
	if err != nil {
		return err
	}
	c.actor, c.known, c.tokenHash = actor, true, hash[:]
	return nil
}

// limit refuses an address that has failed too often.
func (a *API) limit(c *call) error {
	wait := a.Limiter.Blocked(c.address)
	if wait <= 0 {
		return nil
	}
	return landward.Errorf(landward.CodeLimited, "too many wrong tokens from your address").
		WithHint("wait %s, then try again", wait.Round(time.Second)).Wrap(&limited{For: wait})
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

// credential returns the token that r presents: as Bearer, or as the password
// of Basic, which is what git and curl send.
func credential(r *http.Request) (token string, ok bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "bearer") {
		return "", r.Header.Get("Authorization") != ""
	}
	return strings.TrimSpace(token), true
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
