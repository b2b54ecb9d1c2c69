package docker_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/engine/docker"
	"landward/internal/landward"
)

// TestForeignObjects: what has our names but not our label is neither used nor
// removed.
func TestForeignObjects(t *testing.T) {
	api := needDocker(t)
	var instance string
	d := newDocker(t, "foreign", func(o *docker.Options) { instance = o.Instance })
	ctx := t.Context()
	image := probeImage(t)

	foreign, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: "lw-" + instance + "-a1-theirs", Config: &container.Config{Image: image}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = api.ContainerRemove(context.Background(), foreign.ID, client.ContainerRemoveOptions{Force: true})
	})
	vol := "lw-" + instance + "-1-data"
	if _, err := api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: vol}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = api.VolumeRemove(context.Background(), vol, client.VolumeRemoveOptions{}) })
	net, err := api.NetworkCreate(ctx, "lw-"+instance+"-7", client.NetworkCreateOptions{
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix("10.254.254.0/29")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = api.NetworkRemove(context.Background(), net.ID, client.NetworkRemoveOptions{}) })

	_, err = d.Apply(ctx, testUnit(t, 1, "a1-theirs"))
	wantCode(t, err, landward.CodeConflict)
	_, err = d.Inspect(ctx, "a1-theirs")
	wantCode(t, err, landward.CodeNotFound)
	if err := d.Remove(ctx, "a1-theirs", 0); err != nil {
		t.Errorf("remove: %v", err)
	}
	u := testUnit(t, 1, "a1-mounts")
	u.Volumes = []landward.VolumeMount{{Name: "data", Path: "/data"}}
	_, err = d.Apply(ctx, u)
	wantCode(t, err, landward.CodePolicy)
	if err := d.Purge(ctx, true); err != nil {
		t.Errorf("purge: %v", err)
	}
	if _, err := api.ContainerInspect(ctx, foreign.ID, client.ContainerInspectOptions{}); err != nil {
		t.Errorf("the foreign container: %v", err)
	}
	if _, err := api.VolumeInspect(ctx, vol, client.VolumeInspectOptions{}); err != nil {
		t.Errorf("the foreign volume: %v", err)
	}
	if _, err := api.NetworkInspect(ctx, net.ID, client.NetworkInspectOptions{}); err != nil {
		t.Errorf("the foreign network: %v", err)
	}
}

func wantCode(t *testing.T, err error, want landward.Code) {
	t.Helper()
	if landward.CodeOf(err) != want {
		t.Errorf("error %v has code %q, want %q", err, landward.CodeOf(err), want)
	}
}

// TestNetworkComesBack: somebody prunes networks while an app is stopped.
func TestNetworkComesBack(t *testing.T) {
	api := needDocker(t)
	d := newDocker(t, "prune")
	ctx := t.Context()
	old := apply(t, d, testUnit(t, 1, "a1-old", "exit", "0"))
	untilExited(t, d, "a1-old")
	remove := func() {
		t.Helper()
		list, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("label", "landward.app=1")})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range list.Items {
			if n.IPAM.Config[0].Subnet.Contains(old.Addr) {
				if _, err := api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove()
	if c := apply(t, d, testUnit(t, 1, "a1-old", "exit", "0")); c.Addr != old.Addr {
		t.Errorf("the address %s became %s", old.Addr, c.Addr)
	}
	untilExited(t, d, "a1-old")
	remove()
	c := apply(t, d, testUnit(t, 1, "a1-new"))
	if c.State != engine.Running || netip.PrefixFrom(c.Addr, 26).Masked() != netip.PrefixFrom(old.Addr, 26).Masked() || c.Addr == old.Addr {
		t.Errorf("the new container is %s at %s; the old one has %s", c.State, c.Addr, old.Addr)
	}
}

func untilExited(t *testing.T, d *docker.Docker, id string) engine.Container {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := d.Inspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if c.State == engine.Exited {
			return c
		}
		select {
		case <-tick.C:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is still %s", id, c.State)
		}
	}
}

// TestTakenAddress: a stranger in the app's network has the next address.
func TestTakenAddress(t *testing.T) {
	api := needDocker(t)
	d := newDocker(t, "taken")
	first := apply(t, d, testUnit(t, 1, "a1-first"))
	next := first.Addr.Next()
	var name string
	c, err := api.ContainerInspect(t.Context(), first.Engine, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range c.Container.NetworkSettings.Networks {
		name = n
	}
	stranger, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: probeImage(t)},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(name)},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			name: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: next}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = api.ContainerRemove(context.Background(), stranger.ID, client.ContainerRemoveOptions{Force: true})
	}()
	if _, err := api.ContainerStart(t.Context(), stranger.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := apply(t, d, testUnit(t, 1, "a1-second")); got.State != engine.Running || got.Addr != next.Next() {
		t.Errorf("the second container is %s at %s, want %s", got.State, got.Addr, next.Next())
	}
	run := testUnit(t, 1, "a1-third", "exit", "0")
	if code, err := d.Run(t.Context(), run, engine.Streams{}); err != nil || code != 0 {
		t.Errorf("run: exit %d, %v", code, err)
	}
}

// TestPoolEnds: subnets do not overlap each other, and their end is an error.
func TestPoolEnds(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "pool", func(o *docker.Options) {
		o.Pool, o.SubnetBits = netip.MustParsePrefix("10.87.240.0/28"), 29
	})
	a := apply(t, d, testUnit(t, 1, "a1-a"))
	b := apply(t, d, testUnit(t, 2, "a2-b"))
	if netip.PrefixFrom(a.Addr, 29).Masked() == netip.PrefixFrom(b.Addr, 29).Masked() {
		t.Errorf("two apps share a subnet: %s and %s", a.Addr, b.Addr)
	}
	_, err := d.Apply(t.Context(), testUnit(t, 3, "a3-c"))
	wantCode(t, err, landward.CodeUnavailable)
	for i := range 4 {
		apply(t, d, testUnit(t, 1, "a1-more-"+string(rune('a'+i)), "exit", "0"))
	}
	_, err = d.Apply(t.Context(), testUnit(t, 1, "a1-one-too-many"))
	wantCode(t, err, landward.CodeUnavailable)
}

