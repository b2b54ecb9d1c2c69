package client

import (
	"context"
	"net/http"
	"time"
)

// Certificate is how one host stands: what is served for it, and why it is not
// something better.
type Certificate struct {
	Host        string    `json:"host" doc:"A name, or *.name for all that are one label below it" example:"shop.example.com"`
	App         string    `json:"app,omitempty" doc:"The app that the host is of"`
	Wanted      bool      `json:"wanted" doc:"It has a route"`
	OnDemand    bool      `json:"on_demand,omitempty" doc:"It has no route; its certificate came with the first connection"`
	Source      string    `json:"source" enum:"own,acme,local,none" doc:"own: a pair that somebody brought; acme: ordered from a CA; local: signed by the installation's own; none: HTTPS fails"`
	Via         string    `json:"via,omitempty" doc:"The wildcard whose certificate it is" example:"*.example.com"`
	Issuer      string    `json:"issuer,omitempty" doc:"Who signed it"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Names       []string  `json:"names" doc:"The hosts that it is good for"`
	Fingerprint string    `json:"fingerprint,omitempty" doc:"SHA-256, hex"`
	Revoked     bool      `json:"revoked,omitempty" doc:"By its CA"`
	Expiring    bool      `json:"expiring,omitempty" doc:"It ends soon, and nothing is coming in its place"`
	LastError   string    `json:"last_error,omitempty" doc:"Why there is no better one"`
	Hint        string    `json:"hint,omitempty" doc:"What to do about it"`
	LastTry     time.Time `json:"last_try,omitzero" doc:"Of an order"`
	NextTry     time.Time `json:"next_try,omitzero" doc:"Of an order; for one that is well, its renewal"`
	Attempts    int       `json:"attempts,omitempty" doc:"Orders that failed since one did not"`
	Ordering    bool      `json:"ordering,omitempty" doc:"An order is under way"`
}

// Sources of a Certificate.
const (
	CertificateOwn   = "own"
	CertificateACME  = "acme"
	CertificateLocal = "local"
	CertificateNone  = "none"
)

// CertificateList is how hosts stand, by name.
type CertificateList struct {
	Certificates []Certificate `json:"certificates"`
}

// NewCertificate is a key pair that somebody brings, as PEM.
type NewCertificate struct {
	Certificate string `json:"certificate" doc:"PEM: the host's certificate, then its issuers, without the root" maxLength:"262144"`
	Key         string `json:"key" doc:"PEM: its private key, without a password; never shown again" maxLength:"262144"`
}

// CertificateAuthority is the installation's own, which signs for local names.
type CertificateAuthority struct {
	Certificate string `json:"certificate" doc:"PEM: its public certificate"`
}

// Certificates returns how the hosts of the apps stand that the caller may see;
// for an administrator, all hosts.
func (c *Client) Certificates(ctx context.Context) ([]Certificate, error) {
	var out CertificateList
	err := c.call(ctx, http.MethodGet, path("certificates"), nil, &out)
	return out.Certificates, err
}

// AppCertificates returns how the hosts of an app stand.
func (c *Client) AppCertificates(ctx context.Context, app string) ([]Certificate, error) {
	var out CertificateList
	err := c.call(ctx, http.MethodGet, path("apps", app, "certificates"), nil, &out)
	return out.Certificates, err
}

// PutCertificate sets the key pair of a host of an app, in place of the one before.
func (c *Client) PutCertificate(ctx context.Context, app, host string, n NewCertificate) (Certificate, error) {
	var out Certificate
	err := c.call(ctx, http.MethodPut, path("apps", app, "certificates", host), n, &out)
	return out, err
}

// RemoveCertificate takes the key pair away that somebody brought for a host.
func (c *Client) RemoveCertificate(ctx context.Context, app, host string) error {
	return c.call(ctx, http.MethodDelete, path("apps", app, "certificates", host), nil, nil)
}

// LocalRoot returns the certificate of the installation's own authority, as PEM.
// CodeNotFound where there is none.
func (c *Client) LocalRoot(ctx context.Context) (string, error) {
	var out CertificateAuthority
	err := c.call(ctx, http.MethodGet, path("certificate-authority"), nil, &out)
	return out.Certificate, err
}
