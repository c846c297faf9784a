package httpsource

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"tidings"
	"tidings/internal/bearer"
	"tidings/internal/problem"
)

// asked returns who asks, one who may administer the server, and the name behind the path, "" for the path itself. things and one
// are what is at the path and the name of one of them, for people.
func asked(r *http.Request, p Policy, path, things, one string) (actor tidings.Actor, name string, err error) {
	if actor, err = bearer.Actor(r, p.Authenticate); err == nil {
		err = p.May(actor, tidings.AdminAction, "")
	}
	if err != nil {
		return actor, "", err
	}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), path)
	name, err = url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if !ok || err != nil || rest != "" && (rest[0] != '/' || name == "") || strings.Contains(name, "/") {
		return actor, "", tidings.Errorf(tidings.ErrNotFound, "the %s are at %s and %s/%s", things, path, path, one)
	}
	return actor, name, nil
}

// failed answers with the problem that err is, and logs what is not the client's doing.
func failed(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger, what string) {
	if status := problem.Write(w, r, err); status >= 500 {
		log.Error("http: "+what+" failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
}

// decodeObject reads the body, which is one JSON object of at most limit bytes with no other members than into has. An error
// of kind ErrInvalid shows the form that is wanted.
func decodeObject(w http.ResponseWriter, r *http.Request, limit int64, into any, form string) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("there is something behind the object")
		}
	}
	if tooBig := (*http.MaxBytesError)(nil); err != nil && !errors.As(err, &tooBig) {
		err = tidings.Errorf(tidings.ErrInvalid, "the body is not of the form %s: %s", form, strings.TrimPrefix(err.Error(), "json: "))
	}
	return err
}
