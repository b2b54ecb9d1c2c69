package docker_test

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"landward/internal/engine/enginetest"
	"landward/internal/engine/remote"
)

// TestSuiteRemote runs the suite through the unix socket, as control does.
func TestSuiteRemote(t *testing.T) {
	needDocker(t)
	enginetest.Run(t, func(t *testing.T, instance string) enginetest.Subject {
		d := newDocker(t, instance)
		path := filepath.Join(t.TempDir(), "engine.sock")
		l, err := remote.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: remote.Handler(remote.Services{Engine: d, Runner: d, Images: d}, slog.New(slog.NewTextHandler(t.Output(), nil)))}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(l)
		}()
		c := remote.New(path)
		t.Cleanup(func() {
			c.Close()
			srv.Close()
			<-served
		})
		return enginetest.Subject{Engine: c, Runner: c, Images: c, Image: probeImage(t)}
	})
}
