package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"landward/client"
	"landward/internal/auth"
)

// config is how huma is set up: no documents of its own, errors in our words.
func (a *API) config() huma.Config {
	c := huma.DefaultConfig("Landward", a.Version.Version)
	c.Info.Description = "Deploys apps from a git push, an archive or an image, and shows how they are."
	// huma makes its documents at the first request, without a lock; and it
	// would put a $schema into every answer.
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil
	c.Formats = map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()}
	c.Transformers = []huma.Transformer{a.translate}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token; as the password of Basic it is taken too"},
	}
	// A route cannot come in past handle: what declares nothing is an error.
	c.OnAddOperation = append(c.OnAddOperation, func(_ *huma.OpenAPI, op *huma.Operation) {
		p, _ := op.Metadata[permissionKey].(auth.Permission)
		if !slices.Contains(auth.Permissions(), p) {
			a.errs = append(a.errs, fmt.Errorf("operation %s %s declares no permission that there is: %q", op.Method, op.Path, p))
		}
	})
	for _, t := range []reflect.Type{reflect.TypeFor[client.StreamItem](), reflect.TypeFor[client.Start]()} {
		c.Components.Schemas.Schema(t, true, "")
	}
	return c
}

// jsonFormat is huma's, but it refuses text that is not UTF-8: the standard
// library would change it without a word (RFC 8259 section 8.1).
func jsonFormat() huma.Format {
	return huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errors.New("the text is not UTF-8")
		}
		return json.Unmarshal(data, v)
	}}
}

// registerDocument serves the OpenAPI document. It is the last to be
// registered: the document is made here, once.
func (a *API) registerDocument() {
	doc := a.huma.OpenAPI()
	// huma's own error types describe nothing that is sent.
	delete(doc.Components.Schemas.Map(), "ErrorModel")
	delete(doc.Components.Schemas.Map(), "ErrorDetail")
	for _, s := range doc.Components.Schemas.Map() {
		for _, p := range s.Properties {
			p.Nullable = p.Nullable && p.Type != huma.TypeArray // a list without anything in it is []
		}
	}
	asJSON, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("encode OpenAPI document: %w", err))
	}
	asYAML, err := doc.YAML()
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("encode OpenAPI document: %w", err))
	}
	a.page(http.MethodGet, "/openapi.json", auth.Public, document("application/openapi+json", append(asJSON, '\n')))
	a.page(http.MethodGet, "/openapi.yaml", auth.Public, document("application/openapi+yaml", asYAML))
}

func document(contentType string, data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(data) // the caller may be gone
	}
}
