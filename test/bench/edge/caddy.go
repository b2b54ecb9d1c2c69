package main

import "context"

// startCaddy starts a Caddy without its admin API and its access log.
func (b *bench) startCaddy(ctx context.Context, o serverOptions) (*server, error) {
	program, err := find(b.s.caddy)
	if err != nil {
		return nil, err
	}
	c, path, err := b.peer("caddy", "Caddyfile", o)
	if err != nil {
		return nil, err
	}
	p, err := b.spawn(true, c.Dir, program, "run", "--config", path, "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	return b.up(ctx, p, &server{label: "Caddy", http: c.Addr})
}
