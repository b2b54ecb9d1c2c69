package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"landward/client"
	"landward/internal/landward"
)

// problemType is the media type of an error (RFC 9457).
const problemType = "application/problem+json"

// statusOf gives each code its HTTP status.
func statusOf(code landward.Code) int {
	switch code {
	case landward.CodeInvalid, landward.CodePolicy, landward.CodeFailed:
		return http.StatusUnprocessableEntity
	case landward.CodeUnauthenticated:
		return http.StatusUnauthorized
	case landward.CodeForbidden:
		return http.StatusForbidden
	case landward.CodeNotFound:
		return http.StatusNotFound
	case landward.CodeConflict, landward.CodeCancelled:
		return http.StatusConflict
	case landward.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case landward.CodeLimited:
		return http.StatusTooManyRequests
	case landward.CodeUnavailable:
		return http.StatusServiceUnavailable
	case landward.CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// problem is an error on its way out.
type problem struct {
	wire   *client.Error
	header http.Header
}

// Error returns the first line of what the caller reads.
func (p *problem) Error() string { return p.wire.Error() }

// GetStatus is what huma asks for the status.
func (p *problem) GetStatus() int { return p.wire.Status }

// GetHeaders is what huma asks for headers.
func (p *problem) GetHeaders() http.Header { return p.header }

// ContentType is what huma asks for the media type.
func (p *problem) ContentType(string) string { return problemType }

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.wire.Status)
	_ = json.NewEncoder(w).Encode(p.wire) // the caller may be gone
}

// problem turns err into what the caller is told and notes it for the log.
func (c *call) problem(err error) *problem {
	c.err = err
	e := asError(err)
	p := &problem{header: http.Header{}, wire: &client.Error{
		Status: statusOf(e.Code), Title: http.StatusText(statusOf(e.Code)),
		Code: string(e.Code), Detail: e.Message, Cause: e.Cause, Hint: e.Hint, Field: e.Field, RequestID: c.id,
	}}
	if e.Code == landward.CodeUnauthenticated {
		p.header.Set("WWW-Authenticate", `Bearer realm="landward"`)
	}
	return p
}

// fail answers with what err says.
func (c *call) fail(w http.ResponseWriter, err error) { c.problem(err).write(w) }

// asError finds the landward error in err, or makes one of what the standard
// library says about a body that is too large.
func asError(err error) *landward.Error {
	var large *http.MaxBytesError
	var known *landward.Error
	if errors.As(err, &large) && (!errors.As(err, &known) || known.Code == landward.CodeInternal) {
		return landward.Errorf(landward.CodeTooLarge, "the upload is larger than %d bytes", large.Limit).
			WithHint("leave out what the build does not need, by .landwardignore, or raise max_upload on the server").Wrap(err)
	}
	return landward.AsError(err)
}

// translate turns huma's own errors into problems, and leaves out the values
// that huma would echo: they may be secrets.
func (a *API) translate(ctx huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *problem:
		return e.wire, nil
	case *huma.ErrorModel:
		return callOf(ctx.Context()).validation(e), nil
	}
	return v, nil
}

// validation makes a problem of what huma found wrong with a request.
func (c *call) validation(e *huma.ErrorModel) *client.Error {
	code := landward.CodeInvalid
	switch {
	case e.Status == http.StatusRequestEntityTooLarge:
		code = landward.CodeTooLarge
	case e.Status == http.StatusRequestTimeout:
		code = landward.CodeTimeout
	case e.Status >= http.StatusInternalServerError:
		code = landward.CodeInternal
	}
	out := &client.Error{
		Status: e.Status, Title: http.StatusText(e.Status), Code: string(code), Detail: e.Detail, RequestID: c.id,
	}
	for _, d := range e.Errors {
		if d != nil {
			out.Errors = append(out.Errors, client.FieldError{Field: field(d.Location), Message: landward.Printable(d.Message)})
		}
	}
	// The checker walks a map: without an order of ours the same request would
	// get its answer in another one each time. What is missing comes first.
	slices.SortStableFunc(out.Errors, func(a, b client.FieldError) int {
		return cmp.Or(strings.Compare(a.Message, b.Message), strings.Compare(a.Field, b.Field))
	})
	if len(out.Errors) > 0 {
		out.Field, out.Detail = out.Errors[0].Field, out.Errors[0].Message
	}
	if len(out.Errors) == 1 {
		out.Errors = nil
	}
	c.err = fmt.Errorf("validation: %w", out)
	if code != landward.CodeInternal {
		c.err = landward.Errorf(code, "%s", out.Error())
	}
	return out
}

// field turns huma's "body.set[0].name" into "set[0].name".
func field(location string) string {
	_, rest, found := strings.Cut(location, ".")
	if !found {
		return landward.Printable(location)
	}
	return landward.Printable(rest)
}

// problemResponse describes a problem in the OpenAPI document.
func (a *API) problemResponse() *huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Error](), true, "Error")
	return &huma.Response{Description: "A problem (RFC 9457)", Content: map[string]*huma.MediaType{problemType: {Schema: schema}}}
}
