package outlet

import (
	"context"
	"encoding/json"

	"tidings"
	"tidings/hub"
	"tidings/hub/expression"
)

// Wanted is a subscription as clients of the protocols that speak JSON write it.
type Wanted struct {
	// Topics are topics or patterns.
	Topics []string `json:"topics"`
	// Filter is an expression (package hub/expression), an object of fields, each with a value or a list of
	// alternatives, or a list of both, all of which have to let an event pass.
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
	return filterJSON(raw, true)
}

func filterJSON(raw json.RawMessage, lists bool) (hub.Filter, error) {
	var first byte
	if len(raw) > 0 {
		first = raw[0]
	}
	switch {
	case first == 0 || first == 'n':
		return nil, nil
	case first == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			break
		}
		return expression.Compile(text)
	case first == '{':
		return fieldsJSON(raw)
	case first == '[' && lists:
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) != nil {
			break
		}
		if len(all) > maxExpressions {
			return nil, tidings.Errorf(tidings.ErrInvalid, "there are %d filters and may be %d", len(all), maxExpressions)
		}
		var filters []hub.Filter
		for _, one := range all {
			f, err := filterJSON(one, false)
			if err != nil {
				return nil, err
			}
			filters = append(filters, f)
		}
		return hub.All(filters...), nil
	}
	return nil, tidings.Errorf(tidings.ErrInvalid, "the filter is neither an expression nor an object of fields such as {\"wiki\":\"enwiki\"}")
}

// fieldsJSON returns the filter for an object of fields.
func fieldsJSON(raw json.RawMessage) (hub.Filter, error) {
	var object map[string]json.RawMessage
	invalid := func(name string) error {
		return tidings.Errorf(tidings.ErrInvalid, "the filter's field %q is no text, number, boolean or list of them", name)
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, invalid("")
	}
	fields := map[string][]string{}
	for name, value := range object {
		values := []json.RawMessage{value}
		if value[0] == '[' {
			values = nil
			if err := json.Unmarshal(value, &values); err != nil {
				return nil, invalid(name)
			}
		}
		for _, v := range values {
			text := string(v) // a number or a boolean, which compare as text
			switch v[0] {
			case '"':
				if err := json.Unmarshal(v, &text); err != nil {
					return nil, invalid(name)
				}
			case '{', '[', 'n':
				return nil, invalid(name)
			}
			fields[name] = append(fields[name], text)
		}
	}
	return hub.NewFieldFilter(fields)
}
