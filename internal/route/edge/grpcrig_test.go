package edge_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"landward/internal/landward"
	"landward/internal/route"
)

// raw is a gRPC codec of bytes: no generated code is needed.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (raw) Name() string { return "raw" }

// grpcApp is a real gRPC server with methods of every kind, and its health
// service.
type grpcApp struct {
	*grpc.Server
	addr   netip.AddrPort
	health *health.Server
	// began and ended are told of each call that waits to be cancelled.
	began, ended chan context.Context
}

// newGRPCApp runs an app: over TLS with a certificate that nobody trusts, or
// in clear text.
func newGRPCApp(t testing.TB, secure bool, o ...grpc.ServerOption) *grpcApp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		s := httptest.NewUnstartedServer(nil)
		s.StartTLS()
		o = append(o, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12})))
		s.Close()
	}
	a := &grpcApp{Server: grpc.NewServer(o...), addr: netip.MustParseAddrPort(l.Addr().String()), health: health.NewServer(),
		began: make(chan context.Context, 1000), ended: make(chan context.Context, 1000)}
	healthv1.RegisterHealthServer(a, a.health)
	both := func(name string, h grpc.StreamHandler) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name, Handler: h, ServerStreams: true, ClientStreams: true}
	}
	a.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Bytes", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: a.echo}, {MethodName: "Hang", Handler: a.hang}},
		Streams: []grpc.StreamDesc{both("Count", count), both("Sum", sum), both("Talk", talk), both("Hold", a.hold), both("Tick", tick)},
	}, nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = a.Serve(l)
	}()
	t.Cleanup(func() {
		a.Stop()
		<-served
	})
	return a
}

// echo returns what it gets: the message, and the caller's metadata.
func (a *grpcApp) echo(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	if err := decode(&in); err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	back := metadata.MD{}
	for name, values := range md {
		if strings.HasPrefix(name, "x-test-") {
			back[name] = values
		}
	}
	_ = grpc.SetHeader(ctx, back)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "end", "x-tail-bin", "\x00\xff\x01"))
	if at, ok := ctx.Deadline(); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-left", fmt.Sprint(int(time.Until(at).Seconds()))))
	}
	if string(in) == "fail" {
		return nil, status.Error(codes.FailedPrecondition, "no: ü % \n")
	}
	return &in, nil
}

// hang waits until it is cancelled.
func (a *grpcApp) hang(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	_ = decode(&in)
	a.began <- ctx
	<-ctx.Done()
	a.ended <- ctx
	return nil, status.FromContextError(ctx.Err()).Err()
}

// hold sends one message, and waits until it is cancelled.
func (a *grpcApp) hold(_ any, s grpc.ServerStream) error {
	hello := []byte("here")
	if err := s.SendMsg(&hello); err != nil {
		return err
	}
	a.began <- s.Context()
	<-s.Context().Done()
	a.ended <- s.Context()
	return status.FromContextError(s.Context().Err()).Err()
}

// count sends as many messages as it is told, of the size it is told.
func count(_ any, s grpc.ServerStream) error {
	var in []byte
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	for i := range binary.BigEndian.Uint32(in) {
		out := make([]byte, binary.BigEndian.Uint32(in[4:]))
		binary.BigEndian.PutUint32(out, i)
		if err := s.SendMsg(&out); err != nil {
			return err
		}
	}
	return nil
}

// sum takes messages until their end and says how many bytes that were.
func sum(_ any, s grpc.ServerStream) error {
	total, messages := 0, 0
	for {
		var in []byte
		err := s.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			out := fmt.Appendf(nil, "%d in %d", total, messages)
			return s.SendMsg(&out)
		}
		if err != nil {
			return err
		}
		total, messages = total+len(in), messages+1
	}
}

// talk answers each message at once; one of them ends the call.
func talk(_ any, s grpc.ServerStream) error {
	s.SetTrailer(metadata.Pairs("x-tail", "talked"))
	for {
		var in []byte
		err := s.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if string(in) == "enough" {
			return status.Error(codes.Aborted, "enough")
		}
		if err := s.SendMsg(&in); err != nil {
			return err
		}
	}
}

