package cli

import (
	"compress/gzip"
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"landward/client"
	"landward/client/pack"
)

type deployOptions struct {
	dir          string
	image        string
	imageArchive string
	detach       bool
	noCache      bool
}

func newDeploy(f *factory) *cobra.Command {
	o := &deployOptions{}
	cmd := &cobra.Command{
		Use:   "deploy [DIR]",
		Short: "Deploy a folder or an image, without git",
		Long: `Sends the folder (the current one where none is given), without what .gitignore
and .landwardignore exclude, or names an image, or sends one as "docker save"
writes it. Then shows each step until the new version serves. When it fails, so
does this command, and what served before goes on. Ctrl-C only stops the
watching.`,
		Example: `  landward deploy
  landward deploy ./site -a blog
  landward deploy -a blog --image ghcr.io/you/blog:1.2
  docker save blog | landward deploy -a blog --image-archive -`,
		Args: between(0, 1, "at most one folder"),
		RunE: func(cmd *cobra.Command, args []string) error { return runDeploy(cmd.Context(), f, o, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.image, "image", "", "deploy the image with this `REF` instead of a folder")
	flags.StringVar(&o.imageArchive, "image-archive", "", "deploy the image in this `FILE` of docker save; - is standard input")
	detachFlag(cmd, &o.detach)
	flags.BoolVar(&o.noCache, "no-cache", false, "build every step anew")
	return cmd
}

func runDeploy(ctx context.Context, f *factory, o *deployOptions, args []string) error {
	o.dir = f.Dir
	if len(args) > 0 {
		o.dir = f.path(args[0])
	}
	switch {
	case o.image != "" && o.imageArchive != "":
		return usagef("--image and --image-archive exclude each other")
	case len(args) > 0 && (o.image != "" || o.imageArchive != ""):
		return usagef("a folder and an image exclude each other")
	case o.noCache && (o.image != "" || o.imageArchive != ""):
		return usagef("--no-cache is for a build; an image is not built")
	case o.imageArchive == "-" && f.Terminal.In:
		return usagef("there is no image on standard input").hint("docker save IMAGE | landward deploy --image-archive -")
	}
	c, app, err := f.connect(ctx)
	if err != nil {
		return err
	}
	d, err := f.send(ctx, c, app, o)
	if err != nil {
		return err
	}
	if o.detach {
		return f.started(d)
	}
	return f.follow(ctx, c, d)
}

// send hands the source to the server and returns the queued deployment.
func (f *factory) send(ctx context.Context, c *client.Client, app string, o *deployOptions) (client.Deployment, error) {
	switch {
	case o.image != "":
		return c.DeployImage(ctx, app, o.image)
	case o.imageArchive == "-":
		return c.DeployImageArchive(ctx, app, f.Stdin)
	case o.imageArchive != "":
		file, err := f.Open(f.path(o.imageArchive))
		if err != nil {
			return client.Deployment{}, failf("cannot read the image: %v", err)
		}
		defer file.Close() //nolint:errcheck // it was only read
		return c.DeployImageArchive(ctx, app, file)
	}
	return packed(f, o.dir, func(archive io.Reader) (client.Deployment, error) {
		return c.DeployArchive(ctx, app, archive, client.DeployOptions{NoCache: o.noCache})
	})
}

// packed packs a folder while send reads the archive. When both go wrong, the
// folder is the reason.
func packed[T any](f *factory, dir string, send func(archive io.Reader) (T, error)) (T, error) {
	r, w := io.Pipe()
	type result struct {
		stats pack.Stats
		err   error
	}
	packing := make(chan result, 1)
	go func() {
		stats, err := packTo(w, dir)
		_ = w.CloseWithError(err) // never fails
		packing <- result{stats, err}
	}()
	answer, err := send(r)
	_ = r.Close() // never fails; the packer stops where the server wanted no more
	done := <-packing
	for _, what := range done.stats.Skipped {
		f.note("Left out: %s", what)
	}
	if done.err != nil && !errors.Is(done.err, io.ErrClosedPipe) {
		return answer, failf("cannot pack %s: %v", clean(dir), done.err)
	}
	return answer, err
}

// packTo writes a folder as a tar.gz, quickly rather than small.
func packTo(w io.Writer, dir string) (pack.Stats, error) {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return pack.Stats{}, err
	}
	stats, err := pack.Pack(z, dir)
	if err != nil {
		return stats, err
	}
	return stats, z.Close()
}
