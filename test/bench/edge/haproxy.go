package main

import "context"

// startHAProxy starts an HAProxy of one thread, without a log.
func (b *bench) startHAProxy(ctx context.Context, o serverOptions) (*server, error) {
	program, err := find(b.s.haproxy)
	if err != nil {
		return nil, err
	}
	c, path, err := b.peer("haproxy", "haproxy.cfg", o)
	if err != nil {
		return nil, err
	}
	p, err := b.spawn(true, c.Dir, program, "-db", "-f", path)
	if err != nil {
		return nil, err
	}
	return b.up(ctx, p, &server{label: "HAProxy", http: c.Addr})
}
