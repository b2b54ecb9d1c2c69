package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"landward/internal/landward"
)

const (
	fileFlag = "config"
	fileEnv  = "LANDWARD_CONFIG"
	maxFile  = 1 << 20 // bytes
)

// Load gives every setting that no flag in fs has set its value from the
// environment or, failing that, the YAML file; the rest keep their defaults.
// The file may be missing unless it was asked for by name. Then the whole is
// checked.
//
// CodeInvalid: the field is what the user wrote: --warm, LANDWARD_WARM, or
// file:line.
func (c *Config) Load(fs *pflag.FlagSet, env func(string) string, readFile func(string) ([]byte, error)) error {
	fromFile, err := c.readFile(fs, env, readFile)
	if err != nil {
		return err
	}
	for _, s := range c.settings() {
		if fs.Changed(s.name) {
			continue
		}
		text, origin := env(s.env()), s.env()
		if text == "" {
			entry, ok := fromFile[s.yaml()]
			if !ok {
				continue
			}
			text, origin = entry.text, entry.origin
		}
		if err := setFrom(s.value, text, origin); err != nil {
			return err
		}
	}
	return c.finish()
}

// entry is one value in the file.
type entry struct{ text, origin string }

func (c *Config) readFile(flags *pflag.FlagSet, env func(string) string, readFile func(string) ([]byte, error)) (map[string]entry, error) {
	asked, origin := flags.Changed(fileFlag), "--"+fileFlag
	if path := env(fileEnv); path != "" && !asked {
		c.file, asked, origin = path, true, fileEnv
	}
	data, err := readFile(c.file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !asked:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, landward.Invalid(origin, "there is no file %s", landward.Printable(c.file)).WithHint("check the path")
	case err != nil:
		return nil, landward.Invalid(origin, "the file %s cannot be read", landward.Printable(c.file)).
			WithHint("it must be readable by the user that Landward runs as").Wrap(err)
	case len(data) > maxFile:
		return nil, landward.Invalid(origin, "the file %s is too large", landward.Printable(c.file)).WithHint("settings fit into a megabyte")
	}
	return c.parseFile(data)
}

// parseFile reads a YAML mapping of settings to plain values. Anything else is
// refused with its line.
func (c *Config) parseFile(data []byte) (map[string]entry, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) { // nothing but comments
		return nil, nil
	}
	if err != nil {
		return nil, c.yamlError(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, landward.Invalid(c.file, "there is more than one document").WithHint("remove the line `---`")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, c.at(root, "settings are missing").WithHint("write `name: value`, a line each")
	}
	known := map[string]bool{}
	for _, s := range c.settings() {
		known[s.yaml()] = true
	}
	entries := map[string]entry{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		_, twice := entries[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode || !known[k.Value]:
			return nil, c.at(k, "%q is not a setting", landward.Printable(k.Value)).WithHint("%s", c.suggest(k.Value))
		case twice:
			return nil, c.at(k, "%s is set twice", k.Value).WithHint("remove one of the two")
		case v.Kind != yaml.ScalarNode || v.Tag == "!!null":
			return nil, c.at(k, "%s needs one plain value", k.Value).WithHint("write `%s: value`", k.Value)
		}
		entries[k.Value] = entry{text: v.Value, origin: fmt.Sprintf("%s:%d", c.file, v.Line)}
	}
	return entries, nil
}

func (c *Config) at(n *yaml.Node, format string, args ...any) *landward.Error {
	return landward.Invalid(fmt.Sprintf("%s:%d", c.file, n.Line), format, args...)
}

// yamlError keeps what the decoder says and moves its line to where ours are.
func (c *Config) yamlError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	field := c.file
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		field = fmt.Sprintf("%s:%d", c.file, line)
		_, text, _ = strings.Cut(text, ": ")
	}
	return landward.Invalid(field, "%s", landward.Printable(text)).WithHint("the file must be YAML: `name: value`, a line each")
}

// suggest finds the setting that an unknown name was probably meant to be.
func (c *Config) suggest(name string) string {
	plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	for _, s := range c.settings() {
		candidate := strings.ReplaceAll(s.name, "-", "")
		if plain != "" && (candidate == plain || strings.HasPrefix(candidate, plain) || strings.HasPrefix(plain, candidate)) {
			return "did you mean " + s.yaml() + "?"
		}
	}
	return "`landward serve --help` lists the settings; in the file their names have _ for -"
}
