package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// trustWork is what came of a change of trust: what was done, and what somebody
// has to do by hand, a line each.
type trustWork struct {
	Done []string `json:"done"`
	Left []string `json:"left"`
	part bool     // something could not be done here
}

func (w *trustWork) did(format string, args ...any) {
	w.Done = append(w.Done, fmt.Sprintf(format, args...))
}
func (w *trustWork) leave(format string, args ...any) {
	w.Left, w.part = append(w.Left, fmt.Sprintf(format, args...)), true
}

// store is a folder of authorities and the tool that makes the system's list
// from it.
type store struct {
	dir  string
	tool Tool
	// afresh is what the tool must be told to drop what is gone.
	afresh []string
}

// stores returns the ways in which Linux systems keep authorities. The first
// whose folder and tool are there is this system's.
func stores() []store {
	return []store{
		{"/usr/local/share/ca-certificates", ToolCACertificates, []string{"--fresh"}}, // Debian, Ubuntu, Alpine
		{"/etc/pki/ca-trust/source/anchors", ToolCATrust, nil},                        // Fedora and its kin
		{"/etc/ca-certificates/trust-source/anchors", ToolCATrust, nil},               // Arch
		{"/etc/pki/trust/anchors", ToolCACertificates, []string{"--fresh"}},           // SUSE
	}
}

// store finds the system's own list.
func (m Machine) store() (store, bool) {
	for _, s := range stores() {
		if info, err := os.Stat(filepath.Join(m.Root, s.dir)); err == nil && info.IsDir() && m.Has(s.tool) {
			return s, true
		}
	}
	return store{}, false
}

// trustSystem adds the root to the system's list.
func (m Machine) trustSystem(ctx context.Context, r root, w *trustWork) error {
	if m.OS == "darwin" {
		return m.trustKeychain(ctx, r, w)
	}
	s, ok := m.store()
	if !ok {
		w.leave("How this system keeps authorities is not known here. Write the certificate to a file and add that: landward trust --print")
		return nil
	}
	name := filepath.Join(s.dir, r.file())
	err := writeWhole(filepath.Join(m.Root, name), r.pem)
	switch {
	case errors.Is(err, fs.ErrPermission):
		// The fingerprint holds the command to what was shown.
		w.leave("The system's list is root's: landward trust --print --fingerprint %s | sudo tee %s >/dev/null && sudo %s", r.fingerprint, name, s.tool)
		return nil
	case err != nil:
		return fmt.Errorf("write %s: %w", name, err)
	}
	w.did("wrote %s", name)
	if _, err := m.Run(ctx, "", s.tool); err != nil {
		w.leave("The system's list was not made anew (%v). Run: sudo %s", err, s.tool)
		return nil
	}
	w.did("ran %s", s.tool)
	return nil
}

// distrustSystem takes the root from the system's list.
func (m Machine) distrustSystem(ctx context.Context, r root, w *trustWork) error {
	if m.OS == "darwin" {
		return m.distrustKeychain(ctx, r, w)
	}
	s, ok := m.store()
	if !ok {
		w.leave("How this system keeps authorities is not known here. If you added the certificate by hand, take it away by hand.")
		return nil
	}
	name := filepath.Join(s.dir, r.file())
	err := os.Remove(filepath.Join(m.Root, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		w.leave("The system's list is root's: sudo rm %s && sudo %s", name, s.command())
		return nil
	case err != nil:
		return fmt.Errorf("remove %s: %w", name, err)
	}
	w.did("removed %s", name)
	if _, err := m.Run(ctx, "", s.tool, s.afresh...); err != nil {
		w.leave("The system's list was not made anew (%v). Run: sudo %s", err, s.command())
		return nil
	}
	w.did("ran %s", s.command())
	return nil
}

// command is the tool as one types it to drop what is gone.
func (s store) command() string {
	line := string(s.tool)
	for _, a := range s.afresh {
		line += " " + a
	}
	return line
}

// writeWhole writes a file that everybody may read in one step, so that a tool
// never finds half of it.
func writeWhole(name, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".landward-*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// keychain is the one that this user may change, and what makes trust in it
// everybody's.
func (m Machine) keychain() (file string, everybody []string) {
	if m.UID == 0 {
		return "/Library/Keychains/System.keychain", []string{"-d"}
	}
	return filepath.Join(m.Home, "Library/Keychains/login.keychain-db"), nil
}

func (m Machine) trustKeychain(ctx context.Context, r root, w *trustWork) error {
	tmp, err := os.CreateTemp("", "landward-*.crt")
	if err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // a public certificate in a temporary folder
	_, err = tmp.WriteString(r.pem)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	file, everybody := m.keychain()
	args := append(append([]string{"add-trusted-cert"}, everybody...), "-r", "trustRoot", "-k", file, tmp.Name())
	if _, err := m.Run(ctx, "", ToolKeychain, args...); err != nil {
		w.leave("The keychain did not take it (%v). Write it to a file and open that: landward trust --print", err)
		return nil
	}
	w.did("added it to %s", file)
	return nil
}

func (m Machine) distrustKeychain(ctx context.Context, r root, w *trustWork) error {
	file, _ := m.keychain()
	if _, err := m.Run(ctx, "", ToolKeychain, "delete-certificate", "-Z", r.fingerprint, "-t", file); err != nil {
		w.leave("%s did not give it up (%v). If it is there, remove it in Keychain Access.", file, err)
		return nil
	}
	w.did("removed it from %s", file)
	return nil
}
