package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	bk "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/moby/client"
	"github.com/tonistiigi/fsutil"
)

func main() {
	ctx := context.Background()
	d, err := client.New(client.FromEnv)
	if err != nil {
		panic(err)
	}
	c, err := bk.New(ctx, "", bk.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.DialHijack(ctx, "/grpc", "h2c", nil) }),
		bk.WithSessionDialer(func(ctx context.Context, p string, m map[string][]string) (net.Conn, error) {
			return d.DialHijack(ctx, "/session", p, m)
		}))
	if err != nil {
		panic(err)
	}
	dir := os.Args[1]
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		panic(err)
	}
	attrs := map[string]string{"filename": "Dockerfile", "cgroup-parent": os.Args[2], "hostname": "landward-build-7", "build-arg:NO_PROXY": "marker"}
	opt := bk.SolveOpt{LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs}, FrontendAttrs: attrs, SharedKey: "spike",
		Exports: []bk.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": "spike:1"}}}}
	for range 2 {
		ch := make(chan *bk.SolveStatus)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for s := range ch {
				for _, v := range s.Vertexes {
					fmt.Println("V", v.Name, v.Started != nil, v.Completed != nil, v.Cached, v.Error)
				}
				for _, l := range s.Logs {
					fmt.Printf("L %q\n", l.Data)
				}
			}
		}()
		t := time.Now()
		res, err := c.Build(ctx, opt, "spike", func(ctx context.Context, g gw.Client) (*gw.Result, error) {
			caps := g.BuildOpts().LLBCaps
			fmt.Println("hostname", caps.Supports(pb.CapExecMetaSetsDefaultPath), "proxy", caps.Supports(pb.CapExecMetaProxy), caps.Supports(pb.CapExecMetaCgroupParent), "secretenv", caps.Supports(pb.CapExecSecretEnv), "ulimit", caps.Supports(pb.CapExecMetaUlimit))
			return builder.Build(ctx, g)
		}, ch)
		<-done
		fmt.Println(time.Since(t), err)
		if res != nil {
			fmt.Println(res.ExporterResponse)
		}
	}
}
