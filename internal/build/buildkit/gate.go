package buildkit

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"landward/internal/landward"
)

// gate stands between the frontend and BuildKit. Every image that a Dockerfile
// names (FROM, COPY --from, RUN --mount=from) is looked up through it, and it
// refuses those of other apps, which lie in the same store.
type gate struct {
	gateway.Client
	private string
	refused *atomic.Pointer[landward.Error] // what it said, which loses its type on the way back
}

func (g *gate) check(ref string) error {
	err := g.judge(ref)
	if err == nil {
		return nil
	}
	g.refused.Store(err)
	return err
}

func (g *gate) judge(ref string) *landward.Error {
	name, err := reference.ParseNormalizedNamed(strings.TrimPrefix(ref, "docker-image://"))
	if err != nil || g.private == "" {
		return nil // what cannot be parsed cannot be found either
	}
	if strings.HasPrefix(reference.FamiliarName(name), g.private) {
		return landward.Errorf(landward.CodePolicy, "image %s belongs to an app and cannot be built from", landward.Printable(reference.FamiliarString(name))).
			WithHint("push a base image that several apps share to a registry")
	}
	return nil
}

// ResolveImageConfig looks up an image for Engines without ResolveSourceMetadata.
func (g *gate) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if err := g.check(ref); err != nil {
		return "", "", nil, err
	}
	return g.Client.ResolveImageConfig(ctx, ref, opt)
}

// ResolveSourceMetadata looks up an image.
func (g *gate) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if err := g.check(op.GetIdentifier()); err != nil {
		return nil, err
	}
	return g.Client.ResolveSourceMetadata(ctx, op, opt)
}
