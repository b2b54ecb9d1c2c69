package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// kind says what a package is for, and with that what it may import of ours.
type kind int

const (
	vocabulary    kind = iota // nothing
	leaf                      // the vocabulary
	stage                     // the vocabulary and leaves
	part                      // as a stage, and its parent: an adapter or an inner piece of one
	orchestration             // the vocabulary, leaves, stages, and orchestration above it
	listed                    // what its row says and nothing else
	top                       // everything: wiring, and tests of the whole
)

// packages is the import table: in the order of the path that a commit takes. A
// package imports only packages above it. The same table is in
// docs/architecture.md; a new package needs a row in both.
var packages = []struct {
	path string
	kind kind
	also []string // beyond what the kind allows
}{
	{"client", listed, nil},
	{"client/pack", listed, nil},
	{"internal/landward", vocabulary, nil},

	{"internal/config", leaf, nil},
	{"internal/secret", leaf, nil},
	{"internal/metrics", leaf, nil},
	{"internal/failpoint", leaf, nil},
	{"internal/waittest", leaf, nil},
	{"internal/logs/accesslog", leaf, nil},
	{"internal/logs", leaf, []string{"internal/logs/accesslog"}},

	{"internal/policy", stage, nil},
	{"internal/store", stage, nil},
	{"internal/store/storetest", part, nil},
	{"internal/source", stage, nil},
	{"internal/source/git", part, nil},
	{"internal/source/git/gittest", part, []string{"internal/source"}},
	{"internal/source/gitssh", part, []string{"internal/source/git"}},
	{"internal/source/githttp", part, []string{"internal/source/git"}},
	{"internal/source/archive", part, nil},
	{"internal/build", stage, nil},
	{"internal/build/manifest", part, nil},
	{"internal/build/detect", part, []string{"internal/build/manifest"}},
	{"internal/build/buildkit", part, nil},
	{"internal/engine", stage, nil},
	{"internal/engine/docker", part, []string{"internal/policy"}},
	{"internal/engine/remote", part, []string{"internal/build"}},
	{"internal/engine/fake", part, []string{"internal/policy"}},
	{"internal/engine/enginetest", part, nil},
	// Before route: the edge is made of them.
	{"internal/cert/acme", stage, nil},
	{"internal/cert", stage, []string{"internal/cert/acme"}},
	{"internal/cert/dnsprovider", part, nil},
	{"internal/dns", stage, nil},
	{"internal/dns/check", part, nil},
	{"internal/route", stage, nil},
	{"internal/route/wire", part, nil},
	{"internal/route/wire/wiretest", part, nil},
	{"internal/route/page", part, nil},
	{"internal/route/access", part, nil},
	{"internal/route/cidr", part, nil},
	{"internal/route/sockio", part, nil},
	{"internal/route/guard", part, []string{"internal/route/wire", "internal/route/cidr"}},
	{"internal/route/door", part, []string{"internal/route/wire", "internal/route/cidr"}},
	{"internal/route/squeeze", part, []string{"internal/route/wire"}},
	{"internal/route/static", part, []string{"internal/route/squeeze", "internal/route/sockio"}},
	{"internal/route/upstream", part, []string{"internal/route/wire", "internal/route/sockio"}},
	{"internal/route/h2/lane", part, []string{"internal/route", "internal/route/wire"}},
	{"internal/route/h2/lane/lanetest", part, []string{"internal/route/wire"}},
	{"internal/route/h2", part, []string{"internal/route/wire", "internal/route/h2/lane"}},
	{"internal/route/h3", part, []string{"internal/route/wire", "internal/route/h2/lane"}},
	{"internal/route/plane", part, []string{"internal/route/wire", "internal/route/sockio", "internal/route/page", "internal/route/guard",
		"internal/route/door", "internal/route/squeeze", "internal/route/static", "internal/route/upstream"}},
	{"internal/route/edge", part, []string{"internal/route/page", "internal/route/access", "internal/route/cidr", "internal/route/door",
		"internal/route/h2", "internal/route/h3", "internal/route/plane", "internal/cert", "internal/dns"}},
	{"internal/auth", stage, nil},

	{"internal/deploy", orchestration, nil},
	{"internal/pipeline", orchestration, nil},
	{"internal/reconcile", orchestration, nil},

	// The faces. What api cannot import it cannot do: it writes wishes.
	{"internal/api", listed, []string{"client", "internal/landward", "internal/config", "internal/metrics", "internal/logs", "internal/store", "internal/auth", "internal/pipeline", "internal/deploy"}},
	{"internal/cli/dotenv", listed, nil},
	{"internal/cli/hostcheck", listed, []string{"client", "internal/landward", "internal/config"}},
	{"internal/cli", listed, []string{"client", "client/pack", "internal/landward", "internal/config", "internal/cli/dotenv", "internal/cli/hostcheck"}},

	{"internal/server", top, nil},
	{"internal/servertest", top, nil},
	{"cmd/landward", listed, []string{"internal/build/manifest", "internal/source/git", "internal/cli", "internal/server"}},
	{"scripts/alltests", listed, nil},
	{"test", top, nil}, // and all below it
}

