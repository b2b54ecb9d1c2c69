package docker

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"landward/internal/landward"
)

// appNetwork is one app's bridge.
type appNetwork struct {
	id      string
	name    string
	subnet  netip.Prefix
	gateway netip.Addr // the host's own address in it
}

// networks caches which networks exist and keeps two apps from choosing the
// same subnet. The zero value is ready.
type networks struct {
	mu       sync.Mutex
	known    map[int64]appNetwork
	reserved map[netip.Prefix]bool // chosen, being created
	// earlier are the subnets of networks that were there before us, once they
	// have been listed. No container has been made in them by this engine yet.
	earlier map[int64]netip.Prefix
}

func (n *networks) get(app int64) (appNetwork, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	net, ok := n.known[app]
	return net, ok
}

func (n *networks) put(app int64, net appNetwork) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[int64]appNetwork{}
	}
	n.known[app] = net
}

func (n *networks) forget(app int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, app)
	delete(n.earlier, app)
}

// subnet returns the subnet of an app's network, invalid where it has none.
func (n *networks) subnet(app int64) netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	if net, ok := n.known[app]; ok {
		return net.subnet
	}
	return n.earlier[app]
}

func (n *networks) recalled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.earlier != nil
}

func (n *networks) recall(earlier map[int64]appNetwork) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.earlier = map[int64]netip.Prefix{}
	for app, net := range earlier {
		n.earlier[app] = net.subnet
	}
}

// reserve takes the first of candidates that is neither in use nor reserved.
func (n *networks) reserve(candidates func(yield func(netip.Prefix) bool), inUse []netip.Prefix) (netip.Prefix, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range candidates {
		if !n.reserved[p] && !overlapsAny(p, inUse) {
			if n.reserved == nil {
				n.reserved = map[netip.Prefix]bool{}
			}
			n.reserved[p] = true
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func (n *networks) unreserve(p netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.reserved, p)
}

// network returns the app's network, made where it is missing.
func (d *Docker) network(ctx context.Context, app int64, name string) (appNetwork, error) {
	if net, ok := d.nets.get(app); ok {
		return net, nil
	}
	release, err := d.apps.acquire(ctx, "network "+strconv.FormatInt(app, 10))
	if err != nil {
		return appNetwork{}, explain("wait for network", err)
	}
	defer release()
	if net, ok := d.nets.get(app); ok {
		return net, nil
	}
	// The whole list, once: foreign networks' subnets must be kept clear of,
	// and a fresh engine learns all of its own.
	list, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return appNetwork{}, explain("list networks", err)
	}
	net, ok := d.learn(list.Items)[app]
	if !ok {
		if net, err = d.createNetwork(ctx, app, name, list.Items); err != nil {
			return appNetwork{}, err
		}
	}
	if d.local {
		b := bridge{d.names.bridge(app), net.gateway}
		d.fence.admit(b, func() []bridge { return append(d.bridges(list.Items), b) })
	}
	d.nets.put(app, net)
	return net, nil
}

// learn returns this instance's networks in list by app.
func (d *Docker) learn(list []network.Summary) map[int64]appNetwork {
	found := map[int64]appNetwork{}
	for _, n := range list {
		app, err := strconv.ParseInt(n.Labels[labelApp], 10, 64)
		if n.Labels[labelInstance] != d.o.Instance || err != nil || len(n.IPAM.Config) == 0 {
			continue
		}
		c := n.IPAM.Config[0]
		if !c.Gateway.IsValid() {
			c.Gateway = c.Subnet.Addr().Next() // what we ask for
		}
		found[app] = appNetwork{id: n.ID, name: n.Name, subnet: c.Subnet, gateway: c.Gateway}
	}
	return found
}

// recall lists, once, the networks that an engine before this one has made.
func (d *Docker) recall(ctx context.Context) error {
	if d.nets.recalled() {
		return nil
	}
	list, err := d.api.NetworkList(ctx, client.NetworkListOptions{Filters: d.mine()})
	if err != nil {
		return explain("list networks", err)
	}
	d.nets.recall(d.learn(list.Items))
	return nil
}

// bridges are the interfaces of this instance's networks in list.
func (d *Docker) bridges(list []network.Summary) []bridge {
	var out []bridge
	for app, net := range d.learn(list) {
		out = append(out, bridge{d.names.bridge(app), net.gateway})
	}
	return out
}

// assertFence sets the packet filter up anew for the networks that exist.
func (d *Docker) assertFence(ctx context.Context) error {
	if !d.local {
		return nil
	}
	list, err := d.api.NetworkList(ctx, client.NetworkListOptions{Filters: d.mine()})
	if err != nil {
		return explain("list networks", err)
	}
	return d.fence.assert(d.bridges(list.Items))
}

func (d *Docker) createNetwork(ctx context.Context, app int64, appName string, list []network.Summary) (appNetwork, error) {
	inUse := append(hostPrefixes(), subnetsOf(list)...)
	prefer, err := d.preferredSubnet(ctx, app)
	if err != nil {
		return appNetwork{}, err
	}
	for {
		subnet, ok := d.nets.reserve(subnets(d.o.Pool, d.o.SubnetBits, prefer), inUse)
		if !ok {
			return appNetwork{}, landward.Errorf(landward.CodeUnavailable, "no addresses are left for another app in %s", d.o.Pool).
				WithHint("give Landward a larger address pool, or remove apps")
		}
		net, err := d.createBridge(ctx, app, appName, subnet)
		d.nets.unreserve(subnet)
		switch {
		case err == nil:
			return net, nil
		case isOverlap(err):
			inUse = append(inUse, subnet) // dockerd knows more than we saw
		case cerrdefs.IsConflict(err):
			return appNetwork{}, landward.Errorf(landward.CodeConflict, "a network that is not ours has the name %s", d.names.network(app)).
				WithHint("remove it: docker network rm %s", d.names.network(app)).Wrap(err)
		default:
			return appNetwork{}, explain("create network", err)
		}
	}
}

func (d *Docker) createBridge(ctx context.Context, app int64, appName string, subnet netip.Prefix) (appNetwork, error) {
	name, gateway := d.names.network(app), subnet.Addr().Next()
	options := map[string]string{"com.docker.network.bridge.name": d.names.bridge(app)}
	if mtu := uplinkMTU(); d.local && mtu > 0 {
		// Docker takes 1500 for granted; on a narrower uplink large packets of
		// apps would vanish where path discovery is filtered.
		options["com.docker.network.driver.mtu"] = strconv.Itoa(mtu)
	}
	res, err := d.api.NetworkCreate(ctx, name, client.NetworkCreateOptions{
		Driver:  "bridge",
		Options: options,
		IPAM:    &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet, Gateway: gateway}}},
		Labels: map[string]string{
			labelInstance: d.o.Instance,
			labelApp:      strconv.FormatInt(app, 10),
			labelAppName:  appName,
		},
	})
	if err != nil {
		return appNetwork{}, err
	}
	return appNetwork{id: res.ID, name: name, subnet: subnet, gateway: gateway}, nil
}

