package main

import "context"

// startNginx returns the start of an nginx with a file of conf/.
func startNginx(file string) func(b *bench, ctx context.Context, o serverOptions) (*server, error) {
	return func(b *bench, ctx context.Context, o serverOptions) (*server, error) {
		program, err := find(b.s.nginx)
		if err != nil {
			return nil, err
		}
		c, path, err := b.peer("nginx", file, o)
		if err != nil {
			return nil, err
		}
		p, err := b.spawn(true, c.Dir, program, "-p", c.Dir, "-e", "stderr", "-c", path)
		if err != nil {
			return nil, err
		}
		return b.up(ctx, p, &server{label: "nginx", http: c.Addr, https: c.TLSAddr})
	}
}
