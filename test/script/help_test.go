package script_test

import (
	"bytes"
	"strings"
	"testing"

	"landward/internal/build/manifest"
	"landward/internal/cli"
)

// The landward.yaml that the help shows is one that the server takes.
func TestHelpExample(t *testing.T) {
	var out bytes.Buffer
	state := cli.System("test")
	state.Args, state.Stdout = []string{"help", "landward.yaml"}, &out
	if code := cli.Main(t.Context(), state, cli.Servers{}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var example strings.Builder
	for line := range strings.SplitSeq(out.String(), "\n") {
		if after, ok := strings.CutPrefix(line, "    "); ok {
			example.WriteString(after + "\n")
		}
	}
	m, err := manifest.Parse([]byte(example.String()))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, example.String())
	}
	if len(m.Services) != 2 || len(m.Cron) != 1 {
		t.Errorf("not all of it was read: %+v", m)
	}
}
