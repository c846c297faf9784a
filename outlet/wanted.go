package outlet

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"

	"tidings"
	"tidings/hub"
)

// Wanted is a subscription as clients of the protocols that speak JSON write it.
type Wanted struct {
	// Topics are topics or patterns.
	Topics []string `json:"topics"`
	// Filter is an expression (package hub/expression), an object of fields, each with a value or a list of
	// alternatives, or a list of expressions and one object, all of which have to let an event pass.
	Filter json.RawMessage `json:"filter"`
	// After is the position to go on from, Since a time in one of the forms of ParseTime. Without them it is now.
	After *tidings.Position `json:"after"`
	Since string            `json:"since"`
}

// Query returns the query that is wanted. Errors are of kind tidings.ErrInvalid.
func (w *Wanted) Query(maxPatterns int) (q hub.Query, err error) {
	if q.Patterns, err = Patterns(w.Topics, maxPatterns); err != nil {
		return q, err
	}
	q.Filter, err = FilterJSON(w.Filter)
	return q, err
}

// Start returns where the subscription begins; explicit reports whether the client said so. It may block.
func (w *Wanted) Start(ctx context.Context, h *hub.Hub) (after tidings.Position, explicit bool, err error) {
	switch {
	case w.After != nil:
		return *w.After, true, nil
	case w.Since == "":
		return h.Head(), false, nil
	}
	t, err := ParseTime(w.Since)
	if err != nil {
		return after, true, tidings.Errorf(tidings.ErrInvalid, "since %q is no time such as 2026-01-31T12:00:00Z", w.Since)
	}
	after, err = AtTime(ctx, h, t)
	return after, true, err
}

// Patterns returns the patterns of a subscription. Errors are of kind tidings.ErrInvalid.
func Patterns(topics []string, max int) ([]tidings.Pattern, error) {
	if len(topics) == 0 {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the subscription names no topic: want one such as /news or a pattern such as /recentchange/*")
	}
	if len(topics) > max {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the subscription names %d topics and may name %d", len(topics), max)
	}
	ps := make([]tidings.Pattern, len(topics))
	for i, t := range topics {
		var err error
		if ps[i], err = tidings.ParsePattern(t); err != nil {
			return nil, err
		}
	}
	return tidings.Patterns(ps...), nil
}

// FilterJSON returns the filter that a JSON value stands for; see Wanted. Nothing and null stand for none. Errors are of
// kind tidings.ErrInvalid.
func FilterJSON(raw json.RawMessage) (hub.Filter, error) {
	q, err := FilterQuery(raw)
	if err != nil {
		return nil, err
	}
	return Filter(q)
}

// FilterQuery returns the query string that asks for the same as the JSON value; see Filter.
func FilterQuery(raw json.RawMessage) (url.Values, error) {
	q := url.Values{}
	var parts []json.RawMessage
	switch {
	case len(raw) == 0 || raw[0] == 'n':
	case raw[0] == '[':
		if err := json.Unmarshal(raw, &parts); err != nil {
			return nil, errFilter
		}
	default:
		parts = []json.RawMessage{raw}
	}
	objects := 0
	for _, part := range parts {
		switch part[0] {
		case '"':
			var text string
			if err := json.Unmarshal(part, &text); err != nil {
				return nil, errFilter
			}
			q.Add("filter", text)
		case '{':
			if objects++; objects > 1 {
				return nil, errFilter
			}
			if err := addFields(q, part); err != nil {
				return nil, err
			}
		default:
			return nil, errFilter
		}
	}
	return q, nil
}

var errFilter = tidings.Errorf(tidings.ErrInvalid, "the filter is neither an expression nor an object of fields such as {\"wiki\":\"enwiki\"}, nor a list of expressions and one object")

// addFields adds the members of an object, each a value or a list of alternatives.
func addFields(q url.Values, raw json.RawMessage) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return errFilter
	}
	for name, value := range object {
		if slices.Contains(reserved, name) {
			return tidings.Errorf(tidings.ErrInvalid, "the field %q cannot be filtered by its name: use an expression", name)
		}
		values := []json.RawMessage{value}
		if value[0] == '[' {
			values = nil
			if err := json.Unmarshal(value, &values); err != nil {
				return errFilter
			}
		}
		q[name] = []string{}
		for _, v := range values {
			text := string(v) // a number or a boolean, which compare as text
			switch v[0] {
			case '"':
				if err := json.Unmarshal(v, &text); err != nil {
					return errFilter
				}
			case '{', '[', 'n':
				return tidings.Errorf(tidings.ErrInvalid, "the filter's field %q is no text, number, boolean or list of them", name)
			}
			q.Add(name, text)
		}
	}
	return nil
}
