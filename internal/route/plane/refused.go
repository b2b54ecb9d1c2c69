package plane

import (
	"net"
	"net/http"
	"time"

	"landward/internal/route"
)

// Refused counts and logs a request that a door before the plane has answered
// itself with status, because it cannot be said in HTTP/1.1 or is too large.
func (p *Plane) Refused(status int, client net.Addr, proto string) {
	e := route.Entry{At: time.Now(), Status: status, Code: route.CodeBadRequest, Minor: 1, Proto: proto, TLS: true, IP: addrOf(client)}
	if status == http.StatusRequestHeaderFieldsTooLarge {
		e.Code = route.CodeHeaderLarge
	}
	p.index.Load().none.count(&e)
	p.access.Access(&e)
}
