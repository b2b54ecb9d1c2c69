package remote_test

import (
	"testing"

	"landward/internal/engine/enginetest"
	"landward/internal/engine/fake"
	"landward/internal/engine/remote"
	"landward/internal/landward"
)

func TestSuite(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, _ string) enginetest.Subject {
		e := fake.New(fake.Options{Program: enginetest.RunProbe})
		t.Cleanup(e.Close)
		img := landward.Image{ID: fake.ImageID("probe"), Exposed: []int{8080, 9090}, Size: 1 << 20}
		e.AddImage(img)
		c, _ := serve(t, remote.Services{Engine: e, Runner: e, Images: e})
		return enginetest.Subject{Engine: c, Runner: c, Images: c, Image: img.ID}
	})
}
