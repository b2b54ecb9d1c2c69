package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"landward/client"
	"landward/test/harness"
)

// crowd asks an app all the time, and remembers what it was told.
type crowd struct {
	t    *testing.T
	s    *harness.Server
	app  string
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	answers map[string]int // "200 one" → how often
}

// gather has a few clients ask the app every 20 ms until leave. headers are
// pairs.
func gather(t *testing.T, s *harness.Server, app string, headers ...string) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{t: t, s: s, app: app, stop: cancel, answers: map[string]int{}}
	t.Cleanup(func() {
		cancel()
		c.all.Wait()
	})
	for range 3 {
		c.all.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				code, body, _ := ask(s, app, "/", headers...)
				c.mu.Lock()
				c.answers[fmt.Sprint(code, " ", body)]++
				c.mu.Unlock()
			}
		})
	}
	return c
}

// leave lets everybody ask a few times more, ends the crowd and returns what it
// was told since it was last asked.
func (c *crowd) leave() map[string]int {
	c.t.Helper()
	c.s.Eventually("the crowd is told more", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := 0
		for _, times := range c.answers {
			n += times
		}
		if n < 30 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	c.stop()
	c.all.Wait()
	return c.told()
}

// told returns what the crowd was told since it was last asked.
func (c *crowd) told() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.answers
	c.answers = map[string]int{}
	return got
}

// only fails where the crowd was told anything else than these.
func only(t *testing.T, told map[string]int, answers ...string) {
	t.Helper()
	for _, a := range answers {
		if told[a] == 0 {
			t.Errorf("nobody was told %q: %v", a, told)
		}
	}
	for a, n := range told {
		if !slices.Contains(answers, a) {
			t.Errorf("%d times: %q", n, a)
		}
	}
}

// ask asks an app once. Status 0 is an error of the connection.
func ask(s *harness.Server, app, path string, headers ...string) (int, string, http.Header) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP+path, nil)
	if err != nil {
		return 0, err.Error(), nil
	}
	req.Host = app + "." + s.Domain
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return resp.StatusCode, strings.TrimSpace(string(b)), resp.Header
}

// pushing is a push that is not waited for.
type pushing struct {
	out  string
	err  error
	done chan struct{}
}

func push(repo *harness.Repo) *pushing {
	p := &pushing{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.out, p.err = repo.TryGit("push", "landward", "HEAD:main")
	}()
	return p
}

// wait waits for the push's end.
func (p *pushing) wait(t *testing.T) (string, error) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(90 * time.Second):
		t.Fatal("the push does not end")
	}
	return p.out, p.err
}

// canary waits until the app has a canary that ok likes, and returns it.
func canary(s *harness.Server, app string, ok func(client.Canary) bool) client.Canary {
	var got client.Canary
	s.Eventually(app+" has a canary", func() error {
		a, err := s.Client.App(context.Background(), app)
		switch {
		case err != nil:
			return err
		case a.Canary == nil:
			return errors.New("none")
		case a.Canary.Canary == nil || !ok(*a.Canary):
			return fmt.Errorf("%+v", *a.Canary)
		}
		got = *a.Canary
		return nil
	})
	return got
}

// serving waits until the app's release is the one, and has no other beside it.
func serving(s *harness.Server, app string, version int) {
	s.Eventually(fmt.Sprintf("v%d serves", version), func() error {
		a, err := s.Client.App(context.Background(), app)
		if err == nil && (a.Release != version || a.Canary != nil) {
			err = fmt.Errorf("v%d, canary %+v", a.Release, a.Canary)
		}
		return err
	})
}

// containers returns the ids of what runs for the installation's only app.
func containers(t *testing.T, s *harness.Server) []string {
	t.Helper()
	st, err := s.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(harness.Docker(t, "ps", "-q", "--no-trunc", "--filter", "label=landward.instance="+st.Instance))
	slices.Sort(ids)
	return ids
}
