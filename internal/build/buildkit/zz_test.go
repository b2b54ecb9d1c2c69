package buildkit_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"landward/internal/build/buildkit"
)

func TestZZ(t *testing.T) {
	b := newBench(t, func(o *buildkit.Options) {
		o.Defaults.Memory = 64 << 20
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	})
	for i := range 60 {
		_, out, err := b.build(t, map[string]string{
			"Dockerfile": "FROM " + base + fmt.Sprintf("\nRUN echo d %d; s=$(date +%%s%%N); for i in $(seq 150); do l=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes); [ $l -lt 70000000 ] && break; sleep 0.02; done; e=$(date +%%s%%N); echo $l after $(( (e-s)/1000000 )) ms\n", i),
		})
		t.Log(out.text(), err)
	}
}
