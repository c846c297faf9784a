// Package cloudevents writes and reads events as CloudEvents 1.0.2: the JSON event format and its batches, and the
// structured, batched and binary content modes of the HTTP protocol binding.
//
// An event on the way out has these attributes:
//
//	id               the name of the item in its topic; two versions of one item have the same
//	source           the path of the topic's resource, such as /topics/news
//	type             tidings.publish, tidings.retract, or tidings.gap
//	time             when the change happened
//	datacontenttype  the media type of the payload
//	position         extension: where the event is in the journal; unlike id it names this version
//	topic            extension: the topic as such, without the encoding that a path needs
//
// A payload that is itself a CloudEvent (media type application/cloudevents+json) goes out as its publisher wrote it,
// with position and topic added: its id, source and type are the publisher's.
package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
	"tidings/internal/media"
	"tidings/internal/topicurl"
)

// The media types of the JSON event format (sections 3 and 4) and the version of the specification.
const (
	ContentType      = "application/cloudevents+json"
	BatchContentType = "application/cloudevents-batch+json"
	SpecVersion      = "1.0"
)

// The types of event.
const (
	TypePublish = "tidings.publish"
	TypeRetract = "tidings.retract"
	TypeGap     = "tidings.gap"
)

// Append appends the event as one JSON object without line breaks. Its data are the bytes given, which need not be the
// event's payload: an outlet may have translated that. They are written (JSON event format, section 3.1.1)
//
//   - as they are, without insignificant white space, if the content type is JSON and they are valid;
//   - as a string, if it is text or XML and they are UTF-8;
//   - in base64, as data_base64, otherwise.
//
// A retraction without data has none of the members.
func Append(dst []byte, e *tidings.Event, contentType string, data []byte) []byte {
	if e.Kind == tidings.Publish && isStructured(contentType) {
		if b, ok := appendForwarded(dst, e, data); ok {
			return b
		}
	}
	dst = append(dst, `{"specversion":"1.0","id":`...)
	if e.ID != "" {
		dst = appendString(dst, e.ID)
	} else {
		dst = append(dst, '"')
		dst = e.Position.AppendText(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"source":"`...)
	dst = topicurl.Append(dst, e.Topic) // has nothing to escape
	if e.Kind == tidings.Retract {
		dst = append(dst, `","type":"`+TypeRetract+`"`...)
	} else {
		dst = append(dst, `","type":"`+TypePublish+`"`...)
	}
	dst = appendTime(dst, e.Time)
	if len(data) > 0 || e.Kind == tidings.Publish {
		dst = appendData(dst, contentType, data)
	}
	return appendExtensions(dst, e)
}

// appendExtensions appends position and topic and ends the object.
func appendExtensions(dst []byte, e *tidings.Event) []byte {
	dst = append(dst, `,"position":"`...)
	dst = e.Position.AppendText(dst)
	dst = append(dst, `","topic":`...)
	dst = appendString(dst, string(e.Topic))
	return append(dst, '}')
}

// AppendGap appends an event that says that the reader missed something: asked is where it wanted to go on from, oldest
// (which is also the position) where it can.
func AppendGap(dst []byte, gap *tidings.GapError) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"gap-`...)
	dst = gap.Asked.AppendText(dst)
	dst = append(dst, `","source":"`+topicurl.Prefix+`","type":"`+TypeGap+`","datacontenttype":"application/json","data":{"asked":"`...)
	dst = gap.Asked.AppendText(dst)
	dst = append(dst, `","oldest":"`...)
	dst = gap.Oldest.AppendText(dst)
	dst = append(dst, `"},"position":"`...)
	dst = gap.Oldest.AppendText(dst)
	return append(dst, `"}`...)
}

// appendTime appends the time attribute (RFC 3339, UTC), or nothing for a time that was not given or that RFC 3339
// cannot write.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return dst
	}
	dst = append(dst, `,"time":"`...)
	dst = t.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

func appendData(dst []byte, contentType string, data []byte) []byte {
	if contentType != "" {
		dst = append(dst, `,"datacontenttype":`...)
		dst = appendString(dst, contentType)
	}
	switch media.ClassOf(contentType) {
	case media.JSON:
		mark := len(dst)
		dst = append(dst, `,"data":`...)
		if b, ok := appendJSON(dst, data); ok {
			return b
		}
		dst = dst[:mark]
	case media.XML, media.Text:
		// UTF-16 without its mark looks like UTF-8 with NULs in it; nothing else has them.
		if media.IsUTF8(contentType) && utf8.Valid(data) && bytes.IndexByte(data, 0) < 0 {
			dst = append(dst, `,"data":`...)
			return appendText(dst, data)
		}
	case media.Other:
	}
	dst = append(dst, `,"data_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"')
}

// appendJSON appends a JSON value without insignificant white space; false, and dst as it was, if it is not one, has broken
// UTF-8 or escapes half a surrogate pair. Numbers and strings stay as they were written.
func appendJSON(dst, value []byte) ([]byte, bool) {
	b, err := jsontext.AppendFormat(dst, value, jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return dst, false
	}
	return b, true
}

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD, as RFC 8259 section 8.1 leaves no room for
// them.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			dst = append(dst, s[from:i]...)
			dst = appendEscaped(dst, c)
			from = i + 1
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// appendText is appendString for long texts that are known to be UTF-8.
func appendText(dst, s []byte) []byte {
	dst = append(dst, '"')
	for from := 0; ; {
		i := plain(s, from)
		dst = append(dst, s[from:i]...)
		if i == len(s) {
			return append(dst, '"')
		}
		dst = appendEscaped(dst, s[i])
		from = i + 1
	}
}

// plain returns the index, from i on, of the first byte that a JSON string cannot have as it is: a control character
// (C0), a quotation mark or a backslash; or len(b). It looks at eight bytes at a time.
func plain(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		quote, slash := v^(ones*'"'), v^(ones*'\\')
		// A byte's high bit is set if the byte is below 0x20, or is 0 after the exclusive or. Borrows reach only bytes
		// behind the first hit, so the first one is exact.
		if hit := ((v-ones*0x20)&^v | (quote-ones)&^quote | (slash-ones)&^slash) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for i < len(b) && b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
