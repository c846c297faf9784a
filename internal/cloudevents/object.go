package cloudevents

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// object is a CloudEvent in the JSON event format, its members in the order they came. The values share the bytes they
// were read from.
type object struct {
	members []member
}

type member struct {
	name  string
	value jsontext.Value
}

// readObject reads one JSON object; null members are as good as none (JSON event format, section 2.2).
func readObject(src []byte) (object, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(src))
	if tok, err := d.ReadToken(); err != nil || tok.Kind() != '{' {
		return object{}, invalid("want a JSON object", err)
	}
	var o object
	for d.PeekKind() == '"' {
		tok, err := d.ReadToken()
		if err != nil {
			return object{}, invalid("reading a member", err)
		}
		name := tok.String()
		value, err := d.ReadValue()
		if err != nil {
			return object{}, invalid("reading the member "+shorten(name), err)
		}
		if value.Kind() != 'n' {
			o.members = append(o.members, member{name, value.Clone()})
		}
		if len(o.members) > maxMembers {
			return object{}, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent has more than %d attributes", maxMembers)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return object{}, invalid("reading the object", err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return object{}, tidings.Errorf(tidings.ErrInvalid, "there is something behind the CloudEvent")
	}
	return o, nil
}

const maxMembers = 100

func invalid(doing string, err error) error {
	if err == nil {
		return tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: %s", doing)
	}
	return tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: %s: %s", doing, strings.TrimPrefix(err.Error(), "jsontext: "))
}

func (o object) get(name string) jsontext.Value {
	for _, m := range o.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// text returns the string that a member is, or "".
func (o object) text(name string) string {
	v := o.get(name)
	if v.Kind() != '"' {
		return ""
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(b)
}

// check reports what is wrong with the attributes (CloudEvents sections 2 and 3).
func (o object) check() error {
	bad := func(format string, args ...any) error {
		return tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: "+format, args...)
	}
	if v := o.text("specversion"); v != SpecVersion {
		return bad("its specversion is %q, not %q", shorten(v), SpecVersion)
	}
	for _, m := range o.members {
		if m.name == "data" || m.name == "data_base64" {
			continue
		}
		if !attributeName(m.name) {
			return bad("%q is not the name of an attribute: want a-z and 0-9", shorten(m.name))
		}
		if k := m.value.Kind(); k == '{' || k == '[' {
			return bad("the attribute %s is neither a string nor a number nor a boolean", shorten(m.name))
		}
	}
	for _, name := range []string{"id", "source", "type", "subject", "dataschema", "datacontenttype", "time"} {
		v := o.get(name)
		if v == nil && name != "id" && name != "source" && name != "type" {
			continue
		}
		if v.Kind() != '"' || len(v) == len(`""`) {
			return bad("the attribute %s has to be a string that is not empty", name)
		}
	}
	if s := o.text("time"); s != "" {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return bad("the time %q is not one of RFC 3339", shorten(s))
		}
	}
	if b := o.get("data_base64"); b != nil {
		if o.get("data") != nil {
			return bad("it has both data and data_base64")
		}
		if _, err := base64.StdEncoding.DecodeString(o.text("data_base64")); err != nil || b.Kind() != '"' {
			return bad("its data_base64 is not base64")
		}
	}
	return nil
}

func attributeName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// appendMembers appends the object without its end, and without the extensions that are the server's to set.
func (o object) appendMembers(dst []byte) []byte {
	dst = append(dst, '{')
	first := true
	for _, m := range o.members {
		if m.name == "position" || m.name == "topic" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, m.name)
		dst = append(dst, ':')
		// The value was read by a stricter reader, so this cannot fail.
		dst, _ = appendJSON(dst, m.value)
	}
	return dst
}

// isStructured reports whether a payload of the type is one CloudEvent in JSON.
func isStructured(contentType string) bool {
	const n = len(ContentType)
	return len(contentType) >= n && (len(contentType) == n || contentType[n] == ';' || contentType[n] == ' ') && strings.EqualFold(contentType[:n], ContentType)
}

// appendForwarded appends the CloudEvent that data are, with the extensions of the event; false if they are none.
func appendForwarded(dst []byte, e *tidings.Event, data []byte) ([]byte, bool) {
	o, err := readObject(data)
	if err != nil || o.check() != nil {
		return dst, false
	}
	return appendExtensions(o.appendMembers(dst), e), true
}

// shorten cuts what somebody sent to a length that fits a message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
