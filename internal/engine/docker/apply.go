package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/policy"
)

// cleanup is how long the engine may take to undo what a cancelled or failed
// call has begun.
const cleanup = 30 * time.Second

// order is one container to bring about.
type order struct {
	engine.Unit
	stdin bool                // somebody will write to it
	avoid map[netip.Addr]bool // addresses that turned out to be taken
	// reattach is set where the network of a container that exists was removed:
	// it remembers that one, not its name.
	reattach bool
}

// made is a container that create made or found.
type made struct {
	id    string
	fresh bool // made by this call
	state container.ContainerState
	addr  netip.Addr
}

// Apply implements engine.Engine. A container that cannot start is removed
// again: the error has the runtime's words, and one that was never started
// would look like a held one. A command that the image does not have is no
// such error: the container's init starts, says so in the log, and ends with
// exit code 127 (126: not executable).
func (d *Docker) Apply(ctx context.Context, u engine.Unit) (engine.Container, error) {
	release, err := d.units.acquire(ctx, u.ID)
	if err != nil {
		return engine.Container{}, explain("wait for unit", err)
	}
	defer release()
	m, err := d.bring(ctx, order{Unit: u}, func(m made) error {
		if u.Hold || m.state == container.StateRunning || m.state == container.StateRestarting {
			return nil
		}
		_, err := d.api.ContainerStart(ctx, m.id, client.ContainerStartOptions{})
		return startError(err)
	})
	if err != nil {
		return engine.Container{}, err
	}
	c, err := d.api.ContainerInspect(ctx, m.id, client.ContainerInspectOptions{})
	if err != nil {
		return engine.Container{}, explain("inspect container", err)
	}
	return d.describe(c.Container), nil
}

// bring makes the ordered container exist, with its secret files, and begin,
// which starts it. A container that it made is removed where that fails. Some
// things show only at the start: that the network was removed behind our back,
// or that a stranger in it has the address. Then it tries again.
func (d *Docker) bring(ctx context.Context, o order, begin func(made) error) (made, error) {
	o.avoid = map[netip.Addr]bool{}
	for tries := 1; ; tries++ {
		m, err := d.create(ctx, o)
		if err != nil {
			return made{}, err
		}
		if m.state == container.StateCreated {
			// Also where it was found so: the engine may have died in between.
			err = d.putFiles(ctx, m.id, o.Files)
		}
		if err == nil {
			if err = begin(m); err == nil {
				return m, nil
			}
		}
		if m.fresh {
			d.discard(ctx, m.id)
		}
		switch {
		case tries < 3 && isMissingNetwork(err):
			d.nets.forget(o.AppID)
			o.reattach = !m.fresh
		case tries < 3 && m.fresh && isTakenAddress(err):
			o.avoid[m.addr] = true
		default:
			return made{}, err
		}
	}
}

// startError tells a container that cannot start from a Docker that cannot.
func startError(err error) error {
	explained := explain("start container", err)
	if err == nil || landward.CodeOf(explained) != landward.CodeInternal {
		return explained
	}
	return cannotStart(err)
}

// discard removes a container that could not be brought about.
func (d *Docker) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if err := d.removeContainer(ctx, id); err != nil {
		d.o.Log.Warn("unfinished container not removed", "container", id, "err", err)
	}
}

// create makes the unit's container, or finds it and sets its restart rule.
//
// A name that is taken by a container that cannot be seen is one that Docker
// just makes or unmakes for an engine of ours that was killed: it is waited for.
func (d *Docker) create(ctx context.Context, o order) (made, error) {
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	limit := time.NewTimer(goneWithin)
	defer limit.Stop()
	for {
		m, err := d.createOnce(ctx, o)
		if landward.CodeOf(err) != landward.CodeConflict || d.isStranger(ctx, d.names.container(o.ID)) {
			return m, err
		}
		select {
		case <-ctx.Done():
			return m, err
		case <-limit.C:
			return m, err
		case <-tick.C:
		}
	}
}

// isStranger reports whether a container of that name can be seen and is not
// ours.
func (d *Docker) isStranger(ctx context.Context, name string) bool {
	c, err := d.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	return err == nil && (c.Container.Config == nil || c.Container.Config.Labels[labelInstance] != d.o.Instance)
}

func (d *Docker) createOnce(ctx context.Context, o order) (made, error) {
	u := o.Unit
	if err := u.Check(); err != nil {
		return made{}, err
	}
	img, err := d.imageConfig(ctx, u.Image)
	if err != nil {
		return made{}, err
	}
	net, err := d.network(ctx, u.AppID, u.App)
	if err != nil {
		return made{}, err
	}
	// Addresses are given out one at a time: a container shows its own as soon
	// as it is created.
	release, err := d.apps.acquire(ctx, strconv.FormatInt(u.AppID, 10))
	if err != nil {
		return made{}, explain("wait for addresses", err)
	}
	defer release()
	list, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.ofApp(u.AppID)})
	if err != nil {
		return made{}, explain("list containers", err)
	}
	for _, c := range list.Items {
		if c.Labels[labelUnit] != u.ID {
			continue
		}
		if c.State != container.StateRemoving && c.State != container.StateDead {
			return d.adopt(ctx, o, img, net, c)
		}
		if err := d.removeContainer(ctx, c.ID); err != nil {
			return made{}, err
		}
	}
	addr, err := freeAddress(net.subnet, takenAddresses(list.Items), o.avoid)
	if err != nil {
		return made{}, err
	}
	a, err := d.admit(o, img, net, addr)
	if err != nil {
		return made{}, err
	}
	if err := d.ensureVolumes(ctx, u); err != nil {
		return made{}, err
	}
	m, err := d.createAdmitted(ctx, a)
	m.addr = addr
	return m, err
}

