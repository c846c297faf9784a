package account

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tidings/xmpp/sasl"
)

// Keys of the store.
const (
	userKey   = "user/"
	secretKey = "secret"
)

const (
	version     = 1
	saltBytes   = 16
	secretBytes = 32
)

// account is an account, as stored and as held in memory.
type account struct {
	Version int             `json:"v"`
	Created time.Time       `json:"created"`
	Changed time.Time       `json:"changed"`
	Keys    map[string]keys `json:"keys"` // by the name of the hash
}

type keys struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

// newAccount returns an account with the keys of the password. The error is ErrPassword.
func newAccount(password string, iterations int) (*account, error) {
	if len(password) > sasl.MaxPassword {
		return nil, fmt.Errorf("%w: it has %d bytes and may have %d", ErrPassword, len(password), sasl.MaxPassword)
	}
	prepared, err := sasl.PreparePassword(password)
	if err != nil {
		return nil, fmt.Errorf("%w: want one that is not empty, in UTF-8 and without control characters", ErrPassword)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	a := &account{Version: version, Created: now, Changed: now, Keys: map[string]keys{}}
	for _, h := range sasl.Hashes {
		salt := make([]byte, saltBytes)
		_, _ = rand.Read(salt) // never fails: crypto/rand ends the program first
		k, err := h.Keys(prepared, salt, iterations)
		if err != nil {
			return nil, fmt.Errorf("account: deriving keys: %w", err)
		}
		a.Keys[h.String()] = keys(k)
	}
	return a, nil
}

func (a *account) encode() ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("account: encoding the account: %w", err)
	}
	return b, nil
}

// decodeAccount reads the stored form. It is checked completely, so that what is taken in can be used.
func decodeAccount(name string, value []byte) (*account, error) {
	if p, err := Prepare(name); err != nil || p != name {
		return nil, errors.New("the key is not an account's localpart in its prepared form")
	}
	a := new(account)
	if err := json.Unmarshal(value, a); err != nil {
		return nil, err
	}
	if a.Version != version {
		return nil, fmt.Errorf("version %d is not known", a.Version)
	}
	for _, h := range sasl.Hashes {
		k, ok := a.Keys[h.String()]
		switch {
		case !ok:
			return nil, fmt.Errorf("no keys for %s", h)
		case len(k.StoredKey) != h.Size() || len(k.ServerKey) != h.Size() || len(k.Salt) == 0:
			return nil, fmt.Errorf("keys of the wrong length for %s", h)
		case k.Iterations < sasl.MinIterations || k.Iterations > sasl.MaxIterations:
			return nil, fmt.Errorf("%d iterations for %s", k.Iterations, h)
		}
	}
	return a, nil
}

func (a *account) info(name string) Info {
	return Info{Name: name, Created: a.Created, Changed: a.Changed}
}

// same reports whether the accounts have the same keys.
func (a *account) same(b *account) bool {
	for _, h := range sasl.Hashes {
		if !bytes.Equal(a.Keys[h.String()].StoredKey, b.Keys[h.String()].StoredKey) {
			return false
		}
	}
	return true
}

// secret is the stored form of the secret of salts.
type secret struct {
	Version int    `json:"v"`
	Secret  []byte `json:"secret"`
}

func newSecret() []byte {
	s := secret{version, make([]byte, secretBytes)}
	_, _ = rand.Read(s.Secret)
	b, err := json.Marshal(s)
	if err != nil {
		panic("account: " + err.Error()) // an int and bytes
	}
	return b
}

func decodeSecret(value []byte) ([]byte, error) {
	var s secret
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	if s.Version != version || len(s.Secret) != secretBytes {
		return nil, errors.New("not a secret of salts")
	}
	return s.Secret, nil
}

// Keys implements sasl.Authenticator.
func (a *Accounts) Keys(username string, h sasl.Hash) (sasl.Keys, string) {
	name, err := Prepare(username)
	if err != nil {
		name = username
	}
	a.mu.RLock()
	acc, secret := a.accounts[name], a.secret
	a.mu.RUnlock()
	// Made up in either case: it takes some microseconds.
	made := sasl.Keys{
		Salt: derive(secret, "salt", h, name, saltBytes), Iterations: a.iterations,
		StoredKey: derive(secret, "stored", h, name, h.Size()), ServerKey: derive(secret, "server", h, name, h.Size()),
	}
	if acc == nil {
		return made, ""
	}
	return sasl.Keys(acc.Keys[h.String()]), name
}

// derive returns n bytes, at most 64, that are always the same for a name and a hash and tell nothing of the secret. They are
// in no case the key of a password: that would have to be found by a client first.
func derive(secret []byte, what string, h sasl.Hash, name string, n int) []byte {
	var out []byte
	for i := byte(0); len(out) < n; i++ {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte{i, byte(h)})
		m.Write([]byte(what))
		m.Write([]byte{0})
		m.Write([]byte(name))
		out = m.Sum(out)
	}
	return out[:n]
}
