package detect

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// defaultNode is the version where package.json asks for none.
const defaultNode = 22

var (
	nodeMajor    = regexp.MustCompile(`(>=|>|<=|<|\^|~|=)?\s*v?(\d+)(?:\.[\dx*]+)*`)
	managerField = regexp.MustCompile(`^(npm|yarn|pnpm)@(\d+)`)
)

// packageJSON is what matters of a package.json.
type packageJSON struct {
	Main            string                     `json:"main"`
	Scripts         map[string]string          `json:"scripts"`
	Engines         map[string]string          `json:"engines"`
	PackageManager  string                     `json:"packageManager"`
	Workspaces      json.RawMessage            `json:"workspaces"`
	Dependencies    map[string]string          `json:"dependencies"`
	DevDependencies map[string]json.RawMessage `json:"devDependencies"`
}

// node recognises a Node app.
func (s source) node() (found, bool, error) {
	data, ok, err := readFile(s.tree, "package.json")
	if err != nil || !ok {
		return found{}, false, err
	}
	var p packageJSON
	if err := json.Unmarshal(data, &p); err != nil {
		return found{}, false, s.jsonError("package.json", data, err)
	}
	f := found{builder: "node", title: "Node", why: "package.json"}
	pm := s.packageManager(p)
	start, ok := s.nodeStart(p, pm)
	if !ok && !s.startsWeb() {
		return found{}, false, landward.Invalid(s.where("package.json"), "nothing says how to start the app").
			WithCause(`looked for: a "start" script, server.js, the "main" file, index.js, and web in the Procfile`).
			WithHint(`add a script: "start": "node server.js"; or a Procfile: web: node server.js`)
	}
	if pm.lock == "" {
		f.notices = append(f.notices, "There is no lock file: what is installed may differ from build to build. Commit package-lock.json.")
	}
	f.generated = s.nodeDockerfile(p, pm, "node:"+strconv.Itoa(s.nodeVersion(p))+"-bookworm-slim", start)
	return f, true, nil
}

// jsonError names the line of what is wrong in a JSON file.
func (s source) jsonError(name string, data []byte, err error) error {
	offset := int64(0)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &wrong):
		offset = wrong.Offset
	}
	line := 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
	return landward.Invalid(s.where(name)+":"+strconv.Itoa(line), "not a valid %s: %s", name, landward.Printable(err.Error()))
}

// packageManager is how packages are installed.
type packageManager struct {
	name    string // npm, yarn, pnpm
	lock    string // the lock file; empty for none
	install string
	prune   string // drops what only the build needs; empty for none
	cache   string
	files   []string // what install reads, beside package.json and lock
	// corepack says that the image has to fetch the package manager first.
	corepack bool
}

func (s source) packageManager(p packageJSON) packageManager {
	field := managerField.FindStringSubmatch(p.PackageManager)
	named := func(name string) bool { return field != nil && field[1] == name }
	switch {
	case exists(s.tree, "pnpm-lock.yaml") || named("pnpm"):
		pm := packageManager{
			name: "pnpm", install: "pnpm install", prune: "CI=true pnpm prune --prod --ignore-scripts",
			cache: "/root/.local/share/pnpm/store", corepack: true, files: []string{".npmrc", "pnpm-workspace.yaml"},
		}
		if exists(s.tree, "pnpm-lock.yaml") {
			pm.lock, pm.install = "pnpm-lock.yaml", "pnpm install --frozen-lockfile"
		}
		return pm
	case exists(s.tree, "yarn.lock") || named("yarn"):
		return s.yarn(field)
	}
	pm := packageManager{name: "npm", install: "npm install", prune: "npm prune --omit=dev", cache: "/root/.npm", files: []string{".npmrc"}}
	for _, lock := range []string{"npm-shrinkwrap.json", "package-lock.json"} {
		if exists(s.tree, lock) {
			pm.lock, pm.install = lock, "npm ci"
			break
		}
	}
	return pm
}

// yarn is one of two programs of that name: 1.x, which every Node image has,
// and the later ones.
func (s source) yarn(field []string) packageManager {
	pm := packageManager{
		name: "yarn", install: "yarn install", cache: "/usr/local/share/.cache/yarn",
		prune: "yarn install --production --ignore-scripts --prefer-offline",
		files: []string{".npmrc", ".yarnrc", ".yarnrc.yml"},
	}
	later := exists(s.tree, ".yarnrc.yml") || field != nil && field[2] != "1"
	if later {
		pm.corepack, pm.prune, pm.cache = true, "", "/root/.yarn/berry/cache"
	}
	if exists(s.tree, "yarn.lock") {
		pm.lock = "yarn.lock"
		if later {
			pm.install += " --immutable"
		} else {
			pm.install += " --frozen-lockfile"
			pm.prune += " --frozen-lockfile"
		}
	}
	return pm
}

