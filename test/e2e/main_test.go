// Package e2e tests the whole of Landward as its users meet it: real git, real
// Docker, the built program.
package e2e

import (
	"os"
	"testing"

	"landward/test/harness"
)

// programs are built once for the package.
var programs *harness.Programs

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "landward-e2e-")
	if err != nil {
		panic(err)
	}
	programs = harness.NewPrograms(dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func start(t *testing.T, flags ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, programs, flags...)
}
