package main

import "context"

// http1 is what most requests are: HTTP/1.1, a connection that stays, a small
// answer. The edge writes its access log and counts; of the peers only nginx
// as generated does.
func (b *bench) http1(ctx context.Context) error {
	const rate = 2000
	s := loadSettings{host: benchHost, path: "/1k", conns: 64}
	return b.compete(ctx, contest{
		name: "HTTP/1.1, 1 KiB", ours: landwardEdge,
		peers: []kind{nginxTuned, nginxCommon, caddy, haproxy, reverseProxy},
		turns: []turn{
			{b.closedLoop(s), []measure{cpuMeasure(map[string]float64{
				nginxTuned.label: 1.1, nginxCommon.label: 0.33, caddy.label: 0.45, reverseProxy.label: 0.45,
			}), rateMeasure()}},
			{b.openLoop(s, rate), latencyMeasures(rate, map[string]float64{nginxTuned.label: 1.0})},
		},
	})
}
