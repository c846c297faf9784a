// Package problem answers HTTP requests that failed, as problem details (RFC 9457): one table from the kinds of error
// to status, title and type.
//
// The type member is a path below [Base] on the server that answers, such as /problems/gap: complete from the root, as
// RFC 9457 section 3.1.1 recommends for relative references, so that it means the same wherever it was received. Types
// do not change once released; clients may compare them as strings. [Handler] serves a sentence about each.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// ContentType is the media type of problem details (RFC 9457 section 6.1).
const ContentType = "application/problem+json"

// Base is the path below which the types are.
const Base = "/problems/"

// Realm is the protection space named in WWW-Authenticate (RFC 9110 section 11.5).
const Realm = "tidings"

// row is what a kind of error becomes on the wire.
type row struct {
	name   string // the last segment of the type
	status int
	title  string // for a person; the same for every problem of the type
	about  string // what the type means and what to do, served by Handler
	retry  time.Duration
}

// table has a row for every tidings.ErrorKind; 0 stands for an error of no kind, a defect or a failure of the machine.
var table = map[tidings.ErrorKind]row{
	0:                          {name: "internal", status: http.StatusInternalServerError, title: "Internal error", about: "The server failed in a way it did not foresee. Its log says how."},
	tidings.ErrInvalid:         {name: "invalid", status: http.StatusBadRequest, title: "Invalid request", about: "The request or its content is malformed. The detail says where."},
	tidings.ErrUnauthenticated: {name: "unauthenticated", status: http.StatusUnauthorized, title: "Not authenticated", about: "A token is needed, or the one sent is not valid. Send it as Authorization: Bearer TOKEN."},
	tidings.ErrForbidden:       {name: "forbidden", status: http.StatusForbidden, title: "Forbidden", about: "The token is valid and does not allow this. The detail names the scope that does."},
	tidings.ErrNotFound:        {name: "not-found", status: http.StatusNotFound, title: "Not found", about: "There is no such topic, item or page."},
	tidings.ErrConflict:        {name: "conflict", status: http.StatusConflict, title: "Conflict", about: "The present state does not allow this, such as an Idempotency-Key used again with another content."},
	tidings.ErrTooLarge:        {name: "too-large", status: http.StatusRequestEntityTooLarge, title: "Content too large", about: "A limit in bytes was passed. The detail names the limit."},
	tidings.ErrRateLimited:     {name: "rate-limited", status: http.StatusTooManyRequests, title: "Too many requests", about: "Too many requests or connections. Retry-After says when to come back.", retry: time.Second},
	tidings.ErrGap:             {name: "gap", status: http.StatusGone, title: "Gap in history", about: "The events after the position asked for are not all kept any more. The member oldest is the position to go on from."},
	tidings.ErrUnavailable:     {name: "unavailable", status: http.StatusServiceUnavailable, title: "Unavailable", about: "The journal or an upstream cannot serve now. Retry-After says when to try again.", retry: 5 * time.Second},
}

// The problems that HTTP knows and the domain does not.
var (
	methodRow  = row{name: "method", status: http.StatusMethodNotAllowed, title: "Method not allowed", about: "The resource does not have this method. The Allow header names those it has."}
	acceptRow  = row{name: "not-acceptable", status: http.StatusNotAcceptable, title: "Not acceptable", about: "The resource has none of the forms asked for. The member offered names those it has."}
	upgradeRow = row{name: "upgrade", status: http.StatusUpgradeRequired, title: "Upgrade required", about: "The resource is had by another protocol. The Upgrade header names it."}
	mediaRow   = row{name: "media-type", status: http.StatusUnsupportedMediaType, title: "Unsupported media type", about: "The content of the request is of a type that is not taken here. The member accepted names those that are."}
)

// body is the JSON object; the order of its fields is that of the members.
type body struct {
	Type     string            `json:"type"`
	Title    string            `json:"title"`
	Status   int               `json:"status"`
	Detail   string            `json:"detail,omitempty"`
	Asked    *tidings.Position `json:"asked,omitempty"`  // of a gap
	Oldest   *tidings.Position `json:"oldest,omitempty"` // of a gap
	Limit    int64             `json:"limit,omitempty"`  // bytes, of a body too large
	Allowed  []string          `json:"allowed,omitempty"`
	Offered  []string          `json:"offered,omitempty"`
	Accepted []string          `json:"accepted,omitempty"`
}

// Status returns the HTTP status of a kind: 500 for 0 and for a kind it does not know.
func Status(kind tidings.ErrorKind) int { return rowOf(kind).status }

func rowOf(kind tidings.ErrorKind) row {
	if t, ok := table[kind]; ok {
		return t
	}
	return table[0]
}

