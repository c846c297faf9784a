package recentchange

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonDecoder reads one object. It is used again, for its buffers.
type jsonDecoder struct {
	in      bytes.Buffer
	dec     *jsontext.Decoder
	text    strings.Builder // holds every string of the change; never grows, so that they stay where they are
	scratch []byte
}

var jsonDecoders = sync.Pool{New: func() any { return &jsonDecoder{dec: jsontext.NewDecoder(&bytes.Buffer{})} }}

func (rc *RecentChange) decodeJSON(body []byte) error {
	return decodeObject(body, func(d *jsonDecoder) error { return d.event(rc) })
}

// decodeObject calls read with a decoder that stands at the beginning of body.
func decodeObject(body []byte, read func(*jsonDecoder) error) error {
	d := jsonDecoders.Get().(*jsonDecoder)
	d.in = *bytes.NewBuffer(body)
	d.dec.Reset(&d.in)
	d.text.Grow(len(body)) // no string is longer than its JSON form
	err := read(d)
	d.in, d.text = bytes.Buffer{}, strings.Builder{}
	d.dec.Reset(&d.in)
	jsonDecoders.Put(d)
	return err
}

// event reads the whole input as one event.
func (d *jsonDecoder) event(rc *RecentChange) error {
	return d.object(func(name []byte) error {
		f, known := fieldOf(name)
		var err error
		if known {
			err = d.known(rc, f)
		} else {
			err = d.extra(rc, name)
			f = fExtra + field(len(rc.Extra)-1)
		}
		if err != nil {
			return err
		}
		if f != fMeta && f != fSchema && rc.orderLen < maxOrder {
			rc.order[rc.orderLen] = uint8(f)
			rc.orderLen++
		}
		return nil
	})
}

// object reads the whole input as one object. It calls member for each name, which is good until the next read; member
// reads the value.
func (d *jsonDecoder) object(member func(name []byte) error) error {
	if d.dec.PeekKind() != '{' {
		if _, err := d.dec.ReadValue(); err != nil {
			return jsonError(err)
		}
		return fail(Malformed, "it is JSON and no object")
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	for members := 0; d.dec.PeekKind() != '}'; members++ {
		if members == MaxMembers {
			return fail(TooDeep, "it has more than %d members", MaxMembers)
		}
		raw, err := d.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		name := raw[1 : len(raw)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			if d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], raw); err != nil {
				return jsonError(err)
			}
			name = d.scratch
		}
		if err := member(name); err != nil {
			return err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	switch _, err := d.dec.ReadToken(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return jsonError(err)
	}
	return fail(Malformed, "there is more after the object")
}

// jsonError tells a payload that was cut from one that is wrong.
func jsonError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fail(Truncated, "the JSON ends too early")
	}
	if errors.As(err, &syntax) {
		if msg := syntax.Err.Error(); strings.Contains(msg, "UTF-8") || strings.Contains(msg, "surrogate") {
			return fail(InvalidUTF8, "invalid UTF-8 or half of a surrogate pair at byte %d", syntax.ByteOffset)
		}
		return fail(Malformed, "%v at byte %d", syntax.Err, syntax.ByteOffset)
	}
	return fail(Malformed, "%v", err)
}

// known reads the value of a field of the model.
func (d *jsonDecoder) known(rc *RecentChange, f field) error {
	if f == fMeta {
		return d.meta(rc)
	}
	if p := rc.pair(f); p != nil {
		return d.pair(f, p)
	}
	v, err := d.dec.ReadValue()
	if err != nil {
		return jsonError(err)
	}
	if p := rc.text(f); p != nil {
		switch v.Kind() {
		case '"':
			s, err := d.string(v)
			if err != nil {
				return err
			}
			*p = Some(s)
		case 'n':
			*p = Null[string]()
		case '0': // a title or a name that PHP took for a number
			*p = Some(d.keep(v))
		default:
			return badField(f)
		}
		return nil
	}
	if p := rc.number(f); p != nil {
		n, err := number(f, v)
		*p = n
		return err
	}
	if p := rc.flag(f); p != nil {
		switch string(v) {
		case "true", "1":
			*p = Some(true)
		case "false", "0":
			*p = Some(false)
		case "null":
			*p = Null[bool]()
		default:
			return badField(f)
		}
		return nil
	}
	switch f {
	case fType:
		switch v.Kind() {
		case '"':
			if rc.Type, err = d.typeName(v); err != nil {
				return err
			}
		case '0':
			rc.Type = d.keep(v)
		case 'n':
		default:
			return badField(f)
		}
	case fLogParams:
		if v.Kind() == 'n' {
			rc.LogParams = Null[JSON]()
			return nil
		}
		j, err := d.value(v)
		rc.LogParams = Some(j)
		return err
	}
	return nil // $schema: ours is written instead
}

// typeName returns the text of a type without a copy for those of core.
func (d *jsonDecoder) typeName(v jsontext.Value) (string, error) {
	switch string(v) {
	case `"edit"`:
		return Edit, nil
	case `"new"`:
		return New, nil
	case `"log"`:
		return Log, nil
	case `"categorize"`:
		return Categorize, nil
	}
	return d.string(v)
}

func badField(f field) error {
	return fail(BadField, "the field %s has a value of the wrong type", fieldNames[f])
}

