package main

import "context"

// size is a body's path and the load that it is asked for with.
type size struct {
	name, path string
	conns      int
	rate       float64 // of the open loop; 0: too few requests fit into a turn for percentiles
}

var sizes = []size{
	{"1 KiB", "/1k", 64, 2000},
	{"64 KiB", "/64k", 32, 500},
	{"10 MiB", "/10m", 8, 0},
}

// bodies are large answers of an app.
func (b *bench) bodies(ctx context.Context) error {
	for _, z := range sizes[1:] {
		if err := b.compete(ctx, b.bySize(z, "proxied, "+z.name, nginxTuned, serverOptions{})); err != nil {
			return err
		}
	}
	return nil
}

// static are files that the server sends itself.
func (b *bench) static(ctx context.Context) error {
	for _, z := range sizes {
		if err := b.compete(ctx, b.bySize(z, "static file, "+z.name, nginxStatic, serverOptions{static: true})); err != nil {
			return err
		}
	}
	return nil
}

// bySize is a contest with one nginx about one size.
func (b *bench) bySize(z size, name string, peer kind, o serverOptions) contest {
	s := loadSettings{host: benchHost, path: z.path, conns: z.conns}
	c := contest{
		name: name, ours: landwardEdge, peers: []kind{peer}, options: o,
		turns: []turn{{b.closedLoop(s), []measure{cpuMeasure(map[string]float64{peer.label: 1.2}), rateMeasure()}}},
	}
	if z.rate > 0 {
		c.turns = append(c.turns, turn{b.openLoop(s, z.rate), latencyMeasures(z.rate, nil)})
	}
	return c
}
