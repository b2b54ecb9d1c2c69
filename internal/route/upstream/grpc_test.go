package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"landward/internal/route/upstream"
)

// text is a codec of strings: no generated code is needed.
type text struct{}

func (text) Marshal(v any) ([]byte, error)      { return []byte(*v.(*string)), nil }
func (text) Unmarshal(data []byte, v any) error { *v.(*string) = string(data); return nil }
func (text) Name() string                       { return "text" }

// say answers by what it is told.
func say(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in string
	if err := decode(&in); err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	switch in {
	case "fail":
		_ = grpc.SetTrailer(ctx, metadata.Pairs("why", "told to"))
		return nil, status.Error(codes.FailedPrecondition, "no: ü %")
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("answer-head", "h", "blob-bin", "\x00\x01"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("answer-tail", "t"))
	out := in + " " + strings.Join(md.Get("asked"), "+") + " te=" + strings.Join(md.Get("te"), "+")
	return &out, nil
}

func count(_ any, s grpc.ServerStream) error {
	var in string
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	for i := range len(in) {
		out := fmt.Sprint(i, strings.Repeat("x", 30_000))
		if err := s.SendMsg(&out); err != nil {
			return err
		}
	}
	return nil
}

func talk(_ any, s grpc.ServerStream) error {
	for {
		var in string
		err := s.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in == "enough" {
			return status.Error(codes.Aborted, "enough")
		}
		out := "re: " + in
		if err := s.SendMsg(&out); err != nil {
			return err
		}
	}
}

// grpcApp is a real gRPC server.
func grpcApp(t *testing.T) (string, chan struct{}) {
	t.Helper()
	cancelled := make(chan struct{}, 16)
	s := grpc.NewServer(grpc.ForceServerCodec(text{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Talk", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: say}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Count", Handler: count, ServerStreams: true},
			{StreamName: "Talk", Handler: talk, ServerStreams: true, ClientStreams: true},
			{StreamName: "Wait", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				out := "here"
				_ = s.SendMsg(&out)
				<-s.Context().Done()
				cancelled <- struct{}{}
				return s.Context().Err()
			}},
		},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String(), cancelled
}

// front takes HTTP/2 from a client and speaks HTTP/1.1 to the bridge, as the
// edge does.
type front struct {
	t *testing.T
	b *upstream.Bridge

	mu   sync.Mutex
	idle []*line
	used int
}

func (f *front) take() *line {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := len(f.idle); n > 0; n = len(f.idle) {
		l := f.idle[n-1]
		f.idle = f.idle[:n-1]
		if l.Idle() {
			f.used++
			return l
		}
		_ = l.Close()
	}
	c, err := f.b.Dial(context.Background())
	if err != nil {
		f.t.Error(err)
		return nil
	}
	return &line{c, bufio.NewReader(c)}
}

func (f *front) give(l *line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, l)
}

func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.idle {
		_ = l.Close()
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := f.take()
	if l == nil {
		panic(http.ErrAbortHandler)
	}
	stop := context.AfterFunc(r.Context(), func() { _ = l.Close() })
	defer stop()
	uploaded := make(chan bool, 1)
	go func() { uploaded <- upload(l, r) }()
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		_ = l.Close()
		<-uploaded
		panic(http.ErrAbortHandler)
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	trailersOnly := res.ContentLength == 0
	if trailersOnly {
		w.Header().Del("Content-Length")
	}
	w.WriteHeader(res.StatusCode)
	c := http.NewResponseController(w)
	if !trailersOnly {
		_ = c.Flush()
	}
	buf := make([]byte, 8<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			_, _ = w.Write(buf[:n])
			_ = c.Flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = l.Close()
			<-uploaded
			panic(http.ErrAbortHandler)
		}
	}
	for name, values := range res.Trailer {
		if len(values) == 0 {
			continue // announced, and did not come
		}
		w.Header()[http.TrailerPrefix+name] = values
	}
	if !l.Idle() {
		_ = l.Close()
	}
	_ = c.SetReadDeadline(time.Unix(1, 0)) // the rest of the body is not wanted
	if <-uploaded && l.Idle() && stop() {
		f.give(l)
		return
	}
	_ = l.Close()
}

// upload sends the request, and reports whether all of it went.
func upload(l *line, r *http.Request) bool {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.WriteSubset(&head, map[string]bool{"Te": true, "Content-Length": true})
	if _, err := io.WriteString(l, head.String()+"\r\n"); err != nil {
		return false
	}
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := fmt.Fprintf(l, "%x\r\n%s\r\n", n, buf[:n]); err != nil {
				return false
			}
		}
		if errors.Is(err, io.EOF) {
			_, err := io.WriteString(l, "0\r\n\r\n")
			return err == nil
		}
		if err != nil {
			return false
		}
	}
}

