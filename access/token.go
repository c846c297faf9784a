package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tidings"
)

// Limits of a token.
const (
	MaxNameBytes = 100
	MaxScopes    = 64
)

// A token is TokenPrefix, its id, an underscore and its secret: tid_ID_SECRET. The id (50 random bits) is public: lists,
// logs and events have it. The secret (160 random bits) is nowhere but with its holder.
const (
	TokenPrefix = "tid_"
	idChars     = 10
	secretChars = 32
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func random(chars int) string {
	b := make([]byte, (chars*5+7)/8)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program first
	return base32Lower.EncodeToString(b)[:chars]
}

func newToken() (id, token string) {
	id = random(idChars)
	return id, TokenPrefix + id + "_" + random(secretChars)
}

// idOf returns the id within a token, which need not exist.
func idOf(token string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(token, TokenPrefix)
	id, secret, _ := strings.Cut(rest, "_")
	return id, ok && isBase32(id, idChars) && isBase32(secret, secretChars)
}

func isBase32(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// digest is the SHA-256 of a token. A slow hash would add nothing: the secret has 160 random bits.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// equal takes the same time whatever it finds.
func (d digest) equal(e digest) bool { return subtle.ConstantTimeCompare(d[:], e[:]) == 1 }

// check returns what is wrong with a token that somebody wants made.
func check(i Info) error {
	bad := func(format string, args ...any) error { return tidings.Errorf(tidings.ErrInvalid, format, args...) }
	switch {
	case i.Name == "":
		return bad("a token needs a name that says what it is for")
	case len(i.Name) > MaxNameBytes:
		return bad("the token's name has %d bytes and may have %d", len(i.Name), MaxNameBytes)
	case !utf8.ValidString(i.Name) || strings.ContainsFunc(i.Name, unicode.IsControl):
		return bad("the token's name has a control character or invalid UTF-8")
	case len(i.Scopes) == 0:
		return bad("a token needs a scope, such as publish:/news/**")
	case len(i.Scopes) > MaxScopes:
		return bad("a token may have %d scopes, not %d", MaxScopes, len(i.Scopes))
	}
	return nil
}

// record is the stored form of a token, as JSON under its id.
type record struct {
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	SHA256  string    `json:"sha256"` // of the token, in hexadecimal
}

func encodeRecord(i Info, hash digest) ([]byte, error) {
	r := record{Name: i.Name, Created: i.Created, Expires: i.Expires, SHA256: hex.EncodeToString(hash[:])}
	for _, s := range i.Scopes {
		r.Scopes = append(r.Scopes, s.String())
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("access: encoding the token: %w", err)
	}
	return b, nil
}

func decodeRecord(id string, b []byte) (token, error) {
	if !isBase32(id, idChars) {
		return token{}, errors.New("access: the key is not a token's id")
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return token{}, fmt.Errorf("access: decoding the token: %w", err)
	}
	t := token{Info: Info{ID: id, Name: r.Name, Created: r.Created, Expires: r.Expires}}
	if n, err := hex.Decode(t.hash[:], []byte(r.SHA256[:min(len(r.SHA256), 2*len(t.hash))])); err != nil || n != len(t.hash) || len(r.SHA256) != 2*n {
		return token{}, errors.New("access: the digest is not 64 hexadecimal digits")
	}
	var err error
	if t.Scopes, err = ParseScopes(r.Scopes); err != nil {
		return token{}, err
	}
	return t, check(t.Info)
}
