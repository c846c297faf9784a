package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net"
	"net/url"
	"strings"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/cloudevents"
)

// openXMPP returns the stream of a room: xmpp://[USER[:PASSWORD]@]HOST[:PORT]/ROOM@DOMAIN, or xmpp:ROOM@DOMAIN?join.
func (o *opener) openXMPP(address string, u *url.URL, filters []client.Filter) (stream, error) {
	opts := []client.Option{client.WithNotify(o.notify)}
	if u.Hostname() == o.server.Hostname() && isLoopback(o.server.String()) {
		opts = append(opts, client.WithToken(o.token))
	}
	c, err := client.New(address, opts...)
	if err != nil {
		return stream{}, usageError{o.command, err}
	}
	room := strings.TrimPrefix(cmp.Or(u.Opaque, u.Path), "/")
	if room == "" {
		domain := u.Hostname()
		if net.ParseIP(domain) != nil {
			domain = "localhost"
		}
		return stream{}, withHint(usagef(o.command, "%s names no room", describe(u)), "tidings "+o.command+" "+u.Scheme+"://"+u.Host+"/en.wikipedia.org@conference."+domain)
	}
	name, _, _ := strings.Cut(room, "@")
	return stream{u.Redacted(), func(ctx context.Context) iter.Seq2[received, error] {
		return func(yield func(received, error) bool) {
			for e, err := range c.Events(ctx, nil, o.from.from(), filters...) {
				gap, isGap := err.(*tidings.GapError)
				switch {
				case isGap && gap.Oldest.IsZero():
					err = &lostError{"the room keeps no archive of it (XEP-0313)"}
				case err != nil && ctx.Err() == nil:
					if failed, ok := errors.AsType[*net.OpError](err); ok {
						err = unreachable(u, failed)
					}
				}
				r := received{Event: e, where: name}
				if err == nil {
					r.record = roomRecord(&e, "xmpp:"+room)
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}}, nil
}

// roomRecord returns the event of a room in an envelope. Where the topic is not known its source is the room.
func roomRecord(e *client.Event, room string) []byte {
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
	}{cloudevents.SpecVersion, e.ID, room, cloudevents.TypePublish, e.Time, e.ContentType, string(e.Payload), e.Position}
	if e.Kind == tidings.Retract {
		envelope.Type = cloudevents.TypeRetract
	}
	b, _ := json.Marshal(envelope) // of texts and a time of this era
	return b
}
