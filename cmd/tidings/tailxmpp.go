package main

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/cloudevents"
	"tidings/recentchange"
	"tidings/xmpp/xmlstream"
)

// openXMPP returns the stream of a room, xmpp://[USER[:PASSWORD]@]HOST[:PORT]/ROOM@DOMAIN or xmpp:ROOM@DOMAIN?join, or of a
// node, xmpp://[USER[:PASSWORD]@]HOST[:PORT][/SERVICE]?;node=NODE or xmpp:SERVICE?;node=NODE.
func (o *opener) openXMPP(ctx context.Context, address string, filters []client.Filter) (stream, error) {
	a, err := o.xmpp.parse(ctx, o.command, address)
	if err != nil {
		return stream{}, err
	}
	opts := []client.Option{client.WithNotify(o.notify)}
	if a.url.Hostname() == o.server.Hostname() && isLoopback(o.server.String()) {
		opts = append(opts, client.WithToken(o.token))
	}
	c, err := client.New(a.text, opts...)
	if err != nil {
		return stream{}, usageError{o.command, err}
	}
	switch {
	case a.service == "" && a.node == "":
		return stream{}, withHint(usagef(o.command, "%s names no room and no node", describe(a.url)), "tidings "+o.command+" "+a.example("/en.wikipedia.org@conference."+a.domain()))
	case a.isNode() && a.node == "":
		return stream{}, withHint(usagef(o.command, "%s names no node", describe(a.url)), "tidings "+o.command+" '"+a.example("/"+a.service+"?;node=/recentchange/*")+"'")
	case a.isNode() && len(filters) > 0:
		return stream{}, withHint(usagef(o.command, "PubSub has no filters"), a.filterHint(o.command, filters))
	}
	name, _, _ := strings.Cut(a.service, "@")
	lost := "the room keeps no archive of it (XEP-0313)"
	if a.isNode() {
		name, lost = a.node, "the service keeps no archive of the node (XEP-0442)"
	}
	return stream{a.url.Redacted(), func(ctx context.Context) iter.Seq2[received, error] {
		return func(yield func(received, error) bool) {
			for e, err := range c.Events(ctx, nil, o.from.from(), filters...) {
				gap, isGap := err.(*tidings.GapError)
				switch {
				case isGap && gap.Oldest.IsZero():
					err = &lostError{lost}
				case err != nil && ctx.Err() == nil && !isGap:
					err = a.explain(err)
				}
				r := received{Event: e, where: name}
				if err == nil {
					r.record = xmppRecord(&e, a.uri())
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}}, nil
}

// xmppRecord returns the event of a room or a node in an envelope. Its source is the topic, or the room or the node of another
// server.
func xmppRecord(e *client.Event, source string) []byte {
	if e.Topic != "" && !e.Position.IsZero() {
		return cloudevents.Append(nil, &tidings.Event{Position: e.Position, Topic: e.Topic, ID: e.ID, Time: e.Time, Kind: e.Kind}, e.ContentType, e.Payload)
	}
	envelope := struct {
		SpecVersion string           `json:"specversion"`
		ID          string           `json:"id"`
		Source      string           `json:"source"`
		Type        string           `json:"type"`
		Time        time.Time        `json:"time,omitzero"`
		ContentType string           `json:"datacontenttype,omitempty"`
		Data        string           `json:"data,omitempty"`
		Position    tidings.Position `json:"position,omitzero"`
	}{cloudevents.SpecVersion, e.ID, source, cloudevents.TypePublish, e.Time, e.ContentType, string(e.Payload), e.Position}
	if e.Kind == tidings.Retract {
		envelope.Type = cloudevents.TypeRetract
	}
	b, _ := json.Marshal(envelope) // of texts and a time of this era
	return b
}

// outOfEntry returns an event whose payload is the change that its Atom entry holds, as those of other servers' nodes do; any
// other event as it is.
func outOfEntry(e client.Event) client.Event {
	if !strings.HasPrefix(e.ContentType, "application/atom+xml") || !bytes.Contains(e.Payload, []byte("<rc ")) {
		return e
	}
	var d xmlstream.Document
	entry, err := d.Parse(bytes.TrimSpace(e.Payload), nil)
	if rc := entry.Child("", "rc"); err == nil && !rc.IsZero() {
		e.ContentType, e.Payload = recentchange.TypeRC, rc.AppendXML(nil, "")
	}
	return e
}
