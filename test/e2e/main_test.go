// Package e2e tests the whole of Landward as its users meet it: real git, real
// Docker, the built program.
package e2e

import (
	"testing"

	"landward/test/harness"
)

// programs are built once for the package.
var programs *harness.Programs

func TestMain(m *testing.M) { harness.Main(m, &programs) }

func start(t *testing.T, flags ...string) *harness.Server {
	t.Helper()
	return harness.Start(t, programs, flags...)
}