// tick sends messages at intervals, as many as it is told, in milliseconds.
func tick(_ any, s grpc.ServerStream) error {
	var in []byte
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	every := time.NewTicker(time.Duration(in[1]) * time.Millisecond)
	defer every.Stop()
	for i := range in[0] {
		select {
		case <-every.C:
		case <-s.Context().Done():
			return s.Context().Err()
		}
		out := []byte{i}
		if err := s.SendMsg(&out); err != nil {
			return err
		}
	}
	return nil
}

// stream is how the methods above are called.
var stream = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// grpcRoute is a route to a gRPC app.
func grpcRoute(app *grpcApp, proto landward.Protocol) *route.Route {
	return &route.Route{App: "talk", AppID: 9, Release: 1, Hosts: []string{"grpc.localhost"}, State: route.StateUp, Protocol: proto,
		Targets: []route.Target{{Addr: app.addr, Unit: "web.1", ID: app.addr.String()}}}
}

// grpcClient is a client of the edge that trusts its local authority.
func (r *running) grpcClient(t *testing.T, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+r.SecureAddr().String(), append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: r.localRoots(t), ServerName: "grpc.localhost", MinVersion: tls.VersionTLS12})),
		grpc.WithDefaultCallOptions(grpc.CallContentSubtype("raw"), grpc.MaxCallRecvMsgSize(64<<20)),
	}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// eachUpstream runs a test with an app that speaks HTTP/2 in clear text, and
// with one that speaks it over TLS.
func eachUpstream(t *testing.T, test func(t *testing.T, app *grpcApp, cc *grpc.ClientConn), o ...grpc.ServerOption) {
	for _, proto := range []landward.Protocol{landward.ProtocolH2C, landward.ProtocolH2} {
		t.Run(string(proto), func(t *testing.T) {
			r := start(t, t.TempDir())
			app := newGRPCApp(t, proto == landward.ProtocolH2, append([]grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20)}, o...)...)
			r.put(t, 1, grpcRoute(app, proto))
			test(t, app, r.grpcClient(t))
		})
	}
}

// call makes a call with one message each way.
func call(ctx context.Context, cc *grpc.ClientConn, method, in string, o ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, out := []byte(in), []byte(nil)
	err := cc.Invoke(ctx, "/test.Bytes/"+method, &msg, &out, o...)
	return string(out), err
}

// open opens a stream that the test does not wait for longer than it waits for
// anything.
func open(t testing.TB, cc *grpc.ClientConn, method string) (grpc.ClientStream, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s, err := cc.NewStream(ctx, stream, "/test.Bytes/"+method)
	if err != nil {
		t.Fatal(err)
	}
	return s, cancel
}

// hear receives one message.
func hear(t testing.TB, s grpc.ClientStream) string {
	t.Helper()
	var out []byte
	if err := s.RecvMsg(&out); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// tell sends one message.
func tell(t testing.TB, s grpc.ClientStream, text string) {
	t.Helper()
	in := []byte(text)
	if err := s.SendMsg(&in); err != nil {
		t.Fatal(err)
	}
}

// wantEnd receives the end of a stream and compares its status.
func wantEnd(t testing.TB, s grpc.ClientStream, want codes.Code) *status.Status {
	t.Helper()
	err := s.RecvMsg(new([]byte))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	st := status.Convert(err)
	if st.Code() != want {
		t.Errorf("the stream ended with %s, want %s: %v", st.Code(), want, err)
	}
	return st
}

// put puts routes into use.
func (r *running) put(t testing.TB, generation int64, routes ...*route.Route) {
	t.Helper()
	if err := r.PutTable(context.Background(), route.Table{Generation: generation, Routes: routes}); err != nil {
		t.Fatal(err)
	}
}

// discard is a log that nobody reads.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