// The few places that may do what the rest may not, and why.
var (
	startsProcesses = []string{
		"internal/source/git", // git, by argv
		"internal/server",     // its own binary: the supervisor
		"internal/cli",        // git, to find and add the remote
		"internal/cli/hostcheck",
		"scripts/alltests", // go test
	}
	// Who finds the program's path at run time: git's place, and its own binary.
	computesProgram  = []string{"internal/source/git", "internal/server"}
	readsEnvironment = []string{
		"cmd/landward",
		"internal/config",
		"internal/cli/system.go",       // hands it to the commands
		"internal/failpoint",           // only in binaries made for the fault suite
		"internal/server/supervise.go", // hands it on to the processes
		"internal/server/edge.go",      // listeners that were handed over
	}
)

const (
	module        = "landward"
	maxLines      = 600
	maxInterface  = 8
	packageBanned = "util utils common helper helpers types models services misc base"
)

func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue // a test may bring together what the code keeps apart
		}
		for _, imported := range f.ourImports() {
			if !mayImport(f.pkg, imported) {
				t.Errorf("%s imports %s: the import table at the top of internal/arch_test.go does not allow it", f.name, imported)
			}
		}
	}
}

func TestEveryPackageIsInTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range sources(t) {
		if seen[f.pkg] || f.pkg == "internal" {
			continue
		}
		seen[f.pkg] = true
		if row(f.pkg) < 0 {
			t.Errorf("%s has no row in the import table of internal/arch_test.go: say there what it may import", f.pkg)
		}
		if name := path.Base(f.pkg); slices.Contains(strings.Fields(packageBanned), name) {
			t.Errorf("%s: %q says nothing; name the package after what it owns", f.pkg, name)
		}
	}
}

// row finds a package's row. One row stands for a tree of test code.
func row(pkg string) int {
	if root := testRoot(pkg); root != "" {
		pkg = root
	}
	for i, p := range packages {
		if p.path == pkg {
			return i
		}
	}
	return -1
}

// testRoot returns the folder at or above pkg that is for tests alone: "test",
// or one named after what it tests, such as enginetest. "" for none.
func testRoot(pkg string) string {
	root := ""
	for _, name := range strings.Split(pkg, "/") {
		root = path.Join(root, name)
		if strings.HasSuffix(name, "test") {
			return root
		}
	}
	return ""
}

func mayImport(from, to string) bool {
	i, j := row(from), row(to)
	if i < 0 || j < 0 || j > i {
		return false
	}
	p, imported := packages[i], packages[j].kind
	if slices.Contains(p.also, to) {
		return true
	}
	switch p.kind {
	case leaf:
		return imported == vocabulary
	case stage:
		return imported == vocabulary || imported == leaf
	case part:
		return imported == vocabulary || imported == leaf || to == path.Dir(from)
	case orchestration:
		return imported == vocabulary || imported == leaf || imported == stage || imported == orchestration
	case top:
		return true
	}
	return false
}