func TestAnonymousVolumesGo(t *testing.T) {
	api := needDocker(t)
	d := newDocker(t, "anon")
	tag := probeTag + ":volume"
	image := importImage(t, tag, `CMD ["/probe"]`, "VOLUME /scratch")
	t.Cleanup(func() { _, _ = api.ImageRemove(context.Background(), tag, client.ImageRemoveOptions{Force: true}) })
	u := testUnit(t, 1, "a1-anon")
	u.Image = image
	c := apply(t, d, u)
	info, err := api.ContainerInspect(t.Context(), c.Engine, client.ContainerInspectOptions{})
	if err != nil || len(info.Container.Mounts) != 1 {
		t.Fatalf("%d mounts, %v; want the image's volume", len(info.Container.Mounts), err)
	}
	if err := d.Remove(t.Context(), u.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := api.VolumeInspect(t.Context(), info.Container.Mounts[0].Name, client.VolumeInspectOptions{}); err == nil {
		t.Error("the anonymous volume is left")
	}
}

func TestImageMayNotChooseItsWorkDir(t *testing.T) {
	api := needDocker(t)
	d := newDocker(t, "workdir")
	tag := probeTag + ":workdir"
	image := importImage(t, tag, `CMD ["/probe"]`, "WORKDIR /proc/self/fd/8")
	t.Cleanup(func() { _, _ = api.ImageRemove(context.Background(), tag, client.ImageRemoveOptions{Force: true}) })
	u := testUnit(t, 1, "a1-workdir")
	u.Image = image
	_, err := d.Apply(t.Context(), u)
	wantCode(t, err, landward.CodePolicy)
}

func TestCommandNotFound(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "nocmd")
	for cmd, want := range map[string]int{"/nope": 127, "/plain.txt": 126} {
		u := testUnit(t, 1, "a1-x")
		u.Command = []string{cmd}
		apply(t, d, u)
		if c := untilExited(t, d, "a1-x"); c.ExitCode != want {
			t.Errorf("%s: exit %d, want %d", cmd, c.ExitCode, want)
		}
		said := ""
		if err := d.Logs(t.Context(), "a1-x", engine.LogOptions{}, func(l engine.LogLine) error { said += l.Text; return nil }); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said, cmd) {
			t.Errorf("%s: the log says %q", cmd, said)
		}
		if err := d.Remove(t.Context(), "a1-x", 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPullFails(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "pull")
	for ref, want := range map[string]landward.Code{
		"127.0.0.1:1/nothing:1": landward.CodeUnavailable,
		"NOT A REF":             landward.CodeInvalid,
	} {
		_, err := d.Pull(t.Context(), ref, nil)
		wantCode(t, err, want)
	}
}

func TestDockerIsDown(t *testing.T) {
	d, err := docker.New(docker.Options{Instance: "down", Host: "unix:///nonexistent/docker.sock"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	u := engine.Unit{ID: "a1-u", AppID: 1, Image: "sha256:" + strings.Repeat("0", 64), Restart: engine.RestartNever}
	_, applyErr := d.Apply(t.Context(), u)
	_, infoErr := d.Info(t.Context())
	_, watchErr := d.Watch(t.Context())
	for call, err := range map[string]error{"apply": applyErr, "info": infoErr, "watch": watchErr, "remove": d.Remove(t.Context(), "a1-u", 0)} {
		if e := landward.AsError(err); e == nil || e.Code != landward.CodeUnavailable || e.Hint == "" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestFirewallIsKept(t *testing.T) {
	needDocker(t)
	d := newDocker(t, "guard", func(o *docker.Options) { o.GuardEvery = 10 * time.Millisecond })
	apply(t, d, testUnit(t, 1, "a1-a"))
	info, err := d.Info(t.Context())
	if err != nil || info.Firewall != "ok" {
		t.Fatalf("firewall %q, %v", info.Firewall, err)
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	before := tables(t, conn, d.FirewallTable())
	if len(before) == 0 {
		t.Fatal("there is no table")
	}
	for _, table := range before {
		conn.DelTable(table)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Guard(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); len(tables(t, conn, d.FirewallTable())) == 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the table does not come back")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("guard: %v", err)
	}
	if err := d.Purge(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if after := tables(t, conn, d.FirewallTable()); len(after) > 0 {
		t.Errorf("purge left the table %s", after[0].Name)
	}
}

// tables lists the tables of one name.
func tables(t *testing.T, conn *nftables.Conn, name string) []*nftables.Table {
	t.Helper()
	list, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var out []*nftables.Table
	for _, table := range list {
		if table.Name == name {
			out = append(out, table)
		}
	}
	return out
}

// TestNamesAreKept covers containers that somebody renames: an app's are found
// by name.
func TestNamesAreKept(t *testing.T) {
	api := needDocker(t)
	d := newDocker(t, "names")
	events, err := d.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range events { //nolint:revive // only read
		}
	}()
	c := apply(t, d, testUnit(t, 1, "a1-kept"))
	if _, err := api.ContainerRename(t.Context(), c.Engine, client.ContainerRenameOptions{NewName: "landward-test-other"}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		list, err := d.List(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the app has %d containers", len(list))
		}
	}
}
