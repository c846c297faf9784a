package pubsub

import (
	"slices"
	"strconv"
	"strings"
)

// Field is one field of a data form (XEP-0004) as the model states it: the stanza layer adds FORM_TYPE and the element.
type Field struct {
	Var     string // with its prefix, such as pubsub#title
	Type    string // of XEP-0004 section 3.3: boolean, text-single, text-multi, list-single, list-multi, jid-multi
	Label   string
	Values  []string
	Options []string // of a list: the values it may have, those only that this service supports
}

// Values are what a form that was sent says, by field. FORM_TYPE is left out. A field without a value is there with none.
type Values map[string][]string

// field is one field of a form for values of type T.
type field[T any] struct {
	name, kind, label string
	options           []string
	get               func(*T) []string
	set               func(*T, []string) error
}

func (f *field[T]) show(v *T) Field {
	return Field{Var: "pubsub#" + f.name, Type: f.kind, Label: f.label, Values: f.get(v), Options: f.options}
}

// fieldNamed finds a field by its name with or without the prefix.
func fieldNamed[T any](fields []field[T], name string) *field[T] {
	name = strings.TrimPrefix(name, "pubsub#")
	i := slices.IndexFunc(fields, func(f field[T]) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

func invalidValue(name, format string, args ...any) error {
	return errorf(NotAcceptable, "", "pubsub#"+name+": "+format, args...)
}

func one(name string, values []string) (string, error) {
	if len(values) != 1 {
		return "", invalidValue(name, "want one value, not %d", len(values))
	}
	return values[0], nil
}

// parseBool takes the lexical forms of xs:boolean (XEP-0004 section 3.3).
func parseBool(name string, values []string) (bool, error) {
	v, err := one(name, values)
	switch {
	case err != nil:
		return false, err
	case v == "1" || v == "true":
		return true, nil
	case v == "0" || v == "false":
		return false, nil
	}
	return false, invalidValue(name, "%.20q is neither true nor false", v)
}

func showBool(b bool) []string {
	if b {
		return []string{"1"}
	}
	return []string{"0"}
}

func boolField[T any](name, label string, at func(*T) *bool) field[T] {
	return field[T]{name: name, kind: "boolean", label: label,
		get: func(v *T) []string { return showBool(*at(v)) },
		set: func(v *T, values []string) (err error) { *at(v), err = parseBool(name, values); return err }}
}

// neverField is a boolean that this service does not offer as true.
func neverField[T any](name, label, why string) field[T] {
	return field[T]{name: name, kind: "boolean", label: label,
		get: func(*T) []string { return []string{"0"} },
		set: func(_ *T, values []string) error {
			b, err := parseBool(name, values)
			if err == nil && b {
				err = invalidValue(name, "%s", why)
			}
			return err
		}}
}

func textField[T any](name, label string, max int, at func(*T) *string) field[T] {
	return field[T]{name: name, kind: "text-single", label: label,
		get: func(v *T) []string {
			if *at(v) == "" {
				return nil
			}
			return []string{*at(v)}
		},
		set: func(v *T, values []string) error {
			if len(values) == 0 {
				*at(v) = ""
				return nil
			}
			s, err := one(name, values)
			if err == nil && (len(s) > max || !validText(s)) {
				err = invalidValue(name, "want text of at most %d bytes without control characters", max)
			}
			if err == nil {
				*at(v) = s
			}
			return err
		}}
}

func listField[T any, V ~string](name, label string, at func(*T) *V, options ...V) field[T] {
	f := field[T]{name: name, kind: "list-single", label: label, get: func(v *T) []string { return []string{string(*at(v))} }}
	for _, o := range options {
		f.options = append(f.options, string(o))
	}
	f.set = func(v *T, values []string) error {
		s, err := one(name, values)
		if err == nil && !slices.Contains(f.options, s) {
			err = invalidValue(name, "%.40q is none of %s", s, strings.Join(f.options, ", "))
		}
		if err == nil {
			*at(v) = V(s)
		}
		return err
	}
	return f
}

// numberField is a whole number from 1 up, or the word max, which is kept as 0.
func numberField[T any](name, label string, at func(*T) *int) field[T] {
	return field[T]{name: name, kind: "text-single", label: label,
		get: func(v *T) []string {
			if *at(v) == 0 {
				return []string{"max"}
			}
			return []string{strconv.Itoa(*at(v))}
		},
		set: func(v *T, values []string) error {
			s, err := one(name, values)
			if err != nil {
				return err
			}
			if s == "max" {
				*at(v) = 0
				return nil
			}
			n, err := strconv.ParseUint(s, 10, 31)
			if err != nil || n == 0 {
				return invalidValue(name, "%.20q is neither a number from 1 up nor max", s)
			}
			*at(v) = int(n)
			return nil
		}}
}

// validText reports whether s has no control characters but tab and line ends, and can be in XML.
func validText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff || r == 0xfffd
	})
}
