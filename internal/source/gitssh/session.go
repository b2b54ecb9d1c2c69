package gitssh

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
	"landward/internal/source"
	"landward/internal/source/git"
)

const (
	maxSessions = 10 // of one connection at once
	maxRequests = 200
	errorMark   = " !     "
)

// connection is a client who signed.
type connection struct {
	server  *Server
	conn    *ssh.ServerConn
	visitor *visitor
	actor   landward.Actor
	wg      sync.WaitGroup // sessions
}

// serve answers until the client leaves; it returns when the last session has
// ended, which for a push may be long after that.
func (c *connection) serve(ctx context.Context, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	defer c.wg.Wait()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helpers.Go(func() { ssh.DiscardRequests(requests) }) // every global one is refused
	gone := make(chan struct{})
	defer close(gone)
	helpers.Go(func() { c.probe(gone) })

	idle := time.AfterFunc(c.server.o.IdleTimeout, func() { _ = c.conn.Close() })
	defer idle.Stop()
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.Prohibited, "there is no forwarding here")
			continue
		}
		if _, ok := c.server.door.work(c.visitor, 1); !ok {
			_ = ch.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		idle.Stop()
		c.wg.Go(func() {
			c.session(ctx, ch)
			if busy, _ := c.server.door.work(c.visitor, -1); busy == 0 {
				idle.Reset(c.server.o.IdleTimeout)
			}
		})
	}
}

// probe closes the connection of a client that does not answer, such as one
// whose machine is gone or asleep.
func (c *connection) probe(gone <-chan struct{}) {
	tick := time.NewTicker(c.server.o.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		dead := time.AfterFunc(2*c.server.o.KeepAlive, func() { _ = c.conn.Close() })
		_, _, err := c.conn.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			return
		}
	}
}

// session waits for the one request that says what to run, and runs it.
func (c *connection) session(ctx context.Context, newChannel ssh.NewChannel) {
	ch, requests, err := newChannel.Accept()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	impatient := time.AfterFunc(c.server.o.HandshakeTimeout, func() { _ = ch.Close() })
	defer impatient.Stop()

	protocol := ""
	for n := 0; n < maxRequests; n++ {
		req, ok := <-requests
		if !ok {
			return
		}
		run, accepted := c.request(req, &protocol)
		if req.WantReply {
			_ = req.Reply(accepted, nil)
		}
		if run == nil {
			continue
		}
		impatient.Stop()
		c.wg.Go(func() { ssh.DiscardRequests(requests) }) // ends with the channel
		code := run(ctx, ch)
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(code)}))
		return
	}
}

// request looks at one channel request. Whatever is not in the list is refused:
// terminals, agents, X11, subsystems, and every variable but one.
func (c *connection) request(req *ssh.Request, protocol *string) (run func(context.Context, ssh.Channel) int, accepted bool) {
	switch req.Type {
	case "env":
		var kv struct{ Name, Value string }
		if ssh.Unmarshal(req.Payload, &kv) != nil || kv.Name != "GIT_PROTOCOL" {
			return nil, false
		}
		*protocol = kv.Value
		return nil, true
	case "exec":
		var p struct{ Command string }
		if ssh.Unmarshal(req.Payload, &p) != nil {
			return nil, false
		}
		return func(ctx context.Context, ch ssh.Channel) int { return c.exec(ctx, ch, p.Command, *protocol) }, true
	case "shell":
		return func(_ context.Context, ch ssh.Channel) int { return c.greet(ch) }, true
	}
	return nil, false
}

// greet is for somebody who runs ssh by hand, to see whether their key works.
func (c *connection) greet(ch ssh.Channel) int {
	_, _ = fmt.Fprintf(ch.Stderr(), "Hello %s: your key works. There is no shell here; push with git:\n"+
		"  git remote add landward ssh://git@HOST:PORT/APP\n  git push landward main\n",
		landward.Printable(c.actor.Name))
	return 1
}

// exec serves one git command.
func (c *connection) exec(ctx context.Context, ch ssh.Channel, line, protocol string) int {
	stderr := &stallGuard{w: ch.Stderr(), limit: c.server.o.StallTimeout, stalled: c.hangUp}
	cmd, err := parseCommand(line)
	if err != nil {
		explain(stderr, err)
		return 1
	}
	log := c.server.o.Log.With("app", cmd.app, "actor", c.actor.Name, "service", string(cmd.service),
		"remote", c.conn.RemoteAddr().String())
	repo, err := c.server.o.Intake.OpenRepo(ctx, c.actor, cmd.app, cmd.service.Writes())
	if err != nil {
		explain(stderr, err)
		log.Info("ssh git refused", "error", err)
		return 1
	}
	started := time.Now()
	code, err := c.transfer(ctx, ch, cmd.service, repo, protocol, stderr)
	if err != nil {
		explain(stderr, err)
		code = 1
	}
	log.Info("ssh git", "exit", code, "error", err, "duration", time.Since(started))
	return code
}

// transfer joins the channel and git.
func (c *connection) transfer(ctx context.Context, ch ssh.Channel, service git.Service, repo source.Repo, protocol string, stderr io.Writer) (int, error) {
	// The pipe lets git's end be closed while a Read of the channel waits.
	in, feed := io.Pipe()
	c.wg.Go(func() { // ends with the channel
		_, err := io.Copy(feed, ch)
		_ = feed.CloseWithError(err)
	})
	s := git.Session{
		In:       in,
		Out:      &stallGuard{w: ch, limit: c.server.o.StallTimeout, stalled: c.hangUp},
		Err:      stderr,
		Protocol: protocol,
	}
	if service.Writes() {
		return c.server.o.Git.Receive(ctx, repo, c.actor, s)
	}
	return c.server.o.Git.Upload(ctx, repo, s)
}

func (c *connection) hangUp() { _ = c.conn.Close() }

// explain shows an error in the style of push output.
func explain(w io.Writer, err error) {
	for _, line := range landward.AsError(err).Explain() {
		_, _ = fmt.Fprintln(w, errorMark+landward.CleanLine(line)) // a client who is gone does not read it
	}
}

// stallGuard bounds how long a client may take to accept a piece of output: a
// stopped one must not hold git up.
type stallGuard struct {
	w       io.Writer
	limit   time.Duration
	stalled func()
}

func (g *stallGuard) Write(p []byte) (int, error) {
	t := time.AfterFunc(g.limit, g.stalled)
	defer t.Stop()
	return g.w.Write(p)
}
