package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"landward/internal/landward"
)

// Remove implements engine.Engine. The stop signal is SIGTERM, or the one that
// the image names.
func (d *Docker) Remove(ctx context.Context, id string, grace time.Duration) error {
	release, err := d.units.acquire(ctx, id)
	if err != nil {
		return explain("wait for unit", err)
	}
	defer release()
	c, err := d.find(ctx, id)
	if err != nil {
		if isNoUnit(err) {
			return nil
		}
		return err
	}
	if c.State.Running {
		if err := d.stop(ctx, c.ID, grace); err != nil {
			return err
		}
	}
	return d.removeContainer(ctx, c.ID)
}

func (d *Docker) stop(ctx context.Context, container string, grace time.Duration) error {
	wait := seconds(grace)
	_, err := d.api.ContainerStop(ctx, container, client.ContainerStopOptions{Timeout: &wait})
	if err != nil && !cerrdefs.IsNotFound(err) {
		return explain("stop container", err)
	}
	return nil
}

// removeContainer kills and removes a container with its anonymous volumes.
func (d *Docker) removeContainer(ctx context.Context, container string) error {
	_, err := d.api.ContainerRemove(ctx, container, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
	switch {
	case isBeingRemoved(err):
		return d.awaitGone(ctx, container)
	case err != nil && !cerrdefs.IsNotFound(err):
		return explain("remove container", err)
	}
	return nil
}

// goneWithin and goneEvery are how long and how often a removal that somebody
// else began is waited for.
const (
	goneWithin = 20 * time.Second
	goneEvery  = 20 * time.Millisecond
)

// awaitGone waits for the end of a removal that has begun already: until then
// the container can neither be started nor its name be used again.
func (d *Docker) awaitGone(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	for {
		_, err := d.api.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return landward.Errorf(landward.CodeUnavailable, "Docker does not finish removing a container").
				WithHint("restart Docker if it stays so: systemctl restart docker")
		case <-tick.C:
		}
	}
}

// RemoveApp implements engine.Engine.
func (d *Docker) RemoveApp(ctx context.Context, appID int64, volumes bool) error {
	return d.removeAll(ctx, volumes, label(labelApp, appID))
}

// Purge removes everything of this instance: containers, networks, images that
// nothing else names, the packet filter, and with volumes the volumes.
func (d *Docker) Purge(ctx context.Context, volumes bool) error {
	err := d.removeAll(ctx, volumes)
	if _, e := d.collect(ctx, d.names.imagePrefix(), func(release) bool { return false }); e != nil {
		err = errors.Join(err, e)
	}
	if d.local {
		// Whoever may not remove the filter could not have made one either.
		if e := d.fence.remove(); !errors.Is(e, os.ErrPermission) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// removeAll removes this instance's containers, networks and volumes with the
// given labels. It goes on after an error: what can go, goes.
func (d *Docker) removeAll(ctx context.Context, volumes bool, labels ...string) error {
	filter := d.mine(labels...)
	list, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return explain("list containers", err)
	}
	var errs []error
	for _, c := range list.Items {
		errs = append(errs, d.removeContainer(ctx, c.ID))
	}
	nets, err := d.api.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return errors.Join(append(errs, explain("list networks", err))...)
	}
	for _, n := range nets.Items {
		if app, err := strconv.ParseInt(n.Labels[labelApp], 10, 64); err == nil {
			d.nets.forget(app)
		}
		errs = append(errs, d.removeNetwork(ctx, n.ID))
	}
	if volumes {
		errs = append(errs, d.removeVolumes(ctx, filter))
	}
	return errors.Join(errs...)
}

func (d *Docker) removeVolumes(ctx context.Context, filter client.Filters) error {
	list, err := d.api.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	if err != nil {
		return explain("list volumes", err)
	}
	var errs []error
	for _, v := range list.Items {
		if _, err := d.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
			errs = append(errs, explain(fmt.Sprintf("remove volume %s", v.Name), err))
		}
	}
	return errors.Join(errs...)
}
