package manifest

import _ "embed" // the schema is a file, so that editors can check it

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of landward.yaml. It says what
// Parse accepts, as far as a schema can say it.
func Schema() []byte { return append([]byte(nil), schema...) }
