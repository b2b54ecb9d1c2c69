package manifest

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"landward/internal/landward"
)

// Limits on who gets in and on how a release takes over.
const (
	maxUsers    = 100
	maxNetworks = 1000
	maxCopied   = 20
	maxSteps    = 20
)

// The forms of values. schema.json has the same ones.
var (
	userForm    = regexp.MustCompile(`^[!-9;-~]{1,100}$`)
	realmForm   = regexp.MustCompile(`^[ !#-\[\]-~]{1,100}$`)
	bcryptForm  = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)
	askForm     = regexp.MustCompile(`^https?://[A-Za-z0-9_.-]+(:[0-9]{1,5})?([/?][!-"$-~]*)?$`)
	percentForm = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,4})?%$`)
	cookieForm  = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$`)
)

// Costs of a password's hash. More than the highest takes seconds of the edge's
// time for every guess of anybody.
const (
	minCost = 4
	maxCost = 14
)

func (m *manifestReader) auth(n *node, a *landward.Auth) error {
	return m.mapping(n, "routes.auth", fields{
		"basic":   func(n *node) error { return m.basic(n, a) },
		"forward": func(n *node) error { return m.forward(n, &a.Forward) },
		"allow":   func(n *node) (err error) { a.Allow, err = m.networks(n, "routes.auth.allow"); return err },
		"deny":    func(n *node) (err error) { a.Deny, err = m.networks(n, "routes.auth.deny"); return err },
	})
}

