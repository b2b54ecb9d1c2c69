package buildkit_test

import (
	"strings"
	"testing"

	"landward/internal/landward"
)

func TestFailures(t *testing.T) {
	b := newBench(t)
	from := "FROM " + base + "\n"
	tests := []struct {
		name    string
		files   map[string]string
		change  func(*landward.BuildPlan)
		code    landward.Code
		field   string
		message string
		cause   string
		hint    string
	}{
		{
			name:    "exit code",
			files:   map[string]string{"Dockerfile": from + "RUN echo to stdout; echo to stderr >&2; exit 3\n"},
			message: "step [2/2] RUN echo to stdout; echo to stderr >&2; exit 3 failed with exit code 3",
			cause:   "to std",
		},
		{
			name:    "last lines only",
			files:   map[string]string{"Dockerfile": from + "COPY l /\nRUN cat /l; echo last; exit 1\n", "l": "first\n" + strings.Repeat("x\n", 30)},
			message: "failed with exit code 1",
			cause:   "x\nlast",
		},
		{
			name:    "unknown command",
			files:   map[string]string{"Dockerfile": from + "RUN no-such-program\n"},
			message: "exit code 127",
			hint:    "was not found",
		},
		{
			name:    "missing file",
			files:   map[string]string{"Dockerfile": from + "COPY nothing.txt /\n"},
			message: `step [2/2] COPY nothing.txt / failed: there is no "nothing.txt" to copy`,
			hint:    ".dockerignore",
		},
		{
			name:    "missing base image",
			files:   map[string]string{"Dockerfile": "FROM no-such-image-of-landward:1\n"},
			message: "base image no-such-image-of-landward:1 cannot be pulled",
			hint:    "registry",
		},
		{
			name:    "image of another app",
			files:   map[string]string{"Dockerfile": "FROM landward-build-test/other:v1\n"},
			code:    landward.CodePolicy,
			message: "belongs to an app",
		},
		{
			name:    "copy from an image of another app",
			files:   map[string]string{"Dockerfile": from + "COPY --from=docker.io/landward-build-test/other:v1 / /\n"},
			code:    landward.CodePolicy,
			message: "belongs to an app",
		},
		{
			name:    "unknown instruction",
			files:   map[string]string{"Dockerfile": from + "\nRUNN true\n"},
			field:   "Dockerfile:3",
			message: "unknown instruction: RUNN",
		},
		{
			name:   "bad flag",
			files:  map[string]string{"x/Dockerfile": from + "COPY --nope a b\n"},
			change: func(p *landward.BuildPlan) { p.Dockerfile = "x/Dockerfile" },
			field:  "x/Dockerfile:2", message: "unknown flag: --nope",
		},
		{
			name:    "empty",
			files:   map[string]string{"Dockerfile": "\n"},
			message: "file with no instructions",
		},
		{
			name:    "no stage",
			files:   map[string]string{"Dockerfile": from},
			change:  func(p *landward.BuildPlan) { p.Target = "nope" },
			message: `Dockerfile has no stage "nope"`,
		},
		{
			name:    "no Dockerfile",
			files:   map[string]string{"a": ""},
			message: "there is no plain file Dockerfile",
		},
		{
			name:    "Dockerfile is a link",
			files:   map[string]string{"a": from, "Dockerfile -> a": ""},
			message: "there is no plain file Dockerfile",
		},
		{
			name:    "no context",
			files:   map[string]string{"Dockerfile": from},
			change:  func(p *landward.BuildPlan) { p.Context = "nope" },
			message: "the build context nope is not a folder",
		},
		{
			name:  "foreign frontend",
			files: map[string]string{"Dockerfile": "# syntax=evil/frontend:1\n" + from},
			field: "Dockerfile:1", message: "the Dockerfile frontend evil/frontend:1 is not allowed",
		},
		{
			name:  "frontend that looks official",
			files: map[string]string{"Dockerfile": "#syntax = evil.example/docker/dockerfile:1\n" + from},
			field: "Dockerfile:1", message: "is not allowed",
		},
		{
			name:    "host network",
			files:   map[string]string{"Dockerfile": from + "RUN --network=host true\n"},
			code:    landward.CodePolicy,
			message: "--network=host",
		},
		{
			name:    "insecure",
			files:   map[string]string{"Dockerfile": from + "RUN --security=insecure true\n"},
			code:    landward.CodePolicy,
			message: "--security=insecure",
		},
		{
			name:    "file from the network",
			files:   map[string]string{"Dockerfile": from + "ADD http://169.254.169.254/latest/meta-data /x\n"},
			code:    landward.CodePolicy,
			message: "ADD cannot fetch http://169.254.169.254/latest/meta-data",
			hint:    "RUN curl",
		},
		{
			name:    "repository from the network",
			files:   map[string]string{"Dockerfile": from + "ADD https://github.com/moby/buildkit.git#v0.10.1 /x\n"},
			code:    landward.CodePolicy,
			message: "ADD cannot fetch git://github.com/moby/buildkit.git",
		},
		{
			name:    "secret that nobody gave",
			files:   map[string]string{"Dockerfile": from + "RUN --mount=type=secret,id=NPM_TOKEN,required=true true\n"},
			message: "the build needs the secret NPM_TOKEN, which is not set",
			hint:    "secrets: [NPM_TOKEN]",
		},
		{
			name:    "secret without a value",
			files:   map[string]string{"Dockerfile": from},
			change:  func(p *landward.BuildPlan) { p.Secrets = []string{"NPM_TOKEN"} },
			message: "the build needs the secret NPM_TOKEN, which has no value",
		},
		{
			name:    "argument that steers the builder",
			files:   map[string]string{"Dockerfile": from},
			change:  func(p *landward.BuildPlan) { p.Args = map[string]string{"BUILDKIT_SYNTAX": "evil/frontend"} },
			code:    landward.CodeInvalid,
			field:   "plan.args",
			message: "cannot be a build argument",
		},
		{
			name:    "context outside",
			files:   map[string]string{"Dockerfile": from},
			change:  func(p *landward.BuildPlan) { p.Context = "../.." },
			code:    landward.CodeInvalid,
			field:   "plan.context",
			message: "not a path inside",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &bench{Builder: b.Builder, docker: b.docker, opt: b.opt, req: b.req}
			if tt.change != nil {
				tt.change(&b.req.Plan)
			}
			e := b.mustFail(t, tt.files)
			if tt.code == "" {
				tt.code = landward.CodeFailed
			}
			if e.Code != tt.code || e.Field != tt.field {
				t.Errorf("code, field = %s, %q, want %s, %q", e.Code, e.Field, tt.code, tt.field)
			}
			has(t, "message", e.Message, tt.message)
			has(t, "cause", e.Cause, tt.cause)
			has(t, "hint", e.Hint, tt.hint)
			if n := strings.Count(e.Cause, "\n"); n >= 20 {
				t.Errorf("the cause has %d lines", n+1)
			}
			if t.Failed() {
				t.Logf("inner: %v", e.Err)
			}
		})
	}
}
