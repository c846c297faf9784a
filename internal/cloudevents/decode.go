package cloudevents

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
	"tidings/internal/media"
)

// IsCloudEvent reports whether an HTTP message with the header carries CloudEvents, in whichever mode and format (HTTP
// protocol binding, section 3).
func IsCloudEvent(h http.Header) bool {
	ct := strings.ToLower(h.Get("Content-Type"))
	return strings.HasPrefix(ct, "application/cloudevents") || h.Get("Ce-Specversion") != ""
}

// Decode returns the events that an HTTP message carries: one in structured or binary mode, up to max in a batch, which
// may be empty. Their Topic, Key and Publisher are the caller's to set.
//
// An event as Append writes it (type tidings.publish or tidings.retract) becomes the event that it was written for, its
// data the payload. Any other is kept whole: the payload is the CloudEvent in the JSON event format, so that its
// source, its type and its extensions reach the reader; its id names the item and its time is the event's. The
// extensions position and topic are removed, as they are this server's to set.
//
// Errors: ErrInvalid, and ErrTooLarge for a batch of more than max. A message that IsCloudEvent does not recognise is
// invalid, as is a format other than JSON.
func Decode(h http.Header, body []byte, max int) ([]tidings.Event, error) {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && h.Get("Content-Type") != "" {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the content type %q is malformed", shorten(h.Get("Content-Type")))
	}
	if strings.HasPrefix(mediaType, "application/cloudevents") && !media.IsUTF8(h.Get("Content-Type")) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "CloudEvents are UTF-8")
	}
	switch {
	case mediaType == ContentType:
		e, err := decodeObject(body)
		if err != nil {
			return nil, err
		}
		return []tidings.Event{e}, nil
	case mediaType == BatchContentType:
		return decodeBatch(body, max)
	case strings.HasPrefix(mediaType, "application/cloudevents"):
		return nil, tidings.Errorf(tidings.ErrInvalid, "CloudEvents are taken in JSON, as %s or %s, not as %s", ContentType, BatchContentType, shorten(mediaType))
	case h.Get("Ce-Specversion") != "":
		src, err := structured(h, body)
		if err != nil {
			return nil, err
		}
		e, err := decodeObject(src)
		if err != nil {
			return nil, err
		}
		return []tidings.Event{e}, nil
	}
	return nil, tidings.Errorf(tidings.ErrInvalid, "the message is not a CloudEvent: it has neither the content type nor a ce-specversion")
}

func decodeBatch(body []byte, max int) ([]tidings.Event, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if tok, err := d.ReadToken(); err != nil || tok.Kind() != '[' {
		return nil, invalid("want a JSON array", err)
	}
	var events []tidings.Event
	for d.PeekKind() == '{' {
		if len(events) == max {
			return nil, tidings.Errorf(tidings.ErrTooLarge, "the batch has more than %d events", max)
		}
		v, err := d.ReadValue()
		if err != nil {
			return nil, invalid("reading the batch", err)
		}
		e, err := decodeObject(v.Clone())
		if err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	if tok, err := d.ReadToken(); err != nil || tok.Kind() != ']' {
		return nil, invalid("an event of the batch is not a JSON object", err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "there is something behind the batch")
	}
	return events, nil
}

// decodeObject returns the event that a CloudEvent stands for. It keeps src.
func decodeObject(src []byte) (tidings.Event, error) {
	o, err := readObject(src)
	if err != nil {
		return tidings.Event{}, err
	}
	if err := o.check(); err != nil {
		return tidings.Event{}, err
	}
	e := tidings.Event{ID: o.text("id")}
	if s := o.text("time"); s != "" {
		e.Time, _ = time.Parse(time.RFC3339, s) // check has
		e.Time = e.Time.UTC()
	}
	switch o.text("type") {
	case TypeGap:
		return tidings.Event{}, tidings.Errorf(tidings.ErrInvalid, "a %s says what one reader missed and is not published", TypeGap)
	case TypeRetract:
		e.Kind = tidings.Retract
	case TypePublish:
	default:
		e.ContentType, e.Payload = ContentType, src
		if o.get("position") != nil || o.get("topic") != nil {
			e.Payload = append(o.appendMembers(nil), '}')
		}
		return e, nil
	}
	e.ContentType, e.Payload, err = o.data()
	return e, err
}

// data returns the content type and the bytes of the data, which are JSON where nothing else is said (JSON event format,
// section 3.1.1).
func (o object) data() (contentType string, data []byte, err error) {
	contentType = o.text("datacontenttype")
	if o.get("data_base64") != nil {
		data, err = base64.StdEncoding.DecodeString(o.text("data_base64"))
		return contentType, data, err
	}
	v := o.get("data")
	if v == nil {
		return contentType, nil, nil
	}
	if contentType == "" {
		contentType = "application/json"
	}
	if media.ClassOf(contentType) == media.JSON {
		return contentType, v, nil
	}
	if v.Kind() != '"' {
		return "", nil, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: its data are %s and not a string", shorten(contentType))
	}
	return contentType, []byte(o.text("data")), nil
}

// structured returns a message in binary mode as an object of the JSON event format (HTTP protocol binding, section
// 3.1).
func structured(h http.Header, body []byte) ([]byte, error) {
	dst := []byte("{")
	var names []string
	for name := range h {
		if rest, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			names = append(names, rest)
		}
	}
	if len(names) > maxMembers {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent has more than %d attributes", maxMembers)
	}
	slices.Sort(names)
	for _, name := range names {
		values := h[http.CanonicalHeaderKey("ce-"+name)]
		if len(values) != 1 {
			return nil, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: the header ce-%s is there %d times", shorten(name), len(values))
		}
		switch name {
		case "data", "data_base64", "datacontenttype":
			return nil, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: ce-%s is not a header of the binary mode", name)
		}
		value, err := headerValue(values[0])
		if err != nil {
			return nil, tidings.Errorf(tidings.ErrInvalid, "the CloudEvent is not valid: the value of ce-%s is not percent-encoded UTF-8", shorten(name))
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, value)
		dst = append(dst, ',')
	}
	contentType := h.Get("Content-Type")
	if contentType == "" && len(body) == 0 {
		return append(dst[:len(dst)-1], '}'), nil
	}
	if len(body) > 0 && media.ClassOf(contentType) != media.Other {
		if err := media.Check(contentType, body); err != nil {
			return nil, err
		}
	}
	// appendData begins with a comma.
	return append(appendData(dst[:len(dst)-1], contentType, body), '}'), nil
}

// headerValue decodes the value of an attribute in a header (HTTP protocol binding, section 3.1.3.2): one pair of
// quotation marks around it is removed, then percent-encoding.
func headerValue(s string) (string, error) {
	if n := len(s); n >= 2 && s[0] == '"' && s[n-1] == '"' {
		inner := s[1 : n-1]
		var b strings.Builder
		for i := 0; i < len(inner); i++ {
			if inner[i] == '\\' && i+1 < len(inner) {
				i++
			}
			b.WriteByte(inner[i])
		}
		s = b.String()
	}
	s, err := url.PathUnescape(s)
	if err == nil && !utf8.ValidString(s) {
		err = errors.New("not UTF-8")
	}
	return s, err
}
