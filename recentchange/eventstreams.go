package recentchange

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Schema is the $schema of the events that AppendEventStreams writes.
const Schema = "/mediawiki/recentchange/1.0.0"

// DefaultStream is the full name of the stream.
const DefaultStream = "mediawiki.recentchange"

// Meta is the member meta of an EventStreams event.
type Meta struct {
	URI       string
	RequestID string
	ID        string // a UUID
	Domain    string
	Stream    string
	Topic     string
	Partition int
	Offset    uint64
	Time      time.Time // dt
}

// AppendEventStreams appends the change as one EventStreams event, a JSON object on one line: $schema, meta, and the
// fields in the order in which they were received, those that are null left out at any depth.
//
// The members of meta come from m; where m is empty, from the received event's own meta; else from the change: id is a
// UUID (RFC 9562 section 5.5) of Key or, where that is empty, of Topic and Offset, uri the page's address, domain the
// server's name, dt the change's timestamp, stream DefaultStream. request_id is left out if nobody gave one, and topic,
// partition and offset if m has no Topic.
func (rc *RecentChange) AppendEventStreams(dst []byte, m Meta) []byte {
	up := rc.Meta
	if up == nil {
		up = new(Meta)
	}
	dst = append(dst, `{"$schema":"`+Schema+`","meta":{"uri":"`...)
	switch {
	case m.URI != "":
		dst = appendMeta(dst[:len(dst)-1], m.URI)
	case up.URI != "":
		dst = appendMeta(dst[:len(dst)-1], up.URI)
	default:
		mark := len(dst)
		if dst = rc.appendURI(dst); bytes.ContainsAny(dst[mark:], "\"\\") || !printable(dst[mark:]) {
			uri := string(dst[mark:])
			dst = appendMeta(dst[:mark-1], uri)
		} else {
			dst = append(dst, '"')
		}
	}
	if id := first(m.RequestID, up.RequestID); id != "" {
		dst = appendMeta(append(dst, `,"request_id":`...), id)
	}
	dst = append(dst, `,"id":`...)
	if id := first(m.ID, up.ID); id != "" {
		dst = appendMeta(dst, id)
	} else {
		dst = append(rc.appendUUID(append(dst, '"'), m), '"')
	}
	dst = append(dst, `,"dt":"`...)
	dt := m.Time
	if dt.IsZero() {
		dt = up.Time
	}
	if dt.IsZero() {
		dt = rc.Time()
	}
	dst = append(appendTime(dst, dt), '"')
	if domain := first(m.Domain, up.Domain, rc.ServerName.Value()); domain != "" {
		dst = appendMeta(append(dst, `,"domain":`...), domain)
	}
	dst = appendMeta(append(dst, `,"stream":`...), first(m.Stream, up.Stream, DefaultStream))
	if m.Topic != "" {
		dst = appendMeta(append(dst, `,"topic":`...), m.Topic)
		dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(m.Partition), 10)
		dst = strconv.AppendUint(append(dst, `,"offset":`...), m.Offset, 10)
	}
	dst = append(dst, '}')
	w := writer{dst: dst}
	w.fields(rc)
	return append(w.dst, '}')
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

// appendMeta appends s as a JSON string; most of those in meta need no escape.
func appendMeta(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return appendString(dst, s)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// appendTime appends t in UTC as RFC 3339 with seconds, and milliseconds if there are any.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Nanosecond() >= int(time.Millisecond) {
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05Z")
}

// uuidSpace is the name space of the UUIDs made here: the version 5 UUID of "tidings:recentchange" in the nil name space.
var uuidSpace = func() [16]byte { return uuid5([16]byte{}, []byte("tidings:recentchange")) }()

func uuid5(space [16]byte, name []byte) [16]byte {
	b := make([]byte, 0, 160)
	b = append(append(b, space[:]...), name...)
	h := sha1.Sum(b)
	var u [16]byte
	copy(u[:], h[:])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}

