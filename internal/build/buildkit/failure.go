package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"

	"landward/internal/build"
	"landward/internal/landward"
)

// buildError is what BuildKit said and the step that it said it about.
type buildError struct {
	err        error
	step       *step  // nil if no step was at fault
	dockerfile string // path in the tree
}

func (e *buildError) Error() string { return "build image: " + e.err.Error() }
func (e *buildError) Unwrap() error { return e.err }

var (
	exitCode     = regexp.MustCompile(`exit code: (\d+)`)
	missingFile  = regexp.MustCompile(`"/?([^"]*)":? not found|lstat (\S+): no such file or directory`)
	missingStage = regexp.MustCompile(`target stage "?([^"\s]+)"? could not be found`)
	noSecret     = regexp.MustCompile(`secret (\S+?):? not found`)
	metadataOf   = regexp.MustCompile(`^\[internal\] load metadata for (\S+)`)
	pullOf       = regexp.MustCompile(`(?:failed to resolve source metadata for|failed to do request|pull access denied|failed to load cache key:?) (\S+)`)
	parseLine    = regexp.MustCompile(`parse error (?:on|at) line (\d+): (.*)`)
)

// explain turns whatever ended a build into what a person reads.
func explain(ctx context.Context, limits build.Limits, err error) error {
	// Why ctx ended says more than what BuildKit noticed of it.
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var known *landward.Error
	var failed *buildError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &failed):
		return failed.explain(limits)
	case errors.Is(err, context.Canceled):
		return landward.Errorf(landward.CodeCancelled, "the build was cancelled").Wrap(err)
	case errors.Is(err, context.DeadlineExceeded):
		return landward.Errorf(landward.CodeTimeout, "the build took too long and was stopped").Wrap(err)
	}
	return err
}

func errTimeout(after time.Duration) error {
	return landward.Errorf(landward.CodeTimeout, "the build took longer than %s and was stopped", after).
		WithHint("make it faster, or raise the time limit of builds")
}

func errDocker(err error) error {
	return landward.Errorf(landward.CodeUnavailable, "the Docker Engine does not answer").
		WithHint("`landward doctor` says how to mend it").Wrap(err)
}

// explain finds the words for a failed build. The first that fits wins.
func (e *buildError) explain(limits build.Limits) *landward.Error {
	text := e.err.Error()
	if e.step != nil {
		text = e.step.err
	}
	for _, recognise := range []func(string, build.Limits) *landward.Error{
		e.exited, e.unpulled, e.secretless, e.fileless, e.misspelt,
	} {
		if found := recognise(text, limits); found != nil {
			return found.Wrap(e.err)
		}
	}
	failure := landward.Errorf(landward.CodeFailed, "the build failed: %s", lastPart(text))
	if e.step != nil {
		failure.Message = fmt.Sprintf("step %s failed: %s", stepName(e.step.name), lastPart(text))
		failure.Cause = strings.Join(e.step.tail, "\n")
	}
	return failure.Wrap(e.err)
}

// exited is a command that ended with another exit code than 0.
func (e *buildError) exited(text string, limits build.Limits) *landward.Error {
	code := ""
	var exit *gatewayapi.ExitError
	if m := exitCode.FindStringSubmatch(text); m != nil {
		code = m[1]
	} else if errors.As(e.err, &exit) {
		code = strconv.FormatUint(uint64(exit.ExitCode), 10)
	}
	if code == "" || e.step == nil {
		return nil
	}
	f := landward.Errorf(landward.CodeFailed, "step %s failed with exit code %s", stepName(e.step.name), code)
	f.Cause = strings.Join(e.step.tail, "\n")
	switch code {
	case "137":
		f.Hint = "exit code 137: the command was killed, most often because it needed more memory than a build may have"
		if limits.Memory > 0 {
			f.Hint += fmt.Sprintf(" (%d MiB)", limits.Memory>>20)
		}
	case "127":
		f.Hint = "exit code 127: the command was not found in the image; install it in an earlier step"
	case "126":
		f.Hint = "exit code 126: the command may not be run; has the file its execute bit?"
	}
	return f
}

// unpulled is a base image that cannot be had.
func (e *buildError) unpulled(text string, _ build.Limits) *landward.Error {
	ref := ""
	if e.step != nil {
		if m := metadataOf.FindStringSubmatch(e.step.name); m != nil {
			ref = m[1]
		} else if !strings.Contains(e.step.name, " FROM ") {
			return nil
		}
	}
	if m := pullOf.FindStringSubmatch(text); m != nil && ref == "" {
		ref = strings.Trim(m[1], `":`)
	}
	if ref == "" {
		return nil
	}
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
	f := landward.Errorf(landward.CodeFailed, "base image %s cannot be pulled", landward.Printable(ref)).
		WithCause(landward.CleanLine(text))
	switch {
	case strings.Contains(text, "not found"):
		f.Hint = "there is no image of that name and tag; check the spelling in " + e.dockerfile
	case strings.Contains(text, "denied"), strings.Contains(text, "authorization"), strings.Contains(text, "401"):
		f.Hint = "the image does not exist, or the registry wants a login for it"
	default:
		f.Hint = "the server could not reach the registry; try again, or check its network and DNS"
	}
	return f
}

func (e *buildError) secretless(text string, _ build.Limits) *landward.Error {
	m := noSecret.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	name := landward.Printable(m[1])
	return landward.Errorf(landward.CodeFailed, "the build needs the secret %s, which is not set", name).
		WithHint("name it in landward.yaml, build: {secrets: [%s]}, and set it: landward config set --build %s=...", name, name)
}

// fileless is a COPY or ADD of something that is not there.
func (e *buildError) fileless(text string, _ build.Limits) *landward.Error {
	m := missingFile.FindStringSubmatch(text)
	if m == nil || e.step == nil {
		return nil
	}
	return landward.Errorf(landward.CodeFailed, "step %s failed: there is no %q to copy", stepName(e.step.name), landward.Printable(m[1]+m[2])).
		WithHint("check the path, which is relative to the build context, and that .dockerignore does not leave it out")
}

// misspelt is a Dockerfile that does not mean anything.
func (e *buildError) misspelt(text string, _ build.Limits) *landward.Error {
	if m := missingStage.FindStringSubmatch(text); m != nil {
		return landward.Errorf(landward.CodeFailed, "%s has no stage %q", e.dockerfile, landward.Printable(m[1])).
			WithHint("name one of its stages (FROM … AS name) as build.target")
	}
	if m := parseLine.FindStringSubmatch(text); m != nil {
		return &landward.Error{Code: landward.CodeFailed, Field: e.dockerfile + ":" + m[1], Message: landward.Printable(m[2])}
	}
	for _, source := range errdefs.Sources(e.err) {
		if len(source.Ranges) > 0 && e.step == nil {
			line := strconv.Itoa(int(source.Ranges[0].Start.Line))
			return &landward.Error{Code: landward.CodeFailed, Field: e.dockerfile + ":" + line, Message: lastPart(text)}
		}
	}
	return nil
}

// lastPart drops the layers that an error has gone through and keeps what it
// says.
func lastPart(text string) string {
	for _, layer := range []string{"failed to run Build function: ", "failed to solve: ", "rpc error: code = Unknown desc = ", "dockerfile parse error: "} {
		if i := strings.LastIndex(text, layer); i >= 0 {
			text = text[i+len(layer):]
		}
	}
	return landward.Printable(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
}
