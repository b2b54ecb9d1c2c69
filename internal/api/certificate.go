package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"landward/client"
	"landward/internal/auth"
	"landward/internal/landward"
)

// Certificates are those that the edge serves. Errors are *landward.Error;
// where one is about a part of a key pair, its Field is "certificate" or "key".
type Certificates interface {
	// Certificates tells how all hosts stand, by name.
	Certificates(ctx context.Context) ([]client.Certificate, error)
	// PutCertificate sets a host's own pair. Neither an error nor the answer
	// may show anything of the key.
	PutCertificate(ctx context.Context, host string, c client.NewCertificate) (client.Certificate, error)
	// RemoveCertificate takes a host's own pair away; CodeNotFound where there is none.
	RemoveCertificate(ctx context.Context, host string) error
	// LocalRoot is the local authority's certificate as PEM, "" where there is none.
	LocalRoot(ctx context.Context) (string, error)
}

// maxPair bounds the body that brings a key pair, in bytes: two PEM files as
// large as the edge reads them, with their line breaks escaped.
const maxPair = 640 << 10

func (a *API) registerCertificates() {
	const tag = "Certificates"
	handle(a, tag, endpoint{"list-certificates", http.MethodGet, "/certificates", auth.Self, "How the hosts of the apps that you may see stand; for administrators, all hosts", nil}, a.listCertificates)
	handle(a, tag, endpoint{"list-app-certificates", http.MethodGet, "/apps/{app}/certificates", auth.AppRead, "How the app's hosts stand", nil}, a.listAppCertificates)
	handle(a, tag, endpoint{"put-certificate", http.MethodPut, "/apps/{app}/certificates/{host}", auth.AppDomains, "Bring a key pair for a host of the app", with(maxBody(maxPair))}, a.putCertificate)
	handle(a, tag, endpoint{"remove-certificate", http.MethodDelete, "/apps/{app}/certificates/{host}", auth.AppDomains, "Take a key pair away that somebody brought", nil}, a.removeCertificate)
	handle(a, tag, endpoint{"get-certificate-authority", http.MethodGet, "/certificate-authority", auth.Self, "The certificate of the installation's own authority", nil}, a.getAuthority)
}

func (a *API) certs() (Certificates, error) {
	if a.Certs == nil {
		return nil, notAvailable("this server does not serve HTTPS")
	}
	return a.Certs, nil
}

func (a *API) listCertificates(ctx context.Context, _ *struct{}) (*answer[client.CertificateList], error) {
	certs, err := a.certs()
	if err != nil {
		return nil, err
	}
	actor := callOf(ctx).actor
	all := auth.Can(actor, auth.SystemRead, 0)
	readable := map[string]bool{}
	if !all {
		apps, err := a.Store.Apps(ctx)
		if err != nil {
			return nil, err
		}
		for _, app := range apps {
			readable[app.Name] = auth.Can(actor, auth.AppRead, app.ID)
		}
	}
	return certificates(ctx, certs, func(c client.Certificate) bool { return all || readable[c.App] })
}

func (a *API) listAppCertificates(ctx context.Context, _ *OnApp) (*answer[client.CertificateList], error) {
	certs, err := a.certs()
	if err != nil {
		return nil, err
	}
	app := callOf(ctx).app
	return certificates(ctx, certs, func(c client.Certificate) bool {
		// A pair may wait for a host that has no route yet.
		return c.App == app.Name || c.App == "" && hasHost(app, a.Domain, c.Host)
	})
}

// certificates answers with the certificates that may be.
func certificates(ctx context.Context, certs Certificates, may func(client.Certificate) bool) (*answer[client.CertificateList], error) {
	list, err := certs.Certificates(ctx)
	if err != nil {
		return nil, err
	}
	out := client.CertificateList{Certificates: []client.Certificate{}}
	for _, c := range list {
		if may(c) {
			out.Certificates = append(out.Certificates, wireCertificate(c))
		}
	}
	return reply(out)
}

