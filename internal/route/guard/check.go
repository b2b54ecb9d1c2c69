package guard

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"landward/internal/landward"
)

// Bounds of durations and sizes in a Routing.
const (
	maxTimeout = 24 * time.Hour
	maxSleep   = 365 * 24 * time.Hour
	maxBody    = int64(1) << 50
)

// Check says what is wrong with what an app says about its traffic, or nil. An
// error names the field as it is in landward.yaml: routes.paths[1].prefix.
func Check(r landward.Routing) error {
	for _, check := range []func(landward.Routing) error{
		checkChoices, checkPaths, checkCompiled, checkLimits, checkFiles, checkStrategy,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

// checkChoices checks what is one of a few words.
func checkChoices(r landward.Routing) error {
	switch r.HTTPS {
	case "", landward.HTTPSRedirect, landward.HTTPSOff:
	default:
		return landward.Invalid("routes.https", "%q is not a mode", landward.Printable(string(r.HTTPS))).
			WithHint("use redirect or off")
	}
	switch r.Protocol {
	case "", landward.ProtocolHTTP, landward.ProtocolHTTPS, landward.ProtocolH2C, landward.ProtocolH2:
	default:
		return landward.Invalid("routes.protocol", "%q is not a protocol", landward.Printable(string(r.Protocol))).
			WithHint("use http, https, h2c or h2")
	}
	return checkSwitch("routes.compress", r.Compress)
}

func checkSwitch(field string, s landward.Switch) error {
	switch s {
	case "", landward.SwitchOn, landward.SwitchOff:
		return nil
	}
	return landward.Invalid(field, "%q is neither on nor off", landward.Printable(string(s)))
}

func checkPaths(r landward.Routing) error {
	prefixes := make([]string, 0, len(r.Paths))
	for i, p := range r.Paths {
		at := fmt.Sprintf("routes.paths[%d]", i)
		if p.Prefix == "" {
			return landward.Invalid(at+".prefix", "a path rule needs a prefix").
				WithHint("/api has /api and all that is below; what no rule has goes to the process web")
		}
		if err := landward.CheckProcessName(p.Process); err != nil {
			e := *landward.AsError(err)
			e.Field = at + ".process"
			return &e
		}
		prefixes = append(prefixes, p.Prefix)
	}
	_, err := NewPathIndex(prefixes)
	return err
}

// checkCompiled checks what the other values of this package are made of.
func checkCompiled(r landward.Routing) error {
	if _, err := NewRedirects(r.Redirects); err != nil {
		return err
	}
	if err := checkHeaders(r.Headers); err != nil {
		return err
	}
	if err := checkBasic(r.Auth.Basic, r.Auth.Realm); err != nil {
		return err
	}
	if _, err := parseForward(r.Auth.Forward); err != nil {
		return err
	}
	if _, err := ParseNetworks(r.Auth.Allow, r.Auth.Deny, netip.Prefix{}); err != nil {
		return err
	}
	return checkRate(r.Rate)
}

func checkLimits(r landward.Routing) error {
	if r.Body < 0 || r.Body > maxBody {
		return landward.Invalid("routes.body", "%d is not a number of bytes from 0 to %d", r.Body, maxBody)
	}
	if err := checkDuration("routes.timeout", r.Timeout, maxTimeout); err != nil {
		return err
	}
	return checkDuration("routes.idle.sleep_after", r.Idle.SleepAfter, maxSleep)
}

func checkDuration(field string, d, limit time.Duration) error {
	if d < 0 || d > limit {
		return landward.Invalid(field, "%s is not between 0 and %s", d, limit)
	}
	return nil
}

func checkFiles(r landward.Routing) error {
	if err := checkFile("routes.errors.dir", r.Errors.Dir); err != nil {
		return err
	}
	if err := checkFile("routes.static.dir", r.Static.Dir); err != nil {
		return err
	}
	if err := checkFile("routes.static.fallback", r.Static.Fallback); err != nil {
		return err
	}
	if r.Errors.Replace && r.Errors.Dir == "" {
		return landward.Invalid("routes.errors.replace", "there are no pages without a folder").
			WithHint("set routes.errors.dir")
	}
	if r.Static.Dir == "" && (r.Static.Fallback != "" || len(r.Static.Immutable) > 0) {
		return landward.Invalid("routes.static.dir", "an app without a folder of files is not static")
	}
	if n := len(r.Static.Immutable); n > maxImmutable {
		return tooMany("routes.static.immutable", n, maxImmutable)
	}
	seen := make(map[string]int)
	for i, s := range r.Static.Immutable {
		field := fmt.Sprintf("routes.static.immutable[%d]", i)
		if err := checkPath(field, s); err != nil {
			return err
		}
		if other, taken := seen[s]; taken {
			return landward.Invalid(field, "%q is already in routes.static.immutable[%d]", s, other)
		}
		seen[s] = i
	}
	return nil
}

// checkFile accepts the place of a file or folder inside the source tree.
func checkFile(field, name string) error {
	if name == "" {
		return nil
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if path.IsAbs(name) || len(name) > maxPrefix || strings.Contains(name, `\`) || hasControl([]byte(name)) ||
		inner != path.Clean(inner) && inner != "" || inner == ".." || strings.HasPrefix(inner, "../") {
		return landward.Invalid(field, "%q is not inside the source tree", landward.Printable(name)).
			WithHint("write it from the top of the repository: public/errors")
	}
	return nil
}

func checkStrategy(r landward.Routing) error {
	s := r.Strategy
	canary := s.Kind == landward.StrategyCanary
	switch s.Kind {
	case "", landward.StrategyRolling, landward.StrategyBlueGreen, landward.StrategyCanary:
	default:
		return landward.Invalid("routes.strategy.kind", "%q is not a strategy", landward.Printable(string(s.Kind))).
			WithHint("use rolling, blue-green or canary")
	}
	switch {
	case !canary && len(s.Steps) > 0:
		return landward.Invalid("routes.strategy.steps", "only a canary has steps")
	case !canary && (s.StepTime != 0 || s.MaxErrors != 0 || s.MaxP95 != 0 || s.Cookie != ""):
		return landward.Invalid("routes.strategy.kind", "step_time, max_errors, max_p95 and cookie are a canary's").
			WithHint("set routes.strategy.kind to canary")
	case len(s.Steps) > maxSteps:
		return tooMany("routes.strategy.steps", len(s.Steps), maxSteps)
	case !(s.MaxErrors >= 0 && s.MaxErrors <= 1): // neither for what is not a number
		return landward.Invalid("routes.strategy.max_errors", "%v is not a share from 0 to 1", s.MaxErrors)
	case s.Cookie != "" && (!isToken(s.Cookie) || len(s.Cookie) > maxName):
		return landward.Invalid("routes.strategy.cookie", "%q is not the name of a cookie", landward.Printable(s.Cookie))
	}
	if err := checkSteps(s.Steps); err != nil {
		return err
	}
	if err := checkDuration("routes.strategy.step_time", s.StepTime, maxTimeout); err != nil {
		return err
	}
	return checkDuration("routes.strategy.max_p95", s.MaxP95, maxTimeout)
}

// checkSteps wants percentages that rise. After the last one all requests go to
// the new version, whether it is 100 or not.
func checkSteps(steps []int) error {
	last := 0
	for i, n := range steps {
		if n <= last || n > 100 {
			return landward.Invalid(fmt.Sprintf("routes.strategy.steps[%d]", i),
				"%d is not more than the %d before it and at most 100", n, last)
		}
		last = n
	}
	return nil
}
