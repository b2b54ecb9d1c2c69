package manifest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"landward/internal/build/manifest"
	"landward/internal/landward"
)

// corpus returns the files of a folder of testdata, by name.
func corpus(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/%s: %v", folder, err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = data
	}
	return out
}

func TestParse(t *testing.T) {
	m, err := manifest.Parse(corpus(t, "valid")["whole"])
	if err != nil {
		t.Fatal(err)
	}
	if m.Build.Context != "" || m.Build.Dockerfile != "docker/Dockerfile.prod" || m.Build.Target != "runtime" {
		t.Errorf("build = %+v", m.Build)
	}
	if want := map[string]string{"GO_VERSION": "1.20", "DEBUG": "true", "NAME": "a b"}; !reflect.DeepEqual(m.Build.Args, want) {
		t.Errorf("args = %v, want %v", m.Build.Args, want)
	}
	if at := m.Build.Where("target"); at != "landward.yaml:4" {
		t.Errorf("target is at %s", at)
	}
	if !slices.Equal(m.Release.Argv, []string{"./migrate", "up"}) {
		t.Errorf("release = %v", m.Release)
	}
	two := 2
	web := manifest.Service{
		Name: "web", Port: 8080, Replicas: &two, StopTimeout: 45 * time.Second, Where: "landward.yaml:9",
		Command:   landward.Command{Argv: []string{"./server", "--port", "$PORT"}},
		Health:    landward.Health{Path: "/up?full=1", Interval: 500 * time.Millisecond, Timeout: 5 * time.Second, Grace: 90 * time.Second},
		Resources: landward.Resources{Memory: 256 << 20, MilliCPU: 500, Pids: 200},
		Volumes:   []landward.VolumeMount{{Name: "data", Path: "/var/lib/data"}, {Name: "cache", Path: "/cache", ReadOnly: true}},
	}
	if !reflect.DeepEqual(m.Services[0], web) {
		t.Errorf("web = %+v\nwant  %+v", m.Services[0], web)
	}
	if worker := m.Services[1]; worker.Own() || !slices.Equal(worker.Command.Argv, []string{"./worker", "--queue", ""}) {
		t.Errorf("worker = %+v", worker)
	}
	if redis := m.Services[2]; !redis.Own() || redis.Image != "redis:7" || redis.Resources.Memory != 3<<29 {
		t.Errorf("redis = %+v", redis)
	}
	if api := m.Services[3]; !api.Own() || api.Build.Context != "api" {
		t.Errorf("api = %+v", api)
	}
	want := []landward.Cron{
		{Name: "cron-1", Schedule: "0 3 * * *", Command: landward.Command{Argv: []string{"./cleanup"}}, Overlap: landward.OverlapForbid},
		{Name: "nightly", Schedule: "@daily", Command: landward.Command{Argv: []string{"./report", "now"}}, Overlap: landward.OverlapReplace},
	}
	if !reflect.DeepEqual(m.Cron, want) {
		t.Errorf("cron = %+v", m.Cron)
	}
}

func TestParseFollowsAliases(t *testing.T) {
	m, err := manifest.Parse(corpus(t, "valid")["aliases"])
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Services) != 2 || m.Services[1].Resources.Memory != 64<<20 || m.Services[1].Command.Argv[0] != "./server" {
		t.Errorf("services = %+v", m.Services)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, folder := range []string{"invalid", "strict"} {
		for name, data := range corpus(t, folder) {
			t.Run(name, func(t *testing.T) {
				_, want, ok := strings.Cut(string(data), "# want: ")
				if !ok {
					t.Fatal("the file does not say what it wants")
				}
				_, err := manifest.Parse(data)
				if err == nil || !strings.HasPrefix(err.Error(), strings.TrimSpace(want)) {
					t.Errorf("err = %v\nwant  %s", err, want)
				}
				if code := landward.CodeOf(err); code != landward.CodeInvalid {
					t.Errorf("code = %s", code)
				}
			})
		}
	}
}

