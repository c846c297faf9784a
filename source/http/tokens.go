package httpsource

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"tidings"
	"tidings/internal/problem"
)

// Tokens is what the token API needs of the policy; *access.Policy has it.
type Tokens interface {
	Policy
	Create(ctx context.Context, name string, scopes []string, ttl time.Duration) (id, token string, err error)
	Revoke(ctx context.Context, id string) error
	Each(f func(id, name string, scopes []tidings.Scope, created, expires time.Time))
}

// TokenServer serves the token API to those who may administer the server:
//
//	GET    /tokens       {"tokens":[{"id","name","scopes","created","expires"}]}, without the secrets
//	POST   /tokens       {"name","scopes","ttl"} makes one: 201 with {"id","token","name","scopes","created","expires"}; this is the
//	                     only time the token itself is told. ttl is a duration such as "720h"; without it the token
//	                     does not expire
//	GET    /tokens/{id}  one of the list
//	DELETE /tokens/{id}  revokes it: 204 once every stream it forbids has ended
type TokenServer struct {
	Tokens Tokens
	// Log takes note of tokens made and revoked and of failures; nil for slog.Default().
	Log *slog.Logger
}

const (
	tokensPath   = "/tokens"
	maxTokenBody = 64 << 10
)

// tokenJSON is a token on the wire.
type tokenJSON struct {
	ID      string    `json:"id"`
	Token   string    `json:"token,omitempty"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// ServeHTTP serves /tokens and what is below it.
func (s *TokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setBodyDeadline(w, DefaultBodyTimeout)
	actor, id, err := asked(r, s.Tokens, tokensPath, "tokens", "ID")
	switch one := id != ""; {
	case err != nil:
		s.fail(w, r, err)
	case one && r.Method == http.MethodDelete:
		s.revoke(w, r, actor, id)
	case one && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		s.show(w, r, id)
	case one:
		problem.MethodNotAllowed(w, r, "GET", "HEAD", "DELETE")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		writeJSON(w, http.StatusOK, map[string][]tokenJSON{"tokens": s.list()})
	case r.Method == http.MethodPost:
		s.create(w, r, actor)
	default:
		problem.MethodNotAllowed(w, r, "GET", "HEAD", "POST")
	}
}

func (s *TokenServer) list() []tokenJSON {
	list := []tokenJSON{}
	s.Tokens.Each(func(id, name string, scopes []tidings.Scope, created, expires time.Time) {
		t := tokenJSON{ID: id, Name: name, Created: created, Expires: expires}
		for _, sc := range scopes {
			t.Scopes = append(t.Scopes, sc.String())
		}
		list = append(list, t)
	})
	return list
}

func (s *TokenServer) show(w http.ResponseWriter, r *http.Request, id string) {
	for _, t := range s.list() {
		if t.ID == id {
			writeJSON(w, http.StatusOK, t)
			return
		}
	}
	s.fail(w, r, tidings.Errorf(tidings.ErrNotFound, "there is no token with the id %q", shorten(id)))
}

func (s *TokenServer) create(w http.ResponseWriter, r *http.Request, by tidings.Actor) {
	var ask struct {
		Name   string   `json:"name"`
		Scopes []string `json:"scopes"`
		TTL    string   `json:"ttl"`
	}
	err := decodeObject(w, r, maxTokenBody, &ask, `{"name":"…","scopes":["publish:/news/**"],"ttl":"720h"}`)
	var ttl time.Duration
	if err == nil && ask.TTL != "" {
		if ttl, err = time.ParseDuration(ask.TTL); err != nil || ttl <= 0 {
			err = tidings.Errorf(tidings.ErrInvalid, "the ttl %q is not a duration such as 720h", shorten(ask.TTL))
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	id, token, err := s.Tokens.Create(r.Context(), ask.Name, ask.Scopes, ttl)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	made := tokenJSON{ID: id, Name: ask.Name, Scopes: ask.Scopes}
	for _, t := range s.list() {
		if t.ID == id {
			made = t
		}
	}
	made.Token = token
	s.log().Info("http: made a token", "id", id, "name", made.Name, "scopes", made.Scopes, "by", by.String())
	w.Header().Set("Location", tokensPath+"/"+id)
	writeJSON(w, http.StatusCreated, made)
}

func (s *TokenServer) revoke(w http.ResponseWriter, r *http.Request, by tidings.Actor, id string) {
	if err := s.Tokens.Revoke(r.Context(), id); err != nil {
		s.fail(w, r, err)
		return
	}
	s.log().Info("http: revoked a token", "id", id, "by", by.String())
	w.WriteHeader(http.StatusNoContent)
}

func (s *TokenServer) fail(w http.ResponseWriter, r *http.Request, err error) {
	failed(w, r, err, s.log(), "the token API")
}

func (s *TokenServer) log() *slog.Logger { return cmp.Or(s.Log, slog.Default()) }
