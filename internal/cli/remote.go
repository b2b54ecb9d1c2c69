package cli

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// remote is a git remote that may lead to an app.
type remote struct {
	name string // "landward"
	host string // without the port
	app  string
}

var appWord = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)

// remotes lists the git remotes of dir that look like Landward's, one called
// "landward" first. A folder that is no repository has none.
func (s State) remotes(ctx context.Context, dir string) []remote {
	out, err := s.Git(ctx, dir, "config", "-z", "--get-regexp", `^remote\..*\.url$`)
	if err != nil {
		return nil
	}
	return parseRemotes(out)
}

// parseRemotes reads `git config -z --get-regexp`: KEY\nVALUE\0 and so on.
func parseRemotes(out string) []remote {
	var list []remote
	for entry := range strings.SplitSeq(out, "\x00") {
		key, value, ok := strings.Cut(entry, "\n")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
		if !ok || name == "" {
			continue
		}
		if r, ok := parseRemote(name, value); ok {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b remote) int {
		switch {
		case a.name == b.name:
			return 0
		case a.name == "landward":
			return -1
		case b.name == "landward":
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// parseRemote reads ssh://git@HOST:PORT/APP and, for the remote that is called
// "landward" only, http(s)://HOST/git/APP and git@HOST:APP too.
func parseRemote(name, address string) (remote, bool) {
	if host, path, ok := strings.Cut(address, ":"); ok && !strings.Contains(address, "://") {
		if _, after, hasUser := strings.Cut(host, "@"); hasUser {
			host = after
		}
		return newRemote(name, host, path, name == "landward")
	}
	u, err := url.Parse(address)
	if err != nil {
		return remote{}, false
	}
	ours := name == "landward" || u.Scheme == "ssh" && u.User.Username() == "git" && u.Port() != ""
	switch u.Scheme {
	case "ssh":
		return newRemote(name, u.Hostname(), u.Path, ours)
	case "http", "https":
		return newRemote(name, u.Hostname(), strings.TrimPrefix(u.Path, "/git/"), ours)
	}
	return remote{}, false
}

func newRemote(name, host, path string, ok bool) (remote, bool) {
	app := strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if !ok || host == "" || !appWord.MatchString(app) {
		return remote{}, false
	}
	return remote{name: name, host: host, app: app}, true
}
