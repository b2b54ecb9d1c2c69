package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"landward/internal/landward"
)

// value is a setting's place in a Config, with how it is read and written. It
// is a pflag.Value.
type value[T any] struct {
	to    *T
	kind  string // for usage texts
	parse func(string) (T, error)
	show  func(T) string
}

func (v value[T]) Set(text string) error {
	parsed, err := v.parse(strings.TrimSpace(text))
	if err == nil {
		*v.to = parsed
	}
	return err
}

func (v value[T]) String() string {
	if v.to == nil { // pflag asks a zero value whether it is a default
		return ""
	}
	return v.show(*v.to)
}

func (v value[T]) Type() string { return v.kind }

// not is the error of a value that cannot be: "X is not <what>".
func not(what, hint string, args ...any) error {
	return landward.Errorf(landward.CodeInvalid, "%s", what).WithHint(hint, args...)
}

func same[T ~string](v T) string { return string(v) }

func text(to *string) value[string] {
	return value[string]{to, "path", func(s string) (string, error) { return s, nil }, same[string]}
}

func choice[T ~string](to *T, allowed ...T) value[T] {
	return value[T]{to, "word", func(s string) (T, error) {
		if !slices.Contains(allowed, T(s)) {
			return "", not("one of the choices", "choose one of %v", allowed)
		}
		return T(s), nil
	}, same[T]}
}

func onOff(to *bool) value[bool] {
	return value[bool]{to, "on|off", func(s string) (bool, error) {
		switch strings.ToLower(s) {
		case "on", "true", "yes", "1":
			return true, nil
		case "off", "false", "no", "0":
			return false, nil
		}
		return false, not("on or off", "write on or off")
	}, func(on bool) string {
		if on {
			return "on"
		}
		return "off"
	}}
}

func level(to *slog.Level) value[slog.Level] {
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	show := func(l slog.Level) string { return strings.ToLower(l.String()) }
	return value[slog.Level]{to, "level", func(s string) (slog.Level, error) {
		i := slices.IndexFunc(levels, func(l slog.Level) bool { return show(l) == strings.ToLower(s) })
		if i < 0 {
			return 0, not("a log level", "write debug, info, warn or error")
		}
		return levels[i], nil
	}, show}
}

func count(to *int, least, most int) value[int] {
	return value[int]{to, "number", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, not(fmt.Sprintf("a number from %d to %d", least, most), "write a whole number in that range")
		}
		return n, nil
	}, strconv.Itoa}
}

