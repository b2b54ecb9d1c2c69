package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

func argv(words ...string) landward.Command { return landward.Command{Argv: words} }
func shell(line string) landward.Command    { return landward.Command{Shell: line} }

func TestParseProcfile(t *testing.T) {
	got, err := manifest.ParseProcfile([]byte("\ufeff# what runs\r\n\r\nweb: ./server -p $PORT\r\n  worker :  ./worker && true  \nmail-sender:./mail\nrelease: ./migrate\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Procfile{
		Processes: []manifest.ProcfileLine{
			{Name: "web", Command: argv("./server", "-p", "$PORT"), Where: "Procfile:3"},
			{Name: "worker", Command: shell("./worker && true"), Where: "Procfile:4"},
			{Name: "mail-sender", Command: argv("./mail"), Where: "Procfile:5"},
		},
		Release: argv("./migrate"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.Has("web") || got.Has("release") {
		t.Error("Has is wrong")
	}
}

func TestParseProcfileRefuses(t *testing.T) {
	tests := map[string]string{
		"web ./server":                      `Procfile:1: "web ./server" is not a process`,
		"a: b\n\nweb:":                      `Procfile:3: process "web" has no command`,
		"web: a\nweb: b":                    `Procfile:2: process "web" is given twice; the first is in line 1`,
		"release: a\nrelease: b":            `Procfile:2: process "release" is given twice`,
		"Web: a":                            `Procfile:1: "Web" is not a process name`,
		"a_b: c":                            `Procfile:1: "a_b" is not a process name`,
		": c":                               `Procfile:1: "" is not a process name`,
		"web: echo 'a":                      `Procfile:1: a single quote`,
		"web: a\nx: \xff":                   `Procfile:2: the file is not UTF-8 text`,
		"web: a\x00b":                       `Procfile:1: the command contains a zero byte`,
		"web\x1b[2J: a":                     "Procfile:1: \"web\uFFFD[2J\" is not a process name",
		strings.Repeat("#\n", 1<<18):        `Procfile: the file is larger`,
		"web: " + strings.Repeat("x", 9000): `Procfile:1: the command is longer`,
	}
	for text, want := range tests {
		_, err := manifest.ParseProcfile([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: err = %v, want %s", text, err, want)
		}
	}
	var many strings.Builder
	for i := range 60 {
		many.WriteString("p" + strings.Repeat("a", i%28) + string(rune('a'+i/28)) + ": x\n")
	}
	if _, err := manifest.ParseProcfile([]byte(many.String())); err == nil || !strings.Contains(err.Error(), "more than 50") {
		t.Errorf("sixty processes: %v", err)
	}
}

func TestParseCommand(t *testing.T) {
	tests := []struct {
		line string
		want landward.Command
	}{
		{"./server", argv("./server")},
		{"  ./server\t-a   -b ", argv("./server", "-a", "-b")},
		{"node server.js --port=$PORT", argv("node", "server.js", "--port=$PORT")},
		{"gunicorn app:app -b 0.0.0.0:${PORT}", argv("gunicorn", "app:app", "-b", "0.0.0.0:${PORT}")},
		{"serve $PORT", argv("serve", "$PORT")},
		{`say "hello world" 'and you' a"b"'c'`, argv("say", "hello world", "and you", "abc")},
		{`x ""`, argv("x", "")},
		{`x "$NAME" "pre ${A} post"`, argv("x", "$NAME", "pre ${A} post")},
		{`x a\b`, shell(`x a\b`)},
		{"exec ./server -x", argv("./server", "-x")},
		{"exec -a name ./server", shell("exec -a name ./server")},
		{"x --flag=a=b,c:d@e%f+g", argv("x", "--flag=a=b,c:d@e%f+g")},
		{"x a#b a~b {a,b} a!b", argv("x", "a#b", "a~b", "{a,b}", "a!b")},
		{"x https://example.com/a", argv("x", "https://example.com/a")},
		{"x héllo", argv("x", "héllo")},
		// What a shell would see more in.
		{"java $JAVA_OPTS -jar app.jar", shell("java $JAVA_OPTS -jar app.jar")},
		{"x $A$B", shell("x $A$B")},
		{"a && b", shell("a && b")},
		{"a; b", shell("a; b")},
		{"a | b", shell("a | b")},
		{"a > f", shell("a > f")},
		{"a &", shell("a &")},
		{"a $(b)", shell("a $(b)")},
		{"a `b`", shell("a `b`")},
		{"a \"`b`\"", shell("a \"`b`\"")},
		{"a ${B:-c}", shell("a ${B:-c}")},
		{"a $1 $?", shell("a $1 $?")},
		{"a '$B'", shell("a '$B'")},
		{`a "\$B"`, shell(`a "\$B"`)},
		{"a *.js", shell("a *.js")},
		{"a ~/b", shell("a ~/b")},
		{"a # b", shell("a # b")},
		{"A=b c", shell("A=b c")},
		{"cd app", shell("cd app")},
		{"if true", shell("if true")},
		{"a\nb", shell("a\nb")},
		{`"" a`, shell(`"" a`)},
	}
	for _, tt := range tests {
		got, err := manifest.ParseCommand(tt.line)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %+v, %v, want %+v", tt.line, got, err, tt.want)
		}
	}
	for _, line := range []string{"", "  ", "a 'b", `a "b`, "a\x00", strings.Repeat("x ", 5000)} {
		if got, err := manifest.ParseCommand(line); landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%.20q: got %+v, %v, want an error", line, got, err)
		}
	}
}

func FuzzParseProcfile(f *testing.F) {
	f.Add([]byte("web: ./server $PORT\nworker: a && b\n"))
	f.Add([]byte("# x\n\nrelease: 'a b' \"c\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := manifest.ParseProcfile(data)
		if err != nil {
			if e := landward.AsError(err); e.Code != landward.CodeInvalid || !strings.HasPrefix(e.Field, "Procfile") {
				t.Errorf("err = %v", err)
			}
			return
		}
		for _, l := range p.Processes {
			if landward.CheckProcessName(l.Name) != nil || l.Command.IsZero() {
				t.Errorf("line = %+v", l)
			}
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	f.Add("./server -p $PORT")
	f.Add(`a "b c" 'd' ${E}`)
	f.Fuzz(func(t *testing.T, line string) {
		c, err := manifest.ParseCommand(line)
		if err != nil {
			return
		}
		if c.IsZero() || len(c.Argv) > 0 && c.Shell != "" {
			t.Errorf("%q: %+v", line, c)
		}
		if c.Shell != "" {
			return
		}
		// Words that were put in quotes must come back as they are.
		var quoted []string
		for _, w := range c.Argv {
			if strings.ContainsAny(w, "\"\\`") {
				return
			}
			quoted = append(quoted, `"`+w+`"`)
		}
		again, err := manifest.ParseCommand(strings.Join(quoted, " "))
		if err != nil || len(strings.Join(quoted, " ")) < 8<<10 && !reflect.DeepEqual(again, c) {
			t.Errorf("%q: %+v, then %+v, %v", line, c, again, err)
		}
	})
}
