package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"landward/internal/landward"
)

// User is a person with an account.
type User struct {
	ID              int64
	Name            string
	Admin, Disabled bool
	CreatedAt       time.Time
}

// Key is an SSH public key of a user.
type Key struct {
	Fingerprint, Name, PublicKey, User string
	UserID                             int64
	CreatedAt, LastUsed                time.Time
}

const userColumns = `id, name, admin, disabled, created_at`

func scanUser(row scanner) (User, error) {
	var u User
	var created int64
	err := row.Scan(&u.ID, &u.Name, &u.Admin, &u.Disabled, &created)
	u.CreatedAt = moment(created)
	return u, err
}

// CreateUser makes an account. CodeConflict: the name is taken.
func (s *Store) CreateUser(ctx context.Context, name string, admin bool) (User, error) {
	var u User
	err := s.write(ctx, "create user", func(t tx) (err error) {
		u, err = createUser(ctx, t, name, admin)
		return err
	})
	return u, err
}

func createUser(ctx context.Context, t tx, name string, admin bool) (User, error) {
	u, err := scanUser(t.QueryRowContext(ctx, `INSERT INTO users (name, admin, created_at) VALUES (?, ?, ?)
		RETURNING `+userColumns, name, admin, millis(t.now)))
	if duplicate(err) {
		return User{}, conflict("there is a user called %q already", landward.Printable(name)).WithHint("choose another name")
	}
	return u, err
}

func noUser(name string) error {
	return notFound("there is no user called %q", landward.Printable(name)).WithHint("`landward users` lists them")
}

// UserByName returns a user. CodeNotFound: there is none.
func (s *Store) UserByName(ctx context.Context, name string) (User, error) {
	u, err := scanUser(s.reader.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE name = ?`, name))
	if errors.Is(err, sql.ErrNoRows) {
		err = noUser(name)
	}
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", readable(err))
	}
	return u, nil
}

// Users returns all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	users, err := list(ctx, s.reader, scanUser, `SELECT `+userColumns+` FROM users ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}

// DeleteUser removes a user with all keys, tokens and roles.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	return s.write(ctx, "delete user", func(t tx) error {
		n, err := t.exec(ctx, `DELETE FROM users WHERE name = ?`, name)
		if err == nil && n == 0 {
			return noUser(name)
		}
		return err
	})
}

// SetAppRole says what a user may do on an app; "" takes the role away.
func (s *Store) SetAppRole(ctx context.Context, appID, userID int64, role landward.Role) error {
	return s.write(ctx, "set role", func(t tx) error {
		if role == "" {
			_, err := t.exec(ctx, `DELETE FROM app_roles WHERE app_id = ? AND user_id = ?`, appID, userID)
			return err
		}
		return setAppRole(ctx, t, appID, userID, role)
	})
}

func setAppRole(ctx context.Context, t tx, appID, userID int64, role landward.Role) error {
	_, err := t.exec(ctx, `INSERT INTO app_roles (app_id, user_id, role) VALUES (?, ?, ?)
		ON CONFLICT (app_id, user_id) DO UPDATE SET role = excluded.role`, appID, userID, role)
	if dangling(err) {
		return notFound("there is no such app or user")
	}
	return err
}

// Member is a user with a role on an app.
type Member struct {
	User string
	Role landward.Role
}

// AppMembers returns who has a role on an app, by name.
func (s *Store) AppMembers(ctx context.Context, appID int64) ([]Member, error) {
	members, err := list(ctx, s.reader, func(row scanner) (Member, error) {
		var m Member
		return m, row.Scan(&m.User, &m.Role)
	}, `SELECT u.name, r.role FROM app_roles r JOIN users u ON u.id = r.user_id WHERE r.app_id = ? ORDER BY u.name`, appID)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	return members, nil
}

const keyQuery = `SELECT k.fingerprint, k.name, k.public_key, u.name, k.user_id, k.created_at, k.last_used
	FROM ssh_keys k JOIN users u ON u.id = k.user_id `

func scanKey(row scanner) (Key, error) {
	var k Key
	var created, used int64
	err := row.Scan(&k.Fingerprint, &k.Name, &k.PublicKey, &k.User, &k.UserID, &created, &used)
	k.CreatedAt, k.LastUsed = moment(created), moment(used)
	return k, err
}

// AddKey gives a user an SSH key. CodeConflict: somebody has that key already.
func (s *Store) AddKey(ctx context.Context, userID int64, name, fingerprint, publicKey string) (Key, error) {
	var k Key
	err := s.write(ctx, "add key", func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO ssh_keys (fingerprint, user_id, name, public_key, created_at) VALUES (?, ?, ?, ?, ?)`,
			fingerprint, userID, name, publicKey, millis(t.now))
		switch {
		case duplicate(err):
			return conflict("the key %s is in use already", fingerprint).WithHint("one key belongs to one user: make another with ssh-keygen")
		case dangling(err):
			return notFound("there is no such user")
		case err != nil:
			return err
		}
		k, err = scanKey(t.QueryRowContext(ctx, keyQuery+`WHERE k.fingerprint = ?`, fingerprint))
		return err
	})
	return k, err
}

// Keys returns the SSH keys of a user (0: of everybody), by user and name.
func (s *Store) Keys(ctx context.Context, userID int64) ([]Key, error) {
	keys, err := list(ctx, s.reader, scanKey, keyQuery+`WHERE ?1 = 0 OR k.user_id = ?1 ORDER BY u.name, k.name, k.fingerprint`, userID)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

// DeleteKey removes an SSH key. CodeNotFound: there is none.
func (s *Store) DeleteKey(ctx context.Context, fingerprint string) error {
	return s.write(ctx, "delete key", func(t tx) error {
		n, err := t.exec(ctx, `DELETE FROM ssh_keys WHERE fingerprint = ?`, fingerprint)
		if err == nil && n == 0 {
			return notFound("there is no key %s", landward.Printable(fingerprint)).WithHint("`landward keys` lists them")
		}
		return err
	})
}