func (d *Docker) createAdmitted(ctx context.Context, a admitted) (made, error) {
	res, err := d.api.ContainerCreate(ctx, a.create)
	switch {
	case err == nil:
		return made{id: res.ID, fresh: true, state: container.StateCreated}, nil
	case cerrdefs.IsNotFound(err):
		return made{}, landward.Errorf(landward.CodeNotFound, "the image %s is gone", short(a.create.Config.Image)).
			WithHint("deploy again to build it anew").Wrap(err)
	case cerrdefs.IsConflict(err):
		return made{}, landward.Errorf(landward.CodeConflict, "a container that is not ours has the name %s", a.create.Name).
			WithHint("rename or remove it: docker rm %s", a.create.Name).Wrap(err)
	}
	return made{}, explain("create container", err)
}

// adopt takes the container that the unit already has, and sets its restart rule.
func (d *Docker) adopt(ctx context.Context, o order, img imageConfig, net appNetwork, c container.Summary) (made, error) {
	addr, _ := netip.ParseAddr(c.Labels[labelAddr])
	a, err := d.admit(o, img, net, addr)
	if err != nil {
		return made{}, err
	}
	have, err := d.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	if err != nil {
		return made{}, explain("inspect container", err)
	}
	if have.Container.HostConfig.RestartPolicy.Name != a.update.RestartPolicy.Name {
		if _, err := d.api.ContainerUpdate(ctx, c.ID, a.update); err != nil {
			return made{}, explain("update container", err)
		}
	}
	if o.reattach {
		if err := d.reattach(ctx, c.ID, a); err != nil {
			return made{}, err
		}
	}
	return made{id: c.ID, state: have.Container.State.Status}, nil
}

// reattach joins a stopped container to the network that has taken the place
// of its own, with its own address.
func (d *Docker) reattach(ctx context.Context, id string, a admitted) error {
	for name, endpoint := range a.create.NetworkingConfig.EndpointsConfig {
		_, err := d.api.NetworkDisconnect(ctx, name, client.NetworkDisconnectOptions{Container: id, Force: true})
		if err != nil {
			return explain("detach from network", err)
		}
		_, err = d.api.NetworkConnect(ctx, name, client.NetworkConnectOptions{Container: id, EndpointConfig: endpoint})
		if err != nil {
			return explain("attach to network", err)
		}
	}
	return nil
}

// ensureVolumes makes the unit's named volumes.
func (d *Docker) ensureVolumes(ctx context.Context, u engine.Unit) error {
	for _, v := range u.Volumes {
		name := d.names.volumePrefix(u.AppID) + v.Name
		res, err := d.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: "local", Labels: map[string]string{
			labelInstance: d.o.Instance,
			labelApp:      strconv.FormatInt(u.AppID, 10),
			labelAppName:  u.App,
			labelVolume:   v.Name,
		}})
		if err != nil {
			return explain("create volume", err)
		}
		// Docker answers with the volume that has the name, whoever made it.
		if res.Volume.Labels[labelInstance] != d.o.Instance || len(res.Volume.Options) > 0 || res.Volume.Driver != "local" {
			return landward.Errorf(landward.CodePolicy, "the volume %s exists and is not ours", name).
				WithHint("rename the volume of the app, or remove that one by hand")
		}
	}
	return nil
}

// putFiles writes /run/secrets into a container that does not run yet.
// Docker's archive call is never used on one that does: there the app could
// race it with links of its own.
func (d *Docker) putFiles(ctx context.Context, id string, files map[string]string) error {
	if len(files) == 0 {
		return nil
	}
	archive, err := secretsTar(files, d.o.Now())
	if err != nil {
		return err
	}
	_, err = d.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: archive})
	if err != nil {
		return explain("write secret files", err)
	}
	return nil
}

// secretsTar packs the files as the container sees them: readable by every
// user in it, for the app's may have any number, and writable by none.
func secretsTar(files map[string]string, at time.Time) (*bytes.Buffer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "run/secrets/", Mode: 0o555, ModTime: at})
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err != nil {
			break
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "run/secrets/" + name, Mode: 0o444, Size: int64(len(files[name])), ModTime: at}
		if err = w.WriteHeader(h); err == nil {
			_, err = w.Write([]byte(files[name]))
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("pack secret files: %w", err)
	}
	return &b, nil
}

// takenAddresses are those of all containers of an app, stopped ones too:
// they come back with theirs.
func takenAddresses(list []container.Summary) map[netip.Addr]bool {
	taken := map[netip.Addr]bool{}
	for _, c := range list {
		if a, err := netip.ParseAddr(c.Labels[labelAddr]); err == nil {
			taken[a] = true
		}
		if c.NetworkSettings == nil {
			continue
		}
		for _, n := range c.NetworkSettings.Networks {
			taken[n.IPAddress] = true
		}
	}
	return taken
}

// short cuts a content address for people.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// restartOf says a Docker restart rule in the contract's words.
func restartOf(p container.RestartPolicy) engine.Restart {
	if p.Name == policy.RestartUnlessStopped || p.IsAlways() {
		return engine.RestartAlways
	}
	return engine.RestartNever
}
