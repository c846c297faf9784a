package outlet

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/hub/expression"
	"tidings/internal/problem"
)

// reserved are the query parameters that do not name a field to filter by.
var reserved = []string{"since", "limit", "format", "topic", "filter", "item", "match", "lastEventId", "lastEventID"}

// Filter returns the filter that a query string asks for: every parameter that has no other meaning names a field, whose
// values are alternatives, and every filter= is an expression (package hub/expression). All of them have to let an event
// pass. Errors are of kind tidings.ErrInvalid.
func Filter(q url.Values) (hub.Filter, error) {
	fields := map[string][]string{}
	for name, values := range q {
		if !slices.Contains(reserved, name) {
			fields[name] = values
		}
	}
	byField, err := hub.NewFieldFilter(fields)
	if err != nil {
		return nil, err
	}
	filters := []hub.Filter{byField}
	if n := len(q["filter"]); n > maxExpressions {
		return nil, tidings.Errorf(tidings.ErrInvalid, "there are %d filter expressions and may be %d: join them with &&", n, maxExpressions)
	}
	for _, text := range q["filter"] {
		f, err := expression.Compile(text)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return hub.All(filters...), nil
}

const maxExpressions = 4

// LastEventID returns the position that a client which comes back names as the last it has seen: the Last-Event-ID
// header, or the query parameter lastEventId for clients that cannot send it.
func LastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	q := r.URL.Query()
	if id := q.Get("lastEventId"); id != "" {
		return id
	}
	return q.Get("lastEventID")
}

// After returns the position that a request wants to go on from: the last event id, else since, else otherwise.
func After(ctx context.Context, h *hub.Hub, r *http.Request, otherwise tidings.Position) (tidings.Position, error) {
	if id := LastEventID(r); id != "" {
		return tidings.ParsePosition(id)
	}
	since := r.URL.Query().Get("since")
	if since == "" {
		return otherwise, nil
	}
	if p, err := tidings.ParsePosition(since); err == nil {
		return p, nil
	}
	t, err := ParseTime(since)
	if err != nil {
		return tidings.Position{}, tidings.Errorf(tidings.ErrInvalid, "since=%q is neither a position such as 5f3a9c01-1042 nor a time such as 2026-01-31T12:00:00Z or a number of milliseconds since 1970", since)
	}
	return AtTime(ctx, h, t)
}

// AtTime returns the position after which the events appended at or after t come. Where some of them may have been
// removed, it is a position before everything, so that the reader is told of the gap.
func AtTime(ctx context.Context, h *hub.Hub, t time.Time) (tidings.Position, error) {
	p, err := h.At(ctx, t)
	if oldest := h.Oldest(); err == nil && p == oldest && oldest.Offset > 0 && p != h.Head() {
		p.Offset = 0
	}
	return p, err
}

// timeLayouts are the forms of a time that JavaScript's Date.parse takes everywhere. A zone is given by its offset or is
// UTC: what other abbreviations mean depends on where one asks.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02", "2006-01", http.TimeFormat, "Mon, 02 Jan 2006 15:04:05 UTC", time.RFC1123Z, time.ANSIC}

// ParseTime parses milliseconds since 1970, of five digits at least so that a year is not taken for them, or a date,
// which is in UTC unless it says otherwise.
func ParseTime(s string) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 4 {
		return time.UnixMilli(ms), nil
	}
	// A + that was not encoded arrives as a blank.
	if i := strings.LastIndexByte(s, ' '); i > 0 && len(s)-i == 6 && strings.Contains(s, "T") {
		s = s[:i] + "+" + s[i+1:]
	}
	var t time.Time
	var err error
	for _, layout := range timeLayouts {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}

// Offer is a media type that a resource can be had in, and the name that ?format= gives it.
type Offer struct {
	Name string
	Type string
}

// Negotiate returns the offer that the request wants (RFC 9110 section 12.5.1), by ?format= if that is given; of equally
// wanted ones the first. ok is false if it wants none of them.
func Negotiate(r *http.Request, offers []Offer) (o Offer, ok bool) {
	if f := r.URL.Query().Get("format"); f != "" {
		i := slices.IndexFunc(offers, func(o Offer) bool { return o.Name == f })
		if i < 0 {
			return Offer{}, false
		}
		return offers[i], true
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return offers[0], true
	}
	best := 0.0
	for _, of := range offers {
		if q := quality(accept, of.Type); q > best {
			best, o = q, of
		}
	}
	return o, best > 0
}

// Choose is Negotiate for a handler: where the request wants none of the offers, it is answered with what there is.
func Choose(w http.ResponseWriter, r *http.Request, offers []Offer) (o Offer, ok bool) {
	if o, ok = Negotiate(r, offers); ok {
		return o, true
	}
	var names, types []string
	for _, o := range offers {
		names, types = append(names, o.Name), append(types, o.Type)
	}
	if f := r.URL.Query().Get("format"); f != "" {
		problem.Write(w, r, tidings.Errorf(tidings.ErrInvalid, "format=%q is none of %s", f, strings.Join(names, ", ")))
	} else {
		problem.NotAcceptable(w, r, types...)
	}
	return o, false
}

// quality returns the weight that the Accept field gives to the type: that of its most specific range which covers it.
func quality(accept, typ string) float64 {
	q, specific := 0.0, -1
	major, _, _ := strings.Cut(typ, "/")
	for part := range strings.SplitSeq(accept, ",") {
		rng, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		s := -1
		switch strings.ToLower(strings.TrimSpace(rng)) {
		case typ:
			s = 2
		case major + "/*":
			s = 1
		case "*/*":
			s = 0
		}
		if s <= specific {
			continue
		}
		w := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if name, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(name, "q") {
				if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0 && f <= 1 {
					w = f
				}
			}
		}
		q, specific = w, s
	}
	return q
}
