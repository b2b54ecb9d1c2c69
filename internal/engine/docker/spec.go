package docker

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"landward/internal/engine"
	"landward/internal/policy"
)

// admitted is a specification that the policy let through, in the SDK's words.
// admit alone makes it, and create and update take nothing else: this is the
// one place that every container passes.
type admitted struct {
	create client.ContainerCreateOptions
	update client.ContainerUpdateOptions
}

// admit turns a unit into what Docker is asked for, checked.
func (d *Docker) admit(o order, img imageConfig, net appNetwork, addr netip.Addr) (admitted, error) {
	dns := d.nameServers(net, resolvers())
	s := d.spec(o, img, net, addr, dns)
	err := policy.Check(s, policy.Limits{
		NamePrefix:   d.names.containerPrefix(),
		Network:      net.name,
		Subnet:       net.subnet,
		VolumePrefix: d.names.volumePrefix(o.AppID),
		Max:          d.o.Max,
		DNS:          dns,
	})
	if err != nil {
		return admitted{}, err
	}
	return admitted{create: createOptions(s), update: updateOptions(s)}, nil
}

// spec describes the unit's container in full: the runtime profile, and what
// the unit and its image say.
func (d *Docker) spec(o order, img imageConfig, net appNetwork, addr netip.Addr, dns []netip.Addr) policy.Spec {
	u := o.Unit
	user := u.User
	if user == "" {
		user = img.user
	}
	workDir := u.WorkDir
	if workDir == "" && img.workDir != "" {
		workDir = path.Clean(img.workDir)
	}
	s := policy.Profile(user, u.Resources, d.o.Bounds)
	s.Name = d.names.container(u.ID)
	s.Image = u.Image
	s.Cmd = u.Command
	s.Env = envList(u.Env)
	s.WorkDir = workDir
	s.Hostname = u.ID
	s.Labels = d.labels(u, addr)
	s.TTY = u.TTY
	s.OpenStdin = o.stdin
	s.StopTimeout = seconds(u.StopTimeout)
	s.Healthcheck = []string{"NONE"}
	s.NetworkMode = net.name
	s.Addr = addr
	if len(dns) > 0 {
		s.DNS, s.DNSOptions = dns, policy.ResolverOptions()
	}
	for _, v := range u.Volumes {
		s.Mounts = append(s.Mounts, policy.Mount{
			Type: string(mount.TypeVolume), Source: d.names.volumePrefix(u.AppID) + v.Name, Target: v.Path, ReadOnly: v.ReadOnly,
		})
	}
	if u.Restart == engine.RestartAlways {
		// Not "always": a container that we stopped and did not get to remove
		// must not come back with the next start of dockerd.
		s.Restart = policy.RestartUnlessStopped
	}
	return s
}

// maxNameServers is how many Docker's own resolver asks, one after the other.
const maxNameServers = 3

// nameServers are whom a container's questions go to, in order: our own DNS
// server, and, for the time that it does not answer or where it refuses, the
// host's resolvers. Docker asks the next one at once when it is refused or
// nobody is there, and after 4 s when there is no answer.
//
// nil leaves it to Docker: without a DNS server of ours, and where nobody else
// could be asked about the internet.
func (d *Docker) nameServers(net appNetwork, hosts []netip.Addr) []netip.Addr {
	own := d.o.Resolver
	if !own.IsValid() || !d.local {
		return nil
	}
	if own.IsUnspecified() {
		own = net.gateway
	}
	list := []netip.Addr{own}
	for _, r := range hosts {
		// The apps' networks have IPv4 only.
		if r.Is4() && len(list) < maxNameServers && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	if len(list) == 1 && !d.o.Forwards {
		return nil
	}
	return list
}

func (d *Docker) labels(u engine.Unit, addr netip.Addr) map[string]string {
	return map[string]string{
		labelInstance: d.o.Instance,
		labelApp:      strconv.FormatInt(u.AppID, 10),
		labelAppName:  u.App,
		labelUnit:     u.ID,
		labelService:  u.Service,
		labelProcess:  u.Process,
		labelIndex:    strconv.Itoa(u.Index),
		labelKind:     string(u.Kind),
		labelRelease:  strconv.Itoa(u.Release),
		labelSpec:     u.Spec,
		labelAddr:     addr.String(),
	}
}

func envList(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// seconds rounds up: Docker counts grace in whole seconds.
func seconds(t time.Duration) int { return int((t + time.Second - 1) / time.Second) }

// createOptions says a checked Spec in the SDK's words. The fields of Spec
// that the policy allows to be empty only are not translated.
func createOptions(s policy.Spec) client.ContainerCreateOptions {
	stopTimeout := s.StopTimeout
	init := s.Init
	return client.ContainerCreateOptions{
		Name: s.Name,
		Config: &container.Config{
			Hostname:    s.Hostname,
			User:        s.User,
			Tty:         s.TTY,
			OpenStdin:   s.OpenStdin,
			StdinOnce:   s.OpenStdin,
			Env:         s.Env,
			Cmd:         s.Cmd,
			Entrypoint:  s.Entrypoint,
			Healthcheck: &container.HealthConfig{Test: s.Healthcheck},
			Image:       s.Image,
			WorkingDir:  s.WorkDir,
			Labels:      s.Labels,
			StopTimeout: &stopTimeout,
		},
		HostConfig: &container.HostConfig{
			NetworkMode:    container.NetworkMode(s.NetworkMode),
			DNS:            s.DNS,
			DNSOptions:     s.DNSOptions,
			RestartPolicy:  restartPolicy(s),
			LogConfig:      container.LogConfig{Type: s.LogDriver, Config: s.LogOptions},
			CapAdd:         s.CapAdd,
			CapDrop:        s.CapDrop,
			SecurityOpt:    s.SecurityOpt,
			IpcMode:        container.IpcMode(s.IpcMode),
			CgroupnsMode:   container.CgroupnsMode(s.CgroupnsMode),
			OomScoreAdj:    s.OomScoreAdj,
			ReadonlyRootfs: s.ReadonlyRoot,
			Tmpfs:          s.Tmpfs,
			Mounts:         mounts(s.Mounts),
			Init:           &init,
			Resources: container.Resources{
				Memory:     s.Memory,
				MemorySwap: s.MemorySwap,
				NanoCPUs:   s.NanoCPUs,
				PidsLimit:  &s.Pids,
				Ulimits:    ulimits(s.Ulimits),
			},
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			s.NetworkMode: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: s.Addr}},
		}},
	}
}

func updateOptions(s policy.Spec) client.ContainerUpdateOptions {
	p := restartPolicy(s)
	return client.ContainerUpdateOptions{RestartPolicy: &p}
}

func restartPolicy(s policy.Spec) container.RestartPolicy {
	return container.RestartPolicy{Name: container.RestartPolicyMode(s.Restart)}
}

func mounts(list []policy.Mount) []mount.Mount {
	var out []mount.Mount
	for _, m := range list {
		out = append(out, mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return out
}

func ulimits(list []policy.Ulimit) []*container.Ulimit {
	var out []*container.Ulimit
	for _, u := range list {
		out = append(out, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out
}
