//go:build bench

package deploy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"landward/client"
	"landward/internal/waittest"
	"landward/test/harness"
)

// wakeRounds is how often an app is woken, each time beside a start by hand.
const wakeRounds = 15

// TestWake compares a request to a sleeping app, until it is answered, with
// starting a stopped container of the same image by hand and asking it. They
// take turns, so that what slows the machine slows both.
func TestWake(t *testing.T) {
	s := harness.Start(t, programs, "--warm", "1s")
	repo := s.NewRepo("wake")
	repo.Write("landward.yaml", "routes: {idle: {sleep_after: 1s}}\n")
	repo.Testapp("awake", "")
	repo.Push()
	list, err := s.Client.Releases(context.Background(), repo.App, 1)
	if err != nil {
		t.Fatal(err)
	}
	image := list[0].Services[0].Image.ID
	id := harness.Docker(t, "run", "-d", "-e", "PORT=5000", "--init", image)
	t.Cleanup(func() { harness.Docker(t, "rm", "-f", id) })
	address := func() string { return harness.Docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", id) }
	addr := address()
	byHand := func() time.Duration {
		harness.Docker(t, "stop", id)
		begin := time.Now()
		harness.Docker(t, "start", id)
		until(t, "http://"+addr+":5000/", "", "awake", pollSwap)
		took := time.Since(begin)
		if now := address(); now != addr {
			t.Fatalf("the container moved from %s to %s", addr, now)
		}
		return took
	}
	woken := func() time.Duration {
		asleep(t, s, repo.App)
		begin := time.Now()
		until(t, "http://"+s.HTTP+"/", repo.App+".localhost", "awake", pollSwap)
		return time.Since(begin)
	}
	_, _ = byHand(), woken()
	var ours, theirs []time.Duration
	for i := range wakeRounds {
		if i%2 == 0 {
			ours = append(ours, woken())
			theirs = append(theirs, byHand())
			continue
		}
		theirs = append(theirs, byHand())
		ours = append(ours, woken())
	}
	head()
	row("a sleeping app's first answer, against docker start", median(ours), median(theirs), 1.3)
}

// asleep waits until the app sleeps and all that it had is back.
func asleep(t *testing.T, s *harness.Server, app string) {
	t.Helper()
	waittest.Succeeds(t, "the app sleeps", func() error {
		units, err := s.Client.Units(context.Background(), app)
		if err == nil && (len(units) != 1 || units[0].State != client.UnitAsleep) {
			err = fmt.Errorf("units: %+v", units)
		}
		return err
	})
}
