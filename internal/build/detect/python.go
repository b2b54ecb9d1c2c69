package detect

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"landward/internal/landward"
)

// defaultPython is the minor version (3.x) where the tree asks for none.
const defaultPython = 12

var (
	pythonVersion  = regexp.MustCompile(`3\.(\d+)`)
	requiresPython = regexp.MustCompile(`(?m)^\s*(?:requires-python|python_version|python)\s*=\s*["']([^"']+)["']`)
	requiresFiles  = regexp.MustCompile(`(?m)^\s*(-r|-c|-e|--requirement|--constraint|--editable|\.|file:)`)
	flaskApp       = regexp.MustCompile(`(?m)^(\w+)\s*=\s*(?:flask\.)?Flask\(`)
	fastAPIApp     = regexp.MustCompile(`(?m)^(\w+)\s*=\s*(?:fastapi\.)?(?:FastAPI|Starlette)\(`)
)

// listDependencies prints what a pyproject.toml needs that is not a package
// itself.
const listDependencies = `'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"].get("dependencies", [])))'`

// python recognises a Python app.
func (s source) python() (found, bool, error) {
	why, install, files := s.pythonProject()
	if why == "" {
		return found{}, false, nil
	}
	if _, _, err := readFile(s.tree, why); err != nil {
		return found{}, false, err
	}
	f := found{builder: "python", title: "Python", why: why}
	if !s.startsWeb() {
		web, notice := s.pythonStart()
		if web == nil {
			return found{}, false, landward.Invalid(s.where(why), "nothing says how to start the app").
				WithCause("looked for: web in the Procfile; Django's manage.py; a Flask or FastAPI app in app.py, main.py or wsgi.py").
				WithHint("add a Procfile: web: gunicorn app:app --bind 0.0.0.0:$PORT")
		}
		f.web = landward.Command{Argv: web}
		if notice != "" {
			f.notices = append(f.notices, notice)
		}
	}
	image := "python:3." + strconv.Itoa(s.pythonMinor()) + "-slim"
	f.generated = s.pythonDockerfile(image, install, files)
	return f, true, nil
}

// pythonProject says what gives the project away, how its packages are
// installed and which files that needs ("." for all of them).
func (s source) pythonProject() (why, install string, files []string) {
	has := func(name string) bool { return exists(s.tree, name) }
	switch {
	case has("requirements.txt"):
		files = []string{"requirements.txt"}
		if text, ok, err := readFile(s.tree, "requirements.txt"); err == nil && ok && requiresFiles.Match(text) {
			files = []string{"."}
		}
		return "requirements.txt", "pip install -r requirements.txt", files
	case has("uv.lock") && has("pyproject.toml"):
		return "pyproject.toml", "pip install uv && uv sync --active --frozen --no-dev --no-install-project", []string{"pyproject.toml", "uv.lock"}
	case has("poetry.lock") && has("pyproject.toml"):
		return "pyproject.toml", "pip install poetry && poetry install --only main --no-root", []string{"pyproject.toml", "poetry.lock"}
	case has("Pipfile.lock"):
		return "Pipfile", "pip install pipenv && pipenv sync", []string{"Pipfile", "Pipfile.lock"}
	case has("Pipfile"):
		return "Pipfile", "pip install pipenv && pipenv install --skip-lock", []string{"Pipfile"}
	case has("pyproject.toml") && !contains(s.tree, "pyproject.toml", "[build-system]"):
		return "pyproject.toml", "python -c " + listDependencies + " | pip install -r /dev/stdin", []string{"pyproject.toml"}
	case has("pyproject.toml"):
		return "pyproject.toml", "pip install .", []string{"."}
	case has("setup.py"):
		return "setup.py", "pip install .", []string{"."}
	case has("manage.py"):
		return "manage.py", "pip install django", nil
	}
	return "", "", nil
}

