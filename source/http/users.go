package httpsource

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"tidings"
	"tidings/internal/problem"
)

// Users is what the user API needs of the accounts. Errors are of the kinds ErrInvalid for a name or a password that cannot
// be, ErrConflict for a name that is taken, and ErrNotFound.
type Users interface {
	Add(ctx context.Context, name, password string) error
	SetPassword(ctx context.Context, name, password string) error
	Delete(ctx context.Context, name string) error
	// Lookup returns the account's name as it is in addresses.
	Lookup(name string) (prepared string, created, changed time.Time, ok bool)
	// Each calls f for each account, by name.
	Each(f func(name string, created, changed time.Time))
}

// UserServer serves the accounts of the XMPP server to those who may administer it:
//
//	GET    /users         {"users":[{"name","created","changed"}]}; changed is when the password was last set
//	POST   /users         {"name","password"} makes one: 201 with {"name","created","changed"}
//	GET    /users/{name}  one of the list
//	PATCH  /users/{name}  {"password"} sets another password: 204 once the sessions that were opened with the old one have ended
//	DELETE /users/{name}  removes it: 204 once its sessions have ended
//
// A password is in requests only, and in no answer and no log.
type UserServer struct {
	Users  Users
	Policy Policy
	// Log takes note of accounts made, changed and removed and of failures; nil for slog.Default().
	Log *slog.Logger
}

const (
	usersPath   = "/users"
	maxUserBody = 16 << 10
)

// userJSON is an account on the wire.
type userJSON struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
}

// ServeHTTP serves /users and what is below it.
func (s *UserServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setBodyDeadline(w, DefaultBodyTimeout)
	actor, name, err := asked(r, s.Policy, usersPath, "accounts", "NAME")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch one := name != ""; {
	case err != nil:
		s.fail(w, r, err)
	case one && reads:
		s.show(w, r, name, http.StatusOK)
	case one && r.Method == http.MethodPatch:
		s.setPassword(w, r, actor, name)
	case one && r.Method == http.MethodDelete:
		s.done(w, r, s.Users.Delete(r.Context(), name), "removed an account", name, actor)
	case one:
		problem.MethodNotAllowed(w, r, "GET", "HEAD", "PATCH", "DELETE")
	case reads:
		list := []userJSON{}
		s.Users.Each(func(name string, created, changed time.Time) { list = append(list, userJSON{name, created, changed}) })
		writeJSON(w, http.StatusOK, map[string][]userJSON{"users": list})
	case r.Method == http.MethodPost:
		s.add(w, r, actor)
	default:
		problem.MethodNotAllowed(w, r, "GET", "HEAD", "POST")
	}
}

func (s *UserServer) show(w http.ResponseWriter, r *http.Request, name string, status int) {
	prepared, created, changed, ok := s.Users.Lookup(name)
	if !ok {
		s.fail(w, r, tidings.Errorf(tidings.ErrNotFound, "there is no account %q", shorten(name)))
		return
	}
	if status == http.StatusCreated {
		w.Header().Set("Location", usersPath+"/"+url.PathEscape(prepared))
	}
	writeJSON(w, status, userJSON{prepared, created, changed})
}

func (s *UserServer) add(w http.ResponseWriter, r *http.Request, by tidings.Actor) {
	var ask struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	err := decodeObject(w, r, maxUserBody, &ask, `{"name":"…","password":"…"}`)
	if err == nil {
		err = s.Users.Add(r.Context(), ask.Name, ask.Password)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.log().Info("http: made an account", "name", ask.Name, "by", by.String())
	s.show(w, r, ask.Name, http.StatusCreated)
}

func (s *UserServer) setPassword(w http.ResponseWriter, r *http.Request, by tidings.Actor, name string) {
	var ask struct {
		Password string `json:"password"`
	}
	err := decodeObject(w, r, maxUserBody, &ask, `{"password":"…"}`)
	if err == nil {
		err = s.Users.SetPassword(r.Context(), name, ask.Password)
	}
	s.done(w, r, err, "set the password of an account", name, by)
}

// done answers a change that has nothing to show.
func (s *UserServer) done(w http.ResponseWriter, r *http.Request, err error, what, name string, by tidings.Actor) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.log().Info("http: "+what, "name", name, "by", by.String())
	w.WriteHeader(http.StatusNoContent)
}

func (s *UserServer) fail(w http.ResponseWriter, r *http.Request, err error) {
	failed(w, r, err, s.log(), "the user API")
}

func (s *UserServer) log() *slog.Logger { return cmp.Or(s.Log, slog.Default()) }
