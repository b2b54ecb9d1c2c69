package docker

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"landward/internal/engine"
	"landward/internal/landward"
	"landward/internal/policy"
)

// The choke point says what a unit is and nothing else: every other setting of
// Docker's keeps its zero value.
func TestCreateOptionsAreComplete(t *testing.T) {
	d, err := New(Options{Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	net := appNetwork{name: "lw-test-7", subnet: netip.MustParsePrefix("10.88.0.64/26")}
	u := engine.Unit{
		ID: "a7-web-1", AppID: 7, App: "shop", Service: "app", Process: "web", Index: 1, Kind: engine.KindProcess, Release: 3,
		Image: "sha256:" + strings.Repeat("a", 64), Command: []string{"./server"}, Env: map[string]string{"B": "2", "A": "1"},
		Files: map[string]string{"KEY": "v"}, User: "1000", WorkDir: "/app", TTY: true, Restart: engine.RestartAlways,
		Volumes:   []landward.VolumeMount{{Name: "data", Path: "/data", ReadOnly: true}},
		Resources: landward.Resources{Memory: 1 << 20, MilliCPU: 250, Pids: 5}, StopTimeout: 1500 * time.Millisecond,
	}
	a, err := d.admit(order{Unit: u, stdin: true}, imageConfig{}, net, netip.MustParseAddr("10.88.0.70"))
	if err != nil {
		t.Fatal(err)
	}
	wantSet(t, "Config", *a.create.Config, "Hostname", "User", "Tty", "OpenStdin", "StdinOnce", "Env", "Cmd", "Healthcheck", "Image", "WorkingDir", "Labels", "StopTimeout")
	wantSet(t, "HostConfig", *a.create.HostConfig, "LogConfig", "NetworkMode", "RestartPolicy", "CapDrop", "CgroupnsMode", "IpcMode", "SecurityOpt", "Resources", "Mounts", "Init")
	wantSet(t, "Resources", a.create.HostConfig.Resources, "Memory", "NanoCPUs", "MemorySwap", "PidsLimit", "Ulimits")
	h := a.create.HostConfig
	if h.RestartPolicy.Name != container.RestartPolicyUnlessStopped || h.Mounts[0].Source != "lw-test-7-data" || !h.Mounts[0].ReadOnly ||
		h.NanoCPUs != 250e6 || *h.PidsLimit != 5 || h.MemorySwap != h.Memory || *a.create.Config.StopTimeout != 2 ||
		!slices.Equal(a.create.Config.Env, []string{"A=1", "B=2"}) {
		t.Errorf("options %+v %+v", a.create.Config, h)
	}
	if a.update.Resources != nil || a.update.RestartPolicy.Name != container.RestartPolicyUnlessStopped {
		t.Errorf("update %+v", a.update)
	}
	// The image's own user and folder are checked like the unit's.
	u.User, u.WorkDir = "", ""
	for _, bad := range []imageConfig{{user: "4294967296"}, {workDir: "/proc/self/fd/8"}} {
		if _, err := d.admit(order{Unit: u}, bad, net, netip.MustParseAddr("10.88.0.70")); landward.CodeOf(err) != landward.CodePolicy {
			t.Errorf("image %+v: %v", bad, err)
		}
	}
}

// Without a DNS server of ours nothing is said about name servers; with one it
// is the first, and those of the host come after it.
func TestNameServers(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	net := appNetwork{subnet: netip.MustParsePrefix("10.88.0.64/26"), gateway: netip.MustParseAddr("10.88.0.65")}
	for _, tt := range []struct {
		name     string
		resolver string
		forwards bool
		docker   string
		hosts    []netip.Addr
		want     []netip.Addr
		warns    bool
	}{
		{"off", "", false, "", addrs("192.0.2.1"), nil, false},
		{"at each bridge", "0.0.0.0", false, "", addrs("192.0.2.1"), addrs("10.88.0.65", "192.0.2.1"), false},
		{"one address", "192.0.2.9", false, "", addrs("192.0.2.1"), addrs("192.0.2.9", "192.0.2.1"), false},
		{"three at most, each once, IPv4 only", "192.0.2.1", false, "", addrs("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.4"),
			addrs("192.0.2.1", "192.0.2.2", "192.0.2.3"), false},
		{"nobody for the internet", "0.0.0.0", false, "", addrs("2001:db8::1"), nil, true},
		{"but ours", "0.0.0.0", true, "", nil, addrs("10.88.0.65"), false},
		{"Docker elsewhere", "0.0.0.0", true, "tcp://192.0.2.5:2375", nil, nil, true},
	} {
		o := Options{Instance: "test", Forwards: tt.forwards, Host: tt.docker}
		if tt.resolver != "" {
			o.Resolver = netip.MustParseAddr(tt.resolver)
		}
		d, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.nameServers(net, tt.hosts); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if got := d.nameWarnings(tt.hosts); (len(got) > 0) != tt.warns {
			t.Errorf("%s: warnings %q", tt.name, got)
		}
		u := engine.Unit{ID: "a7-x", AppID: 7, Image: "sha256:" + strings.Repeat("a", 64), Restart: engine.RestartNever,
			Resources: landward.Resources{Memory: 1 << 20, MilliCPU: 250, Pids: 5}}
		s := d.spec(order{Unit: u}, imageConfig{}, net, netip.MustParseAddr("10.88.0.70"), tt.want)
		if h := createOptions(s).HostConfig; !slices.Equal(h.DNS, tt.want) || (len(h.DNSOptions) > 0) != (tt.want != nil) {
			t.Errorf("%s: Docker is told %v %v", tt.name, h.DNS, h.DNSOptions)
		}
	}
}

// wantSet checks that exactly the named fields of v are set.
func wantSet(t *testing.T, what string, v any, names ...string) {
	t.Helper()
	r := reflect.ValueOf(v)
	for i := range r.NumField() {
		name := r.Type().Field(i).Name
		if set := !r.Field(i).IsZero(); set != slices.Contains(names, name) {
			t.Errorf("%s.%s is set: %v", what, name, set)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []Options{
		{}, {Instance: "UPPER"}, {Instance: "-x"}, {Instance: strings.Repeat("x", 33)},
		{Instance: "x", Pool: netip.MustParsePrefix("10.0.0.0/16"), SubnetBits: 30},
		{Instance: "x", Resolver: netip.MustParseAddr("127.0.0.1")}, {Instance: "x", Resolver: netip.MustParseAddr("2001:db8::1")},
		{Instance: "x", Pool: netip.MustParsePrefix("10.0.0.0/16"), SubnetBits: 8},
		{Instance: "x", Pool: netip.MustParsePrefix("fd00::/64")},
		{Instance: "x", Egress: "none"},
	} {
		if _, err := New(bad); err == nil {
			t.Errorf("options %+v were accepted", bad)
		}
	}
}

func TestNames(t *testing.T) {
	n := newNames(strings.Repeat("x", 32))
	if b := n.bridge(engine.MaxAppID); len(b) > 15 || !strings.HasPrefix(b, n.bridgePrefix()) {
		t.Errorf("bridge %q has %d characters", b, len(b))
	}
	if newNames("a").short == newNames("b").short {
		t.Error("two instances share their bridges' prefix")
	}
}

func TestFreeAddress(t *testing.T) {
	p := netip.MustParsePrefix("10.0.0.8/29")
	taken := map[netip.Addr]bool{}
	for _, want := range []string{"10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"} {
		a, err := freeAddress(p, nil, taken)
		if err != nil || a.String() != want {
			t.Fatalf("got %s, %v; want %s", a, err, want)
		}
		taken[a] = true
	}
	if a, err := freeAddress(p, taken); landward.CodeOf(err) != landward.CodeUnavailable {
		t.Errorf("a full subnet gave %s, %v", a, err)
	}
}

func TestReserve(t *testing.T) {
	var n networks
	pool := netip.MustParsePrefix("10.0.0.0/24")
	inUse := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("10.0.0.200/32")}
	prefer := netip.MustParsePrefix("10.0.0.128/26")
	for i, want := range []string{"10.0.0.128/26", "10.0.0.64/26"} {
		p, ok := n.reserve(subnets(pool, 26, prefer), inUse)
		if !ok || p.String() != want {
			t.Errorf("reservation %d is %s, want %s", i, p, want)
		}
	}
	if p, ok := n.reserve(subnets(pool, 26, prefer), inUse); ok {
		t.Errorf("reserved %s twice or over another", p)
	}
	n.unreserve(prefer)
	if p, ok := n.reserve(subnets(pool, 26, netip.Prefix{}), inUse); !ok || p != prefer {
		t.Errorf("got %s after it was given back", p)
	}
}

func TestLocks(t *testing.T) {
	var l locks
	release, err := l.acquire(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.acquire(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a held lock was given: %v", err)
	}
	other, err := l.acquire(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	release()
	n, wg := 0, sync.WaitGroup{}
	for range 50 {
		wg.Go(func() {
			release, err := l.acquire(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			n++
			release()
		})
	}
	wg.Wait()
	if n != 50 || len(l.held) != 0 {
		t.Errorf("%d turns, %d locks left", n, len(l.held))
	}
}

func TestParseRoutes(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"broken\tXYZ\n"
	want := []hostRoute{
		{netip.MustParsePrefix("0.0.0.0/0"), "eth0"},
		{netip.MustParsePrefix("172.17.0.0/16"), "docker0"},
		{netip.MustParsePrefix("192.0.2.0/24"), "eth0"},
	}
	if got := parseRoutes([]byte(table)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseListening(t *testing.T) {
	const table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1\n" +
		"   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1\n" +
		"   2: 0B00007F:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1\n" +
		"   3: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000  0 0 1\n"
	const table6 = "  sl  local_address                         remote_address                        st\n" +
		"   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0\n" +
		"   1: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 0\n" +
		"   2: 0000000000000000FFFF00000100007F:0BBA 00000000000000000000000000000000:0000 0A 0\n"
	got := append(parseListening([]byte(table)), parseListening([]byte(table6))...)
	want := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("0.0.0.0:80"),
		netip.MustParseAddrPort("[::]:3000"), netip.MustParseAddrPort("[::1]:3001"), netip.MustParseAddrPort("127.0.0.1:3002"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseResolvers(t *testing.T) {
	got := parseResolvers([]byte("# x\nnameserver 10.0.0.2\nsearch a b\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver\n"))
	want := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::1")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseLine(t *testing.T) {
	at := time.Date(2026, 11, 21, 1, 2, 3, 4000, time.UTC)
	for message, want := range map[string]engine.LogLine{
		"2026-11-21T01:02:03.000004Z hello\n":         {At: at, Text: "hello"},
		"2026-11-21T01:02:03.000004Z hello\r\n":       {At: at, Text: "hello"},
		"2026-11-21T01:02:03.000004Z 1%\r2%\r3%\n":    {At: at, Text: "3%"},
		"2026-11-21T01:02:03.000004Z \n":              {At: at},
		"2026-11-21T01:02:03.000004Z a\xffb\n":        {At: at, Text: "a\uFFFDb"},
		"no time here\n":                              {Text: "no time here"},
		"2026-11-21T01:02:03.000004Z   indented  \n":  {At: at, Text: "  indented  "},
		"2026-11-21T01:02:03.000004Z " + long() + "y": {At: at, Text: long()},
	} {
		if got := parseLine(message); got != want {
			t.Errorf("%.60q: got %.60q at %v", message, got.Text, got.At)
		}
	}
}

func long() string { return strings.Repeat("x", maxLine) }

func FuzzParseLine(f *testing.F) {
	f.Add("2026-11-21T01:02:03.000004Z hello\n")
	f.Add("\r\n")
	f.Add(strings.Repeat("\xff", 2*maxLine))
	f.Fuzz(func(t *testing.T, message string) {
		if got := parseLine(message); len(got.Text) > maxLine || strings.ContainsAny(got.Text, "\r") || strings.HasSuffix(got.Text, "\n") {
			t.Errorf("%q became %q", message, got.Text)
		}
	})
}

func TestRuntimeWords(t *testing.T) {
	for in, want := range map[string]string{
		`Error response from daemon: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "./server": permission denied: unknown`:                                                                                    `exec: "./server": permission denied`,
		`failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH: unknown`:                                      `exec: "nope": executable file not found in $PATH`,
		`failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: unknown`: `error setting rlimits for ready process: error setting rlimit type 7: operation not permitted`,
		`unable to find user x: no matching entries in passwd file`: `unable to find user x: no matching entries in passwd file`,
	} {
		if got := runtimeWords(errors.New(in)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for cause, hint := range map[string]string{
		`exec: "./x": permission denied`:                       "chmod +x",
		`exec: "x": executable file not found in $PATH`:        "command",
		`unable to find user x: no matching entries in passwd`: "/etc/passwd",
	} {
		if e := cannotStart(errors.New(cause)); e.Code != landward.CodeFailed || e.Cause != cause || !strings.Contains(e.Hint, hint) {
			t.Errorf("%q: %+v", cause, e)
		}
	}
}

func TestRuncWarnings(t *testing.T) {
	for version, warn := range map[string]bool{
		"1.1.5+ds1": true, "1.1.12": true, "1.3.5": true, "1.2.99": true, "1.4.2": true,
		"1.3.6": false, "1.4.3": false, "1.5.0": false, "2.0.0-rc1": false, "v1.4.10": false, "unknown": false,
	} {
		if got := runcWarnings(version); len(got) > 0 != warn {
			t.Errorf("%s: %q", version, got)
		}
	}
}

func TestParseTag(t *testing.T) {
	n := newNames("x")
	for tag, want := range map[string]release{
		"landward/x/7/shop:v12-app":        {app: 7, version: 12},
		"landward/x/7/shop:v1-mail-sender": {app: 7, version: 1},
		"landward/x/incoming:10":           {incoming: true, at: time.Unix(0, 16)},
	} {
		if got, ok := parseTag(n.imagePrefix(), tag); !ok || got != want {
			t.Errorf("%s: %+v, %v", tag, got, ok)
		}
	}
	for _, tag := range []string{"landward/xy/7/shop:v1-app", "debian:bookworm", "landward/x/7/shop:latest", "landward/x/incoming:latest", "<none>:<none>"} {
		if got, ok := parseTag(n.imagePrefix(), tag); ok {
			t.Errorf("%s was read as %+v", tag, got)
		}
	}
}

// entry is one file of an archive under test.
type entry struct {
	name, data, link string
	kind             byte
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: 0o644, Size: int64(len(e.data))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const manifest = `[{"Config":"c.json","RepoTags":["debian:bookworm-slim","x:1"],"Layers":["l/layer.tar"],"Extra":1}]`

func TestRenameArchive(t *testing.T) {
	ok := []entry{
		{name: "l/", kind: tar.TypeDir}, {name: "l/layer.tar", data: "layer"}, {name: "m/layer.tar", kind: tar.TypeSymlink, link: "../l/layer.tar"},
		{name: "c.json", data: "{}"}, {name: "repositories", data: `{"debian":{}}`}, {name: "index.json", data: "{}"}, {name: "oci-layout", data: "{}"},
		{name: "./manifest.json", data: manifest},
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(archive(t, ok...)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for _, in := range [][]byte{archive(t, ok...), zipped.Bytes()} {
		var out bytes.Buffer
		res := renameArchive(&out, bytes.NewReader(in), "landward/x/incoming:1", 1<<20)
		if res.err != nil || res.name != "debian:bookworm-slim" {
			t.Fatalf("named %q, %v", res.name, res.err)
		}
		files := map[string]string{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, _ := io.ReadAll(r)
			files[h.Name] = string(data)
		}
		if files["manifest.json"] != `[{"Config":"c.json","RepoTags":["landward/x/incoming:1"],"Layers":["l/layer.tar"]}]` {
			t.Errorf("manifest %s", files["manifest.json"])
		}
		for _, gone := range []string{"repositories", "index.json", "oci-layout"} {
			if _, ok := files[gone]; ok {
				t.Errorf("%s is left", gone)
			}
		}
		if files["l/layer.tar"] != "layer" || files["c.json"] != "{}" {
			t.Errorf("files %v", files)
		}
	}
}

func TestRenameArchiveRefuses(t *testing.T) {
	man := entry{name: "manifest.json", data: manifest}
	for name, c := range map[string]struct {
		in   []byte
		want landward.Code
	}{
		"two images":             {archive(t, entry{name: "manifest.json", data: `[{"Config":"a"},{"Config":"b"}]`}), landward.CodeInvalid},
		"no image":               {archive(t, entry{name: "manifest.json", data: `[]`}), landward.CodeInvalid},
		"no manifest":            {archive(t, entry{name: "c.json", data: "{}"}), landward.CodeInvalid},
		"two manifests":          {archive(t, man, man), landward.CodeInvalid},
		"manifest is a link":     {archive(t, entry{name: "manifest.json", kind: tar.TypeSymlink, link: "x.json"}), landward.CodeInvalid},
		"folder that is a link":  {archive(t, entry{name: "a", kind: tar.TypeSymlink, link: "."}, entry{name: "a/manifest.json", data: manifest}, man), landward.CodeInvalid},
		"link to the manifest":   {archive(t, entry{name: "l/layer.tar", kind: tar.TypeSymlink, link: "../manifest.json"}, man), landward.CodeInvalid},
		"link in the root":       {archive(t, entry{name: "layer.tar", kind: tar.TypeSymlink, link: "x/layer.tar"}, man), landward.CodeInvalid},
		"hard link":              {archive(t, entry{name: "x", kind: tar.TypeLink, link: "manifest.json"}, man), landward.CodeInvalid},
		"device":                 {archive(t, entry{name: "x", kind: tar.TypeChar}, man), landward.CodeInvalid},
		"dots":                   {archive(t, entry{name: "../x", data: "y"}, man), landward.CodeInvalid},
		"absolute":               {archive(t, entry{name: "/etc/x", data: "y"}, man), landward.CodeInvalid},
		"large manifest":         {archive(t, entry{name: "manifest.json", data: strings.Repeat(" ", maxManifest+1)}), landward.CodeInvalid},
		"manifest of nonsense":   {archive(t, entry{name: "manifest.json", data: "nonsense"}), landward.CodeInvalid},
		"text":                   {[]byte(strings.Repeat("not a tar ", 100)), landward.CodeInvalid},
		"nothing":                {nil, landward.CodeInvalid},
		"half":                   {archive(t, man)[:600], landward.CodeInvalid},
		"larger than is allowed": {archive(t, entry{name: "big", data: strings.Repeat("x", 2<<20)}, man), landward.CodeTooLarge},
	} {
		res := renameArchive(io.Discard, bytes.NewReader(c.in), "t:1", 1<<20)
		if landward.CodeOf(res.err) != c.want {
			t.Errorf("%s: %v, want code %s", name, res.err, c.want)
		}
	}
}

// Whatever an upload is, what reaches Docker has one manifest with our name and
// no other file that could name an image.
func FuzzRenameArchive(f *testing.F) {
	f.Add(archive(f, entry{name: "manifest.json", data: manifest}))
	f.Add(archive(f, entry{name: "a", kind: tar.TypeSymlink, link: "."}, entry{name: "a/manifest.json", data: manifest}))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		res := renameArchive(&out, bytes.NewReader(data), "ours:1", 1<<20)
		if res.err != nil {
			return
		}
		manifests := 0
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			name, err := entryName(h)
			if err != nil || name == "repositories" || name == "index.json" {
				t.Fatalf("entry %q got through", h.Name)
			}
			if name == "manifest.json" {
				manifests++
			}
		}
		if manifests != 1 {
			t.Fatalf("%d manifests", manifests)
		}
	})
}

func TestSecretsTar(t *testing.T) {
	b, err := secretsTar(map[string]string{"B": "2", "A": ""}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(b); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		got = append(got, h.Name+" "+h.FileInfo().Mode().String())
	}
	want := []string{"run/secrets/ dr-xr-xr-x", "run/secrets/A -r--r--r--", "run/secrets/B -r--r--r--"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPolicyRestartWords(t *testing.T) {
	for name, want := range map[container.RestartPolicyMode]engine.Restart{
		policy.RestartUnlessStopped: engine.RestartAlways, "always": engine.RestartAlways, "no": engine.RestartNever, "": engine.RestartNever,
	} {
		if got := restartOf(container.RestartPolicy{Name: name}); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
