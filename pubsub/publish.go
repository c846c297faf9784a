package pubsub

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"tidings"
)

// NewItem is an item to be published.
type NewItem struct {
	ID          string // "" to have the service name it
	ContentType string // the media type of Payload
	Payload     []byte // nil for none
	Namespace   string // of the payload's root element, if the node's type is to be compared with it
}

// Published is what has become of a NewItem.
type Published struct {
	ID       string // "" where the node takes notifications without items
	Position tidings.Position
}

// Publish publishes items to a node (section 7.1), all of them or none, and returns once they are durable. A node that
// does not exist is created, if the entity may (section 7.1.4): with the default configuration, changed by the options,
// which for a node that exists are preconditions (section 7.1.5). No item at all is a notification without one, which
// only a node can take that neither keeps items nor delivers payloads.
//
// Errors: nodeid-required, unsupported publish for a pattern, item-not-found, forbidden, precondition-not-met, max-items-exceeded,
// node-full, payload-too-big, invalid-payload, item-required, payload-required, item-forbidden, not-acceptable, bad-request for an ID that
// is none, and those of the journal.
func (s *Service) Publish(ctx context.Context, who Entity, node string, items []NewItem, options Values) ([]Published, error) {
	p, err := placeOf(node)
	if err == nil && p.isPattern() {
		err = unsupported("publish", "%s is a pattern: publish to a node", node)
	}
	if err != nil {
		return nil, err
	}
	topic := p.topic
	st, err := s.find(ctx, topic)
	var made *Config // of the node that is to be created
	switch {
	case missing(err):
		made, err = s.toCreate(who, topic, options)
	case err == nil:
		err = s.takes(who, topic, st, options)
	}
	if err != nil {
		return nil, err
	}
	c := cmp.Or(made, configOf(st))
	events, err := s.events(c, who, p, items)
	if err == nil && made != nil {
		var first bool
		if st, first, err = s.autoCreate(ctx, who, topic, made); err == nil && !first {
			c = configOf(st)
			if err = s.takes(who, topic, st, options); err == nil {
				events, err = s.events(c, who, p, items)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	done, err := s.store(ctx, topic, st, events)
	if err != nil {
		return nil, err
	}
	out := make([]Published, 0, len(done))
	for i, d := range done {
		events[i].Position = d.Position
		id := events[i].ItemID()
		if !c.PersistItems && !c.DeliverPayloads { // what was published is no item (section 4.3)
			id = ""
		}
		out = append(out, Published{ID: id, Position: d.Position})
	}
	return out, nil
}

// takes refuses who may not publish to a node that exists, or wants it to be configured otherwise.
func (s *Service) takes(who Entity, topic tidings.Topic, st *stored, options Values) error {
	if err := s.mustPublish(who, topic); err != nil {
		return err
	}
	return s.preconditions(st, options)
}

// events returns the events that items are in a node of the configuration.
func (s *Service) events(c *Config, who Entity, p place, items []NewItem) ([]tidings.Event, error) {
	if c.PersistItems && len(items) > s.most(c) {
		return nil, errorf(NotAllowed, MaxItemsExceeded, "the request has %d items, and the node %s keeps %d", len(items), p.node, s.most(c))
	}
	if len(items) == 0 {
		if c.PersistItems || c.DeliverPayloads {
			return nil, errorf(BadRequest, ItemRequired, "the request has no item")
		}
		items = []NewItem{{}}
	} else if !c.PersistItems && !c.DeliverPayloads {
		return nil, errNoItem(p.topic)
	}
	events := make([]tidings.Event, 0, len(items))
	for i := range items {
		if err := s.checkItem(c, &items[i]); err != nil {
			return nil, err
		}
		e := tidings.Event{Topic: p.topic, ID: items[i].ID, Time: time.Now(), ContentType: items[i].ContentType, Payload: items[i].Payload, Publisher: publisher(who)}
		if err := e.Validate(); err != nil {
			return nil, errorf(BadRequest, "", "%v", err)
		}
		events = append(events, e)
	}
	return events, nil
}

// publisher is what an event says of who published it: package tidings' text of the actor.
func publisher(who Entity) string {
	p := who.Actor.String()
	if len(p) > tidings.MaxPublisherBytes {
		return strings.ToValidUTF8(p[:tidings.MaxPublisherBytes], "")
	}
	return p
}

func missing(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Stanza == ItemNotFound
}

// toCreate returns the configuration of the node that has to be created for items to be published. A token publishes on its
// topics without one, for which it is nil.
func (s *Service) toCreate(who Entity, topic tidings.Topic, options Values) (*Config, error) {
	if who.Actor.Kind != tidings.User && s.opt.Policy.May(who.Actor, tidings.PublishAction, topic) == nil && len(options) == 0 {
		return nil, nil
	}
	if err := s.mayCreate(who, topic); err != nil {
		return nil, errorf(ItemNotFound, "", "there is no node %s, and it is not created: %v", topic.Node(), err)
	}
	config := *s.opt.Default
	if err := s.configure(&config, options); err != nil {
		return nil, err
	}
	return &config, nil
}

// autoCreate creates the node, and reports whether it was the first to do so.
func (s *Service) autoCreate(ctx context.Context, who Entity, topic tidings.Topic, config *Config) (st *stored, first bool, err error) {
	err = s.create(ctx, who, topic, config)
	if e, ok := err.(*Error); ok && e.Stanza == ConflictError && e.Condition == "" { // somebody else was first
		st, err = s.find(ctx, topic)
		return st, false, err
	}
	if err == nil {
		err = s.mustPublish(who, topic)
	}
	if err == nil {
		st, err = s.find(ctx, topic)
	}
	return st, true, err
}

// preconditions compares the options with the configuration of a node that exists.
func (s *Service) preconditions(st *stored, options Values) error {
	c := configOf(st)
	for name, values := range options {
		f := fieldNamed(configFields, name)
		if f == nil {
			return errorf(ConflictError, PreconditionNotMet, "there is no field %.60q in the configuration of a node", name)
		}
		want := *c
		if err := f.set(&want, values); err != nil || !want.equal(c) && !(f.name == "max_items" && s.most(&want) == s.most(c)) {
			return errorf(ConflictError, PreconditionNotMet, "%s of the node is %s", f.name, strings.Join(f.get(c), ", "))
		}
	}
	return nil
}

// mustPublish refuses who may not publish.
func (s *Service) mustPublish(who Entity, topic tidings.Topic) error {
	if err := s.opt.Policy.May(who.Actor, tidings.PublishAction, topic); err != nil && !s.isAdmin(who, topic) {
		return errorf(Forbidden, "", "%s may not publish on the node %s", who.Actor, topic.Node())
	}
	return nil
}

// largest returns how many bytes a payload may have under a configuration.
func (s *Service) largest(c *Config) int {
	if c.MaxPayloadSize > 0 {
		return min(s.opt.MaxPayload, c.MaxPayloadSize)
	}
	return s.opt.MaxPayload
}

// checkItem compares an item with the node's configuration (sections 7.1.3.5 to 7.1.3.7).
func (s *Service) checkItem(c *Config, it *NewItem) error {
	limit := s.largest(c)
	switch {
	case len(it.Payload) > limit:
		return errorf(NotAcceptable, PayloadTooBig, "the payload has %d bytes and may have %d", len(it.Payload), limit)
	case it.Payload == nil && c.DeliverPayloads:
		return errorf(BadRequest, PayloadRequired, "the item has no payload")
	case it.Payload != nil && c.Type != "" && it.Namespace != c.Type:
		return errorf(BadRequest, InvalidPayload, "the payload is of the namespace %.80q, the node's are of %.80q", it.Namespace, c.Type)
	}
	return nil
}

// TypeNotify is the content type of retractions that subscribers are told of although the node does not tell them of such
// (notify_retract), since whoever made them asked for that. Others have none.
const TypeNotify = "application/vnd.tidings.notify"

// Retract withdraws items from a node (section 7.2), all of them or none. Owners may withdraw any item, others what they
// have published. notify has subscribers told of it whatever the configuration of the node says (section 7.2.2.1). Errors:
// nodeid-required, item-required, item-not-found for the node or an item, forbidden, unsupported persistent-items, and those
// of the journal.
func (s *Service) Retract(ctx context.Context, who Entity, node string, notify bool, ids ...string) error {
	topic, err := topicOf(node)
	if err != nil {
		return err
	}
	if len(ids) == 0 || slices.Contains(ids, "") {
		return errorf(BadRequest, ItemRequired, "the request names no item")
	}
	st, err := s.find(ctx, topic)
	if err != nil {
		return err
	}
	owner := s.mustOwn(who, topic, st) == nil
	if !owner {
		if err := s.mustPublish(who, topic); err != nil {
			return err
		}
	}
	if st != nil && !st.config.PersistItems {
		return errNoItems(topic)
	}
	contentType := ""
	if notify && st != nil && !st.config.NotifyRetract {
		contentType = TypeNotify
	}
	found := map[string]entry{}
	if err := s.itemsOf(ctx, topic, st, func(l *itemList) {
		for _, id := range ids {
			if e, ok := l.find(configOf(st), id, time.Now()); ok {
				found[id] = e
			}
		}
	}); err != nil {
		return err
	}
	events := make([]tidings.Event, 0, len(ids))
	for _, id := range ids {
		e, ok := found[id]
		if !ok {
			return errorf(ItemNotFound, "", "the node %s has no item %.80q", topic.Node(), id)
		}
		if !owner && e.publisher != publisher(who) {
			return errorf(Forbidden, "", "the item %.80q was published by somebody else", id)
		}
		events = append(events, tidings.Event{Topic: topic, ID: e.id, Kind: tidings.Retract, Time: time.Now(), ContentType: contentType, Publisher: publisher(who)})
	}
	_, err = s.opt.Log.Append(ctx, events...)
	return err
}
