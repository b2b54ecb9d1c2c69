package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"landward/internal/landward"
	"landward/internal/route"
)

// TestGRPCAppDies: whoever waits for an app that goes away is told UNAVAILABLE,
// which clients try again, before an answer and in the middle of one.
func TestGRPCAppDies(t *testing.T) {
	eachUpstream(t, func(t *testing.T, app *grpcApp, cc *grpc.ClientConn) {
		both, _ := open(t, cc, "Hold")
		if got := hear(t, both); got != "here" {
			t.Fatalf("heard %q", got)
		}
		<-app.began
		down, _ := open(t, cc, "Hold") // one way: the client has said all
		if err := down.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, down); got != "here" {
			t.Fatalf("heard %q", got)
		}
		<-app.began
		failed := make(chan error, 1)
		go func() {
			_, err := call(context.Background(), cc, "Hang", "x")
			failed <- err
		}()
		<-app.began
		app.Stop()
		for _, s := range []grpc.ClientStream{both, down} {
			if st := wantEnd(t, s, codes.Unavailable); st.Code() == codes.Unavailable && st.Message() == "" {
				t.Error("nobody is told why")
			}
		}
		if err := <-failed; status.Code(err) != codes.Unavailable {
			t.Errorf("before an answer: %v", err)
		}
		if _, err := call(t.Context(), cc, "Echo", "x"); status.Code(err) != codes.Unavailable {
			t.Errorf("an app that is not there: %v", err)
		}
	})
}

// TestGRPCBrokenAnswerIsCounted: what clients are told is one thing; the log
// has the answer as one that was not whole.
func TestGRPCBrokenAnswerIsCounted(t *testing.T) {
	r := start(t, t.TempDir())
	app := newGRPCApp(t, false)
	r.put(t, 1, grpcRoute(app, landward.ProtocolH2C))
	s, _ := open(t, r.grpcClient(t), "Hold")
	hear(t, s)
	app.Stop()
	wantEnd(t, s, codes.Unavailable)
	r.stop()
	b, err := os.ReadFile(filepath.Join(r.dir, "logs", "9", "router.log"))
	if err != nil || !strings.Contains(string(b), string(route.CodeReset)) {
		t.Errorf("log %q, %v", b, err)
	}
}

// TestGRPCQuietClient: in a stream both ways the client may say nothing for
// longer than the body of an upload may pause.
func TestGRPCQuietClient(t *testing.T) {
	r := start(t, t.TempDir())
	app := newGRPCApp(t, false)
	rt := grpcRoute(app, landward.ProtocolH2C)
	rt.Limits.ReadTimeout = 300 * time.Millisecond
	r.put(t, 1, rt)
	s, _ := open(t, r.grpcClient(t), "Tick")
	tell(t, s, string([]byte{20, 100}))
	for i := range 20 {
		if got := hear(t, s); got != string([]byte{byte(i)}) {
			t.Fatalf("heard %q", got)
		}
	}
	wantEnd(t, s, codes.OK)
}

// TestGRPCConnectionAge: an app that closes its connections one after the
// other, as servers behind balancers do, is no reason for a call to fail.
func TestGRPCConnectionAge(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		s, _ := open(t, cc, "Talk")
		for i := range 400 {
			if out, err := call(t.Context(), cc, "Echo", fmt.Sprint(i)); err != nil || out != fmt.Sprint(i) {
				t.Fatalf("call %d: %q, %v", i, out, err)
			}
			if i%40 == 0 {
				tell(t, s, fmt.Sprint(i)) // a stream goes on, on a connection that takes no more
				if got := hear(t, s); got != fmt.Sprint(i) {
					t.Fatalf("heard %q", got)
				}
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, s, codes.OK)
	}, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 20 * time.Millisecond, MaxConnectionAgeGrace: patience}))
}

// TestGRPCPings: an app's pings are answered, and it gets so few that one which
// allows none is content, even where clients give up all the time.
func TestGRPCPings(t *testing.T) {
	eachUpstream(t, func(t *testing.T, app *grpcApp, cc *grpc.ClientConn) {
		s, _ := open(t, cc, "Tick")
		tell(t, s, string([]byte{25, 100})) // longer than two pings of the app's
		for range 100 {
			h, cancel := open(t, cc, "Hold")
			hear(t, h)
			<-app.began
			cancel()
			app.wantCancelled(t)
		}
		for i := range 25 {
			if got := hear(t, s); got != string([]byte{byte(i)}) {
				t.Fatalf("heard %q", got)
			}
		}
	}, grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Second, Timeout: patience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Hour}))
}

// TestGRPCRelease: a new release leaves the calls in progress with the old one;
// at the limit they end with UNAVAILABLE, so that clients call again.
func TestGRPCRelease(t *testing.T) {
	r := start(t, t.TempDir())
	old, next := newGRPCApp(t, false), newGRPCApp(t, false)
	before := grpcRoute(old, landward.ProtocolH2C)
	r.put(t, 1, before)
	cc := r.grpcClient(t)
	s, _ := open(t, cc, "Talk")
	tell(t, s, "one")
	hear(t, s)
	held, _ := open(t, cc, "Hold")
	hear(t, held)
	r.put(t, 2, grpcRoute(next, landward.ProtocolH2C))
	for range 10 {
		if _, err := call(t.Context(), cc, "Echo", "x"); err != nil {
			t.Error(err)
		}
	}
	tell(t, s, "two")
	if got := hear(t, s); got != "two" {
		t.Errorf("heard %q", got)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, codes.OK)
	rep, err := r.Drain(t.Context(), []string{before.Targets[0].ID}, 50*time.Millisecond)
	if err != nil || rep.Cut != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	wantEnd(t, held, codes.Unavailable)
	old.wantCancelled(t)
	if n := len(next.began); n != 0 {
		t.Errorf("a stream was begun again: %d", n)
	}
}

// TestGRPCWithoutTLS: a client that does not speak TLS learns at once that it
// must.
func TestGRPCWithoutTLS(t *testing.T) {
	r := start(t, t.TempDir())
	app := newGRPCApp(t, false)
	r.put(t, 1, grpcRoute(app, landward.ProtocolH2C))
	cc, err := grpc.NewClient("passthrough:///"+r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("grpc.localhost"), grpc.WithDefaultCallOptions(grpc.CallContentSubtype("raw")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	if _, err := call(t.Context(), cc, "Echo", "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

// TestGRPCTooLarge: a call that sends more than the app's limit ends with
// RESOURCE_EXHAUSTED, also once it is answered.
func TestGRPCTooLarge(t *testing.T) {
	r := start(t, t.TempDir())
	app := newGRPCApp(t, false)
	rt := grpcRoute(app, landward.ProtocolH2C)
	rt.Limits.MaxBody = 10_000
	r.put(t, 1, rt)
	s, _ := open(t, r.grpcClient(t), "Talk")
	var err error
	for n := 0; err == nil; n += 1000 {
		if n > 1<<20 {
			t.Fatal("nobody ends it")
		}
		in, out := make([]byte, 1000), []byte(nil)
		if err = s.SendMsg(&in); err == nil || errors.Is(err, io.EOF) {
			err = s.RecvMsg(&out)
		}
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}
