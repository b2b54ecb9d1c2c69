package edge_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestGRPCUnary: messages, metadata, trailers and deadlines, both ways.
func TestGRPCUnary(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-test-a", "1", "x-test-a", "2", "x-test-b-bin", "\x00\x80\xff")
		for range 20 {
			var head, tail metadata.MD
			out, err := call(ctx, cc, "Echo", "hello", grpc.Header(&head), grpc.Trailer(&tail))
			if err != nil || out != "hello" {
				t.Fatalf("%q, %v", out, err)
			}
			if got := fmt.Sprintf("%q %q", head.Get("x-test-a"), head.Get("x-test-b-bin")); got != `["1" "2"] ["\x00\x80\xff"]` {
				t.Errorf("metadata came back as %s", got)
			}
			if got := fmt.Sprintf("%q %q", tail.Get("x-tail"), tail.Get("x-tail-bin")); got != `["end"] ["\x00\xff\x01"]` {
				t.Errorf("trailers %s", got)
			}
			if left := tail.Get("x-left"); len(left) != 1 || left[0] == "0" {
				t.Errorf("the app has %v seconds left", left)
			}
		}
		if out, err := call(t.Context(), cc, "Echo", ""); err != nil || out != "" {
			t.Errorf("an empty message: %q, %v", out, err)
		}
	})
}

// TestGRPCErrors: an app's error is the client's, word for word, whether the
// app has sent something before it or not.
func TestGRPCErrors(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		var tail metadata.MD
		_, err := call(t.Context(), cc, "Echo", "fail", grpc.Trailer(&tail))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "no: ü % \n" || len(tail.Get("x-tail")) != 1 {
			t.Errorf("%v, %v", err, tail)
		}
		if _, err := call(t.Context(), cc, "Nothing", "x"); status.Code(err) != codes.Unimplemented {
			t.Errorf("a method that is not there: %v", err)
		}
		s, _ := open(t, cc, "Talk")
		tell(t, s, "one")
		if got := hear(t, s); got != "one" {
			t.Errorf("heard %q", got)
		}
		tell(t, s, "enough") // the app ends while the client still may send
		if st := wantEnd(t, s, codes.Aborted); st.Message() != "enough" {
			t.Errorf("message %q", st.Message())
		}
		if got := s.Trailer().Get("x-tail"); len(got) != 1 || got[0] != "talked" {
			t.Errorf("trailer %v", got)
		}
	})
}

// TestGRPCStreams: streams from the app, to it, and both at once.
func TestGRPCStreams(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		const messages, size = 300, 10_000
		s, _ := open(t, cc, "Count")
		in := binary.BigEndian.AppendUint32(nil, messages)
		in = binary.BigEndian.AppendUint32(in, size)
		tell(t, s, string(in))
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for i := range uint32(messages) {
			if got := hear(t, s); len(got) != size || binary.BigEndian.Uint32([]byte(got)) != i {
				t.Fatalf("message %d: %d bytes", i, len(got))
			}
		}
		wantEnd(t, s, codes.OK)

		s, _ = open(t, cc, "Sum")
		for range messages {
			tell(t, s, strings.Repeat("x", size))
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, s); got != fmt.Sprintf("%d in %d", messages*size, messages) {
			t.Errorf("sum %q", got)
		}
		wantEnd(t, s, codes.OK)

		// In turn: each answer must come before the next question is sent.
		s, _ = open(t, cc, "Talk")
		for i := range 200 {
			text := fmt.Sprint("message ", i)
			tell(t, s, text)
			if got := hear(t, s); got != text {
				t.Fatalf("heard %q", got)
			}
		}
		// Beside each other: nobody waits for the other.
		sent := make(chan error, 1)
		go func() {
			var err error
			for i := uint32(0); i < messages && err == nil; i++ {
				in := make([]byte, size)
				binary.BigEndian.PutUint32(in, i)
				err = s.SendMsg(&in)
			}
			sent <- errors.Join(err, s.CloseSend())
		}()
		for i := range uint32(messages) {
			if got := hear(t, s); len(got) != size || binary.BigEndian.Uint32([]byte(got)) != i {
				t.Fatalf("message %d: %d bytes", i, len(got))
			}
		}
		wantEnd(t, s, codes.OK)
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// TestGRPCLarge: messages far larger than every window.
func TestGRPCLarge(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		for _, size := range []int{1 << 16, 1<<20 - 1, 1 << 20, 5<<20 + 3, 20 << 20} {
			in := strings.Repeat("0123456789abcdef0", size/17+1)[:size]
			out, err := call(t.Context(), cc, "Echo", in)
			if err != nil || out != in {
				t.Errorf("%d bytes: %d came back, %v", size, len(out), err)
			}
		}
	})
}

