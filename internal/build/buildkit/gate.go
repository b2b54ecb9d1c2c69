package buildkit

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"landward/internal/landward"
)

// gate stands between the frontend and BuildKit and looks at all that the
// Dockerfile makes of a build: which images it is built from, what is fetched,
// and what its commands may do.
type gate struct {
	gateway.Client
	private string
	refused *atomic.Pointer[landward.Error] // what it said, which loses its type on the way back
}

// refuse keeps the first refusal.
func (g *gate) refuse(err *landward.Error) error {
	g.refused.CompareAndSwap(nil, err)
	return err
}

// Solve is asked to run a graph of operations. A frontend of the Engine's own
// would do so behind our back.
func (g *gate) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		return nil, g.refuse(landward.Errorf(landward.CodePolicy, "the Dockerfile frontend %s is not allowed", landward.Printable(req.Frontend)))
	}
	for _, data := range req.Definition.GetDef() {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return nil, fmt.Errorf("read build operation: %w", err)
		}
		if err := g.checkSource(op.GetSource().GetIdentifier()); err != nil {
			return nil, g.refuse(err)
		}
		if err := checkExec(op.GetExec()); err != nil {
			return nil, g.refuse(err)
		}
	}
	return g.Client.Solve(ctx, req)
}

// ResolveImageConfig looks up an image for Engines without ResolveSourceMetadata.
func (g *gate) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if err := g.checkImage(ref); err != nil {
		return "", "", nil, g.refuse(err)
	}
	return g.Client.ResolveImageConfig(ctx, ref, opt)
}

// ResolveSourceMetadata looks up an image, or what else can be built from.
func (g *gate) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if err := g.checkSource(op.GetIdentifier()); err != nil {
		return nil, g.refuse(err)
	}
	return g.Client.ResolveSourceMetadata(ctx, op, opt)
}

// checkSource refuses what the Engine itself would fetch: it would do so in the
// network of the server, where addresses answer that nobody outside may reach.
func (g *gate) checkSource(id string) *landward.Error {
	scheme, rest, ok := strings.Cut(id, "://")
	switch {
	case !ok, scheme == "local":
		return nil
	case scheme == "docker-image":
		return g.checkImage(rest)
	}
	return landward.Errorf(landward.CodePolicy, "ADD cannot fetch %s", landward.Printable(id)).
		WithHint("fetch it in a step of the build, which has a network of its own: RUN curl -fsSLO … or RUN git clone …")
}

// checkImage refuses the images of other apps, which lie in the same store.
func (g *gate) checkImage(ref string) *landward.Error {
	name, err := reference.ParseNormalizedNamed(ref)
	if err != nil || g.private == "" {
		return nil // what cannot be parsed cannot be found either
	}
	if !strings.HasPrefix(reference.FamiliarName(name), g.private) {
		return nil
	}
	return landward.Errorf(landward.CodePolicy, "image %s belongs to an app and cannot be built from", landward.Printable(reference.FamiliarString(name))).
		WithHint("push a base image that several apps share to a registry")
}

// checkExec refuses what would take a command out of its sandbox.
func checkExec(op *pb.ExecOp) *landward.Error {
	asks := ""
	switch {
	case op.GetSecurity() == pb.SecurityMode_INSECURE:
		asks = "--security=insecure"
	case op.GetNetwork() == pb.NetMode_HOST:
		asks = "--network=host"
	case len(op.GetCdiDevices()) > 0:
		asks = "--device"
	default:
		return nil
	}
	return landward.Errorf(landward.CodePolicy, "a RUN instruction asks for %s, which builds may not have", asks).
		WithHint("remove it from the Dockerfile")
}