func (m *manifestReader) basic(n *node, a *landward.Auth) error {
	err := m.mapping(n, "routes.auth.basic", fields{
		"realm": func(n *node) (err error) {
			a.Realm, err = m.form(n, "routes.auth.basic.realm", realmForm, `write a few plain words, without " and \`)
			return err
		},
		"users": func(n *node) error { return m.users(n, a) },
	})
	if err == nil && len(a.Basic) == 0 {
		err = m.errorf(n.line, "routes.auth.basic needs users")
	}
	return err
}

func (m *manifestReader) users(n *node, a *landward.Auth) error {
	const name = "routes.auth.basic.users"
	if n.kind != kindMapping {
		return m.wrong(n, name, "a mapping of names to password hashes")
	}
	if len(n.entries) > maxUsers {
		return m.errorf(n.line, "%s has %d entries; at most %d are allowed", name, len(n.entries), maxUsers)
	}
	for _, e := range n.entries {
		if !userForm.MatchString(e.key) {
			return m.errorf(e.line, "%q cannot be the name of a user", landward.Printable(e.key)).
				WithHint("use letters, digits and signs, but no colon and no space, at most 100")
		}
		hash, err := m.str(e.value, name+"."+e.key)
		if err != nil {
			return err
		}
		// The hash itself is not shown: it may be the password.
		if !bcryptForm.MatchString(hash) {
			return m.errorf(e.value.line, "%s.%s is not a bcrypt hash", name, e.key).
				WithHint("`htpasswd -nB %s` makes one; it begins with $2y$", e.key)
		}
		if cost, err := strconv.Atoi(hash[4:6]); err != nil || cost < minCost || cost > maxCost {
			return m.errorf(e.value.line, "%s.%s has the cost %s; it must be from %d to %d", name, e.key, hash[4:6], minCost, maxCost)
		}
		a.Basic = append(a.Basic, landward.BasicUser{Name: e.key, Hash: hash})
	}
	return nil
}

func (m *manifestReader) forward(n *node, f *landward.ForwardAuth) error {
	err := m.mapping(n, "routes.auth.forward", fields{
		"url": func(n *node) error {
			s, err := m.form(n, "routes.auth.forward.url", askForm, "write http://auth.example.com/check")
			if err != nil {
				return err
			}
			if _, err := url.Parse(s); err != nil {
				return m.errorf(n.line, "%q is not an address", landward.Printable(s))
			}
			f.URL = s
			return nil
		},
		"copy": func(n *node) (err error) {
			f.Copy, err = m.headerNames(n, "routes.auth.forward.copy", maxCopied)
			return err
		},
	})
	if err == nil && f.URL == "" {
		err = m.errorf(n.line, "routes.auth.forward needs url")
	}
	return err
}

// networks reads addresses and networks and returns them in their usual form.
func (r reader) networks(n *node, name string) ([]string, error) {
	var out []string
	err := r.list(n, name, maxNetworks, func(n *node) error {
		s, err := r.str(n, "an entry of "+name)
		if err != nil {
			return err
		}
		form, ok := network(s)
		if !ok {
			return r.errorf(n.line, "%q is neither an address nor a network", landward.Printable(s)).
				WithHint("write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32; a network's last bits must be 0")
		}
		if slices.Contains(out, form) {
			return r.errorf(n.line, "%s is in %s twice", form, name)
		}
		out = append(out, form)
		return nil
	})
	return out, err
}

func network(s string) (string, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.String(), err == nil && p.Masked() == p && !p.Addr().Is4In6()
	}
	a, err := netip.ParseAddr(s)
	return a.String(), err == nil && a.Zone() == "" && !a.Is4In6()
}

// folder reads the path of a folder that is not the whole tree.
func (m *manifestReader) folder(n *node, name string) (string, error) {
	s, err := m.treePath(n, name)
	if err == nil && s == "" {
		err = m.errorf(n.line, "%s must name a folder of the source tree", name)
	}
	return s, err
}

func (m *manifestReader) errorPages(n *node, e *landward.ErrorPages) error {
	if e.Dir != "" {
		return m.twoWays(n)
	}
	err := m.mapping(n, "routes.errors", fields{
		"dir":     func(n *node) (err error) { e.Dir, err = m.folder(n, "routes.errors.dir"); return err },
		"replace": func(n *node) (err error) { e.Replace, err = m.boolean(n, "routes.errors.replace"); return err },
	})
	if err == nil && e.Dir == "" {
		err = m.errorf(n.line, "routes.errors needs dir")
	}
	return err
}

func (m *manifestReader) shortErrorPages(n *node, e *landward.ErrorPages) (err error) {
	if e.Dir != "" {
		return m.twoWays(n)
	}
	e.Dir, err = m.folder(n, "routes.error_pages")
	return err
}

func (m *manifestReader) twoWays(n *node) error {
	return m.errorf(n.line, "routes has both errors and error_pages, which say the same; it needs one of them")
}

func (m *manifestReader) idle(n *node, i *landward.Idle) error {
	return m.mapping(n, "routes.idle", fields{
		"sleep_after": func(n *node) (err error) {
			i.SleepAfter, err = m.duration(n, "routes.idle.sleep_after", maxIdle)
			return err
		},
	})
}

func (m *manifestReader) static(n *node, s *landward.Static) error {
	err := m.mapping(n, "routes.static", fields{
		"dir": func(n *node) (err error) {
			if s.Dir, err = m.treePath(n, "routes.static.dir"); err == nil && s.Dir == "" {
				s.Dir = "." // the whole tree; an empty path would say that nothing is static
			}
			return err
		},
		"fallback": func(n *node) (err error) {
			if s.Fallback, err = m.treePath(n, "routes.static.fallback"); err == nil && s.Fallback == "" {
				err = m.errorf(n.line, "routes.static.fallback must name a file in routes.static.dir")
			}
			return err
		},
		"immutable": func(n *node) (err error) {
			s.Immutable, err = m.strings(n, "routes.static.immutable", maxImmutable, checkImmutable)
			return err
		},
	})
	if err == nil && s.Dir == "" {
		err = m.errorf(n.line, "routes.static needs dir")
	}
	return err
}

func checkImmutable(s string) error {
	if !immutableForm.MatchString(s) || len(s) > maxURL || path.Clean(s) != strings.TrimSuffix(s, "/") && s != "/" {
		return landward.Invalid("immutable", "%q is not the beginning of a path", landward.Printable(s)).WithHint("write /assets/")
	}
	return nil
}

func (m *manifestReader) deploy(n *node) error {
	if err := m.mapping(n, "deploy", fields{"strategy": m.strategy}); err != nil {
		return err
	}
	m.remember("deploy", n)
	return nil
}

func (m *manifestReader) strategy(n *node) error {
	const name = "deploy.strategy"
	s := &m.out.Routes.Strategy
	switch n.kind {
	case kindMapping:
		if err := m.mapping(n, name, fields{"canary": m.canary}); err != nil {
			return err
		}
		if s.Kind == "" {
			return m.errorf(n.line, "%s says nothing: write rolling, blue-green or canary", name)
		}
		return nil
	case kindText:
		kind, err := m.oneOf(n, name, "rolling", "blue-green", "canary")
		s.Kind = landward.StrategyKind(kind)
		return err
	}
	return m.wrong(n, name, "rolling, blue-green, canary, or a mapping with canary")
}

func (m *manifestReader) canary(n *node) error {
	const name = "deploy.strategy.canary"
	s := &m.out.Routes.Strategy
	s.Kind = landward.StrategyCanary
	return m.mapping(n, name, fields{
		"steps": m.steps,
		"every": func(n *node) (err error) { s.StepTime, err = m.duration(n, name+".every", 24*time.Hour); return err },
		"abort_on": func(n *node) error {
			return m.mapping(n, name+".abort_on", fields{
				"errors": func(n *node) (err error) { s.MaxErrors, err = m.percent(n, name+".abort_on.errors"); return err },
				"p95":    func(n *node) (err error) { s.MaxP95, err = m.duration(n, name+".abort_on.p95", maxWait); return err },
			})
		},
		"cookie": func(n *node) (err error) {
			s.Cookie, err = m.form(n, name+".cookie", cookieForm, "write the name of a cookie: canary")
			return err
		},
	})
}

// steps reads percentages, each more than the one before. After the last the
// new version has all the traffic, whether 100 is written or not.
func (m *manifestReader) steps(n *node) error {
	const name = "deploy.strategy.canary.steps"
	var steps []int
	err := m.list(n, name, maxSteps, func(n *node) error {
		v, err := m.integer(n, "an entry of "+name, 1, 100)
		if err != nil {
			return err
		}
		if last := len(steps) - 1; last >= 0 && v <= steps[last] {
			return m.errorf(n.line, "%d follows %d in %s: each step must be more than the one before", v, steps[last], name)
		}
		steps = append(steps, v)
		return nil
	})
	if err == nil && len(steps) == 0 {
		err = m.errorf(n.line, "%s is empty", name)
	}
	m.out.Routes.Strategy.Steps = steps
	return err
}

// percent reads "1%" as 0.01.
func (m *manifestReader) percent(n *node, name string) (float64, error) {
	if n.kind == kindNumber {
		return 0, m.errorf(n.line, "%s must be a percentage, not a number", name).WithHint("write %s%%", n.text)
	}
	s, err := m.form(n, name, percentForm, "write 1% or 0.5%")
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || v <= 0 || v > 100 {
		return 0, m.errorf(n.line, "%s is %s; it must be more than 0%% and at most 100%%", name, s)
	}
	return v / 100, nil
}
