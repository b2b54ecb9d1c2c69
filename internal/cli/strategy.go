package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"landward/client"
)

// noteStrategy says what runs beside the release that serves.
func (f *factory) noteStrategy(a client.App) {
	if c := a.Canary; c != nil {
		f.note("%s.", canaryLine(*c))
		f.note("Have it take over now: landward deploys promote %d -a %s; end it: landward deploys cancel %d -a %s", c.Deployment, a.Name, c.Deployment, a.Name)
	}
	if a.Warm != 0 {
		f.note("%s is kept running for a quick way back, ends %s. Let it go: landward releases retire %s -a %s",
			vN(a.Warm), until(f.Now(), a.WarmUntil), vN(a.Warm), a.Name)
	}
}

// canaryLine says how a canary stands: "canary v5 at 25%: 1,204 answers, 0.1%
// errors, p95 40ms; v4 beside it: …".
func canaryLine(c client.Canary) string {
	line := fmt.Sprintf("canary %s at %d%%", vN(c.Release), c.Percent)
	if c.Canary == nil || c.Stable == nil {
		return line + ", not measured"
	}
	return fmt.Sprintf("%s: %s; %s beside it: %s", line, answersLine(*c.Canary), vN(c.Beside), answersLine(*c.Stable))
}

func answersLine(a client.Answers) string {
	switch a.Count {
	case 0:
		return "no answers yet"
	case 1:
		return fmt.Sprintf("1 answer, %d errors, %s", a.Errors, brief(time.Duration(a.P95)))
	}
	return fmt.Sprintf("%s answers, %.1f%% errors, p95 %s", grouped(a.Count), 100*float64(a.Errors)/float64(a.Count), brief(time.Duration(a.P95)))
}

// grouped writes a number with a comma between thousands.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// brief writes a time with as many digits as people read, and without units
// that are zero.
func brief(d time.Duration) string {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			d = d.Round(unit)
			break
		}
	}
	if d >= time.Minute {
		d = d.Round(time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func newReleasesRetire(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "retire [vN]",
		Short: "Let the release go that is kept running for a quick way back",
		Long: `Stops the units of the version before, which a blue-green deployment keeps
running for a day. Going back to it still works while its image is kept, but
then has to start it first. Where no release is named, the one that is kept.`,
		Example: `  landward releases retire
  landward releases retire v12 -a blog`,
		Args:              between(0, 1, "at most a release"),
		RunE:              func(cmd *cobra.Command, args []string) error { return runReleasesRetire(cmd, f, args) },
		ValidArgsFunction: f.completeReleases,
	}
}

func runReleasesRetire(cmd *cobra.Command, f *factory, args []string) error {
	c, app, v, err := f.connectRelease(cmd.Context(), args, func(a client.App) int { return a.Warm },
		"keeps no release running beside the one that serves")
	if err != nil {
		return err
	}
	r, err := c.RetireRelease(cmd.Context(), app, v)
	if err != nil {
		return err
	}
	return f.show(r, func() { f.printf("Let %s of %s go.\n", vN(r.Version), app) })
}