func TestParseSuggests(t *testing.T) {
	_, err := manifest.Parse([]byte("services: {web: {comand: x}}"))
	if hint := landward.AsError(err).Hint; !strings.HasPrefix(hint, `did you mean "command"? known keys: build, command,`) {
		t.Errorf("hint = %q", hint)
	}
	_, err = manifest.Parse([]byte("services: {web: {zzzzzz: x}}"))
	if hint := landward.AsError(err).Hint; !strings.HasPrefix(hint, "known keys:") {
		t.Errorf("hint = %q", hint)
	}
}

func TestParseIsBounded(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+p+", ", 10), ", ") + "]\n"
	}
	tests := map[string]string{
		"alias bomb":   bomb,
		"deep list":    "release: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deep mapping": strings.Repeat("{a: ", 200) + strings.Repeat("}", 200),
		"large":        "release: " + strings.Repeat("x", 1<<20),
		"not text":     "release: \xff\xfe",
		"self":         "release: &a [*a]",
		"not YAML":     "release: [",
		"tab":          "services:\n\tweb: {}",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := manifest.Parse([]byte(text)); landward.CodeOf(err) != landward.CodeInvalid {
				t.Errorf("err = %v", err)
			}
		})
	}
}

// schema compiles the published schema.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(manifest.Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks a file against the schema, as an editor would.
func validate(s *jsonschema.Schema, data []byte) error {
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// TestSchemaAgrees holds the schema to what the parser does: what is valid is
// valid for both, and what is invalid is so for both. The files in strict are
// wrong in a way that a schema cannot say.
func TestSchemaAgrees(t *testing.T) {
	s := schema(t)
	for name, data := range corpus(t, "valid") {
		if _, err := manifest.Parse(data); err != nil {
			t.Errorf("valid/%s: parser: %v", name, err)
		}
		if err := validate(s, data); err != nil {
			t.Errorf("valid/%s: schema: %v", name, err)
		}
	}
	for name, data := range corpus(t, "invalid") {
		if err := validate(s, data); err == nil {
			t.Errorf("invalid/%s: the schema accepts it", name)
		}
	}
}

// TestSchemaHasTheParsersKeys asks the parser at each place which keys it knows
// and compares them with the schema's.
func TestSchemaHasTheParsersKeys(t *testing.T) {
	var doc struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]struct {
				Properties map[string]any `json:"properties"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(manifest.Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	keys := func(def string) []string {
		var out []string
		for k := range doc.Defs[def].Properties {
			out = append(out, k)
		}
		return out
	}
	var root, health []string
	for k := range doc.Properties {
		root = append(root, k)
	}
	for k := range doc.Defs["service"].Properties["health"].Properties {
		health = append(health, k)
	}
	tests := []struct {
		text string
		want []string
	}{
		{"zzz: 1", root},
		{"build: {zzz: 1}", keys("build")},
		{"services: {web: {zzz: 1}}", keys("service")},
		{"services: {web: {build: {zzz: 1}}}", keys("build")},
		{"services: {web: {health: {zzz: 1}}}", health},
		{"cron: [{zzz: 1}]", keys("cron")},
	}
	for _, tt := range tests {
		_, err := manifest.Parse([]byte(tt.text))
		_, list, _ := strings.Cut(landward.AsError(err).Hint, "known keys: ")
		known := strings.Split(list, ", ")
		slices.Sort(tt.want)
		if !slices.Equal(known, tt.want) {
			t.Errorf("%s\nparser: %v\nschema: %v", tt.text, known, tt.want)
		}
	}
}

// FuzzParse also holds the schema to the parser: what the parser accepts, the
// schema must accept.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"valid", "invalid", "strict"} {
		for _, data := range corpus(f, folder) {
			f.Add(data)
		}
	}
	s := schema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := manifest.Parse(data)
		if err == nil {
			if err := validate(s, data); err != nil {
				t.Errorf("the parser accepts what the schema refuses: %v\n%s", err, data)
			}
			return
		}
		if e := landward.AsError(err); e.Code != landward.CodeInvalid || !strings.HasPrefix(e.Field, "landward.yaml") {
			t.Errorf("err = %v", err)
		}
	})
}
