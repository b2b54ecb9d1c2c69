package gitssh

import (
	"strings"

	"landward/internal/landward"
	"landward/internal/source/git"
)

// command is what a client asks for, checked.
type command struct {
	service git.Service
	app     string
}

// maxCommand is more than any real command needs.
const maxCommand = 256

// parseCommand knows exactly two commands, in the form that git clients send:
// git-receive-pack 'APP' and git-upload-pack 'APP', where APP may be written
// /APP and APP.git. It never unquotes for a shell: there is none.
func parseCommand(line string) (command, error) {
	if len(line) > maxCommand {
		return command{}, landward.Errorf(landward.CodeInvalid, "the command is too long")
	}
	verb, arg, _ := strings.Cut(line, " ")
	service, ok := git.ParseService(verb)
	if !ok {
		return command{}, landward.Errorf(landward.CodeForbidden, "%q is not a command here", landward.Printable(verb)).
			WithHint("only git push, fetch and clone work over SSH")
	}
	if len(arg) >= 2 && arg[0] == '\'' && arg[len(arg)-1] == '\'' {
		arg = arg[1 : len(arg)-1]
	}
	name := strings.TrimSuffix(strings.TrimPrefix(arg, "/"), ".git")
	if err := landward.CheckAppName(name); err != nil {
		return command{}, err
	}
	return command{service: service, app: name}, nil
}
