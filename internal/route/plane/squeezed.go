package plane

import (
	"errors"
	"io"
	"net/http"

	"landward/internal/route"
	"landward/internal/route/squeeze"
	"landward/internal/route/wire"
)

// coder returns what compresses the answer, or nil where it goes as it is: the
// client takes no coding, the app has chosen one, or it would not be worth it.
// varies reports whether another client would get it in another coding.
func (x *exchange) coder(framing wire.Framing) (w *squeeze.Writer, varies bool) {
	r := x.site.reply
	if r == nil || !r.compress || x.ans.Coded() || !x.worth() {
		return nil, false
	}
	if x.req.Minor == 0 || framing == wire.NoBody { // the answer to a HEAD is as that to a GET
		return nil, true
	}
	return x.p.coders.Get(squeeze.Choose(x.req.Get("accept-encoding")), (*coded)(x)), true
}

// worth reports whether the answer would be compressed for some client.
func (x *exchange) worth() bool {
	n := x.ans.Length()
	if n >= 0 && n < squeeze.MinLength {
		return false // most often, and the rest need not be looked for
	}
	return squeeze.Answer{
		Status: x.ans.Status, ContentType: x.ans.Get("content-type"), Length: n,
		NoTransform: squeeze.NoTransform(x.ans.Get("cache-control")), Range: x.ans.Get("content-range") != nil,
	}.Worth()
}

// coded is where a compressor puts what comes out of it.
type coded exchange

// Write implements io.Writer.
func (c *coded) Write(b []byte) (int, error) {
	c.squeezed = append(c.squeezed, b...)
	return len(b), nil
}

// relayCoded relays a body through a compressor, in chunks, each piece as soon
// as the app has sent it. It reports whether the upstream is clean after it.
func (x *exchange) relayCoded(w *squeeze.Writer, framing wire.Framing, rest []byte) bool {
	b := x.p.bodies.Get().(*[]byte)
	defer x.p.bodies.Put(b)
	x.chunks.Reset()
	x.squeezed = x.squeezed[:0]
	left := x.ans.Length()
	piece := rest
	for first := true; ; first = false {
		payload, done, ok := x.payload(piece, framing, &left)
		if !ok {
			x.entry.Code = route.CodeBadAnswer
			if first { // nothing has been written yet
				x.answered, x.entry.Code = false, ""
				x.fault(route.Fault{Status: http.StatusBadGateway, Code: route.CodeBadAnswer, App: x.site.app})
				return false
			}
			return x.broke()
		}
		if !x.squeeze(w, payload, done, len(piece) == len(*b)) {
			return false
		}
		if done {
			return !x.surplus
		}
		n, err := x.up.read(*b)
		piece = (*b)[:n]
		if err == nil || n > 0 {
			continue
		}
		if framing == wire.ByClosing && errors.Is(err, io.EOF) {
			x.squeeze(w, nil, true, false)
			return false
		}
		return x.broke()
	}
}

// squeeze compresses a piece of a body and sends what comes out. more is for a
// piece after which the next is there already.
func (x *exchange) squeeze(w *squeeze.Writer, payload []byte, done, more bool) bool {
	_, err := w.Write(payload)
	switch {
	case err != nil:
	case done:
		err = w.Close()
	case !more && len(payload) > 0:
		err = w.Flush()
	}
	if err != nil {
		x.p.log.Error("compress answer", "app", x.site.app, "err", err)
		return x.broke()
	}
	if len(x.squeezed) > 0 {
		x.out = wire.AppendChunk(x.out, x.squeezed)
		x.squeezed = x.squeezed[:0]
	}
	if done {
		x.out = append(x.out, '0', '\r', '\n')
		if x.out, err = x.chunks.AppendTrailer(x.out); err != nil {
			return x.broke()
		}
		x.out = append(x.out, '\r', '\n')
	}
	if len(x.out) == 0 {
		return true
	}
	ok := x.writeClient(x.out)
	x.out = x.out[:0]
	return ok
}

// payload takes the framing off a piece of a body, which it overwrites. done
// is true after the last one.
func (x *exchange) payload(piece []byte, framing wire.Framing, left *int64) (payload []byte, done, ok bool) {
	switch framing {
	case wire.ByLength:
		if int64(len(piece)) > *left {
			piece, x.surplus = piece[:*left], true
		}
		*left -= int64(len(piece))
		return piece, *left == 0, true
	case wire.ByChunks:
		payload = piece[:0]
		for len(piece) > 0 && !x.chunks.Done() {
			data, n, err := x.chunks.Next(piece)
			if err != nil {
				return nil, false, false
			}
			payload = append(payload, data...)
			piece = piece[n:]
		}
		x.surplus = len(piece) > 0
		return payload, x.chunks.Done(), true
	}
	return piece, false, true
}

// ownPage sends the app's own page in place of the body of one of its errors,
// where it has one for it. It reports whether it did.
func (x *exchange) ownPage(framing wire.Framing) bool {
	r := x.site.reply
	if r == nil || !r.replace || x.ans.Status < 400 || framing == wire.NoBody || x.site.rules == nil {
		return false
	}
	page, kind, ok := x.site.rules.custom.Append(nil, route.Fault{Status: x.ans.Status, App: x.site.app, RequestID: string(x.id[:])}, x.req.Accept())
	if !ok {
		return false
	}
	// The rest of the app's body is not read: its connection ends here.
	x.stopUpload()
	x.up.close()
	x.s.ur.disarm()
	for _, name := range []string{"content-type", "content-encoding", "etag", "last-modified", "accept-ranges", "content-language"} {
		x.ans.Replace(name)
	}
	x.rewrite()
	head := appendKept(nil, x.ans.Fields())
	head = append(append(append(head, "Content-Type: "...), kind...), '\r', '\n')
	x.answer(x.ans.Status, x.appendReply(head), page)
	return true
}
