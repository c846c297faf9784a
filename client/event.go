package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"iter"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"

	"tidings"
)

// Event is one event as a reader gets it.
type Event struct {
	Position    tidings.Position
	Topic       tidings.Topic
	ID          string // of the item; publishing it again is a new version of it
	Time        time.Time
	Kind        tidings.Kind
	ContentType string
	Payload     []byte // empty for a retraction
}

// Filter lets through the events whose payload has the value in the field, such as wiki=enwiki for recent changes.
// Filters of one field are alternatives, those of different fields all have to hold. With an empty Field the Value is an
// expression in CEL, such as length.new - length.old < -500 && !bot; it has to hold as well.
type Filter struct{ Field, Value string }

// reserved are the query parameters of /subscribe that name no field.
var reserved = []string{"since", "limit", "format", "topic", "filter", "item", "match", "lastEventId", "lastEventID"}

// Events reads the events whose topic matches one of the patterns, in the order of the journal, each once. See Stream
// for how it reconnects and which errors end it: all but a *tidings.GapError.
//
// Over XMPP each pattern is a room (see RoomAddress), and none stands for the room of the client's URL; the order is that of
// each room, and what two patterns match comes in both. A recent change comes as the element <rc>. It has no Topic where the
// room's address does not tell it, as enwiki does not. A connection that breaks is resumed (XEP-0198) where the server still
// has the session, else the archive is read on from the last message (XEP-0313); a room of another server that has no archive
// yields a *tidings.GapError without positions whenever the connection was lost. Live begins behind the last message in the
// archive at the time the room was entered.
//
// Where the client's URL is that of a PubSub service, each pattern is a node, and none stands for the node of the URL. A pattern
// with globs needs a Tidings server, and two patterns may not match the same node. The subscription is that of the session and
// ends with it: those of the account are left alone. All else is as with rooms, the archive being the node's (XEP-0442), with
// these differences:
//
//   - the payload of an item is the text of an element json (XEP-0335), the element <rc> of an Atom entry that a Tidings server
//     made of a recent change, what such an entry carries in place of what is no XML, or the element as it was published. The time
//     of an item that is said now, and does not tell it, is when it came; that of one which is read from a service without an
//     archive is not known.
//   - a service without an archive, as Prosody's, ejabberd's and the nodes of an account (XEP-0163) are, has no position and no past but the items it keeps: AfterID goes on
//     behind the item with that ID, and Since is an error. When the session was lost, the items are read that are new or have
//     changed; versions that were replaced and items that were retracted meanwhile are not seen. Where no item is left that was
//     known, or the node keeps none, a *tidings.GapError without positions is yielded.
//   - that a node is purged is not told. That it is deleted ends the stream (ErrNotFound), as does the end of the right to
//     read it (ErrForbidden).
func (c *Client) Events(ctx context.Context, patterns []tidings.Pattern, from From, filters ...Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if c.xmpp != nil {
			c.readXMPP(ctx, patterns, from, filters, yield)
			return
		}
		ref, err := SubscribePath(patterns, filters...)
		if err != nil {
			yield(Event{}, err)
			return
		}
		for m, err := range c.Stream(ctx, ref, from) {
			if err != nil {
				if !yield(Event{}, err) {
					return
				}
				continue
			}
			if m.Type != "message" {
				continue
			}
			e, err := ParseEvent(m.Data)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// SubscribePath returns the path and query of the stream that Events reads, for Stream. Errors are of kind
// tidings.ErrInvalid.
func SubscribePath(patterns []tidings.Pattern, filters ...Filter) (string, error) {
	if len(patterns) == 0 {
		return "", tidings.Errorf(tidings.ErrInvalid, "client: no pattern is given: /** is for every topic")
	}
	q, err := filterQuery(filters)
	if err != nil {
		return "", err
	}
	for _, p := range patterns {
		if p.IsZero() {
			return "", tidings.Errorf(tidings.ErrInvalid, "client: the zero Pattern matches nothing")
		}
		q.Add("topic", p.String())
	}
	return "/subscribe?" + q.Encode(), nil
}

// filterQuery returns filters as the query of a URL.
func filterQuery(filters []Filter) (url.Values, error) {
	q := url.Values{}
	for _, f := range filters {
		if f.Field == "" && f.Value != "" {
			q.Add("filter", f.Value)
			continue
		}
		if f.Field == "" || slices.Contains(reserved, f.Field) {
			return nil, tidings.Errorf(tidings.ErrInvalid, "client: %q is not a field to filter by", f.Field)
		}
		q.Add(f.Field, f.Value)
	}
	return q, nil
}

// CloudEvent is the content type of an event that was published as a CloudEvent of the publisher's own making. Its
// Payload is the whole of it, with the server's attributes position and topic.
const CloudEvent = "application/cloudevents+json"

// ParseEvent parses an event in its envelope, a CloudEvent 1.0 in JSON as /subscribe and the JSON lists have it. Errors
// are of kind tidings.ErrInvalid.
func ParseEvent(envelope []byte) (Event, error) {
	bad := func(why string, args ...any) (Event, error) {
		return Event{}, tidings.Errorf(tidings.ErrInvalid, "client: an event from the server: "+why, args...)
	}
	var in struct {
		SpecVersion     string           `json:"specversion"`
		ID              string           `json:"id"`
		Source          string           `json:"source"`
		Type            string           `json:"type"`
		Time            time.Time        `json:"time"`
		DataContentType string           `json:"datacontenttype"`
		Data            json.RawMessage  `json:"data"`
		DataBase64      *string          `json:"data_base64"`
		Position        tidings.Position `json:"position"`
		Topic           string           `json:"topic"`
	}
	if err := json.Unmarshal(envelope, &in); err != nil {
		return bad("%w", err)
	}
	if in.SpecVersion != "1.0" {
		return bad("it is of CloudEvents version %q and not 1.0", in.SpecVersion)
	}
	e := Event{Position: in.Position, ID: in.ID, Time: in.Time, ContentType: in.DataContentType}
	var err error
	if e.Topic, err = tidings.ParseTopic(in.Topic); err != nil {
		return bad("%w", err)
	}
	switch in.Type {
	case "tidings.publish":
	case "tidings.retract":
		e.Kind = tidings.Retract
	case "":
		return bad("it has no type")
	default:
		e.ContentType, e.Payload = CloudEvent, bytes.Clone(envelope)
		return e, nil
	}
	switch {
	case in.DataBase64 != nil:
		if e.Payload, err = base64.StdEncoding.DecodeString(*in.DataBase64); err != nil {
			return bad("its data_base64: %w", err)
		}
	case len(in.Data) > 0 && in.Data[0] == '"' && !isJSON(e.ContentType):
		var s string
		if err := json.Unmarshal(in.Data, &s); err != nil {
			return bad("its data: %w", err)
		}
		e.Payload = []byte(s)
	default:
		e.Payload = bytes.Clone(in.Data)
	}
	return e, nil
}

// isJSON reports whether data of the media type stands in the envelope as it is (CloudEvents JSON format 1.0.2, section
// 3.1); an envelope that names no type has JSON.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	typ, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.HasSuffix(typ, "/json") || strings.HasSuffix(typ, "+json"))
}
