package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"landward/internal/landward"
)

// explain gives an error of the Docker client its code. doing is "create
// container". Errors that say nothing to a user stay as they are, wrapped.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", doing, err)
	var known *landward.Error
	switch {
	case errors.As(err, &known):
		return wrapped
	case errors.Is(err, context.Canceled):
		return landward.Errorf(landward.CodeCancelled, "cancelled").Wrap(wrapped)
	case errors.Is(err, context.DeadlineExceeded):
		return landward.Errorf(landward.CodeTimeout, "Docker did not answer in time").Wrap(wrapped)
	case unreachable(err):
		return landward.Errorf(landward.CodeUnavailable, "Docker is not answering").
			WithHint("start it with `systemctl start docker`; `landward doctor` says what is wrong").Wrap(wrapped)
	}
	return wrapped
}

// unreachable reports whether the daemon is down, or went down while it answered.
func unreachable(err error) bool {
	return client.IsErrConnectionFailed(err) || cerrdefs.IsUnavailable(err) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ENOENT) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func notFound(unit string) error {
	return landward.Errorf(landward.CodeNotFound, "there is no container %s", landward.Printable(unit))
}

// isNoUnit reports whether err says that the unit has no container.
func isNoUnit(err error) bool { return landward.CodeOf(err) == landward.CodeNotFound }

// isBeingRemoved reports whether somebody else's removal is under way.
func isBeingRemoved(err error) bool {
	return cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress")
}

var (
	runtimeNoise = regexp.MustCompile(`^(Error response from daemon|failed to create task for container|failed to create shim task|failed to create shim|OCI runtime (create|exec|start) failed|runc create failed|exec failed|container_linux\.go:\d+|process_linux\.go:\d+|standard_init_linux\.go:\d+|starting container process caused|unable to start container process|container init caused|exec user process caused|error during container init)\b:? *`)
	runtimeTail  = regexp.MustCompile(`:? unknown$`)
)

// runtimeWords cuts a start error down to what its last word says: 'exec:
// "./server": permission denied'.
func runtimeWords(err error) string {
	s := strings.TrimSpace(err.Error())
	for {
		cut := strings.TrimSpace(runtimeNoise.ReplaceAllString(s, ""))
		if cut == s || cut == "" {
			break
		}
		s = cut
	}
	return landward.CleanLine(runtimeTail.ReplaceAllString(s, ""))
}

// cannotStart makes a start error readable.
func cannotStart(err error) *landward.Error {
	words := runtimeWords(err)
	e := landward.Errorf(landward.CodeFailed, "the container cannot start").WithCause(words).Wrap(err)
	switch {
	case strings.Contains(words, "executable file not found"), strings.Contains(words, "no such file or directory"):
		return e.WithHint("check the command, and that the image has it (a script also needs the interpreter in its first line)")
	case strings.Contains(words, "permission denied"):
		return e.WithHint("make the file executable in the image: chmod +x")
	case strings.Contains(words, "unable to find user"), strings.Contains(words, "no matching entries in passwd"):
		return e.WithHint("the image's USER must exist in its /etc/passwd, or be a number")
	}
	return e
}
