package git

import (
	"regexp"
	"strings"

	"landward/internal/landward"
	"landward/internal/source"
)

var objectName = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// CheckRef says what is wrong with the full name of a ref that somebody wants
// to push, or nil. Only branches and tags may be pushed; their names follow
// git check-ref-format and do not look like an option.
func CheckRef(name string) error {
	short, ok := strings.CutPrefix(name, "refs/heads/")
	if !ok {
		short, ok = strings.CutPrefix(name, "refs/tags/")
	}
	if !ok {
		return landward.Errorf(landward.CodeForbidden, "%s is neither a branch nor a tag", landward.Printable(name)).
			WithHint("push to a branch: git push <remote> HEAD:main")
	}
	if len(name) > 250 || strings.HasPrefix(short, "-") || !wellFormed(short) {
		return landward.Invalid("ref", "%q is not a name for a branch or tag", landward.Printable(short)).
			WithHint("use letters, digits, dots, dashes and slashes, no dash first")
	}
	return nil
}

// wellFormed holds the rules of git check-ref-format for what follows
// refs/heads/ or refs/tags/.
func wellFormed(short string) bool {
	if short == "" || short == "@" || strings.HasSuffix(short, ".") ||
		strings.Contains(short, "..") || strings.Contains(short, "@{") {
		return false
	}
	for i := range len(short) {
		if c := short[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`~^:?*[\`, c) >= 0 {
			return false
		}
	}
	for part := range strings.SplitSeq(short, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// checkUpdates looks at every ref of a push; one bad ref refuses all of them.
func checkUpdates(refs []source.RefUpdate, head string, limit int) error {
	if len(refs) == 0 {
		return landward.Errorf(landward.CodeInvalid, "the push has no refs")
	}
	if len(refs) > limit {
		return landward.Errorf(landward.CodeTooLarge, "the push has more than %d refs", limit).
			WithHint("push fewer branches and tags at once")
	}
	for _, r := range refs {
		if !objectName.MatchString(r.Old) || !objectName.MatchString(r.New) {
			return landward.Errorf(landward.CodeInvalid, "the push has a bad object name")
		}
		if err := CheckRef(r.Name); err != nil {
			return err
		}
		if r.Deletes() && r.Name == head {
			return landward.Errorf(landward.CodeForbidden, "%s is the branch that is deployed and cannot be deleted",
				strings.TrimPrefix(r.Name, "refs/heads/"))
		}
	}
	return nil
}
