package api

import (
	"context"
	"net/http"

	"landward/internal/auth"
)

// NewWithRoute is New with one route more, for the test that a route without a
// permission is refused.
func NewWithRoute(o Options, p auth.Permission) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	handle(a, "Test", endpoint{"test", http.MethodGet, "/test", p, "A route", nil},
		func(context.Context, *struct{}) (*nothing, error) { return nil, nil })
	return a.err()
}

// HasHost and SpeaksFor are what decides whose a host is.
var (
	HasHost   = hasHost
	SpeaksFor = speaksFor
)
