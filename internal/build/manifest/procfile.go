package manifest

import (
	"bytes"
	"slices"
	"strings"

	"landward/internal/landward"
)

// ProcfileName is the file that names an app's processes.
const ProcfileName = "Procfile"

const maxProcesses = 50

// Procfile is a parsed Procfile.
type Procfile struct {
	Processes []ProcfileLine // in file order, without "release"
	Release   landward.Command
}

// ProcfileLine is one process of a Procfile.
type ProcfileLine struct {
	Name    string
	Command landward.Command
	Where   string // "Procfile:2"
}

// ParseProcfile reads "name: command" lines. Blank lines and lines that begin
// with # are skipped.
func ParseProcfile(data []byte) (Procfile, error) {
	r := reader{file: ProcfileName}
	if err := r.checkBytes(data); err != nil {
		return Procfile{}, err
	}
	var p Procfile
	first := map[string]int{}
	for i, line := range strings.Split(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\n") {
		number := i + 1
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		entry, err := r.procfileLine(line, number)
		if err != nil {
			return Procfile{}, err
		}
		if at, twice := first[entry.Name]; twice {
			return Procfile{}, r.errorf(number, "process %q is given twice; the first is in line %d", entry.Name, at)
		}
		first[entry.Name] = number
		if entry.Name == "release" {
			p.Release = entry.Command
			continue
		}
		if len(p.Processes) == maxProcesses {
			return Procfile{}, r.errorf(number, "there are more than %d processes", maxProcesses)
		}
		p.Processes = append(p.Processes, entry)
	}
	return p, nil
}

func (r reader) procfileLine(line string, number int) (ProcfileLine, error) {
	name, text, ok := strings.Cut(line, ":")
	if !ok {
		return ProcfileLine{}, r.errorf(number, "%q is not a process", landward.Printable(line)).
			WithHint("write a name, a colon and a command: web: ./server")
	}
	name = strings.TrimSpace(name)
	if err := landward.CheckProcessName(name); err != nil {
		return ProcfileLine{}, r.rename(number, err)
	}
	if strings.TrimSpace(text) == "" {
		return ProcfileLine{}, r.errorf(number, "process %q has no command", name)
	}
	command, err := ParseCommand(text)
	if err != nil {
		return ProcfileLine{}, r.rename(number, err)
	}
	return ProcfileLine{Name: name, Command: command, Where: r.at(number)}, nil
}

// Has reports whether the Procfile names a process.
func (p Procfile) Has(name string) bool {
	return slices.ContainsFunc(p.Processes, func(l ProcfileLine) bool { return l.Name == name })
}
