package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/mholt/acmez/v3/acme"
)

const (
	accountKeyFile = "account.key"
	accountFile    = "account.json"
)

// account is the one that orders are placed with. Only who holds turn touches
// it; a channel, so that a wait ends with its context.
type account struct {
	turn  chan struct{}
	known *acme.Account
}

// saved is what account.json holds.
type saved struct {
	Location string `json:"location"` // RFC 8555 §7.3: the account's address is its name
	Email    string `json:"email,omitempty"`
}

// signIn returns the account: the one in memory, the stored one, or a new one.
// Making one agrees to the CA's terms of service: who sets the directory does.
func (c *Client) signIn(ctx context.Context) (acme.Account, error) {
	select {
	case c.account.turn <- struct{}{}:
		defer func() { <-c.account.turn }()
	case <-ctx.Done():
		return acme.Account{}, ctx.Err()
	}
	if c.account.known != nil {
		return *c.account.known, nil
	}
	key, err := c.accountKey()
	if err != nil {
		return acme.Account{}, &oursError{err}
	}
	a := acme.Account{Status: acme.StatusValid, TermsOfServiceAgreed: true, PrivateKey: key}
	if c.o.Email != "" {
		a.Contact = []string{"mailto:" + c.o.Email}
	}
	have, err := c.savedAccount()
	if err != nil {
		return acme.Account{}, &oursError{err}
	}
	switch {
	case have.Location == "":
		if a, err = c.register(ctx, a); err != nil {
			return acme.Account{}, err
		}
	case have.Email != c.o.Email:
		// An old address is no reason to go without certificates.
		a.Location = have.Location
		if b, err := c.api.UpdateAccount(ctx, a); err == nil {
			b.PrivateKey, b.Location = key, have.Location
			a = b
		} else {
			c.o.Log.Warn("tell the CA the account's new address", "err", err)
			break
		}
		if err := c.saveAccount(a); err != nil {
			return acme.Account{}, err
		}
	default:
		a.Location = have.Location
	}
	c.account.known = &a
	return a, nil
}

func (c *Client) register(ctx context.Context, a acme.Account) (acme.Account, error) {
	if c.o.EABKeyID != "" {
		eab := acme.EAB{KeyID: c.o.EABKeyID, MACKey: c.o.EABHMAC}
		if err := a.SetExternalAccountBinding(ctx, c.api, eab); err != nil {
			return a, fmt.Errorf("bind the external account: %w", err)
		}
	}
	key := a.PrivateKey
	// The CA answers with the account of the key where it knows one already.
	a, err := c.api.NewAccount(ctx, a)
	if err != nil {
		return a, fmt.Errorf("register the account: %w", err)
	}
	a.PrivateKey = key
	if a.Status != acme.StatusValid {
		return a, fmt.Errorf("the account at the CA is %q", a.Status)
	}
	return a, c.saveAccount(a)
}

// forget drops an account that the CA does not know (any more); the key stays.
func (c *Client) forget(ctx context.Context) error {
	select {
	case c.account.turn <- struct{}{}:
		defer func() { <-c.account.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.account.known = nil
	return c.saveAccount(acme.Account{})
}

func (c *Client) savedAccount() (saved, error) {
	var s saved
	data, err := c.o.Store.Read(accountFile)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the account: %w", err)
	}
	if json.Unmarshal(data, &s) != nil {
		// The key is what matters: with it the CA finds the account again.
		return saved{}, nil
	}
	return s, nil
}

func (c *Client) saveAccount(a acme.Account) error {
	data, err := json.Marshal(saved{Location: a.Location, Email: c.o.Email})
	if err == nil {
		err = c.o.Store.Write(accountFile, data)
	}
	if err != nil {
		return &oursError{fmt.Errorf("write the account: %w", err)}
	}
	return nil
}

func (c *Client) accountKey() (*ecdsa.PrivateKey, error) {
	data, err := c.o.Store.Read(accountKeyFile)
	if err == nil {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("read the account's key: %s is not PEM", accountKeyFile)
		}
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the account's key: %w", err)
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the account's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the account's key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the account's key: %w", err)
	}
	data = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := c.o.Store.Write(accountKeyFile, data); err != nil {
		return nil, fmt.Errorf("write the account's key: %w", err)
	}
	return key, nil
}
