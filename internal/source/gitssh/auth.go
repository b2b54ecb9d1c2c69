package gitssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"landward/internal/landward"
)

// minRSABits is the smallest RSA key that counts.
const minRSABits = 2048

// actorKey is where Permissions carry the actor.
type actorKey struct{}

func (s *Server) serverConfig(key ssh.Signer) *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		Config: ssh.Config{
			KeyExchanges: []string{
				ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519,
				ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384,
			},
			Ciphers: []string{
				ssh.CipherAES128GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES256GCM,
				ssh.CipherAES256CTR, ssh.CipherAES128CTR,
			},
			MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		},
		PublicKeyAuthAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
			ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
		},
		ServerVersion:     "SSH-2.0-Landward",
		PublicKeyCallback: s.publicKey,
	}
	c.AddHostKey(key)
	return c
}

// publicKey says who a key would be. The answer counts only when the client
// then signs with that very key; ssh keeps the two together.
func (s *Server) publicKey(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if meta.User() != User {
		return nil, &ssh.BannerError{
			Err: fmt.Errorf("user name %q", landward.Printable(meta.User())),
			Message: "Landward knows people by their keys; the user name is always " + User + ".\n" +
				"Use ssh://git@HOST:PORT/APP as the remote.\n",
		}
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, errors.New("certificates are not taken")
	}
	if err := checkStrength(key); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.HandshakeTimeout)
	defer cancel()
	actor, err := s.o.Authenticate(ctx, ssh.FingerprintSHA256(key), key.Marshal())
	if err != nil {
		if landward.CodeOf(err) == landward.CodeInternal {
			s.o.Log.Error("look up ssh key", "error", err)
		}
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{actorKey{}: actor}}, nil
}

func checkStrength(key ssh.PublicKey) error {
	k, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil // security keys; their algorithm has one strength
	}
	if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() < minRSABits {
		return &ssh.BannerError{
			Err:     errors.New("short RSA key"),
			Message: fmt.Sprintf("This RSA key is shorter than %d bits. Make a new one: ssh-keygen -t ed25519\n", minRSABits),
		}
	}
	return nil
}

// hostKey reads the server's key and makes it where there is none.
func hostKey(file string) (ssh.Signer, error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeHostKey(file); err != nil {
			return nil, fmt.Errorf("make SSH host key: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read SSH host key: %w", err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0:
		return nil, landward.Errorf(landward.CodeInvalid, "the SSH host key %s can be read by others", file).
			WithHint("chmod 0400 it; if somebody may have copied it, remove it and a new one is made")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read SSH host key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, landward.Errorf(landward.CodeInvalid, "the SSH host key %s is damaged", file).
			WithHint("restore it from a backup; if you remove it, a new one is made and clients will warn").Wrap(err)
	}
	return key, nil
}

// makeHostKey writes a new key whole: a crash leaves the old state or the new.
func makeHostKey(file string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "landward")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".hostkey-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(pem.EncodeToMemory(block))
	err = errors.Join(err, tmp.Chmod(0o400), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