// pythonStart finds what serves the app, where that is plain to see.
func (s source) pythonStart() (web []string, notice string) {
	gunicorn, uvicorn := s.depends("gunicorn"), s.depends("uvicorn") || s.depends("fastapi[")
	if exists(s.tree, "manage.py") {
		wsgi := glob(s.tree, "*/wsgi.py")
		if gunicorn && len(wsgi) == 1 {
			return []string{"gunicorn", path.Base(path.Dir(wsgi[0])) + ".wsgi", "--bind", "0.0.0.0:$PORT"}, ""
		}
		return []string{"python", "manage.py", "runserver", "--noreload", "0.0.0.0:$PORT"},
			"Starting Django's development server. Add gunicorn to requirements.txt for a real one."
	}
	for _, module := range []string{"app", "main", "wsgi", "asgi"} {
		text, ok, err := readFile(s.tree, module+".py")
		if err != nil || !ok {
			continue
		}
		if m := fastAPIApp.FindSubmatch(text); m != nil && uvicorn {
			return []string{"uvicorn", module + ":" + string(m[1]), "--host", "0.0.0.0", "--port", "$PORT"}, ""
		}
		m := flaskApp.FindSubmatch(text)
		switch {
		case m == nil:
		case gunicorn:
			return []string{"gunicorn", module + ":" + string(m[1]), "--bind", "0.0.0.0:$PORT"}, ""
		default:
			return []string{"flask", "--app", module + ":" + string(m[1]), "run", "--host", "0.0.0.0", "--port", "$PORT"},
				"Starting Flask's development server. Add gunicorn to requirements.txt for a real one."
		}
	}
	return nil, ""
}

// depends reports whether the project names a package.
func (s source) depends(name string) bool {
	for _, file := range []string{"requirements.txt", "pyproject.toml", "Pipfile", "setup.py"} {
		if contains(s.tree, file, name) {
			return true
		}
	}
	return false
}

// pythonMinor chooses 3.x: .python-version, runtime.txt, pyproject.toml,
// Pipfile. A lower bound is met by the default.
func (s source) pythonMinor() int {
	for _, name := range []string{".python-version", "runtime.txt"} {
		if text, ok, err := readFile(s.tree, name); err == nil && ok {
			if v := pythonFor(string(text)); v != 0 {
				return v
			}
		}
	}
	for _, name := range []string{"pyproject.toml", "Pipfile"} {
		text, ok, err := readFile(s.tree, name)
		if err != nil || !ok {
			continue
		}
		if m := requiresPython.FindSubmatch(text); m != nil {
			if v := pythonFor(string(m[1])); v != 0 {
				return v
			}
		}
	}
	return defaultPython
}

// pythonFor reads "3.11.4", ">=3.10,<3.13", "^3.9", "python-3.11": the default
// if it fits, else what is nearest to it. 0 means that no version is named.
func pythonFor(wish string) int {
	low, high, named := 0, 99, false
	for part := range strings.SplitSeq(wish, ",") {
		m := pythonVersion.FindStringSubmatch(part)
		if m == nil {
			continue
		}
		v, err := strconv.Atoi(m[1])
		if err != nil || v < 7 || v > 99 {
			continue
		}
		part = strings.TrimSpace(part)
		switch {
		case strings.HasPrefix(part, "!"):
			continue
		case strings.HasPrefix(part, "<="):
			high = v
		case strings.HasPrefix(part, "<"):
			high = v - 1
		case strings.HasPrefix(part, ">"), strings.HasPrefix(part, "^"), strings.HasPrefix(part, "~="):
			low = v
		default:
			low, high = v, v
		}
		named = true
	}
	if !named {
		return 0
	}
	return min(max(defaultPython, low), high)
}

func (s source) pythonDockerfile(image, install string, files []string) string {
	d := &dockerfile{}
	d.line("ARG PYTHON_IMAGE=%s", image)
	d.line("")
	d.line("FROM ${PYTHON_IMAGE} AS build")
	d.line("RUN python -m venv /venv")
	d.line("ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 POETRY_VIRTUALENVS_CREATE=false")
	d.line("WORKDIR /app")
	if len(files) > 0 {
		d.line("COPY %s ./", strings.Join(files, " "))
	}
	d.run([]string{"/root/.cache"}, s.secrets, install)
	d.line("")
	d.line("FROM ${PYTHON_IMAGE}")
	d.line("WORKDIR /app")
	d.line("RUN chown %s:%s /app", appUser, appUser)
	d.line("ENV HOME=/app VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1")
	d.line("COPY --from=build /venv /venv")
	d.line("COPY --chown=%s:%s . .", appUser, appUser)
	d.line("USER %s", appUser)
	return d.String()
}
