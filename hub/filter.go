package hub

import (
	"net/url"
	"slices"
	"strings"

	"tidings"
)

// Filter says which events of a query's topics are wanted.
type Filter interface {
	// String returns the canonical text, equal for filters that let the same events pass.
	String() string
	Match(*Item) bool
}

// Limits of a filter.
const (
	MaxFilterFields = 16   // different field names
	MaxFilterValues = 256  // values, all fields together
	MaxFilterBytes  = 4096 // names and values
)

// FieldFilter lets an event pass whose every named field has one of the values given for it. Values compare as text:
// numbers in decimal, booleans as true and false. An event without the field does not pass.
type FieldFilter struct {
	fields []fieldValues
	text   string
}

type fieldValues struct {
	name   string
	values []string
}

// NewFieldFilter returns a filter for the fields, nil if there are none. Errors are of kind tidings.ErrInvalid.
func NewFieldFilter(fields map[string][]string) (Filter, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	if len(fields) > MaxFilterFields {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter names %d fields and may name %d", len(fields), MaxFilterFields)
	}
	f := &FieldFilter{}
	canon := url.Values{}
	values, size := 0, 0
	for name, vs := range fields {
		vs = slices.Clone(vs)
		slices.Sort(vs)
		vs = slices.Compact(vs)
		f.fields = append(f.fields, fieldValues{name, vs})
		canon[name] = vs
		values += len(vs)
		for _, v := range vs {
			size += len(name) + len(v)
		}
	}
	if values > MaxFilterValues {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter has %d values and may have %d", values, MaxFilterValues)
	}
	if size > MaxFilterBytes {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter has %d bytes and may have %d", size, MaxFilterBytes)
	}
	slices.SortFunc(f.fields, func(a, b fieldValues) int { return strings.Compare(a.name, b.name) })
	f.text = canon.Encode()
	return f, nil
}

// String returns the fields as a sorted query string.
func (f *FieldFilter) String() string { return f.text }

// Match reports whether the event passes.
func (f *FieldFilter) Match(it *Item) bool {
	for _, fv := range f.fields {
		v, ok := it.Field(fv.name)
		if !ok || !slices.Contains(fv.values, v) {
			return false
		}
	}
	return true
}

// All returns a filter that lets an event pass which every one of the filters does; nils among them are left out, and nil
// is returned if nothing is left.
func All(filters ...Filter) Filter {
	var all allOf
	for _, f := range filters {
		if f != nil {
			all = append(all, f)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	slices.SortFunc(all, func(a, b Filter) int { return strings.Compare(a.String(), b.String()) })
	return all
}

type allOf []Filter

func (a allOf) String() string {
	texts := make([]string, len(a))
	for i, f := range a {
		texts[i] = f.String()
	}
	return strings.Join(texts, "\n")
}

func (a allOf) Match(it *Item) bool {
	for _, f := range a {
		if !f.Match(it) {
			return false
		}
	}
	return true
}
