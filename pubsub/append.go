package pubsub

import (
	"bytes"
	"context"
	"encoding/xml"
	"mime"
	"slices"
	"strings"
	"time"

	"tidings"
)

// Append appends events of one topic that come by another way than Publish, all of them or none, where the rules of the
// topic's node let them: its sizes, its type, and what it does when it is full. Who may publish is for the caller to have
// asked of package access. A topic that has no rules of its own takes what the journal takes. A retraction passes.
//
// A repeat, by its Key, of an event that is among the newest of the topic is no new item: it is answered as the journal
// does, also where the node is full. Errors: gone, node-full, payload-too-big, invalid-payload, payload-required,
// item-forbidden, and those of the journal.
func (s *Service) Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	if len(events) == 0 {
		return nil, nil
	}
	topic := events[0].Topic
	st := s.stored(string(topic))
	if st == nil || st.deleted && st.redirect == "" {
		return s.opt.Log.Append(ctx, events...)
	}
	if slices.ContainsFunc(events, func(e tidings.Event) bool { return e.Topic != topic }) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "pubsub: the events are of several topics")
	}
	if st.deleted {
		return nil, errGone(topic, st)
	}
	for i := range events {
		if err := s.check(topic, st.config, &events[i]); err != nil {
			return nil, err
		}
	}
	return s.store(ctx, topic, st, events)
}

// MaxPayload returns how many bytes a payload may have in a node of the topic.
func (s *Service) MaxPayload(topic tidings.Topic) int {
	if c := s.Lookup(topic); c != nil {
		return s.largest(c)
	}
	return s.opt.MaxPayload
}

// check compares an event with the configuration of its topic's node, as Publish does an item.
func (s *Service) check(topic tidings.Topic, c *Config, e *tidings.Event) error {
	if e.Kind != tidings.Publish {
		return nil
	}
	if !c.PersistItems && !c.DeliverPayloads {
		if len(e.Payload) > 0 || e.ID != "" {
			return errNoItem(topic)
		}
		return nil
	}
	it := NewItem{Payload: e.Payload}
	if it.Payload == nil && e.ContentType != "" {
		it.Payload = []byte{} // an empty text
	}
	if c.Type != "" {
		it.Namespace = namespaceOf(e)
	}
	return s.checkItem(c, &it)
}

func errNoItem(topic tidings.Topic) error {
	return errorf(BadRequest, ItemForbidden, "the node %s takes notifications without items", topic.Node())
}

// store appends the events, behind the retractions of those that have to make room for them.
func (s *Service) store(ctx context.Context, topic tidings.Topic, st *stored, events []tidings.Event) ([]tidings.Appended, error) {
	if st == nil || !st.config.PersistItems || st.config.WhenFull == DiscardOldest {
		return s.opt.Log.Append(ctx, events...)
	}
	defer s.lock(string(topic), "").Unlock()
	old, err := s.makeRoom(ctx, topic, st, events)
	if err != nil {
		return nil, err
	}
	done, err := s.opt.Log.Append(ctx, append(old, events...)...)
	if err != nil {
		return nil, err
	}
	return done[len(old):], nil
}

// makeRoom refuses new items of a full node, or returns the events that retract what is too much (section 7.1.3.4).
func (s *Service) makeRoom(ctx context.Context, topic tidings.Topic, st *stored, events []tidings.Event) ([]tidings.Event, error) {
	over, have, renewed, err := s.overflow(ctx, topic, st, events)
	if err != nil || over <= 0 {
		return nil, err
	}
	if slices.ContainsFunc(events, func(e tidings.Event) bool { return e.Key != "" }) {
		// Of a repeat nothing is stored.
		fresh, err := s.unknown(ctx, topic, events)
		if err != nil {
			return nil, err
		}
		if over, have, renewed, err = s.overflow(ctx, topic, st, fresh); err != nil || over <= 0 {
			return nil, err
		}
	}
	if st.config.WhenFull == Reject {
		return nil, errorf(ConflictError, NodeFull, "the node %s is full: it keeps %d items", topic.Node(), s.most(st.config))
	}
	var out []tidings.Event
	last := &events[len(events)-1]
	for _, e := range have {
		if len(out) == over {
			break
		}
		if !renewed[e.id] {
			out = append(out, tidings.Event{Topic: topic, ID: e.id, Kind: tidings.Retract, Time: last.Time, Publisher: last.Publisher})
		}
	}
	return out, nil
}

// overflow returns by how many items the node would have too many with the events, what it has, and the items that the events
// name. It is not above 0 if none of the events is a new item.
func (s *Service) overflow(ctx context.Context, topic tidings.Topic, st *stored, events []tidings.Event) (over int, have []entry, named map[string]bool, err error) {
	c := st.config
	there := map[string]bool{}
	if err := s.itemsOf(ctx, topic, st, func(l *itemList) { have = l.current(c, time.Now()) }); err != nil {
		return 0, nil, nil, err
	}
	for i := range have {
		there[have[i].id] = true
	}
	named = map[string]bool{}
	fresh := 0
	for i := range events {
		id := events[i].ID
		switch {
		case events[i].Kind == tidings.Retract:
			if there[id] {
				fresh--
			}
			delete(there, id)
			named[id] = true
		case id == "":
			fresh++
		case !there[id]:
			fresh++
			there[id] = true
			fallthrough
		default:
			named[id] = true
		}
	}
	if fresh <= 0 {
		return 0, have, named, nil
	}
	return len(have) + fresh - s.most(c), have, named, nil
}

// unknown returns the events without those whose Key one of the topic's newest events has, as far as the journal remembers
// keys.
func (s *Service) unknown(ctx context.Context, topic tidings.Topic, events []tidings.Event) ([]tidings.Event, error) {
	if err := s.opt.Hub.Drain(ctx); err != nil { // Latest is of what the hub has dispatched
		return nil, err
	}
	newest, _, err := s.opt.Hub.Latest(ctx, queryOf(topic), system, listBatch)
	if err != nil {
		return nil, err
	}
	since, err := s.opt.Hub.At(ctx, time.Now().Add(-s.opt.DedupeWindow))
	if err != nil {
		return nil, err
	}
	keys := make(map[string]bool, len(newest))
	for _, it := range newest {
		if it.Key != "" && it.Position.Offset > since.Offset {
			keys[it.Key] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(events), func(e tidings.Event) bool { return keys[e.Key] }), nil
}

// namespaceOf returns the namespace of the element that a payload is in an item: its own if it is XML, that of XEP-0335 if
// it is JSON, else that of the Atom entry which carries it.
func namespaceOf(e *tidings.Event) string {
	media, _, err := mime.ParseMediaType(e.ContentType)
	switch {
	case err != nil:
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return "urn:xmpp:json:0"
	case media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml"):
		d := xml.NewDecoder(bytes.NewReader(e.Payload))
		for {
			switch t, err := d.RawToken(); t := t.(type) {
			case xml.StartElement:
				return rootSpace(t)
			default:
				if err != nil {
					return ""
				}
			}
		}
	}
	return "http://www.w3.org/2005/Atom"
}

// rootSpace returns the namespace of an element that has no parent.
func rootSpace(e xml.StartElement) string {
	for _, a := range e.Attr {
		if e.Name.Space == "" && a.Name.Space == "" && a.Name.Local == "xmlns" || e.Name.Space != "" && a.Name.Space == "xmlns" && a.Name.Local == e.Name.Space {
			return a.Value
		}
	}
	return ""
}
