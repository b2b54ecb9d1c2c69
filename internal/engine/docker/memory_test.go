package docker

import (
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	const id = "0123456789ab"
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tests := []struct {
		name  string
		files fstest.MapFS
		want  int64
	}{
		{"version 2", fstest.MapFS{
			"proc/7/cgroup": text("0::/system.slice/docker-" + id + ".scope\n"),
			"sys/fs/cgroup/system.slice/docker-" + id + ".scope/memory.current": text("5000\n"),
			"sys/fs/cgroup/system.slice/docker-" + id + ".scope/memory.stat":    text("anon 3000\ninactive_file 1500\nactive_file 500\n"),
		}, 3500},
		{"version 1", fstest.MapFS{
			"proc/7/cgroup": text("9:cpu,cpuacct:/docker/" + id + "\n4:memory:/docker/" + id + "\n0::/\n"),
			"sys/fs/cgroup/memory/docker/" + id + "/memory.usage_in_bytes": text("9000\n"),
			"sys/fs/cgroup/memory/docker/" + id + "/memory.stat":           text("inactive_file 1\ntotal_inactive_file 4000\n"),
		}, 5000},
		{"no details", fstest.MapFS{
			"proc/7/cgroup": text("0::/docker/" + id + "\n"), "sys/fs/cgroup/docker/" + id + "/memory.current": text("5000\n"),
		}, 5000},
		{"more cold than used", fstest.MapFS{
			"proc/7/cgroup": text("0::/docker/" + id + "\n"), "sys/fs/cgroup/docker/" + id + "/memory.current": text("5000\n"),
			"sys/fs/cgroup/docker/" + id + "/memory.stat": text("inactive_file 6000\n"),
		}, 0},
		{"another process has the number", fstest.MapFS{"proc/7/cgroup": text("0::/user.slice\n"), "sys/fs/cgroup/user.slice/memory.current": text("5000\n")}, 0},
		{"out of sight", fstest.MapFS{"proc/7/cgroup": text("0::/../../docker/" + id + "\n")}, 0},
		{"no number", fstest.MapFS{"proc/7/cgroup": text("0::/docker/" + id + "\n"), "sys/fs/cgroup/docker/" + id + "/memory.current": text("max\n")}, 0},
		{"gone", fstest.MapFS{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := memory(tt.files, 7, id); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	if got := memory(tests[0].files, 0, id); got != 0 {
		t.Errorf("no process: got %d", got)
	}
}