// Write answers the request with the problem that err is and returns the status. It must be called before anything else
// was written.
//
// The detail member is the Detail of the *tidings.Error in err's chain: what that error's maker wrote for the one who
// asked. Text that other errors wrapped around it stays here, and an error of no kind is a 500 without a detail, so the
// caller logs what is 500 or above. An *http.MaxBytesError counts as ErrTooLarge. A *tidings.GapError adds the members
// asked and oldest; ErrRateLimited and ErrUnavailable add Retry-After, see [RetryAfter]; ErrUnauthenticated, and
// ErrForbidden of a request with credentials, add WWW-Authenticate (RFC 6750 section 3).
func Write(w http.ResponseWriter, r *http.Request, err error) int {
	kind := tidings.KindOf(err)
	b := body{Detail: detail(err)}
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		b.Limit = tooBig.Limit
		if kind == 0 {
			kind = tidings.ErrTooLarge
			b.Detail = fmt.Sprintf("the body may have %d bytes", tooBig.Limit)
		}
	}
	if gap := (*tidings.GapError)(nil); errors.As(err, &gap) {
		b.Asked, b.Oldest = &gap.Asked, &gap.Oldest
	}
	t := rowOf(kind)
	h := w.Header()
	if d := t.retry; d > 0 {
		if later := (*retryError)(nil); errors.As(err, &later) {
			d = later.after
		}
		h.Set("Retry-After", strconv.FormatInt(int64(max(1, math.Ceil(d.Seconds()))), 10))
	}
	switch known := r.Header.Get("Authorization") != ""; {
	case kind == tidings.ErrUnauthenticated && known:
		h.Set("WWW-Authenticate", `Bearer realm="`+Realm+`", error="invalid_token"`)
	case kind == tidings.ErrUnauthenticated:
		h.Set("WWW-Authenticate", `Bearer realm="`+Realm+`"`)
	case kind == tidings.ErrForbidden && known:
		h.Set("WWW-Authenticate", `Bearer realm="`+Realm+`", error="insufficient_scope"`)
	}
	return write(w, t, b)
}

// MethodNotAllowed answers 405 with the methods that are allowed in the Allow header (RFC 9110 section 15.5.6).
func MethodNotAllowed(w http.ResponseWriter, r *http.Request, allowed ...string) int {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return write(w, methodRow, body{
		Detail:  fmt.Sprintf("%s is not allowed here: want %s", r.Method, either(allowed)),
		Allowed: allowed,
	})
}

// NotAcceptable answers 406 and names the media types there are (RFC 9110 section 15.5.7).
func NotAcceptable(w http.ResponseWriter, r *http.Request, offered ...string) int {
	w.Header().Add("Vary", "Accept")
	return write(w, acceptRow, body{
		Detail:  fmt.Sprintf("none of the types in Accept is to be had here: ask for %s", either(offered)),
		Offered: offered,
	})
}

// UnsupportedMediaType answers 415 with the media types that are taken in the Accept header (RFC 9110 section
// 15.5.16). The detail is a sentence about what was wrong with the type that came.
func UnsupportedMediaType(w http.ResponseWriter, r *http.Request, detail string, accepted ...string) int {
	w.Header().Set("Accept", strings.Join(accepted, ", "))
	return write(w, mediaRow, body{Detail: detail, Accepted: accepted})
}

// UpgradeRequired answers 426 with the protocol in the Upgrade header (RFC 9110 section 15.5.22).
func UpgradeRequired(w http.ResponseWriter, r *http.Request, detail, protocol string) int {
	w.Header().Set("Upgrade", protocol)
	w.Header().Set("Connection", "Upgrade")
	return write(w, upgradeRow, body{Detail: detail})
}

func write(w http.ResponseWriter, t row, b body) int {
	b.Type, b.Title, b.Status = Base+t.name, t.title, t.status
	h := w.Header()
	// What a handler had set for the answer it meant to give does not describe this one.
	for _, name := range []string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Location"} {
		h.Del(name)
	}
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store") // 404, 405 and 410 could be stored otherwise (RFC 9110 section 15.1)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(t.status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	// The status is on its way; an error here means that the client has gone.
	_ = enc.Encode(&b)
	return t.status
}

// detail returns the sentence that was written for the one who asked, or "".
func detail(err error) string {
	if gap := (*tidings.GapError)(nil); errors.As(err, &gap) {
		return gap.Error()
	}
	if e := (*tidings.Error)(nil); errors.As(err, &e) {
		return e.Detail
	}
	return ""
}

// either joins the words as in "a, b or c".
func either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// RetryAfter returns err with the time to wait before another try, which Write rounds up to whole seconds, at least
// one, where the kind of err is ErrRateLimited (1 s without it) or ErrUnavailable (5 s without it).
func RetryAfter(err error, d time.Duration) error { return &retryError{err, d} }

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// Handler serves a few lines of text about each type of problem, for those who follow the link that a type is. It is
// mounted at Base.
func Handler() http.Handler {
	pages := map[string]string{}
	for _, t := range table {
		pages[Base+t.name] = t.page()
	}
	for _, t := range []row{methodRow, acceptRow, upgradeRow, mediaRow} {
		pages[Base+t.name] = t.page()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		switch {
		case !ok:
			Write(w, r, tidings.Errorf(tidings.ErrNotFound, "no problem has this type"))
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			MethodNotAllowed(w, r, "GET", "HEAD")
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte(page)) // an error means that the client has gone
		}
	})
}

func (t row) page() string { return fmt.Sprintf("%s (%d)\n\n%s\n", t.title, t.status, t.about) }
