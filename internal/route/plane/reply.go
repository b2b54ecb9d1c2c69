package plane

import (
	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/door"
	"landward/internal/route/guard"
	"landward/internal/route/wire"
)

// reply is how the answers of a site are changed on their way to the client.
type reply struct {
	answers  *guard.Answers // nil: headers stay as they are
	compress bool
	replace  bool // the app's own errors get its own pages
}

func (p *Plane) replyOf(r *route.Route) (*reply, error) {
	answers, err := guard.NewAnswers(r.Headers)
	if err != nil {
		return nil, err
	}
	n := &reply{answers: answers, compress: r.Compress != landward.SwitchOff, replace: r.Pages.Replace && r.Pages.Dir != ""}
	if *n == (reply{}) {
		return nil, nil
	}
	return n, nil
}

// https reports whether headers that speak about HTTPS belong into the answer.
func (x *exchange) https() bool { return x.scheme() == "https" && !x.vhost.local }

// scheme is what the client speaks with us, or with the proxy before us.
func (x *exchange) scheme() string {
	if x.by != "" {
		return x.by
	}
	return x.s.scheme
}

// believe takes the client's address and scheme from a trusted proxy.
func (x *exchange) believe() {
	// Two proxies in a row are usual, more lines than these go to the heap.
	var lines [2][4][]byte
	c := door.Claims{For: lines[0][:0], Proto: lines[1][:0]}
	for _, f := range x.req.Fields() {
		switch {
		case f.Kind != wire.Forwarding:
		case wire.EqualFold(f.Name, "x-forwarded-for"):
			c.For = append(c.For, f.Value)
		case wire.EqualFold(f.Name, "x-forwarded-proto"):
			c.Proto = append(c.Proto, f.Value)
		}
	}
	if len(c.For) == 0 && len(c.Proto) == 0 {
		return
	}
	x.entry.IP, x.by = x.p.trust.Client(x.s.ip, x.s.scheme, c)
	x.entry.TLS = x.by == "https"
	x.told = forwarded(x.entry.IP, x.by)
}

// rewrite takes away the lines of the app's answer that the site removes or
// sets itself.
func (x *exchange) rewrite() {
	r := x.site.reply
	if r == nil || r.answers == nil {
		return
	}
	fields := x.ans.Fields()
	for i := range fields {
		if !fields[i].Kind.Dropped() && r.answers.Drop(fields[i].Name) {
			x.ans.Drop(i)
		}
	}
}

// appendReply appends the lines that the site adds to an answer.
func (x *exchange) appendReply(out []byte) []byte {
	if r := x.site.reply; r != nil {
		out = r.answers.Append(out, x.https(), guard.Sent(x.ans.Secured()))
	}
	if x.fresh && x.target != nil {
		for i, t := range x.site.all {
			if t == x.target {
				out = x.site.sticky.Append(out, i, x.scheme() == "https")
			}
		}
	}
	return out
}
