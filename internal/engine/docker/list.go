package docker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"landward/internal/engine"
)

// List implements engine.Engine.
func (d *Docker) List(ctx context.Context, appID int64) ([]engine.Container, error) {
	filter := d.mine()
	if appID != 0 {
		filter = d.ofApp(appID)
	}
	list, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, explain("list containers", err)
	}
	if err := d.recall(ctx); err != nil {
		return nil, err
	}
	out := make([]engine.Container, 0, len(list.Items))
	for _, s := range list.Items {
		// A summary lacks exit codes, times and the restart rule.
		c, err := d.api.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, explain("inspect container", err)
		}
		if !isGoing(c.Container) {
			out = append(out, d.describe(c.Container))
		}
	}
	return out, nil
}

// ofApp filters for an app's containers. The labels decide; the name spares
// Docker from looking at the containers of all others, which takes it ten times
// as long where there are a hundred (keepName sees to it that names stay).
func (d *Docker) ofApp(appID int64) client.Filters {
	return d.mine(label(labelApp, appID)).Add("name", "^/?"+regexp.QuoteMeta(d.names.container(engine.UnitPrefix(appID))))
}

// isGoing reports a container that Docker is removing: it neither runs nor
// will, and how it ended says nothing about its program. To the contract it is
// gone; Apply and Remove wait for its end.
func isGoing(c container.InspectResponse) bool {
	return c.State.Status == container.StateRemoving || c.State.Status == container.StateDead
}

// Inspect implements engine.Engine.
func (d *Docker) Inspect(ctx context.Context, id string) (engine.Container, error) {
	c, err := d.find(ctx, id)
	if err == nil && isGoing(c) {
		err = notFound(id)
	}
	if err != nil {
		return engine.Container{}, err
	}
	if err := d.recall(ctx); err != nil {
		return engine.Container{}, err
	}
	out := d.describe(c)
	if d.local && out.State == engine.Running {
		out.Listening = listening(c.State.Pid, c.ID)
		out.Memory = memory(os.DirFS("/"), c.State.Pid, c.ID)
	}
	return out, nil
}

// find returns the unit's container. The name is the quick way; the labels
// decide, and still find one that somebody has renamed.
func (d *Docker) find(ctx context.Context, unit string) (container.InspectResponse, error) {
	if !engine.IsUnitID(unit) {
		return container.InspectResponse{}, notFound(unit)
	}
	c, err := d.api.ContainerInspect(ctx, d.names.container(unit), client.ContainerInspectOptions{})
	if err == nil && d.isUnit(c.Container, unit) {
		return c.Container, nil
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return container.InspectResponse{}, explain("inspect container", err)
	}
	list, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.mine(label(labelUnit, unit))})
	if err != nil {
		return container.InspectResponse{}, explain("list containers", err)
	}
	if len(list.Items) == 0 {
		return container.InspectResponse{}, notFound(unit)
	}
	c, err = d.api.ContainerInspect(ctx, list.Items[0].ID, client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return container.InspectResponse{}, notFound(unit)
	}
	if err != nil {
		return container.InspectResponse{}, explain("inspect container", err)
	}
	return c.Container, nil
}

func (d *Docker) isUnit(c container.InspectResponse, unit string) bool {
	return c.Config != nil && c.Config.Labels[labelInstance] == d.o.Instance && c.Config.Labels[labelUnit] == unit
}

// describe says a container in the contract's words.
func (d *Docker) describe(c container.InspectResponse) engine.Container {
	out := fromInspect(c)
	if subnet := d.nets.subnet(out.AppID); subnet.Contains(out.Addr) {
		out.Network = subnet
	}
	return out
}

// fromInspect is what the container itself says.
func fromInspect(c container.InspectResponse) engine.Container {
	l := c.Config.Labels
	out := engine.Container{
		Unit:    l[labelUnit],
		Engine:  c.ID,
		App:     l[labelAppName],
		Service: l[labelService],
		Process: l[labelProcess],
		Kind:    engine.Kind(l[labelKind]),
		Spec:    l[labelSpec],
		Image:   c.Image,

		State:      stateOf(c.State.Status),
		ExitCode:   c.State.ExitCode,
		OOMKilled:  c.State.OOMKilled,
		Restarts:   c.RestartCount,
		Restart:    restartOf(c.HostConfig.RestartPolicy),
		CreatedAt:  parseTime(c.Created),
		StartedAt:  parseTime(c.State.StartedAt),
		FinishedAt: parseTime(c.State.FinishedAt),
	}
	out.AppID, _ = strconv.ParseInt(l[labelApp], 10, 64)
	out.Index, _ = strconv.Atoi(l[labelIndex])
	out.Release, _ = strconv.Atoi(l[labelRelease])
	out.Addr, _ = netip.ParseAddr(l[labelAddr])
	return out
}

// stateOf maps Docker's states. A paused container still has its processes.
func stateOf(s container.ContainerState) engine.ContainerState {
	switch s {
	case container.StateCreated:
		return engine.Created
	case container.StateRunning, container.StatePaused:
		return engine.Running
	case container.StateRestarting:
		return engine.Restarting
	}
	return engine.Exited
}

// parseTime reads Docker's times, for which year 1 means never.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// Watch implements engine.Engine.
func (d *Docker) Watch(ctx context.Context) (<-chan engine.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	// From this instant on, though the stream may open a little later: whoever
	// lists next must hear of all that comes after.
	since := time.Now()
	filter := d.mine().Add("type", string(events.ContainerEventType)).
		Add("event", string(events.ActionStart), string(events.ActionDie), string(events.ActionOOM), string(events.ActionDestroy),
			string(events.ActionRename))
	res := d.api.Events(ctx, client.EventsListOptions{Filters: filter, Since: fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())})
	select {
	case err := <-res.Err: // the connection failed before anything came
		cancel()
		return nil, explain("watch events", err)
	default:
	}
	out := make(chan engine.Event, 256)
	go func() {
		defer close(out)
		defer cancel()
		for {
			select {
			case <-res.Err: //nolint:errcheck // the caller looks again either way
				return
			case m := <-res.Messages:
				if m.Action == events.ActionRename {
					d.keepName(ctx, m)
					continue
				}
				select {
				case out <- toEvent(m):
				default:
					d.o.Log.Warn("container events are not read; the stream ends and begins again")
					return // nobody may believe to have heard of everything
				}
			}
		}
	}()
	return out, nil
}

// keepName undoes a renaming by hand: an app's containers are found by it.
func (d *Docker) keepName(ctx context.Context, m events.Message) {
	name := d.names.container(m.Actor.Attributes[labelUnit])
	if m.Actor.Attributes["name"] == name {
		return
	}
	_, err := d.api.ContainerRename(ctx, m.Actor.ID, client.ContainerRenameOptions{NewName: name})
	d.o.Log.Warn("container was renamed by hand; it gets its name back", "name", name, "container", m.Actor.ID, "error", err)
}

func toEvent(m events.Message) engine.Event {
	app, _ := strconv.ParseInt(m.Actor.Attributes[labelApp], 10, 64)
	return engine.Event{
		Unit:   m.Actor.Attributes[labelUnit],
		AppID:  app,
		Action: string(m.Action),
		At:     time.Unix(0, m.TimeNano),
	}
}