// TestTheTableHolds checks the rules that the table is there for, so that no
// row can undo one.
func TestTheTableHolds(t *testing.T) {
	never := []struct{ from, to string }{
		{"internal/landward", "internal/config"},
		{"internal/api", "internal/engine"},
		{"internal/api", "internal/route"},
		{"internal/api", "internal/engine/docker"},
		{"internal/cli", "internal/store"},
		{"internal/cli", "internal/server"},
		{"internal/reconcile", "internal/engine/docker"},
		{"internal/pipeline", "internal/build/buildkit"},
		{"internal/engine/docker", "internal/engine/fake"},
		{"internal/route/edge", "internal/store"},
		{"internal/route/edge", "internal/engine"},
		{"internal/store", "internal/deploy"},
	}
	for _, n := range never {
		if row(n.from) < 0 || row(n.to) < 0 {
			t.Errorf("%s or %s is not in the table", n.from, n.to)
		}
		if mayImport(n.from, n.to) {
			t.Errorf("the table lets %s import %s", n.from, n.to)
		}
	}
}

func TestVocabularyImportsStandardLibraryOnly(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.pkg != "internal/landward" {
			continue
		}
		for _, imported := range f.imports() {
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") || first == module {
				t.Errorf("%s imports %s", f.name, imported)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range sources(t) {
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		if _, ok := comments[f.pkg]; !ok {
			comments[f.pkg] = nil
		}
		if f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != "" {
			comments[f.pkg] = append(comments[f.pkg], f.name)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, want exactly one: %v", pkg, len(files), files)
		}
	}
}

// TestNoShell is the rule that no user text can reach a shell, in its simplest
// form: the product starts none.
func TestNoShell(t *testing.T) {
	starters := map[string]int{ // function → which argument names the program
		"exec.Command": 0, "exec.CommandContext": 1,
		"syscall.Exec": 0, "syscall.ForkExec": 0, "syscall.StartProcess": 0, "unix.Exec": 0, "os.StartProcess": 0,
	}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		f.inspect(func(n ast.Node) {
			if literal, ok := n.(*ast.CompositeLit); ok && selector(literal.Type) == "exec.Cmd" {
				t.Errorf("%s: an exec.Cmd made by hand: use exec.CommandContext", f.at(n))
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return
			}
			at, ok := starters[selector(call.Fun)]
			if !ok || at >= len(call.Args) {
				return
			}
			program, constant := stringLiteral(call.Args[at])
			switch {
			case !constant && !f.in(computesProgram...):
				t.Errorf("%s: the program that is started must be a constant", f.at(n))
			case isShell(program):
				t.Errorf("%s starts a shell", f.at(n))
			}
		})
	}
}

func isShell(program string) bool {
	name := path.Base(program)
	return slices.Contains([]string{"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "tcsh", "zsh",
		"busybox", "env", "su", "sudo", "xargs"}, name) // the last ones start what they are told to
}

func TestWhoStartsProcesses(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test && slices.Contains(f.imports(), "os/exec") && !f.in(startsProcesses...) {
			t.Errorf("%s imports os/exec; only these may: %v", f.name, startsProcesses)
		}
	}
}

func TestWhoReadsTheEnvironment(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.in(readsEnvironment...) {
			continue
		}
		f.inspect(func(n ast.Node) {
			expr, ok := n.(ast.Expr)
			if ok && slices.Contains([]string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "syscall.Getenv"}, selector(expr)) {
				t.Errorf("%s reads the environment; settings come from package config", f.at(n))
			}
		})
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: no init functions: what a program does starts in main", f.at(fn))
			}
		}
	}
}

