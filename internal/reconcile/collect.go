package reconcile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"landward/internal/landward"
)

// keepOutputs is how many deployments of an app keep their output.
const keepOutputs = 100

// collect lets go of images of releases that nobody goes back to any more, and
// of the output of deployments long past. It runs when the app has a new
// current release and is at rest: listing images keeps Docker busy.
func (r *Reconciler) collect(ctx context.Context, app landward.App) {
	err := errors.Join(r.collectImages(ctx, app), r.collectAssets(ctx, app.ID))
	if outErr := r.collectOutputs(ctx, app.ID); outErr != nil {
		err = errors.Join(err, outErr)
	}
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("old releases not collected", "app", app.Name, "error", err)
	}
}

func (r *Reconciler) collectImages(ctx context.Context, app landward.App) error {
	n, apps := r.KeepReleases, []landward.App{app}
	if r.DiskBudget > 0 {
		all, err := r.Store.Apps(ctx)
		if err != nil {
			return err
		}
		if n, err = r.withinBudget(ctx, all); err != nil {
			return err
		}
		if n < r.KeepReleases {
			apps = all
		}
	}
	for _, a := range apps {
		keep, err := r.Store.KeptVersions(ctx, a.ID, n)
		if err != nil {
			return err
		}
		if _, err := r.Images.Collect(ctx, a.ID, keep); err != nil {
			return err
		}
	}
	return nil
}

// collectAssets removes the files of releases that are not kept. Folders are
// named after the deployment that made them: those of open ones stay.
func (r *Reconciler) collectAssets(ctx context.Context, appID int64) error {
	dir := filepath.Join(r.Defaults.Sites, strconv.FormatInt(appID, 10))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return nil //nolint:nilerr // most apps have none
	}
	keep := map[string]bool{}
	open, err := r.Store.OpenDeployments(ctx)
	if err != nil {
		return err
	}
	for _, d := range open {
		keep[strconv.FormatInt(d.ID, 10)] = true
	}
	versions, err := r.Store.KeptVersions(ctx, appID, r.KeepReleases)
	if err != nil {
		return err
	}
	for _, v := range versions {
		rel, err := r.Store.Release(ctx, appID, v)
		if err != nil {
			return err
		}
		keep[rel.Assets] = true
	}
	for _, e := range entries {
		if !keep[strings.TrimPrefix(e.Name(), ".new-")] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// withinBudget returns how many releases each app may keep beside the one that
// serves, so that all images together fit the budget; 0 where even that does not help.
func (r *Reconciler) withinBudget(ctx context.Context, apps []landward.App) (int, error) {
	for n := r.KeepReleases; n > 0; n-- {
		size, err := r.imageBytes(ctx, apps, n)
		if err != nil || size <= r.DiskBudget {
			return n, err
		}
	}
	return 0, nil
}

// imageBytes is what the images take when each app keeps n releases. Layers
// that images share are counted with each: an upper bound.
func (r *Reconciler) imageBytes(ctx context.Context, apps []landward.App, n int) (int64, error) {
	sizes := map[string]int64{}
	for _, a := range apps {
		keep, err := r.Store.KeptVersions(ctx, a.ID, n)
		if err != nil {
			return 0, err
		}
		for _, v := range keep {
			rel, err := r.Store.Release(ctx, a.ID, v)
			if err != nil {
				return 0, err
			}
			for _, s := range rel.Services {
				sizes[s.Image.ID] = s.Image.Size
			}
		}
	}
	var total int64
	for _, size := range sizes {
		total += size
	}
	return total, nil
}

func (r *Reconciler) collectOutputs(ctx context.Context, appID int64) error {
	list, err := r.Store.Deployments(ctx, appID, keepOutputs+10)
	if err != nil {
		return err
	}
	for i, d := range list {
		if i >= keepOutputs {
			if err := r.Logs.RemoveDeploy(appID, d.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
