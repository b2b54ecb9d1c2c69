package pipeline_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"landward/internal/deploy"
	"landward/internal/landward"
	"landward/internal/logs"
	"landward/internal/pipeline"
	"landward/internal/store"
	"landward/internal/store/storetest"
)

type nobody struct{}

func (nobody) Publish(int64) {}

// slowTree is a source whose sender waits for something before it goes on.
type slowTree struct {
	wait func()
	rest io.Reader
}

func (s *slowTree) Read(b []byte) (int, error) {
	if s.wait != nil {
		s.wait()
		s.wait = nil
	}
	return s.rest.Read(b)
}

// TestSubmitWhileStarting takes a source in that is being sent while Run
// begins: what an earlier process left is removed, this is not.
func TestSubmitWhileStarting(t *testing.T) {
	dir := t.TempDir()
	st := storetest.Open(t, dir, time.Now)
	log := slog.New(slog.DiscardHandler)
	lines := logs.New(filepath.Join(dir, "logs"), 1<<20)
	defer lines.Close()
	p := pipeline.New(pipeline.Options{
		Store: st, Logs: lines, Notify: nobody{}, Log: log, Now: time.Now,
		Deploy:  deploy.New(deploy.Options{Store: st, Logs: lines, Notify: nobody{}, Now: time.Now, Log: log}),
		WorkDir: filepath.Join(dir, "work"), MaxSource: 1 << 20, AtOnce: 1,
	})
	app := func(name string) landward.App {
		a, err := st.CreateApp(t.Context(), name, landward.Actor{Kind: landward.ActorLocal, Name: "root", Admin: true})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// This one has lost its source in a crash: it ends as soon as Run works.
	lost, err := st.CreateDeployment(t.Context(), store.NewDeployment{
		AppID: app("lost").ID, State: landward.StateQueued, Deadline: time.Now().Add(time.Hour),
		Source: landward.Source{Kind: landward.SourceArchive},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	tree := &slowTree{rest: strings.NewReader("a tree"), wait: func() {
		go func() { ended <- p.Run(ctx) }()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for until := time.Now().Add(20 * time.Second); time.Now().Before(until); <-tick.C {
			d, err := st.Deployment(ctx, lost.ID)
			if err != nil {
				t.Error(err)
			}
			if d.State.Ended() {
				return
			}
		}
		t.Error("Run does not work on what is queued")
	}}
	if _, err := p.Submit(t.Context(), pipeline.Submission{
		AppID: app("new").ID, Source: landward.Source{Kind: landward.SourceArchive}, Tree: tree,
	}); err != nil {
		t.Errorf("Submit beside the start of Run: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