// nodeStart is what starts the app. A start script that is just a node
// command is run without npm between it and its signals.
func (s source) nodeStart(p packageJSON, pm packageManager) ([]string, bool) {
	if script := p.Scripts["start"]; script != "" {
		c, err := manifest.ParseCommand(script)
		hooks := p.Scripts["prestart"] != "" || p.Scripts["poststart"] != ""
		if err == nil && !hooks && len(c.Argv) > 1 && c.Argv[0] == "node" && !strings.Contains(script, "$") {
			return c.Argv, true
		}
		return []string{pm.name, "start"}, true
	}
	for _, name := range []string{"server.js", p.Main, "index.js"} {
		if name == "" || strings.HasPrefix(name, "-") {
			continue
		}
		if _, ok, err := readFile(s.tree, strings.TrimPrefix(name, "./")); err == nil && ok {
			return []string{"node", name}, true
		}
	}
	return nil, false
}

// nodeVersion chooses the major version: engines.node, .nvmrc, .node-version.
func (s source) nodeVersion(p packageJSON) int {
	wish := p.Engines["node"]
	for _, name := range []string{".nvmrc", ".node-version"} {
		if data, ok, err := readFile(s.tree, name); wish == "" && err == nil && ok {
			wish = strings.TrimSpace(string(data))
		}
	}
	return nodeFor(wish)
}

// nodeFor reads a range such as "20.x", ">=18", "^18 || ^20" and chooses the
// default version if it is in it, else the newest that is named.
func nodeFor(wish string) int {
	best := 0
	for alternative := range strings.SplitSeq(wish, "||") {
		low, high, exact := 0, 0, 0
		for _, m := range nodeMajor.FindAllStringSubmatch(alternative, -1) {
			v, err := strconv.Atoi(m[2])
			if err != nil {
				continue
			}
			switch m[1] {
			case ">=", ">":
				low = v
			case "<":
				high = v - 1
			case "<=":
				high = v
			default:
				exact = v
			}
		}
		switch {
		case exact != 0:
			best = max(best, exact)
		case low != 0 && low <= defaultNode && (high == 0 || defaultNode <= high):
			return defaultNode
		default:
			best = max(best, low, high)
		}
	}
	if best < 4 || best > 99 {
		return defaultNode
	}
	return best
}

// wholeTree reports whether installing packages needs more of the tree than
// package.json and the lock file.
func (s source) wholeTree(p packageJSON) bool {
	for _, script := range []string{"preinstall", "install", "postinstall", "prepare"} {
		if p.Scripts[script] != "" {
			return true
		}
	}
	for _, version := range p.Dependencies {
		if strings.HasPrefix(version, "file:") || strings.HasPrefix(version, "link:") || strings.HasPrefix(version, "workspace:") {
			return true
		}
	}
	return len(p.Workspaces) > 0 || exists(s.tree, "pnpm-workspace.yaml") || exists(s.tree, ".yarn") || exists(s.tree, "patches")
}

func (s source) nodeDockerfile(p packageJSON, pm packageManager, image string, start []string) string {
	d := &dockerfile{}
	d.line("ARG NODE_IMAGE=%s", image)
	d.line("")
	d.line("FROM ${NODE_IMAGE} AS build")
	if pm.corepack {
		d.line("RUN corepack enable")
	}
	d.line("WORKDIR /app")
	whole := s.wholeTree(p)
	if whole {
		d.line("COPY . .")
	} else {
		files := slices.DeleteFunc(append([]string{"package.json", pm.lock}, pm.files...), func(name string) bool {
			return name == "" || !exists(s.tree, name)
		})
		d.line("COPY %s ./", strings.Join(files, " "))
	}
	d.run([]string{pm.cache}, s.secrets, pm.install)
	if !whole {
		d.line("COPY . .")
	}
	if p.Scripts["build"] != "" {
		d.run([]string{pm.cache}, s.secrets, pm.name+" run build")
	}
	if len(p.DevDependencies) > 0 && pm.prune != "" {
		d.run([]string{pm.cache}, s.secrets, pm.prune)
	}
	d.line("")
	d.line("FROM ${NODE_IMAGE}")
	if pm.corepack {
		d.line("RUN corepack enable")
	}
	d.line("WORKDIR /app")
	d.line("RUN chown %s:%s /app", appUser, appUser)
	d.line("ENV HOME=/app NODE_ENV=production")
	d.line("COPY --from=build --chown=%s:%s /app /app", appUser, appUser)
	d.line("USER %s", appUser)
	if start != nil {
		d.exec(start...)
	}
	return d.String()
}
