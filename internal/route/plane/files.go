package plane

import (
	"net/http"
	"strconv"

	"landward/internal/route"
	"landward/internal/route/guard"
	"landward/internal/route/static"
)

// filePiece is how many bytes of a file one write's deadline is for.
const filePiece = 256 << 10

// serveFile answers with a file of the site.
func (x *exchange) serveFile(site *static.Site) {
	if x.req.Length() != 0 {
		x.keep = false // what is left of a body that a file has no use for
	}
	a := x.p.files.Get().(*static.Answer)
	defer x.p.files.Put(a)
	defer a.Release()
	path := x.req.Path()
	r := static.Request{
		Method: x.req.Method, Path: path, Accept: x.req.Accept(), AcceptEncoding: x.req.Get("accept-encoding"),
		IfMatch: x.req.Get("if-match"), IfNoneMatch: x.req.Get("if-none-match"),
		IfModifiedSince: x.req.Get("if-modified-since"), IfUnmodifiedSince: x.req.Get("if-unmodified-since"),
		Range: x.req.Get("range"), IfRange: x.req.Get("if-range"),
	}
	if len(path) < len(x.req.Target) {
		r.Query = x.req.Target[len(path)+1:]
	}
	site.Answer(a, &r)
	if a.Fault {
		x.noFile(a)
		return
	}
	x.entry.Status = a.Status
	out := append(x.out[:0], "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(a.Status), 10)
	out = append(append(append(out, ' '), http.StatusText(a.Status)...), '\r', '\n')
	out = append(out, a.Head...)
	if rp := x.site.reply; rp != nil {
		out = rp.answers.Append(out, x.https(), guard.Sent(0))
	}
	out = append(x.appendOurs(out, false), '\r', '\n')
	x.out = out
	x.answered = true
	x.sendFile(a, out)
}

// noFile answers where the site has nothing to send.
func (x *exchange) noFile(a *static.Answer) {
	code := route.CodeNotFound
	switch {
	case a.Err != nil:
		x.p.log.Error("serve file", "app", x.site.app, "err", a.Err)
		code = route.CodeInternal
	case a.Status != http.StatusNotFound:
		code = route.CodeBadRequest
	}
	x.fault(route.Fault{Status: a.Status, Code: code, App: x.site.app, Header: a.Head})
}

// sendFile sends the head and the body, a piece at a time: each has its own
// deadline.
func (x *exchange) sendFile(a *static.Answer, head []byte) {
	s := x.s
	for head != nil || a.Left() > 0 {
		if hit := s.cw.arm(x.p.now() + int64(x.p.limits.WriteTimeout)); hit != 0 {
			x.lost(hit)
			return
		}
		n, err := a.Send(s.conn, head, filePiece)
		x.entry.Out += n
		head = nil
		if hit := s.cw.disarm(); hit != 0 || err != nil {
			x.lost(hit)
			return
		}
	}
}