// TestGRPCCancel: a client that gives up ends the call in the app, and so does
// its deadline.
func TestGRPCCancel(t *testing.T) {
	eachUpstream(t, func(t *testing.T, app *grpcApp, cc *grpc.ClientConn) {
		s, cancel := open(t, cc, "Hold")
		if got := hear(t, s); got != "here" {
			t.Fatalf("heard %q", got)
		}
		<-app.began
		cancel()
		app.wantCancelled(t)
		wantEnd(t, s, codes.Canceled)

		// One that has sent all and waits.
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := call(ctx, cc, "Hang", "x")
			failed <- err
		}()
		<-app.began
		cancel()
		app.wantCancelled(t)
		if err := <-failed; status.Code(err) != codes.Canceled {
			t.Errorf("cancelled: %v", err)
		}

		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		// The app has the same deadline, and may end the call a moment before the
		// client does.
		_, err := call(ctx, cc, "Hang", "x")
		if at, _ := ctx.Deadline(); err == nil || status.Code(err) != codes.DeadlineExceeded && time.Now().Before(at) {
			t.Errorf("past its deadline: %v", err)
		}
		if _, ok := (<-app.began).Deadline(); !ok {
			t.Error("the app was told of no deadline")
		}
		app.wantCancelled(t)
	})
}

func (a *grpcApp) wantCancelled(t testing.TB) {
	t.Helper()
	select {
	case <-a.ended:
	case <-time.After(patience):
		t.Fatal("the app goes on with a call that nobody waits for")
	}
}

// TestGRPCParallel: a hundred streams at once over one connection, to an app
// that takes few on one.
func TestGRPCParallel(t *testing.T) {
	eachUpstream(t, func(t *testing.T, _ *grpcApp, cc *grpc.ClientConn) {
		const streams = 100
		list := make([]grpc.ClientStream, streams)
		for i := range list {
			list[i], _ = open(t, cc, "Talk")
			tell(t, list[i], fmt.Sprint("first of ", i))
		}
		for i, s := range list { // all are open: none has waited for another's end
			if got := hear(t, s); got != fmt.Sprint("first of ", i) {
				t.Fatalf("stream %d heard %q", i, got)
			}
		}
		var all sync.WaitGroup
		for i, s := range list {
			all.Go(func() {
				for n := range 20 {
					in, out := fmt.Appendf(nil, "%d of %d %s", n, i, strings.Repeat("x", n*1000)), []byte(nil)
					if err := errors.Join(s.SendMsg(&in), s.RecvMsg(&out)); err != nil || string(in) != string(out) {
						t.Errorf("stream %d: %d bytes, %v", i, len(out), err)
						return
					}
				}
				if err := s.CloseSend(); err != nil {
					t.Error(err)
				}
				if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
					t.Errorf("stream %d: %v", i, err)
				}
			})
		}
		all.Wait()
	}, grpc.MaxConcurrentStreams(16))
}

// TestGRPCHealth: the health-checking service, with messages of its own.
func TestGRPCHealth(t *testing.T) {
	eachUpstream(t, func(t *testing.T, app *grpcApp, cc *grpc.ClientConn) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c := healthv1.NewHealthClient(cc)
		proto := grpc.CallContentSubtype("proto")
		got, err := c.Check(ctx, &healthv1.HealthCheckRequest{}, proto)
		if err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v", got, err)
		}
		if _, err := c.Check(ctx, &healthv1.HealthCheckRequest{Service: "unknown"}, proto); status.Code(err) != codes.NotFound {
			t.Errorf("an unknown service: %v", err)
		}
		w, err := c.Watch(ctx, &healthv1.HealthCheckRequest{}, proto)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []healthv1.HealthCheckResponse_ServingStatus{
			healthv1.HealthCheckResponse_SERVING, healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING,
		} {
			app.health.SetServingStatus("", want)
			if got, err := w.Recv(); err != nil || got.GetStatus() != want {
				t.Fatalf("%v, %v, want %v", got, err, want)
			}
		}
	})
}
