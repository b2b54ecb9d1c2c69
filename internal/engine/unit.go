package engine

import (
	"regexp"
	"strconv"
	"strings"

	"landward/internal/landward"
)

var (
	unitID     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?$`)
	volumeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	fileName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// MaxAppID is the highest app that an engine takes: networks are named after
// the number, and interface names are short.
const MaxAppID = 1<<32 - 1

// UnitPrefix is how the ids of an app's units begin. An engine finds them by it
// without looking at those of all others.
func UnitPrefix(appID int64) string { return "a" + strconv.FormatInt(appID, 10) + "-" }

// IsUnitID reports whether id can be a unit's.
func IsUnitID(id string) bool { return unitID.MatchString(id) }

// Check refuses a unit whose words would not make sound names and labels, with
// CodeInvalid. What a unit may ask of the host is package policy's to say.
func (u Unit) Check() error {
	switch {
	case !IsUnitID(u.ID):
		return landward.Invalid("id", "%q is not a unit id", landward.Printable(u.ID))
	case u.AppID < 1 || u.AppID > MaxAppID:
		return landward.Invalid("app_id", "%d is not an app", u.AppID)
	case !strings.HasPrefix(u.ID, UnitPrefix(u.AppID)):
		return landward.Invalid("id", "unit %s of app %d does not begin with %s", u.ID, u.AppID, UnitPrefix(u.AppID))
	case u.Restart != RestartNever && u.Restart != RestartAlways:
		return landward.Invalid("restart", "%q is not a restart rule", landward.Printable(string(u.Restart)))
	}
	for name := range u.Files {
		if !fileName.MatchString(name) {
			return landward.Invalid("files", "%q is not a file name", landward.Printable(name))
		}
	}
	for _, v := range u.Volumes {
		if !volumeName.MatchString(v.Name) {
			return landward.Invalid("volumes", "%q is not a volume name", landward.Printable(v.Name))
		}
	}
	return nil
}
