package store

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"time"

	"landward/internal/landward"
)

// Token is a secret that a program signs in with; the store knows its hash only.
// Without an app it acts as its user; with one, it may do on that app what both its
// role and its user's allow.
type Token struct {
	ID                             int64
	Name, Prefix                   string
	UserID, AppID                  int64 // 0: none
	User, App                      string
	Role                           landward.Role // on the app
	CreatedAt, ExpiresAt, LastUsed time.Time     // ExpiresAt zero: never
}

const tokenQuery = `SELECT t.id, t.name, t.prefix, coalesce(t.user_id, 0), coalesce(t.app_id, 0), coalesce(u.name, ''),
	coalesce(a.name, ''), t.role, t.created_at, t.expires_at, t.last_used
	FROM tokens t LEFT JOIN users u ON u.id = t.user_id LEFT JOIN apps a ON a.id = t.app_id `

func scanToken(row scanner) (Token, error) {
	var t Token
	var created, expires, used int64
	err := row.Scan(&t.ID, &t.Name, &t.Prefix, &t.UserID, &t.AppID, &t.User, &t.App, &t.Role, &created, &expires, &used)
	t.CreatedAt, t.ExpiresAt, t.LastUsed = moment(created), moment(expires), moment(used)
	return t, err
}

// AddToken records a token by the SHA-256 of its text. It needs a user, or an
// app and a role on it, or all three.
func (s *Store) AddToken(ctx context.Context, t Token, hash []byte) (Token, error) {
	err := s.write(ctx, "add token", func(w tx) (err error) {
		t, err = addToken(ctx, w, t, hash)
		return err
	})
	return t, err
}

func addToken(ctx context.Context, w tx, t Token, hash []byte) (Token, error) {
	if len(hash) != sha256.Size || (t.UserID == 0 && t.AppID == 0) || (t.AppID == 0) != (t.Role == "") {
		return Token{}, fmt.Errorf("token %q lacks a hash, an owner or a role", t.Name)
	}
	var id int64
	err := w.QueryRowContext(ctx, `INSERT INTO tokens (name, prefix, hash, user_id, app_id, role, created_at, expires_at)
		VALUES (?, ?, ?, nullif(?, 0), nullif(?, 0), ?, ?, ?) RETURNING id`,
		t.Name, t.Prefix, hash, t.UserID, t.AppID, t.Role, millis(w.now), millis(t.ExpiresAt)).Scan(&id)
	switch {
	case duplicate(err):
		return Token{}, conflict("that token exists already")
	case dangling(err):
		return Token{}, notFound("there is no such app or user")
	case err != nil:
		return Token{}, err
	}
	return scanToken(w.QueryRowContext(ctx, tokenQuery+`WHERE t.id = ?`, id))
}

// Tokens returns all tokens, newest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	tokens, err := list(ctx, s.reader, scanToken, tokenQuery+`ORDER BY t.id DESC`)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return tokens, nil
}

// DeleteToken removes a token. CodeNotFound: there is none.
func (s *Store) DeleteToken(ctx context.Context, id int64) error {
	return s.write(ctx, "delete token", func(t tx) error {
		n, err := t.exec(ctx, `DELETE FROM tokens WHERE id = ?`, id)
		if err == nil && n == 0 {
			return notFound("there is no token %d", id).WithHint("`landward tokens` lists them")
		}
		return err
	})
}

// BootstrapFact is the fact that holds the hex SHA-256 of the one-time token
// that makes the first administrator.
const BootstrapFact = "bootstrap"

// UseBootstrap trades the one-time token for an administrator with a token of
// its own. CodeForbidden: it is wrong, or was used.
func (s *Store) UseBootstrap(ctx context.Context, token []byte, userName string, t Token, tokenHash []byte) (User, error) {
	var u User
	err := s.write(ctx, "use bootstrap token", func(w tx) error {
		stored, err := fact(ctx, w, BootstrapFact)
		if err != nil {
			return err
		}
		want, err := hex.DecodeString(stored)
		got := sha256.Sum256(token)
		if err != nil || subtle.ConstantTimeCompare(got[:], want) != 1 {
			return landward.Errorf(landward.CodeForbidden, "this link is wrong or was used already").
				WithHint("on the server, `landward users add NAME --admin` makes an administrator")
		}
		if err := setFact(ctx, w, BootstrapFact, ""); err != nil {
			return err
		}
		if u, err = createUser(ctx, w, userName, true); err != nil {
			return err
		}
		t.UserID, t.AppID, t.Role = u.ID, 0, ""
		_, err = addToken(ctx, w, t, tokenHash)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}
