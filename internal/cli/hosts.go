package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// logins are the servers that a user has logged in to. They are kept in
// hosts.json in the user's configuration folder, readable by the user alone.
type logins struct {
	Current string           `json:"current,omitempty"` // a key of Hosts
	Hosts   map[string]login `json:"hosts"`             // base URL → login
}

type login struct {
	User  string `json:"user,omitempty"`
	Token string `json:"token"`
}

func hostsFile(dir string) string { return filepath.Join(dir, "hosts.json") }

// readLogins reads the saved logins; no file means none.
func readLogins(dir string) (logins, error) {
	l := logins{Hosts: map[string]login{}}
	if dir == "" {
		return l, nil
	}
	data, err := os.ReadFile(hostsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the saved logins: %w", err)
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, failf("%s cannot be read: %v", hostsFile(dir), err).
			hint("remove the file and log in again: landward login")
	}
	if l.Hosts == nil {
		l.Hosts = map[string]login{}
	}
	return l, nil
}

// save writes the logins in one step, so that a crash leaves the old file or
// the new one, and never with more rights than the owner's.
func (l logins) save(dir string) error {
	if dir == "" {
		return failf("there is no place to keep the login").hint("set HOME or XDG_CONFIG_HOME, or use LANDWARD_TOKEN instead")
	}
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the logins: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save the login: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".hosts-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("save the login: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), hostsFile(dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save the login: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

// normalServer turns what a user types into a base URL: "paas.example.com"
// becomes "https://paas.example.com", a name of this machine gets http.
func normalServer(typed string) (string, error) {
	bad := usagef("%q is not a server's address", clean(typed)).hint("write it like https://landward.example.com or http://landward.localhost:8080")
	address := strings.TrimSpace(typed)
	if !strings.Contains(address, "://") {
		scheme := "https://"
		host, _, _ := strings.Cut(address, ":")
		if host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasPrefix(host, "127.") {
			scheme = "http://"
		}
		address = scheme + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", bad
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", bad
	}
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api/v1")
	return u.Scheme + "://" + strings.ToLower(u.Host) + path, nil
}
