package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"landward/internal/landward"
)

// Output writes a deployment's lines in the style that users of git-push
// platforms know. Push, CLI and API show them as they are.
type Output struct {
	store      *Store
	app        int64
	deployment int64
	now        func() time.Time
	log        *slog.Logger
}

// Output returns the writer of one deployment's log.
func (s *Store) Output(appID, deployment int64, now func() time.Time, log *slog.Logger) *Output {
	return &Output{store: s, app: appID, deployment: deployment, now: now, log: log}
}

// Step begins a step: "-----> Building app".
func (o *Output) Step(format string, args ...any) { o.write("-----> ", format, args...) }

// Info is a line of the step's body.
func (o *Output) Info(format string, args ...any) { o.write("       ", format, args...) }

// Done is a headline: "=====> Deployed".
func (o *Output) Done(format string, args ...any) { o.write("=====> ", format, args...) }

// Warn is a line that somebody should act on.
func (o *Output) Warn(format string, args ...any) { o.write(" !     ", format, args...) }

// Fail writes a failure, all its lines.
func (o *Output) Fail(f *landward.Failure) {
	for _, l := range f.Err().Explain() {
		o.Warn("%s", l)
	}
}

// End says that the deployment has ended: who follows it stops here.
func (o *Output) End() {
	o.append(Line{At: o.now(), Kind: kindEnd, Source: "deploy"})
}

// write splits and cleans.
func (o *Output) write(prefix, format string, args ...any) {
	var lines []Line
	for _, t := range strings.Split(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		lines = append(lines, Line{At: o.now(), Kind: KindDeploy, Source: "deploy",
			Text: strings.TrimRight(prefix+landward.CleanLine(t), " ")})
	}
	o.append(lines...)
}

// append logs where it cannot write: a full disk must not end a deployment.
func (o *Output) append(lines ...Line) {
	if err := o.store.AppendDeploy(o.app, o.deployment, lines...); err != nil {
		o.log.Warn("deployment output lost", "deployment", o.deployment, "error", err)
	}
}