// preferredSubnet is where the app's containers have their addresses already:
// a network that was removed under them must come back as it was.
func (d *Docker) preferredSubnet(ctx context.Context, app int64) (netip.Prefix, error) {
	list, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.ofApp(app)})
	if err != nil {
		return netip.Prefix{}, explain("list containers", err)
	}
	for _, c := range list.Items {
		if a, err := netip.ParseAddr(c.Labels[labelAddr]); err == nil && d.o.Pool.Contains(a) {
			return netip.PrefixFrom(a, d.o.SubnetBits).Masked(), nil
		}
	}
	return netip.Prefix{}, nil
}

func isOverlap(err error) bool {
	s := err.Error()
	return strings.Contains(s, "Pool overlaps") || strings.Contains(s, "invalid pool request") || strings.Contains(s, "conflicts with network")
}

func isMissingNetwork(err error) bool {
	return cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "network")
}

func isTakenAddress(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), "address already in use")
}

// subnets yields prefer, where it is valid, and then every subnet of the pool.
func subnets(pool netip.Prefix, bits int, prefer netip.Prefix) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		if prefer.IsValid() && !yield(prefer) {
			return
		}
		step := uint32(1) << (32 - bits)
		first := ipv4(pool.Addr())
		for i := uint32(0); i < 1<<(bits-pool.Bits()); i++ {
			if !yield(netip.PrefixFrom(fromIPv4(first+i*step), bits)) {
				return
			}
		}
	}
}

// freeAddress returns the lowest address of subnet that none of taken has. The
// first is the bridge's own.
func freeAddress(subnet netip.Prefix, taken ...map[netip.Addr]bool) (netip.Addr, error) {
	size := uint32(1) << (32 - subnet.Bits())
	first := ipv4(subnet.Masked().Addr())
next:
	for i := uint32(2); i < size-1; i++ {
		addr := fromIPv4(first + i)
		for _, t := range taken {
			if t[addr] {
				continue next
			}
		}
		return addr, nil
	}
	return netip.Addr{}, landward.Errorf(landward.CodeUnavailable, "the app's network %s is full: %d containers", subnet, size-3).
		WithHint("scale the app down, or give apps wider subnets")
}

func ipv4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func fromIPv4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func subnetsOf(list []network.Summary) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list {
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() {
				out = append(out, c.Subnet)
			}
		}
	}
	return out
}

func overlapsAny(p netip.Prefix, list []netip.Prefix) bool {
	for _, q := range list {
		if p.Overlaps(q) {
			return true
		}
	}
	return false
}

// removeNetwork removes one network of ours.
func (d *Docker) removeNetwork(ctx context.Context, id string) error {
	if _, err := d.api.NetworkRemove(ctx, id, client.NetworkRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return explain(fmt.Sprintf("remove network %s", short(id)), err)
	}
	return nil
}
