package pubsub

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// SubOptions are the options of a subscription (XEP-0060 sections 6.3 and 16.4.3). A *SubOptions that the Service has
// returned is shared and must not be changed.
type SubOptions struct {
	Deliver     bool // false pauses the subscription
	Digest      bool // items that wait for the subscriber come in one message, as many as fit
	IncludeBody bool // messages have a body besides
	// ShowValues are the values of presence's show for which the subscriber wants notifications; nil for any. What a
	// subscriber's presence is, only the stanza layer can know.
	ShowValues []string
	// Type is items, or nodes for who wants no items, but to be told of what becomes of the nodes.
	Type string
	// Expires is when the subscription ends by itself (a lease, section 12.18), to the second; zero for never.
	Expires time.Time
}

var builtinOptions = SubOptions{Deliver: true, Type: "items"}

// showValues are those of RFC 6121 section 4.7.2.1, and online for a presence without one.
var showValues = []string{"away", "chat", "dnd", "online", "xa"}

var optionFields = []field[SubOptions]{
	boolField("deliver", "Whether to receive notifications", func(o *SubOptions) *bool { return &o.Deliver }),
	boolField("digest", "Whether to receive several notifications in one where several wait", func(o *SubOptions) *bool { return &o.Digest }),
	{name: "expire", kind: "text-single", label: "When the subscription ends (a time of XEP-0082)",
		get: func(o *SubOptions) []string {
			if o.Expires.IsZero() {
				return nil
			}
			return []string{o.Expires.UTC().Format(time.RFC3339)}
		},
		set: func(o *SubOptions, values []string) error {
			if len(values) == 0 || len(values) == 1 && values[0] == "" {
				o.Expires = time.Time{}
				return nil
			}
			v, err := one("expire", values)
			if err != nil {
				return err
			}
			if v == "presence" {
				return invalidValue("expire", "this service knows no presence: give a time")
			}
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return invalidValue("expire", "%.40q is no time such as 2026-02-28T23:59:59Z", v)
			}
			o.Expires = t.UTC().Truncate(time.Second)
			return nil
		}},
	boolField("include_body", "Whether messages have a body as well", func(o *SubOptions) *bool { return &o.IncludeBody }),
	{name: "show-values", kind: "list-multi", label: "The presence states for which to receive notifications", options: showValues,
		get: func(o *SubOptions) []string {
			if o.ShowValues == nil {
				return showValues
			}
			return o.ShowValues
		},
		set: func(o *SubOptions, values []string) error {
			set := slices.Compact(slices.Sorted(slices.Values(values)))
			for _, v := range set {
				if !slices.Contains(showValues, v) {
					return invalidValue("show-values", "%.40q is none of %s", v, strings.Join(showValues, ", "))
				}
			}
			if o.ShowValues = set; len(set) == 0 || len(set) == len(showValues) {
				o.ShowValues = nil
			}
			return nil
		}},
	listField("subscription_type", "Whether to receive items, or news of nodes only", func(o *SubOptions) *string { return &o.Type }, "items", "nodes"),
}

// Fields returns the form of the options.
func (o *SubOptions) Fields() []Field {
	out := make([]Field, 0, len(optionFields))
	for i := range optionFields {
		out = append(out, optionFields[i].show(o))
	}
	return out
}

// Set changes the options by the fields of a form; the others stay. Errors are of type *Error with the condition
// bad-request and invalid-options (section 6.3.6.2); o is then changed in part.
func (o *SubOptions) Set(values Values) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := fieldNamed(optionFields, name)
		if f == nil {
			return errorf(BadRequest, InvalidOptions, "there is no option %.60q of a subscription", name)
		}
		if err := f.set(o, values[name]); err != nil {
			return errorf(BadRequest, InvalidOptions, "%v", err)
		}
	}
	return nil
}

// text returns the options without the lease, in the form in which they are stored: "" for the built-in ones.
func (o *SubOptions) text() string {
	if o == nil {
		return ""
	}
	var parts []string
	if !o.Deliver {
		parts = append(parts, "paused")
	}
	if o.Digest {
		parts = append(parts, "digest")
	}
	if o.IncludeBody {
		parts = append(parts, "body")
	}
	if o.Type == "nodes" {
		parts = append(parts, "nodes")
	}
	if o.ShowValues != nil {
		parts = append(parts, "show="+strings.Join(o.ShowValues, ","))
	}
	return strings.Join(parts, " ")
}

// parseOptions is the inverse of text. Words that it does not know are passed over.
func parseOptions(s string) SubOptions {
	o := builtinOptions
	for word := range strings.FieldsSeq(s) {
		switch show, ok := strings.CutPrefix(word, "show="); {
		case ok:
			_ = optionFields[4].set(&o, strings.Split(show, ","))
		case word == "paused":
			o.Deliver = false
		case word == "digest":
			o.Digest = true
		case word == "body":
			o.IncludeBody = true
		case word == "nodes":
			o.Type = "nodes"
		}
	}
	return o
}