func TestNoSleepInTests(t *testing.T) {
	for _, f := range sources(t) {
		// A program that tests run may take its time, and a benchmark's load keeps it.
		if !f.test || f.ast.Name.Name == "main" || strings.HasPrefix(f.pkg, "test/bench/") {
			continue
		}
		f.inspect(func(n ast.Node) {
			if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "time.Sleep" {
				t.Errorf("%s sleeps: wait for what it waits for, or use testing/synctest", f.at(n))
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for _, f := range sources(t) {
		if f.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d", f.name, f.lines, maxLines)
		}
		f.inspect(func(n ast.Node) {
			if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxInterface {
				t.Errorf("%s: an interface of %d methods, more than %d", f.at(n), i.Methods.NumFields(), maxInterface)
			}
		})
	}
}

// source is one parsed Go file of the module.
type source struct {
	name  string // slashes, from the module's root
	pkg   string // its folder
	test  bool   // a _test.go file, or part of a package for tests alone
	lines int
	ast   *ast.File
	set   *token.FileSet
}

// sources parses every Go file of the module. Folders with a go.mod of their
// own (the examples, the tools) are other modules.
func sources(t *testing.T) []source {
	t.Helper()
	root := os.DirFS("..")
	set := token.NewFileSet()
	var out []source
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		out = append(out, source{
			name: name, pkg: path.Dir(name), lines: strings.Count(string(data), "\n"),
			test: strings.HasSuffix(name, "_test.go") || testRoot(path.Dir(name)) != "",
			ast:  file, set: set,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no Go files found")
	}
	return out
}

func (s source) imports() []string {
	var out []string
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// ourImports are the imports of this module, from its root.
func (s source) ourImports() []string {
	var out []string
	for _, p := range s.imports() {
		if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			out = append(out, rest)
		}
	}
	return out
}

// in reports whether the file is one of those named, or in one of those folders.
func (s source) in(names ...string) bool {
	return slices.Contains(names, s.name) || slices.Contains(names, s.pkg)
}

func (s source) at(n ast.Node) string { return s.set.Position(n.Pos()).String() }

func (s source) inspect(visit func(ast.Node)) {
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if n != nil {
			visit(n)
		}
		return true
	})
}

// selector returns "os.Getenv" for that expression, "" for any other kind.
func selector(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}

func stringLiteral(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

var (
	goModLine   = regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) (v\S+)`)
	tableModule = regexp.MustCompile(`(?m)^\| (\S+\.\S+/\S+) \| (v\S+) \|`)
)

// TestDependenciesAreDocumented compares docs/dependencies.md with what the
// code imports and with the versions of go.mod and tools/go.mod.
func TestDependenciesAreDocumented(t *testing.T) {
	versions := moduleVersions(t, "../go.mod")
	used := map[string]string{}
	for _, f := range sources(t) {
		for _, imported := range f.imports() {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				continue
			}
			m := moduleOf(imported, versions)
			if m == "" {
				t.Errorf("%s imports %s, which is in no module of go.mod", f.name, imported)
				continue
			}
			used[m] = versions[m]
		}
	}
	tools := moduleVersions(t, "../tools/go.mod")
	for _, m := range []string{"github.com/kisielk/errcheck", "honnef.co/go/tools"} {
		used[m] = tools[m]
	}

	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range tableModule.FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = m[2]
	}
	for m, version := range used {
		if documented[m] != version {
			t.Errorf("docs/dependencies.md says %q of %s, which is used in version %s", documented[m], m, version)
		}
	}
	for m := range documented {
		if _, ok := used[m]; !ok {
			t.Errorf("docs/dependencies.md speaks of %s, which nothing imports", m)
		}
	}
}

func moduleVersions(t *testing.T, goMod string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(goMod)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range goModLine.FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// moduleOf returns the module that a package is in: the longest that fits.
func moduleOf(pkg string, versions map[string]string) string {
	for m := pkg; m != "."; m = path.Dir(m) {
		if _, ok := versions[m]; ok {
			return m
		}
	}
	return ""
}
