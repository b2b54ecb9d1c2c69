package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
	"landward/internal/pipeline"
)

// Submitter turns a source into a release candidate. *pipeline.Pipeline has it.
type Submitter interface {
	// Submit has queued the deployment durably when it returns. It reads
	// s.Tree to its end before.
	Submit(ctx context.Context, s pipeline.Submission) (landward.Deployment, error)
	// Plan says what a deploy of tree, a tar, would do.
	Plan(ctx context.Context, tree io.Reader) (landward.Plan, error)
}

// readWithin is how long an upload may pause.
const readWithin = 60 * time.Second

func (a *API) registerUploads() {
	const tag = "Deployments"
	const anyType = "A tar, tar.gz or zip of the source tree"
	handle(a, tag, endpoint{
		"deploy-archive", http.MethodPost, "/apps/{app}/deploys/archive", auth.AppDeploy,
		"Deploy a source tree", with(status(http.StatusAccepted), uploads(anyType)),
	}, a.deployArchive)
	handle(a, tag, endpoint{
		"deploy-image", http.MethodPost, "/apps/{app}/deploys/image", auth.AppDeploy,
		"Deploy an image by reference", with(status(http.StatusAccepted)),
	}, a.deployImage)
	handle(a, tag, endpoint{
		"deploy-image-archive", http.MethodPost, "/apps/{app}/deploys/image-archive", auth.AppDeploy,
		"Deploy the image in a docker save stream", with(status(http.StatusAccepted), uploads("What docker save writes")),
	}, a.deployImageArchive)
	handle(a, tag, endpoint{
		"plan", http.MethodPost, "/plan", auth.Self,
		"What a deploy of a source tree would do", with(uploads(anyType)),
	}, a.plan)
}

// Upload is the input of an operation that reads its body as a stream. Like
// OnApp, it is exported for huma alone.
type Upload struct {
	body *body
}

// Resolve is what huma calls before the handler: it finds the body.
func (u *Upload) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	u.body = &body{w: w, r: r.Body, control: http.NewResponseController(w)}
	return nil
}

// body is a request's body that may take as long as it likes, but not pause
// for long.
type body struct {
	w       http.ResponseWriter
	r       io.ReadCloser
	control *http.ResponseController
}

// limit caps the body at n bytes.
func (b *body) limit(n int64) { b.r = http.MaxBytesReader(b.w, b.r, n) }

// Read reads on. Not every connection has deadlines; real ones do.
func (b *body) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(readWithin))
	return b.r.Read(p)
}

// stop makes a Read that is under way, and every later one, fail.
func (b *body) stop() { _ = b.control.SetReadDeadline(time.Unix(1, 0)) }

type archiveInput struct {
	OnApp
	Upload
	NoCache bool `query:"no_cache" doc:"Build every step anew"`
}

func (a *API) deployArchive(ctx context.Context, in *archiveInput) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	var d landward.Deployment
	err := a.unpacked(in.body, func(tree io.Reader) (err error) {
		d, err = a.Pipeline.Submit(ctx, pipeline.Submission{
			AppID: c.app.ID, Actor: c.actor, Source: landward.Source{Kind: landward.SourceArchive}, Tree: tree, NoCache: in.NoCache,
		})
		return err
	})
	return accepted(c.app.Name, d, err)
}

type imageInput struct {
	OnApp
	Body client.ImageRef
}

func (a *API) deployImage(ctx context.Context, in *imageInput) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	ref := in.Body.Ref
	if err := checkImageRef(ref); err != nil {
		return nil, err
	}
	d, err := a.Pipeline.Submit(ctx, pipeline.Submission{
		AppID: c.app.ID, Actor: c.actor, Source: landward.Source{Kind: landward.SourceImage, Ref: ref},
	})
	return accepted(c.app.Name, d, err)
}

type imageArchiveInput struct {
	OnApp
	Upload
}

func (a *API) deployImageArchive(ctx context.Context, in *imageArchiveInput) (*answer[client.Deployment], error) {
	c := callOf(ctx)
	in.body.limit(a.MaxUpload)
	d, err := a.Pipeline.Submit(ctx, pipeline.Submission{
		AppID: c.app.ID, Actor: c.actor, Source: landward.Source{Kind: landward.SourceImageTar}, Tree: in.body,
	})
	return accepted(c.app.Name, d, err)
}

func (a *API) plan(ctx context.Context, in *struct{ Upload }) (*answer[client.Plan], error) {
	var p landward.Plan
	err := a.unpacked(in.body, func(tree io.Reader) (err error) {
		p, err = a.Pipeline.Plan(ctx, tree)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(wirePlan(p))
}

// errEnough ends an unpacking whose reader wants no more.
var errEnough = errors.New("nobody reads the archive any more")

// unpacked gives use the upload as a clean tar while it comes in. What is wrong
// with the archive counts for more than what use made of it.
func (a *API) unpacked(b *body, use func(tree io.Reader) error) error {
	b.limit(a.MaxUpload)
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := a.Unpack(w, b)
		_ = w.CloseWithError(err) // it never fails
		unpacked <- err
	}()
	err := use(r)
	_ = r.CloseWithError(errEnough) // it never fails
	if err != nil {
		b.stop()
	}
	cause := <-unpacked
	if err != nil && cause != nil && !errors.Is(cause, errEnough) {
		return cause
	}
	return err
}

// uploads describes a body that is read as a stream.
func uploads(description string) func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.RequestBody = &huma.RequestBody{Description: description, Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}}
	}
}
