// Package secret owns two things: the box that values are sealed in before
// they are written to disk, with the key file that opens it, and the redaction
// of secret values in lines of text. It must never know what a value is for,
// nor where it is stored.
package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"landward/internal/landward"
)

// A sealed value is: format version (1 byte), key id (4), nonce (24),
// XChaCha20-Poly1305 ciphertext with its tag. Version, key id and context are
// authenticated with it. The nonce is random: at 24 bytes, no count is needed.
const (
	formatVersion = 1
	idSize        = 4
	headerSize    = 1 + idSize + chacha20poly1305.NonceSizeX
)

type keyID [idSize]byte

// key is one master key, ready to use.
type key struct {
	id   keyID
	raw  []byte
	aead cipher.AEAD
}

func newKey(raw []byte) (key, error) {
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		return key{}, fmt.Errorf("make cipher: %w", err)
	}
	// The id only tells keys apart; a hash of the key gives nothing away.
	sum := sha256.Sum256(append([]byte("landward key id\x00"), raw...))
	return key{id: keyID(sum[:idSize]), raw: raw, aead: aead}, nil
}

// randomKey makes a new key. rand.Read never fails.
func randomKey() (key, error) {
	raw := make([]byte, chacha20poly1305.KeySize)
	rand.Read(raw)
	return newKey(raw)
}

// Box seals and opens values. The newest key of its key file seals, all of
// them open. It is safe for concurrent use.
type Box struct {
	path string // of the key file
	mu   sync.RWMutex
	keys []key // newest last, never empty
}

// Seal encrypts plain. The context says where the value belongs: it opens
// under the same context only.
func (b *Box) Seal(plain []byte, context string) ([]byte, error) {
	b.mu.RLock()
	k := b.keys[len(b.keys)-1]
	b.mu.RUnlock()
	sealed := make([]byte, headerSize, headerSize+len(plain)+k.aead.Overhead())
	sealed[0] = formatVersion
	copy(sealed[1:], k.id[:])
	nonce := sealed[1+idSize:]
	rand.Read(nonce)
	return k.aead.Seal(sealed, nonce, plain, authenticated(sealed, context)), nil
}

// Open decrypts what Seal returned. CodeUnavailable: its key is not in the key
// file; CodeInternal: it was changed, or belongs elsewhere.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < headerSize+chacha20poly1305.Overhead || sealed[0] != formatVersion {
		return nil, damaged()
	}
	k, ok := b.key(keyID(sealed[1 : 1+idSize]))
	if !ok {
		return nil, landward.Errorf(landward.CodeUnavailable, "a sealed value needs a key that is not in %s", keyFile).
			WithHint("put back the keys folder that belongs to this database; without it the value cannot be read")
	}
	plain, err := k.aead.Open(nil, sealed[1+idSize:headerSize], sealed[headerSize:], authenticated(sealed, context))
	if err != nil {
		return nil, damaged()
	}
	return plain, nil
}

func (b *Box) key(id keyID) (key, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, k := range b.keys {
		if k.id == id {
			return k, true
		}
	}
	return key{}, false
}

// authenticated is what is bound to a sealed value without being in it. The
// header's part has a fixed length, so no two pairs of header and context are
// alike.
func authenticated(sealed []byte, context string) []byte {
	return append(append(make([]byte, 0, 1+idSize+len(context)), sealed[:1+idSize]...), context...)
}

func damaged() error {
	return landward.Errorf(landward.CodeInternal, "a sealed value is damaged or was moved").
		WithHint("restore the database from a backup, or set the value again")
}
