package dotenv_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"landward/internal/cli/dotenv"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want []dotenv.Var
	}{
		{"empty", "", nil},
		{"comments and blank lines", "# one\n\n   # two\n\t\n", nil},
		{"plain", "A=1\nB=two words\n", []dotenv.Var{{"A", "1", 1}, {"B", "two words", 2}}},
		{"no newline at the end", "A=1", []dotenv.Var{{"A", "1", 1}}},
		{"export", "export A=1\nexport\tB=2\n", []dotenv.Var{{"A", "1", 1}, {"B", "2", 2}}},
		{"a variable called export", "export=1", []dotenv.Var{{"export", "1", 1}}},
		{"spaces around", "  A = 1  \n", []dotenv.Var{{"A", "1", 1}}},
		{"empty value", "A=\nB=''\nC= # nothing\n", []dotenv.Var{{"A", "", 1}, {"B", "", 2}, {"C", "", 3}}},
		{"equals in the value", "URL=postgres://u:p@h/db?a=b", []dotenv.Var{{"URL", "postgres://u:p@h/db?a=b", 1}}},
		{"hash inside a value", "A=b#c # d", []dotenv.Var{{"A", "b#c", 1}}},
		{"dollar stays", "A=$HOME\nB=\"${X}\"", []dotenv.Var{{"A", "$HOME", 1}, {"B", "${X}", 2}}},
		{"single quotes are literal", `A='a\n"b"  '`, []dotenv.Var{{"A", `a\n"b"  `, 1}}},
		{"double quotes escape", `A="a\nb\t\"c\" \\ \$D \q"`, []dotenv.Var{{"A", "a\nb\t\"c\" \\ $D \\q", 1}}},
		{"backquotes", "A=`'\"\\n`", []dotenv.Var{{"A", `'"\n`, 1}}},
		{"comment after quotes", "A='x' # y", []dotenv.Var{{"A", "x", 1}}},
		{"several lines", "KEY=\"-----BEGIN\nabc\n-----END\"\nB=2", []dotenv.Var{{"KEY", "-----BEGIN\nabc\n-----END", 1}, {"B", "2", 4}}},
		{"several lines, single", "K='a\nb'\nB=2", []dotenv.Var{{"K", "a\nb", 1}, {"B", "2", 3}}},
		{"windows line ends", "A=1\r\nB=\"x\r\ny\"\r\n", []dotenv.Var{{"A", "1", 1}, {"B", "x\ny", 2}}},
		{"byte order mark", "\ufeffA=1", []dotenv.Var{{"A", "1", 1}}},
		{"twice: the last counts", "A=1\nB=2\nA=3", []dotenv.Var{{"A", "3", 3}, {"B", "2", 2}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dotenv.Parse(".env", []byte(tt.in))
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"no equals", "A=1\nhello\n", ".env:2: there is no = in this line"},
		{"yaml", "A: 1\n", ".env:1: there is no ="},
		{"bad name", "\n\n1A=2", ".env:3: the part before = is not a variable name"},
		{"no name", "=2", ".env:1: the part before = is not"},
		{"name with a dash", "MY-VAR=2", ".env:1: the part before ="},
		{"open quote", "A=1\nB=\"x\nC=2\n", ".env:2: the quote \" that opens here is never closed"},
		{"open quote after an escape", "B=\"x\\", ".env:1: the quote"},
		{"text after quotes", "A='x'y", ".env:1: there is text after the closing quote"},
		{"text after several lines", "A='x\nz'y", ".env:2: there is text after the closing quote"},
		{"nul", "A=\x00", ".env:1: this is not a text file"},
		{"not UTF-8", "A=\xff", ".env:1: this is not a text file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dotenv.Parse(".env", []byte(tt.in))
			var refusal *dotenv.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a *dotenv.Error", err)
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %q, want %q…", err, tt.want)
			}
			if refusal.Hint == "" {
				t.Error("the error has no hint")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"A=1", "export A='b\nc'", `A="\n\"" # x`, "A", "A=\"", "A=`x`y", "\ufeff#\r\nB = 2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		vars, err := dotenv.Parse("f", []byte(in))
		lines := strings.Count(in, "\n") + 1
		var refusal *dotenv.Error
		if errors.As(err, &refusal) && (refusal.Line < 1 || refusal.Line > lines) {
			t.Fatalf("error names line %d of %d", refusal.Line, lines)
		}
		seen := map[string]bool{}
		for _, v := range vars {
			if v.Name == "" || strings.ContainsAny(v.Name, " \t\n='\"") {
				t.Fatalf("bad name %q", v.Name)
			}
			if seen[v.Name] {
				t.Fatalf("%q comes twice", v.Name)
			}
			seen[v.Name] = true
			if v.Line < 1 || v.Line > lines {
				t.Fatalf("%q is on line %d of %d", v.Name, v.Line, lines)
			}
			// What was read can be written in double quotes and read again.
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v.Value)
			again, err := dotenv.Parse("f", []byte(v.Name+`="`+quoted+`"`))
			if err != nil || len(again) != 1 || again[0].Value != v.Value {
				t.Fatalf("%q does not survive: %+v, %v", v.Value, again, err)
			}
		}
	})
}
