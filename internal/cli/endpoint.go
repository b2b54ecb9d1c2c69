package cli

import (
	"io"
	"os"

	"github.com/spf13/pflag"

	"landward/client"
	"landward/internal/config"
)

// endpoint is the server that commands go to.
type endpoint struct {
	url    string // base URL, or
	socket string // path of a unix socket on this machine
	token  string
	why    string // where the choice came from
}

// endpoint chooses the server: flags before the environment before the saved
// login before a server that runs here with the default data folder.
func (f *factory) endpoint() (endpoint, error) {
	switch {
	case f.server != "":
		return f.remoteEndpoint(f.server, "--server")
	case f.data != "":
		return socketEndpoint(f.path(f.data), "--data"), nil
	case f.Env("LANDWARD_SERVER") != "":
		return f.remoteEndpoint(f.Env("LANDWARD_SERVER"), "LANDWARD_SERVER")
	case f.Env("LANDWARD_DATA") != "":
		return socketEndpoint(f.path(f.Env("LANDWARD_DATA")), "LANDWARD_DATA"), nil
	}
	saved, err := readLogins(f.ConfigDir)
	if err != nil {
		return endpoint{}, err
	}
	if saved.Current != "" {
		return f.remoteEndpoint(saved.Current, "the saved login")
	}
	// A bad settings file is the server's trouble, and told there.
	if c, err := f.localConfig(); err == nil {
		if _, err := os.Stat(c.ControlSocket()); err == nil {
			return endpoint{socket: c.ControlSocket(), why: "the server on this machine"}, nil
		}
	}
	return endpoint{}, &problem{exit: exitDenied, message: "you are not logged in to a server",
		advice: "landward login https://landward.example.com; on the server itself, name its data folder: --data DIR"}
}

func socketEndpoint(data, why string) endpoint {
	c := config.Default()
	c.Data = data
	return endpoint{socket: c.ControlSocket(), why: why}
}

// localConfig reads the settings of the server on this machine: --data, the
// environment, the settings file.
func (f *factory) localConfig() (config.Config, error) {
	c := config.Default()
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	c.Flags(flags)
	if f.data != "" {
		if err := flags.Set("data", f.path(f.data)); err != nil {
			return c, err
		}
	}
	return c, c.Load(flags, f.Env, f.readSettings)
}

// readSettings reads the settings file for package config, which wants to tell
// a missing file from a bad one.
func (f *factory) readSettings(name string) ([]byte, error) {
	file, err := f.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return io.ReadAll(file)
}

func (f *factory) remoteEndpoint(server, why string) (endpoint, error) {
	url, err := normalServer(server)
	if err != nil {
		return endpoint{}, err
	}
	e := endpoint{url: url, why: why, token: f.token}
	if e.token == "" {
		e.token = f.Env("LANDWARD_TOKEN")
	}
	if e.token == "" {
		saved, err := readLogins(f.ConfigDir)
		if err != nil {
			return endpoint{}, err
		}
		e.token = saved.Hosts[url].Token
	}
	return e, nil
}

// client returns a client of the chosen server.
func (f *factory) client() (*client.Client, error) {
	e, err := f.endpoint()
	if err != nil {
		return nil, err
	}
	if e.socket != "" {
		f.trace("the server is %s, from %s", e.socket, e.why)
		return client.NewUnix(e.socket), nil
	}
	f.trace("the server is %s, from %s", e.url, e.why)
	return f.dial(e.url, e.token)
}

// dial returns a client of one server.
func (f *factory) dial(url, token string) (*client.Client, error) {
	c, err := client.New(url, token, client.Options{UserAgent: "landward/" + f.Version})
	if err != nil {
		return nil, misused(err)
	}
	return c, nil
}
