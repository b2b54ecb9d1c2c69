package docker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"landward/internal/engine"
)

// BenchmarkStart compares starting a unit with what `docker run -d` asks of
// Docker, create and start, in turns, so that both meet the same load. It
// reports the medians and their ratio.
func BenchmarkStart(b *testing.B) {
	api := needDocker(b)
	d := newDocker(b, "bench")
	apply(b, d, testUnit(b, 1, "warm"))
	image := probeImage(b)
	var unit, plain []time.Duration
	for b.Loop() {
		u := testUnit(b, 1, fmt.Sprintf("u%d", len(unit)))
		begin := time.Now()
		c := apply(b, d, u)
		unit = append(unit, time.Since(begin))
		if c.State != engine.Running {
			b.Fatalf("%s is %s", u.ID, c.State)
		}
		begin = time.Now()
		id := runPlain(b, api, image)
		plain = append(plain, time.Since(begin))
		if err := d.Remove(b.Context(), u.ID, 0); err != nil {
			b.Fatal(err)
		}
		if _, err := api.ContainerRemove(b.Context(), id, client.ContainerRemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(median(unit).Milliseconds()), "apply-ms")
	b.ReportMetric(float64(median(plain).Milliseconds()), "plain-ms")
	b.ReportMetric(float64(median(unit))/float64(median(plain)), "ratio")
}

func runPlain(b *testing.B, api *client.Client, image string) string {
	init := true
	res, err := api.ContainerCreate(b.Context(), client.ContainerCreateOptions{
		Config: &container.Config{Image: image}, HostConfig: &container.HostConfig{Init: &init},
	})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := api.ContainerStart(b.Context(), res.ID, client.ContainerStartOptions{}); err != nil {
		b.Fatal(err)
	}
	return res.ID
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
