package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"landward/internal/landward"
)

func storageRules() []rule {
	return []rule{
		{"Binds", func(s *Spec, _ *Limits) string { return none("mounts of host paths", s.Binds) }},
		{"Mounts", checkMounts},
		{"VolumesFrom", func(s *Spec, _ *Limits) string { return none("volumes of another container", s.VolumesFrom) }},
		{"VolumeDriver", func(s *Spec, _ *Limits) string { return unless(s.VolumeDriver == "", "a volume driver") }},
		{"Tmpfs", checkTmpfs},
	}
}

func checkMounts(s *Spec, l *Limits) string {
	seen := map[string]bool{}
	for _, m := range s.Mounts {
		if why := checkMount(m, l); why != "" {
			return why
		}
		if seen[m.Target] {
			return fmt.Sprintf("two mounts at %s", m.Target)
		}
		seen[m.Target] = true
	}
	return ""
}

func checkMount(m Mount, l *Limits) string {
	if why := checkTarget(m.Target); why != "" {
		return why
	}
	switch {
	case m.Type == "tmpfs" && m.Source == "":
	case m.Type != "volume":
		return fmt.Sprintf("a mount of type %q", landward.Printable(m.Type))
	case l.VolumePrefix == "" || !strings.HasPrefix(m.Source, l.VolumePrefix) ||
		!objectName.MatchString(m.Source) || len(m.Source) == len(l.VolumePrefix):
		return fmt.Sprintf("volume %q is not one of the app's", landward.Printable(m.Source))
	}
	return unless(m.Driver == "" && len(m.DriverOpts) == 0 && m.Subpath == "" && m.Propagation == "" && m.Options == "",
		"options of a mount")
}

// checkTarget keeps mounts off the kernel's files and off the place of the
// secrets, which are written before the start and must not end up in a volume.
func checkTarget(target string) string {
	switch {
	case !path.IsAbs(target) || path.Clean(target) != target || strings.ContainsAny(target, ":,\x00\n"):
		return fmt.Sprintf("a mount at %q", landward.Printable(target))
	case slices.Contains([]string{"/", "/run", "/var/run", "/var", "/etc"}, target),
		under(target, "/proc", "/sys", "/dev", "/run/secrets", "/var/run/secrets"):
		return fmt.Sprintf("a mount at %s", landward.Printable(target))
	}
	return ""
}

func checkTmpfs(s *Spec, _ *Limits) string {
	for target, options := range s.Tmpfs {
		if why := checkTarget(target); why != "" {
			return why
		}
		have := strings.Split(options, ",")
		for _, must := range []string{"nosuid", "nodev", "noexec"} {
			if !slices.Contains(have, must) {
				return fmt.Sprintf("a tmpfs without %s", must)
			}
		}
		if !slices.ContainsFunc(have, func(o string) bool { return strings.HasPrefix(o, "size=") }) {
			return "a tmpfs without a size"
		}
	}
	return ""
}
