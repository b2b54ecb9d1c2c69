package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"landward/internal/landward"
	"landward/internal/source"
)

const (
	askTimeout  = 10 * time.Second // a hook asks at once
	tellTimeout = 2 * time.Minute  // for one write to a hook, which waits for its pusher
)

// serveHook holds one conversation with a hook.
func (s *Server) serveHook(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	p, q, err := s.hear(conn)
	if err != nil {
		s.o.Log.Warn("hook refused", "error", err)
		_ = json.NewEncoder(conn).Encode(answer{Line: errorMark + "Landward does not know this push."})
		_ = json.NewEncoder(conn).Encode(answer{Done: true})
		return
	}
	p.asked.Store(true)

	out := newLines()
	told := make(chan struct{})
	go func() {
		defer close(told)
		tell(conn, out)
	}()
	started := time.Now()
	err = s.decide(ctx, p, q, out)
	s.o.Log.Info("push", "app", p.repo.App, "actor", p.actor.Name, "refs", len(q.Refs),
		"accepted", err == nil, "error", err, "duration", time.Since(started))
	if err != nil {
		for _, line := range landward.AsError(err).Explain() {
			_, _ = io.WriteString(out, errorMark+line+"\n") // lines never fail
		}
	}
	out.close(err == nil)
	<-told
}

// hear reads the question and finds the push that it belongs to.
func (s *Server) hear(conn *net.UnixConn) (*push, question, error) {
	var q question
	if err := checkPeer(conn); err != nil {
		return nil, q, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, q, fmt.Errorf("set deadline: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, 2*maxHookInput)).Decode(&q); err != nil {
		return nil, q, fmt.Errorf("read question: %w", err)
	}
	p, ok := s.claim(q.ID)
	if !ok {
		return nil, q, errors.New("unknown push")
	}
	return p, q, nil
}

// checkPeer lets in processes of our own user (and root) only.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("check peer: %w", credErr)
	}
	if int(cred.Uid) != os.Geteuid() && cred.Uid != 0 {
		return fmt.Errorf("check peer: user %d is not ours", cred.Uid)
	}
	return nil
}

// decide checks the push as a whole and asks the Intake.
func (s *Server) decide(ctx context.Context, p *push, q question, out io.Writer) error {
	branch, err := head(p.repo.Dir)
	if err != nil {
		return err
	}
	if err := checkUpdates(q.Refs, branch, s.o.Git.limits.Refs); err != nil {
		return err
	}
	env, err := quarantineEnv(p.repo, q.Quarantine)
	if err != nil {
		return err
	}
	return s.o.Intake.Push(ctx, source.Push{
		Repo: p.repo, Actor: p.actor, Refs: q.Refs, Options: q.Options, Env: env,
	}, out)
}

// tell sends lines to the hook as they come, then the verdict. A hook that is
// gone ends it.
func tell(conn *net.UnixConn, out *lines) {
	enc := json.NewEncoder(conn)
	for {
		batch, ok, done := out.next()
		for _, line := range batch {
			if conn.SetWriteDeadline(time.Now().Add(tellTimeout)) != nil || enc.Encode(answer{Line: line}) != nil {
				return
			}
		}
		if done {
			if conn.SetWriteDeadline(time.Now().Add(tellTimeout)) == nil {
				_ = enc.Encode(answer{Done: true, OK: ok}) // without it the hook declines
			}
			return
		}
	}
}

// cleanLine makes a line of output safe for a terminal. git ends a line of its
// own at a carriage return, so only what follows the last one is kept.
func cleanLine(line string) string {
	line = strings.TrimRight(line, "\r")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return landward.CleanLine(strings.ToValidUTF8(line, "\uFFFD"))
}
