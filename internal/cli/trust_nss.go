package cli

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
)

// nssPlaces are where Chromium and Firefox keep their lists of authorities,
// below the user's folder: databases of NSS, one for each profile.
func nssPlaces() []string {
	return []string{
		".pki/nssdb",
		"snap/chromium/current/.pki/nssdb",
		".mozilla/firefox/*",
		".config/mozilla/firefox/*",
		"snap/firefox/common/.mozilla/firefox/*",
		".var/app/org.mozilla.firefox/.mozilla/firefox/*",
		"Library/Application Support/Firefox/Profiles/*",
	}
}

// nssDatabases finds the user's databases, as the names of their folders.
func (m Machine) nssDatabases() []string {
	if m.Home == "" {
		return nil
	}
	home := os.DirFS(m.Home)
	var out []string
	for _, place := range nssPlaces() {
		// The home folder's own name is no pattern, whatever is in it.
		found, _ := fs.Glob(home, place) // a folder that cannot be read has none for us
		for _, dir := range found {
			if _, err := os.Stat(filepath.Join(m.Home, dir, "cert9.db")); err == nil {
				out = append(out, filepath.Join(m.Home, dir))
			}
		}
	}
	return out
}

// trustNSS adds the root to the lists of the user's browsers.
func (m Machine) trustNSS(ctx context.Context, r root, w *trustWork) {
	databases := m.nssDatabases()
	if len(databases) == 0 {
		return
	}
	if !m.Has(ToolNSS) {
		w.leave("Firefox and Chromium have lists of their own. Install certutil (libnss3-tools on Debian, nss-tools on Fedora) and run this again.")
		return
	}
	done := len(w.Done)
	for _, dir := range databases {
		if _, err := m.Run(ctx, r.pem, ToolNSS, "-A", "-d", "sql:"+dir, "-n", r.nickname(), "-t", "C,,", "-a"); err != nil {
			w.leave("The browser's list in %s did not take it: %v", dir, err)
			continue
		}
		w.did("added it to the browser's list in %s", dir)
	}
	if len(w.Done) > done {
		w.Left = append(w.Left, "Restart the browsers that are open.")
	}
}

// distrustNSS takes the root from the lists of the user's browsers.
func (m Machine) distrustNSS(ctx context.Context, r root, w *trustWork) {
	databases := m.nssDatabases()
	if len(databases) > 0 && !m.Has(ToolNSS) {
		w.leave("Firefox and Chromium have lists of their own. If %q is in them, remove it in their settings.", r.nickname())
		return
	}
	for _, dir := range databases {
		if _, err := m.Run(ctx, "", ToolNSS, "-L", "-d", "sql:"+dir, "-n", r.nickname()); err != nil {
			continue // it is not there
		}
		if _, err := m.Run(ctx, "", ToolNSS, "-D", "-d", "sql:"+dir, "-n", r.nickname()); err != nil {
			w.leave("The browser's list in %s did not give it up: %v", dir, err)
			continue
		}
		w.did("removed it from the browser's list in %s", dir)
	}
}
