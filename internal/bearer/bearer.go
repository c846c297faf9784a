// Package bearer finds out who sends an HTTP request, by the bearer token in its Authorization header (RFC 6750 section
// 2.1). Tokens in a form or in the query are not looked at: the first needs a body that is not the event, and the second
// ends up in logs (section 2.3).
package bearer

import (
	"net/http"
	"strings"

	"tidings"
)

// Actor returns who sends the request: the anonymous actor if it has no Authorization header, else whom authenticate
// says its token belongs to. Errors: those of authenticate, and ErrUnauthenticated for another scheme, for a header that
// is not of the form "Bearer TOKEN" and for more than one.
func Actor(r *http.Request, authenticate func(token string) (tidings.Actor, error)) (tidings.Actor, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return tidings.Actor{}, nil
	}
	if len(values) > 1 {
		return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "the request has %d Authorization headers: send one", len(values))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "the Authorization header is not of the form: Bearer TOKEN")
	}
	return authenticate(token)
}