// appendUUID appends the UUID of the change, the same whenever and wherever the change is encoded.
func (rc *RecentChange) appendUUID(dst []byte, m Meta) []byte {
	var name []byte
	if key := rc.Key(); key != "" {
		name = []byte(key)
	} else {
		name = strconv.AppendUint(append([]byte("at/"+m.Topic), '/'), m.Offset, 10)
	}
	u := uuid5(uuidSpace, name)
	for i, part := range [...][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// writer writes the members of a change, each with a comma before it unless nothing or an opening brace stands there.
type writer struct {
	dst   []byte
	nulls bool // write null members
	php   bool // escape strings as MediaWiki's JSON formatter does
}

// fields writes every member: those with a received place in that order, the others in MediaWiki's.
func (w *writer) fields(rc *RecentChange) {
	var done uint32
	extra := 0
	for _, o := range rc.order[:rc.orderLen] {
		if f := field(o); f >= fExtra {
			if i := int(f - fExtra); i < len(rc.Extra) {
				w.extra(rc.Extra[i])
				extra = i + 1
			}
			continue
		}
		w.field(rc, field(o))
		done |= 1 << o
	}
	for f := range numFields {
		if done&(1<<f) == 0 {
			w.field(rc, f)
		}
	}
	for ; extra < len(rc.Extra); extra++ {
		w.extra(rc.Extra[extra])
	}
}

func (w *writer) name(f field) {
	if n := len(w.dst); n > 0 && w.dst[n-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(append(append(w.dst, '"'), fieldNames[f]...), '"', ':')
}

// null writes a null member where such are wanted.
func (w *writer) null(f field) {
	if w.nulls {
		w.name(f)
		w.dst = append(w.dst, "null"...)
	}
}

func (w *writer) field(rc *RecentChange, f field) {
	if p := rc.text(f); p != nil {
		switch p.state {
		case set:
			w.name(f)
			w.string(p.v)
		case null:
			w.null(f)
		}
		return
	}
	if p := rc.number(f); p != nil {
		switch p.state {
		case set:
			w.name(f)
			w.dst = strconv.AppendInt(w.dst, p.v, 10)
		case null:
			w.null(f)
		}
		return
	}
	if p := rc.flag(f); p != nil {
		switch p.state {
		case set:
			w.name(f)
			w.dst = strconv.AppendBool(w.dst, p.v)
		case null:
			w.null(f)
		}
		return
	}
	if p := rc.pair(f); p != nil {
		switch p.state {
		case set:
			w.name(f)
			w.pair(p.v)
		case null:
			w.null(f)
		}
		return
	}
	switch f {
	case fType:
		w.name(f)
		w.string(rc.Type)
	case fLogParams:
		switch rc.LogParams.state {
		case set:
			w.name(f)
			w.value(rc.LogParams.v)
		case null:
			w.null(f)
		}
	}
}

func (w *writer) pair(p Pair) {
	w.dst = append(w.dst, '{')
	for i, n := range [...]Opt[int64]{p.Old, p.New} {
		if n.state == absent || n.state == null && !w.nulls {
			continue
		}
		if w.dst[len(w.dst)-1] != '{' {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(w.dst, [...]string{`"old":`, `"new":`}[i]...)
		if n.state == null {
			w.dst = append(w.dst, "null"...)
		} else {
			w.dst = strconv.AppendInt(w.dst, n.v, 10)
		}
	}
	w.dst = append(w.dst, '}')
}

func (w *writer) extra(m Member) {
	if m.Value == "null" && !w.nulls {
		return
	}
	if n := len(w.dst); n > 0 && w.dst[n-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.string(m.Name)
	w.dst = append(w.dst, ':')
	w.value(m.Value)
}

// value writes a JSON value as it is, or without its nulls.
func (w *writer) value(j JSON) {
	if w.nulls || !hasNull(j) {
		w.dst = append(w.dst, j...)
		return
	}
	dec := jsontext.NewDecoder(bytes.NewReader([]byte(j)))
	w.dst = appendWithoutNulls(w.dst, dec)
}

// hasNull reports whether j may contain a null; one inside a string gives a false alarm, which costs time only.
func hasNull(j JSON) bool {
	for i := 0; i+4 <= len(j); i++ {
		if j[i] == 'n' && j[i:i+4] == "null" {
			return true
		}
	}
	return false
}

// appendWithoutNulls copies the next value of dec. An object that has lost all of its members is written [], as PHP
// writes an empty array, which is what the event's producer at Wikimedia does with it.
func appendWithoutNulls(dst []byte, dec *jsontext.Decoder) []byte {
	switch kind := dec.PeekKind(); kind {
	case '{', '[':
		dec.ReadToken()
		start, dropped := len(dst), false
		dst = append(dst, byte(kind))
		for k := dec.PeekKind(); k != '}' && k != ']'; k = dec.PeekKind() {
			if k == 0 {
				return dst // cannot be: the value has been checked
			}
			var name jsontext.Value
			if kind == '{' {
				v, _ := dec.ReadValue()
				name = bytes.Clone(v)
			}
			if dec.PeekKind() == 'n' {
				dec.SkipValue()
				dropped = true
				continue
			}
			if len(dst) > start+1 {
				dst = append(dst, ',')
			}
			if kind == '{' {
				dst = append(append(dst, name...), ':')
			}
			dst = appendWithoutNulls(dst, dec)
		}
		dec.ReadToken()
		if len(dst) == start+1 && dropped {
			return append(dst[:start], "[]"...)
		}
		return append(dst, byte(kind)+2)
	default:
		v, _ := dec.ReadValue()
		return append(dst, v...)
	}
}

func (w *writer) string(s string) {
	if w.php {
		w.dst = appendPHPString(w.dst, s)
		return
	}
	w.dst = appendString(w.dst, s)
}