// number accepts a decimal integer, bare or as a string (MediaWiki passes some on as its database returns them).
func number(f field, v jsontext.Value) (Opt[int64], error) {
	switch v.Kind() {
	case 'n':
		return Null[int64](), nil
	case '"':
		v = v[1 : len(v)-1]
	}
	if n, ok := decimalBytes(v); ok {
		return Some(n), nil
	}
	return Opt[int64]{}, badField(f)
}

// decimalBytes is strconv.ParseInt for bytes and base 10; the usual case does not allocate.
func decimalBytes(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		n, err := strconv.ParseInt(string(b), 10, 64)
		return n, err == nil
	}
	digits := b
	if b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if b[0] == '-' {
		n = -n
	}
	return n, true
}

// pair reads length or revision.
func (d *jsonDecoder) pair(f field, p *Opt[Pair]) error {
	switch d.dec.PeekKind() {
	case '{':
	case 'n':
		*p = Null[Pair]()
		fallthrough
	default:
		if _, err := d.dec.ReadValue(); err != nil {
			return jsonError(err)
		}
		if p.IsNull() {
			return nil
		}
		return badField(f)
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	var pr Pair
	for d.dec.PeekKind() != '}' {
		name, err := d.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		var at *Opt[int64]
		switch string(name) {
		case `"old"`:
			at = &pr.Old
		case `"new"`:
			at = &pr.New
		default:
			return badField(f)
		}
		v, err := d.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		if *at, err = number(f, v); err != nil {
			return err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	*p = Some(pr)
	return nil
}

// meta reads what names the event upstream.
func (d *jsonDecoder) meta(rc *RecentChange) error {
	if d.dec.PeekKind() != '{' {
		if _, err := d.dec.ReadValue(); err != nil {
			return jsonError(err)
		}
		return fail(BadField, "the field meta has a value of the wrong type")
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	m := new(Meta)
	for d.dec.PeekKind() != '}' {
		name, err := d.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		var at *string
		var dt string
		var offset bool
		switch string(name) {
		case `"uri"`:
			at = &m.URI
		case `"request_id"`:
			at = &m.RequestID
		case `"id"`:
			at = &m.ID
		case `"domain"`:
			at = &m.Domain
		case `"stream"`:
			at = &m.Stream
		case `"topic"`:
			at = &m.Topic
		case `"dt"`:
			at = &dt
		case `"offset"`:
			offset = true
		}
		v, err := d.dec.ReadValue()
		if err != nil {
			return jsonError(err)
		}
		switch {
		case at != nil && v.Kind() == '"':
			if *at, err = d.string(v); err != nil {
				return err
			}
			if at == &dt {
				m.Time, _ = time.Parse(time.RFC3339Nano, dt) // the change has a timestamp of its own
			}
		case offset:
			m.Offset, _ = strconv.ParseUint(string(v), 10, 64)
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return jsonError(err)
	}
	rc.Meta = m
	return nil
}

// extra reads a member that the model does not know.
func (d *jsonDecoder) extra(rc *RecentChange, name []byte) error {
	m := Member{Name: d.keep(name)}
	v, err := d.dec.ReadValue()
	if err != nil {
		return jsonError(err)
	}
	if m.Value, err = d.value(v); err != nil {
		return err
	}
	rc.Extra = append(rc.Extra, m)
	return nil
}

// keep stores b with the other text of the change.
func (d *jsonDecoder) keep(b []byte) string {
	if d.text.Cap()-d.text.Len() < len(b) {
		return string(b)
	}
	start := d.text.Len()
	d.text.Write(b)
	return d.text.String()[start:]
}

// string returns the text of a JSON string.
func (d *jsonDecoder) string(v jsontext.Value) (string, error) {
	if bytes.IndexByte(v, '\\') < 0 {
		return d.keep(v[1 : len(v)-1]), nil
	}
	var err error
	if d.scratch, err = jsontext.AppendUnquote(d.scratch[:0], v); err != nil {
		return "", jsonError(err)
	}
	return d.keep(d.scratch), nil
}

// value returns a copy of v without white space between its tokens.
func (d *jsonDecoder) value(v jsontext.Value) (JSON, error) {
	depth, maxDepth, blank := 0, 0, false
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			for i++; v[i] != '"'; i++ { // v is valid: the string ends
				if v[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			maxDepth = max(maxDepth, depth)
		case '}', ']':
			depth--
		case ' ', '\t', '\r', '\n':
			blank = true
		}
	}
	if maxDepth > MaxDepth-1 {
		return "", fail(TooDeep, "values are nested more than %d deep", MaxDepth)
	}
	if blank {
		v = bytes.Clone(v)
		if err := v.Compact(); err != nil {
			return "", jsonError(err)
		}
	}
	return JSON(d.keep(v)), nil
}

// scalar returns the text of a JSON string, number or boolean.
func scalar(j JSON) (string, bool) {
	switch jsontext.Value(j).Kind() {
	case '"':
		b, err := jsontext.AppendUnquote(nil, string(j))
		return string(b), err == nil
	case '0', 't', 'f':
		return string(j), true
	}
	return "", false
}

// appendString appends s as a JSON string. Invalid UTF-8, which only a program can have put there, becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	dst, _ = jsontext.AppendQuote(dst, s) // fails on invalid UTF-8 only
	return dst
}
