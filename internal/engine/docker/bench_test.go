package docker_test

import (
	"fmt"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/landward"
)

// BenchmarkStart compares starting a unit with what `docker run -d` asks of
// Docker: create and start, with nothing around them.
func BenchmarkStart(b *testing.B) {
	api := needDocker(b)
	d := newDocker(b, "bench")
	image := probeImage(b)
	u := engine.Unit{
		AppID: 1, App: "bench", Service: "app", Process: "web", Index: 1, Kind: engine.KindProcess, Release: 1,
		Image: image, Resources: landward.Resources{Memory: 64 << 20, MilliCPU: 500, Pids: 64}, Restart: engine.RestartNever,
	}
	warm := u
	warm.ID = "warm"
	if _, err := d.Apply(b.Context(), warm); err != nil {
		b.Fatal(err)
	}
	n := 0
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			n++
			u.ID = fmt.Sprintf("u%d", n)
			if _, err := d.Apply(b.Context(), u); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := d.Remove(b.Context(), u.ID, 0); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
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
			b.StopTimer()
			if _, err := api.ContainerRemove(b.Context(), res.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
