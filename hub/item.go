package hub

import (
	"bytes"
	"mime"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// Item is an event on its way to readers, with what its payload means. One goroutine at a time may use it.
type Item struct {
	*tidings.Event
	decode  func(*tidings.Event) any
	value   any
	decoded bool
	fields  map[string]string // of a JSON payload, when first asked for
}

// Value returns what Options.Decode returned for the event, nil if nothing. It is asked once.
func (it *Item) Value() any {
	if !it.decoded {
		it.decoded = true
		if it.decode != nil {
			it.value = it.decode(it.Event)
		}
	}
	return it.value
}

// Field returns the text of a field of the payload; fields inside objects are named with dots, such as length.new.
func (it *Item) Field(name string) (string, bool) {
	if v, ok := it.Value().(interface{ Field(string) (string, bool) }); ok {
		return v.Field(name)
	}
	if it.fields == nil {
		it.fields = map[string]string{}
		if t, _, err := mime.ParseMediaType(it.ContentType); err == nil && (t == "application/json" || strings.HasSuffix(t, "+json")) {
			jsonFields(it.fields, it.Payload)
		}
	}
	v, ok := it.fields[name]
	return v, ok
}

// Limits of what filters see of a JSON payload; beyond them a field is absent.
const (
	maxFields     = 256
	maxFieldDepth = 4
)

// jsonFields collects the scalars of an object. A payload that is not a JSON object has no fields.
func jsonFields(fields map[string]string, payload []byte) {
	d := jsontext.NewDecoder(bytes.NewReader(payload), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return
	}
	objectFields(fields, d, "", 1)
}

// objectFields reports whether it read a whole object.
func objectFields(fields map[string]string, d *jsontext.Decoder, prefix string, depth int) bool {
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	for d.PeekKind() != '}' {
		tok, err := d.ReadToken()
		if err != nil {
			return false
		}
		name := prefix + tok.String()
		switch k := d.PeekKind(); {
		case k == '{' && depth < maxFieldDepth:
			if !objectFields(fields, d, name+".", depth+1) {
				return false
			}
		case k == '{' || k == '[' || k == 'n':
			if d.SkipValue() != nil {
				return false
			}
		default:
			tok, err := d.ReadToken()
			if err != nil {
				return false
			}
			if len(fields) < maxFields {
				fields[name] = tok.String()
			}
		}
	}
	_, err := d.ReadToken()
	return err == nil
}
