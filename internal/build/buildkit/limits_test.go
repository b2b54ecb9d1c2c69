package buildkit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"landward/internal/build"
	"landward/internal/build/buildkit"
	"landward/internal/landward"
	"landward/internal/waittest"
)

func TestCancelKills(t *testing.T) {
	b := newBench(t)
	mark := "31" + strconv.Itoa(os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	source := tarOf(t, map[string]string{"Dockerfile": "FROM " + base + "\nRUN sleep " + mark + "\n"})
	go func() {
		_, err := b.Build(ctx, b.req, source, func(build.Line) {})
		done <- err
	}()
	waittest.Eventually(t, "the step to run", func() bool { return running(t, "sleep\x00"+mark) })
	cancel()
	err := <-done
	if landward.CodeOf(err) != landward.CodeCancelled {
		t.Errorf("err = %v, want cancelled", err)
	}
	waittest.Eventually(t, "the step to be gone", func() bool { return !running(t, "sleep\x00"+mark) })
	b.mustBuild(t, map[string]string{"Dockerfile": "FROM " + base + "\n"})
}

// running reports whether a process has text in its command line.
func running(t *testing.T, text string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), text) {
			return true
		}
	}
	return false
}

func TestTimeout(t *testing.T) {
	b := newBench(t)
	b.req.Limits.Timeout = 2 * time.Second
	e := b.mustFail(t, map[string]string{"Dockerfile": "FROM " + base + "\nRUN sleep 600\n"})
	if e.Code != landward.CodeTimeout || !strings.Contains(e.Message, "longer than 2s") {
		t.Errorf("err = %v", e)
	}
}

// untilLimited is a shell's loop that ends when the step's control group, of
// either version, says value.
func untilLimited(v1, v2, value string) string {
	return fmt.Sprintf(`until [ "$(cat /sys/fs/cgroup/%s /sys/fs/cgroup/%s 2>/dev/null | cut -d" " -f1)" = "%s" ]; do sleep 0.02; done; `, v1, v2, value)
}

func TestMemoryLimit(t *testing.T) {
	b := newBench(t, func(o *buildkit.Options) { o.Defaults.Memory = 64 << 20 })
	b.req.Limits.Timeout = time.Minute
	e := b.mustFail(t, map[string]string{
		"Dockerfile": "FROM " + base + "\nRUN " + untilLimited("memory/memory.limit_in_bytes", "memory.max", "67108864") + "head -c 300M /dev/zero | tail >/dev/null\n",
	})
	has(t, "message", e.Message, "exit code 137")
	has(t, "hint", e.Hint, "64 MiB")
}

func TestForkBombLimit(t *testing.T) {
	b := newBench(t)
	b.req.Limits.Pids, b.req.Limits.Timeout = 64, time.Minute
	_, out, err := b.build(t, map[string]string{
		"Dockerfile": "FROM " + base + "\nRUN " + untilLimited("pids/pids.max", "pids.max", "64") + "for i in $(seq 400); do sleep 30 & done; echo started; exit 9\n",
	})
	e := landward.AsError(err)
	if err == nil || !strings.Contains(e.Message, "failed with exit code") {
		t.Fatalf("err = %v\n%s", err, out.text())
	}
	has(t, "output", out.text(), "Cannot fork")
	if strings.Contains(out.text(), "\nstarted\n") {
		t.Error("400 processes were started")
	}
}

func TestCPULimit(t *testing.T) {
	b := newBench(t)
	b.req.Limits.MilliCPU, b.req.Limits.Timeout = 200, time.Minute
	_, out := b.mustBuild(t, map[string]string{
		"Dockerfile": "FROM " + base + "\nRUN " + untilLimited("cpu/cpu.cfs_quota_us", "cpu.max", "20000") + "timeout 1 sh -c 'while :; do :; done'; cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu.stat 2>/dev/null || true\n",
	})
	throttled := false
	for _, l := range out.lines {
		if n, ok := strings.CutPrefix(l.Text, "nr_throttled "); ok && n != "0" {
			throttled = true
		}
	}
	if !throttled {
		t.Errorf("the step was not held back:\n%s", out.text())
	}
}

func TestDiskLimit(t *testing.T) {
	b := newBench(t)
	b.req.Limits.Disk = 1 << 60
	e := b.mustFail(t, map[string]string{"Dockerfile": "FROM " + base + "\n"})
	has(t, "message", e.Message, "the build was not started: only")
}

func TestDiskWatch(t *testing.T) {
	b := newBench(t)
	info, err := b.docker.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(info.Info.DockerRootDir, &disk); err != nil {
		t.Fatal(err)
	}
	b.req.Limits.Disk = int64(disk.Bavail)*disk.Bsize - 256<<20
	e := b.mustFail(t, map[string]string{"Dockerfile": "FROM " + base + "\nRUN head -c 600M /dev/zero >/big; sleep 60\n"})
	has(t, "message", e.Message, "the build was stopped: only")
}

func TestContextLimit(t *testing.T) {
	b := newBench(t)
	b.req.Limits.Context = 1 << 20
	e := b.mustFail(t, map[string]string{"Dockerfile": "FROM " + base + "\n", "big": strings.Repeat("x", 2<<20)})
	if e.Code != landward.CodeTooLarge {
		t.Errorf("err = %v", e)
	}
}