// grpcClient is a client that goes through a front and a bridge to the app.
func grpcClient(t *testing.T, app string) (*grpc.ClientConn, *front) {
	t.Helper()
	f := &front{t: t, b: bridge(t, app)}
	t.Cleanup(f.close)
	addr, _ := h2c(t, f, nil)
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(text{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc, f
}

func TestGRPCUnary(t *testing.T) {
	app, _ := grpcApp(t)
	cc, f := grpcClient(t, app)
	for range 10 {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "asked", "a")
		var head, tail metadata.MD
		in, out := "hello", ""
		if err := cc.Invoke(ctx, "/test.Talk/Say", &in, &out, grpc.Header(&head), grpc.Trailer(&tail)); err != nil {
			t.Fatal(err)
		}
		if out != "hello a te=" { // gRPC keeps te to itself
			t.Errorf("got %q", out)
		}
		if fmt.Sprint(head.Get("answer-head"), head.Get("blob-bin"), tail.Get("answer-tail")) != "[h] [\x00\x01] [t]" {
			t.Errorf("got %v, %v", head, tail)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used == 0 {
		t.Error("no connection was used again")
	}
}

func TestGRPCError(t *testing.T) {
	app, _ := grpcApp(t)
	cc, _ := grpcClient(t, app)
	in, out := "fail", ""
	var tail metadata.MD
	err := cc.Invoke(t.Context(), "/test.Talk/Say", &in, &out, grpc.Trailer(&tail))
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "no: ü %" || fmt.Sprint(tail.Get("why")) != "[told to]" {
		t.Errorf("got %v, %v", err, tail)
	}
	err = cc.Invoke(t.Context(), "/test.Talk/Nothing", &in, &out)
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestGRPCServerStream(t *testing.T) {
	app, _ := grpcApp(t)
	cc, _ := grpcClient(t, app)
	s, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Talk/Count")
	if err != nil {
		t.Fatal(err)
	}
	in := strings.Repeat("n", 40)
	if err := errors.Join(s.SendMsg(&in), s.CloseSend()); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		var out string
		if err := s.RecvMsg(&out); err != nil || !strings.HasPrefix(out, fmt.Sprint(i, "x")) || len(out) < 30_000 {
			t.Fatalf("message %d: %d bytes, %v", i, len(out), err)
		}
	}
	if err := s.RecvMsg(new(string)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestGRPCBothWays(t *testing.T) {
	app, _ := grpcApp(t)
	cc, _ := grpcClient(t, app)
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	s, err := cc.NewStream(t.Context(), desc, "/test.Talk/Talk")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		in, out := fmt.Sprint("m", i), ""
		if err := s.SendMsg(&in); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(&out); err != nil || out != "re: "+in {
			t.Fatalf("got %q, %v", out, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(string)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	// The app ends first, while the client still may send.
	if s, err = cc.NewStream(t.Context(), desc, "/test.Talk/Talk"); err != nil {
		t.Fatal(err)
	}
	in := "enough"
	if err := s.SendMsg(&in); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(string)); status.Code(err) != codes.Aborted {
		t.Errorf("got %v", err)
	}
}

func TestGRPCCancel(t *testing.T) {
	app, cancelled := grpcApp(t)
	cc, _ := grpcClient(t, app)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Talk/Wait")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(string)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-cancelled
	if err := s.RecvMsg(new(string)); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in, out := "hang", ""
	// The app has the same deadline, and may have ended the stream a moment before
	// the client does.
	err = cc.Invoke(ctx, "/test.Talk/Say", &in, &out)
	if at, _ := ctx.Deadline(); err == nil || status.Code(err) != codes.DeadlineExceeded && time.Now().Before(at) {
		t.Errorf("got %v", err)
	}
}

// TestGRPCTrailersOnly looks at an error as the plane sees it.
func TestGRPCTrailersOnly(t *testing.T) {
	app, _ := grpcApp(t)
	b := bridge(t, app)
	l := dial(t, b)
	l.send(t, "POST /test.Talk/Nothing HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	res, body := l.read(t, "POST")
	if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "12" || res.ContentLength != 0 || body != "" {
		t.Errorf("got %+v", res)
	}
	// The app may have answered before it had the end of the body.
	l = dial(t, b)
	l.send(t, "POST /test.Talk/Say HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"7\r\n\x00\x00\x00\x00\x02hi\r\n0\r\n\r\n")
	res, body = l.read(t, "POST")
	if res.Trailer.Get("Grpc-Status") != "0" || body != "\x00\x00\x00\x00\x07hi  te=" {
		t.Errorf("got %+v, %q", res, body)
	}
}
