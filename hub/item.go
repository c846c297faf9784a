package hub

import (
	"bytes"
	"encoding/json"
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
	json    any               // the JSON payload, when first asked for
	parsed  bool
	memos   map[string]memo
}

type memo struct {
	v  any
	ok bool
}

// Memo returns what find returns for the name, which it is asked for once: several filters look at the same event.
func (it *Item) Memo(name string, find func(it *Item, name string) (any, bool)) (any, bool) {
	m, seen := it.memos[name]
	if !seen {
		m.v, m.ok = find(it, name)
		if it.memos == nil {
			it.memos = make(map[string]memo, 8)
		}
		it.memos[name] = m
	}
	return m.v, m.ok
}

// NewItem returns the event with what decode, which may be nil, makes of it; see Options.Decode.
func NewItem(e *tidings.Event, decode func(*tidings.Event) any) *Item {
	return &Item{Event: e, decode: decode}
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
		if it.isJSON() {
			jsonFields(it.fields, it.Payload)
		}
	}
	v, ok := it.fields[name]
	return v, ok
}

// JSON returns the payload as encoding/json does, if it is JSON. It is parsed once.
func (it *Item) JSON() (v any, ok bool) {
	if !it.parsed {
		it.parsed = true
		if !it.isJSON() || json.Unmarshal(it.Payload, &it.json) != nil {
			it.json = nil
		}
	}
	return it.json, it.json != nil
}

func (it *Item) isJSON() bool {
	t, _, err := mime.ParseMediaType(it.ContentType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
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