func cores(to *int, least int) value[int] {
	return value[int]{to, "cores", func(s string) (int, error) {
		n, scale := s, 1000.0
		if milli, ok := strings.CutSuffix(s, "m"); ok {
			n, scale = milli, 1
		}
		f, err := strconv.ParseFloat(n, 64)
		f = math.Round(f * scale)
		if err != nil || math.IsNaN(f) || f < float64(least) || f > 1e6 {
			return 0, not("a number of cores", "write cores or thousandths of one: 1.5 or 1500m, from %g to 1000", float64(least)/1000)
		}
		return int(f), nil
	}, func(milli int) string { return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64) }}
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kmgt]?)(?:i?b)?$`)

// parseSize reads a number of bytes: 512M, 2G, 1.5g, 64MiB, 1048576. A unit
// is always a power of 1024.
func parseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0, not("a size", "write bytes or a unit: 512M, 1.5G")
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, not("a size", "write bytes or a unit: 512M, 1.5G")
	}
	if m[2] != "" {
		f *= float64(int64(1) << (10 * (1 + strings.Index("kmgt", m[2]))))
	}
	if f >= math.MaxInt64 {
		return 0, not("a size that exists", "write bytes or a unit: 512M, 1.5G")
	}
	return int64(f), nil
}

// showSize writes bytes the way that parseSize reads them, in the largest unit
// that is exact.
func showSize(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"T", 1 << 40}, {"G", gib}, {"M", mib}, {"K", 1 << 10}} {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func size(to *int64, least, most int64) value[int64] {
	return value[int64]{to, "size", func(s string) (int64, error) {
		n, err := parseSize(s)
		if err == nil && (n < least || n > most) {
			err = not(fmt.Sprintf("a size from %s to %s", showSize(least), showSize(most)), "write a size in that range: 512M, 1.5G")
		}
		return n, err
	}, showSize}
}

func duration(to *time.Duration, least time.Duration) value[time.Duration] {
	return value[time.Duration]{to, "duration", func(s string) (time.Duration, error) {
		if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
			return 0, not("a time: it has no unit", "write %ss for seconds, %sm for minutes", s, s)
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > 30*24*time.Hour {
			return 0, not("a time", "write a number with a unit, from %s to 720h: 30s, 10m, 1h30m", least)
		}
		return d, nil
	}, time.Duration.String}
}

func address(to *string) value[string] {
	return value[string]{to, "address", func(s string) (string, error) {
		host, port, err := net.SplitHostPort(s)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || (host != "" && host != "localhost" && !isIP(host)) {
			return "", not("an address to listen on", "write a port or an IP address and a port: :8080, 127.0.0.1:8080, [::1]:8080")
		}
		return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
	}, same[string]}
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// orOff lets an address be "off" or empty.
func orOff(v value[string]) value[string] {
	parse := v.parse
	v.parse = func(s string) (string, error) {
		if s == "" || strings.EqualFold(s, "off") {
			return "", nil
		}
		return parse(s)
	}
	v.show = func(s string) string {
		if s == "" {
			return "off"
		}
		return s
	}
	return v
}

func domain(to *string) value[string] {
	return value[string]{to, "name", func(s string) (string, error) {
		host, ok := landward.NormalHost(s)
		switch {
		case isIP(s):
			return "", not("a name: it is an address, and apps need names below it", "use a name that leads there, such as %s.sslip.io", strings.ReplaceAll(s, ":", "-"))
		case !ok:
			return "", not("a domain name", "write a name without scheme, port or path: apps.example.com")
		}
		return host, nil
	}, same[string]}
}

func dockerAddress(to *string) value[string] {
	return value[string]{to, "address", func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "unix" || u.Path == "") && (u.Scheme != "tcp" || u.Host == "") {
			return "", not("an address of a Docker Engine", "write unix:///var/run/docker.sock or tcp://HOST:PORT")
		}
		return s, nil
	}, same[string]}
}

func pool(to *netip.Prefix) value[netip.Prefix] {
	return value[netip.Prefix]{to, "network", func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() > 24 ||
			!slices.ContainsFunc(privatePools(), func(private netip.Prefix) bool {
				return private.Contains(p.Addr()) && private.Bits() <= p.Bits()
			}) {
			return netip.Prefix{}, not("a private IPv4 network", "write one of /24 or larger that nothing else here uses: 10.201.0.0/16")
		}
		return p, nil
	}, netip.Prefix.String}
}

// privatePools are the networks that nobody on the internet has.
func privatePools() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"),
	}
}

// as gives the value another word in the help.
func (v value[T]) as(kind string) value[T] {
	v.kind = kind
	return v
}

// list takes several values with commas between. An empty text is no value.
func list[T any](to *[]T, kind string, item func(string) (T, error)) value[[]T] {
	return value[[]T]{to, kind, func(s string) ([]T, error) {
		var out []T
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			v, err := item(part)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}, func(list []T) string {
		var parts []string
		for _, v := range list {
			parts = append(parts, fmt.Sprint(v))
		}
		return strings.Join(parts, ",")
	}}
}

func domainOf(s string) (string, error) {
	host, ok := landward.NormalHost(s)
	if !ok {
		return "", not("a list of domain names", "write names with commas between: localhost,paas.local")
	}
	return host, nil
}

func addrOf(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, not("a list of IP addresses", "write addresses with commas between: 203.0.113.7,2001:db8::7")
	}
	return a, nil
}

func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, not("a list of networks", "write addresses or networks with commas between: 10.0.0.0/8,192.0.2.7")
	}
	return p.Masked(), nil
}

// resolverOf takes "1.1.1.1" for "1.1.1.1:53".
func resolverOf(s string) (string, error) {
	if isIP(s) {
		return net.JoinHostPort(s, "53"), nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Port() != 0 {
		return a.String(), nil
	}
	return "", not("a list of resolvers", "write addresses with commas between: 1.1.1.1,9.9.9.9:53")
}

func httpsURL(to *string) value[string] {
	return value[string]{to, "url", func(s string) (string, error) {
		u, err := url.Parse(s)
		if s != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
			return "", not("an https address", "write the whole address: https://acme-v02.api.letsencrypt.org/directory")
		}
		return s, nil
	}, same[string]}
}
