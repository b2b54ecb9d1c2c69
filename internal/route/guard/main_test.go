package guard_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"landward/internal/landward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wantField fails unless err is an error that a person can read about field.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var e *landward.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is none that a person can read; want one about %s", err, field)
	}
	if e.Code != landward.CodeInvalid || e.Field != field || e.Message == "" {
		t.Fatalf("error is %s %q %q, want %s about %q", e.Code, e.Field, e.Message, landward.CodeInvalid, field)
	}
	if strings.Contains(strings.Join(e.Explain(), "\n"), "%!") {
		t.Fatalf("error is not formatted: %q", e.Explain())
	}
}

// noAllocs fails where f allocates. Under the race detector it cannot tell: a
// sync.Pool forgets on purpose then.
func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if raceEnabled {
		return
	}
	if n := testing.AllocsPerRun(200, f); n > 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}
