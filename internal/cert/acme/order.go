package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// Order says what is wanted.
type Order struct {
	Name      string // normalised; may be "*.example.com"
	Challenge string // one of Challenges(Name)
	// Replaces is the certificate that this one takes over from, so that the CA
	// does not count it against limits (RFC 9773 §5).
	Replaces *x509.Certificate
}

// Issued is a certificate and its key, both PEM, the leaf in front.
type Issued struct{ Chain, Key []byte }

const (
	// orderWithin is the time for an order without the wait for DNS.
	orderWithin = 5 * time.Minute
	// askWithin is the time for a question that may as well be asked later.
	askWithin = 5 * time.Second
)

// Obtain places an order and waits for its certificate. The error is a
// *Failure, or ctx's own.
func (c *Client) Obtain(ctx context.Context, o Order) (Issued, error) {
	var p patience
	limited, cancel := context.WithTimeout(context.WithValue(ctx, patienceKey{}, &p), orderWithin+max(c.o.Propagation, 0))
	defer cancel()
	issued, err := c.obtain(limited, o)
	if isProblem(err, acme.ProblemTypeAccountDoesNotExist) {
		// A CA that was set up anew; the key makes a new account.
		if err = c.forget(limited); err == nil {
			issued, err = c.obtain(limited, o)
		}
	}
	if err == nil {
		return issued, nil
	}
	if ctx.Err() != nil {
		return Issued{}, ctx.Err()
	}
	return Issued{}, c.failure(o, err, &p)
}

func (c *Client) obtain(ctx context.Context, o Order) (Issued, error) {
	if o.Challenge == DNS01 {
		// What cannot be proved is not ordered.
		if _, _, err := c.delegated(ctx, challengeName(o.Name)); err != nil {
			return Issued{}, err
		}
	}
	acc, err := c.signIn(ctx)
	if err != nil {
		return Issued{}, err
	}
	order, err := c.place(ctx, acc, o)
	if err != nil {
		return Issued{}, err
	}
	for _, at := range order.Authorizations {
		if err := c.authorize(ctx, acc, at, o.Challenge); err != nil {
			return Issued{}, err
		}
	}
	key, csr, err := request(o.Name)
	if err != nil {
		return Issued{}, err
	}
	order, err = c.api.FinalizeOrder(ctx, acc, order, csr)
	if err != nil {
		return Issued{}, fmt.Errorf("finalize the order: %w", err)
	}
	chains, err := c.api.GetCertificateChain(ctx, acc, order.Certificate)
	if err != nil {
		return Issued{}, fmt.Errorf("fetch the certificate: %w", err)
	}
	if len(chains) == 0 {
		return Issued{}, errors.New("fetch the certificate: the CA sent none")
	}
	return Issued{Chain: chains[0].ChainPEM, Key: key}, nil
}

func (c *Client) place(ctx context.Context, acc acme.Account, o Order) (acme.Order, error) {
	order := acme.Order{
		Identifiers: []acme.Identifier{{Type: "dns", Value: o.Name}},
		Profile:     c.o.Profile,
	}
	if o.Replaces != nil && len(o.Replaces.AuthorityKeyId) > 0 {
		if d, err := c.api.GetDirectory(ctx); err == nil && d.RenewalInfo != "" {
			// Without an identifier the order is an ordinary one.
			order.Replaces, _ = acme.ARIUniqueIdentifier(o.Replaces)
		}
	}
	placed, err := c.api.NewOrder(ctx, acc, order)
	var p acme.Problem
	if err != nil && order.Replaces != "" && errors.As(err, &p) && p.Type != acme.ProblemTypeRateLimited {
		// The CA may know nothing of the old one, or have replaced it already.
		order.Replaces = ""
		placed, err = c.api.NewOrder(ctx, acc, order)
	}
	if err != nil {
		return acme.Order{}, fmt.Errorf("place the order: %w", err)
	}
	return placed, nil
}

// authorize proves one name of an order.
func (c *Client) authorize(ctx context.Context, acc acme.Account, at, kind string) (err error) {
	authz, err := c.api.GetAuthorization(ctx, acc, at)
	if err != nil {
		return fmt.Errorf("read the authorization: %w", err)
	}
	switch authz.Status {
	case acme.StatusValid: // from an order before
		return nil
	case acme.StatusPending:
	default:
		return fmt.Errorf("the authorization is %q", authz.Status)
	}
	i := slices.IndexFunc(authz.Challenges, func(ch acme.Challenge) bool { return ch.Type == kind })
	if i < 0 {
		return &notOffered{kind: kind, offered: kinds(authz.Challenges)}
	}
	asked := false
	defer func() {
		// A pending authorization left behind counts against the account.
		if err == nil || asked && ctx.Err() == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		if _, err := c.api.DeactivateAuthorization(ctx, acc, at); err != nil {
			c.o.Log.Debug("give back an authorization", "err", err)
		}
	}()
	withdraw, err := c.present(ctx, authz.Challenges[i])
	if err != nil {
		return err
	}
	defer withdraw()
	if _, err := c.api.InitiateChallenge(ctx, acc, authz.Challenges[i]); err != nil {
		return fmt.Errorf("begin the challenge: %w", err)
	}
	asked = true
	authz.Status = acme.StatusPending
	authz, err = c.api.PollAuthorization(ctx, acc, authz)
	if err != nil {
		if authz.Status == acme.StatusInvalid {
			return &invalid{kind: kind, err: err}
		}
		return fmt.Errorf("wait for the challenge: %w", err)
	}
	return nil
}

func (c *Client) present(ctx context.Context, ch acme.Challenge) (withdraw func(), err error) {
	if ch.Type == DNS01 {
		return c.presentDNS(ctx, ch)
	}
	return c.answers.offer(ch)
}

// request makes a fresh key and the request for a certificate with it. ECDSA
// P-256: every client knows it, and it signs fastest.
func request(name string) (keyPEM, csr []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), csr, nil
}

// Window is when the CA would like a certificate to be renewed (RFC 9773).
type Window struct {
	Start, End time.Time
	At         time.Time // picked at random inside
	AskAgain   time.Time // zero: the CA does not say
}

// RenewalWindow asks the CA when leaf should be renewed. ok is false where the
// CA does not offer that.
func (c *Client) RenewalWindow(ctx context.Context, leaf *x509.Certificate) (w Window, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if len(leaf.AuthorityKeyId) == 0 {
		return w, false, nil // RFC 9773 §4.1 names a certificate by it
	}
	info, err := c.api.GetRenewalInfo(ctx, leaf)
	if errors.Is(err, acme.ErrUnsupported) {
		return w, false, nil
	}
	if err != nil {
		return w, false, fmt.Errorf("ask when to renew: %w", err)
	}
	w = Window{Start: info.SuggestedWindow.Start, End: info.SuggestedWindow.End, At: info.SelectedTime}
	if info.RetryAfter != nil {
		w.AskAgain = *info.RetryAfter
	}
	return w, true, nil
}

func kinds(list []acme.Challenge) string {
	var out []string
	for _, ch := range list {
		out = append(out, ch.Type)
	}
	return strings.Join(out, ", ")
}