type certificateInput struct {
	OnDomain
	Body client.NewCertificate
}

func (a *API) putCertificate(ctx context.Context, in *certificateInput) (*answer[client.Certificate], error) {
	certs, err := a.certs()
	if err != nil {
		return nil, err
	}
	host, err := a.ownHost(ctx, in.Host)
	if err != nil {
		return nil, err
	}
	c, err := certs.PutCertificate(ctx, host, in.Body)
	if err != nil {
		return nil, err
	}
	if err := a.note(ctx, "cert.put", "brought a certificate for "+host); err != nil {
		return nil, err
	}
	return reply(wireCertificate(c))
}

func (a *API) removeCertificate(ctx context.Context, in *OnDomain) (*nothing, error) {
	certs, err := a.certs()
	if err != nil {
		return nil, err
	}
	host, err := a.ownHost(ctx, in.Host)
	if normal, ok := landward.NormalDomain(in.Host); err != nil && ok && auth.Can(callOf(ctx).actor, auth.SystemAdmin, 0) {
		host, err = normal, nil // somebody must be able to tidy up after a domain that is gone
	}
	if err != nil {
		return nil, err
	}
	if err := certs.RemoveCertificate(ctx, host); err != nil {
		return nil, err
	}
	return nil, a.note(ctx, "cert.remove", "took the certificate of "+host+" away")
}

func (a *API) getAuthority(ctx context.Context, _ *struct{}) (*answer[client.CertificateAuthority], error) {
	certs, err := a.certs()
	if err != nil {
		return nil, err
	}
	root, err := certs.LocalRoot(ctx)
	if err != nil {
		return nil, err
	}
	if root == "" {
		return nil, landward.Errorf(landward.CodeNotFound, "this installation has no certificate authority of its own").
			WithHint("it has one where its domain is local, like localhost; certificates of a public one need no trust of yours")
	}
	return reply(client.CertificateAuthority{Certificate: root})
}

// ownHost returns the normal form of a host that the call's app may speak for.
func (a *API) ownHost(ctx context.Context, host string) (string, error) {
	app := callOf(ctx).app
	normal, ok := landward.NormalDomain(host)
	if !ok || !hasHost(app, a.Domain, normal) {
		return "", noHost(host)
	}
	apps, err := a.Store.Apps(ctx)
	if err != nil {
		return "", err
	}
	if !speaksFor(app, apps, a.Domain, normal) {
		return "", noHost(host)
	}
	return normal, nil
}

// speaksFor reports whether an app may bring a certificate for a host, which is
// normal: it is one of its hosts, or below a wildcard of it and not by its full
// name another app's, which goes before a wildcard.
func speaksFor(app landward.App, all []landward.App, domain, host string) bool {
	if !hasHost(app, domain, host) {
		return false
	}
	return exactHost(app, domain, host) || !slices.ContainsFunc(all, func(other landward.App) bool {
		return other.ID != app.ID && exactHost(other, domain, host)
	})
}

func noHost(host string) error {
	return landward.Errorf(landward.CodeNotFound, "the app does not answer at %q", landward.Printable(host)).
		WithHint("`landward domains` lists its hosts, `landward domains add` gives it one")
}

// hasHost reports whether an app answers at a host, which is normal: as one of
// its hosts or below a wildcard of it.
func hasHost(app landward.App, domain, host string) bool {
	if exactHost(app, domain, host) {
		return true
	}
	_, parent, ok := strings.Cut(host, ".")
	return ok && !strings.HasPrefix(host, "*.") && slices.Contains(app.Settings.Domains, "*."+parent)
}

// exactHost reports whether a host, which is normal, is itself one of an app's.
func exactHost(app landward.App, domain, host string) bool {
	return host == app.Name+"."+domain || slices.Contains(app.Settings.Domains, host)
}

// wireCertificate writes no list as null.
func wireCertificate(c client.Certificate) client.Certificate {
	c.Names = list(c.Names)
	return c
}
