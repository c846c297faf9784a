// Package tidings is the domain of a server that takes changes in from wherever they happen and pushes them, durably
// and at once, to everyone who asked: [Event], [Topic], [Pattern], [Position], [Actor] and the kinds of error that every
// protocol translates into its own words.
//
// It imports the standard library only. Everything else in the module depends on it and on as little else as the table
// in ARCHITECTURE.md allows.
package tidings

import "time"

// Event is one change, published once. The zero values of its optional fields mean "not given".
//
// An Event handed to more than one goroutine is immutable, its Payload included.
type Event struct {
	// Position is where the journal put the event; zero until it has been appended.
	Position Position
	// Topic is the path it was published on.
	Topic Topic
	// ID names the item within its topic (the PubSub item id, RFC 5023's entry). Publishing an ID again is a new version
	// of that item. An empty ID stands for the text of Position. At most MaxIDBytes bytes.
	ID string
	// Key makes a repeat harmless: within the journal's deduplication window an event with a Key already seen is not
	// appended again. At most MaxKeyBytes bytes.
	Key string
	// Time is when the change happened, by the publisher's clock where it gave one, else when it was received.
	Time time.Time
	// Kind says whether the item was published or retracted.
	Kind Kind
	// ContentType is the media type of Payload (RFC 9110 section 8.3).
	ContentType string
	// Payload holds the bytes as they were received. At most the journal's configured limit.
	Payload []byte
	// Publisher is the name of the actor that published the event.
	Publisher string
	// Mark is the source's own upstream position after this event, handed back to the source when it starts again.
	Mark string
}

// Limits of an event's short fields, in bytes.
const (
	MaxIDBytes          = 1023 // as a resourcepart, RFC 7622 section 3.4
	MaxKeyBytes         = 255
	MaxContentTypeBytes = 255
	MaxPublisherBytes   = 255
	MaxMarkBytes        = 4096
)

// ItemID returns the name of the event's item in its topic: its ID, or the text of its Position where it has none.
func (e *Event) ItemID() string {
	if e.ID != "" {
		return e.ID
	}
	return e.Position.String()
}

// Validate reports whether the event may be appended: an Error of kind [ErrInvalid] that names the field otherwise.
// The size of the payload is the journal's to judge.
func (e *Event) Validate() error {
	if _, err := ParseTopic(string(e.Topic)); err != nil {
		return err
	}
	if e.Kind != Publish && e.Kind != Retract {
		return Errorf(ErrInvalid, "unknown kind %d of event", e.Kind)
	}
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"id", e.ID, MaxIDBytes},
		{"key", e.Key, MaxKeyBytes},
		{"content type", e.ContentType, MaxContentTypeBytes},
		{"publisher", e.Publisher, MaxPublisherBytes},
		{"mark", e.Mark, MaxMarkBytes},
	} {
		if len(f.value) > f.max {
			return Errorf(ErrInvalid, "the %s has %d bytes and may have %d", f.name, len(f.value), f.max)
		}
		if i := invalidText(f.value); i >= 0 {
			return Errorf(ErrInvalid, "the %s has a control character or invalid UTF-8 at byte %d", f.name, i)
		}
	}
	return nil
}

// Appended is the result of appending one event to the journal.
type Appended struct {
	Position  Position
	Duplicate bool // the Key had been seen: Position is the first one's
}

// Kind says what an event does to the item it names.
type Kind uint8

// The kinds of event.
const (
	Publish Kind = iota // a new item, or a new version of one
	Retract             // the item is withdrawn (XEP-0060 section 7.2)
)

// String returns "publish" or "retract".
func (k Kind) String() string {
	switch k {
	case Publish:
		return "publish"
	case Retract:
		return "retract"
	}
	return "unknown"
}

// ParseKind returns the Kind whose String is s.
func ParseKind(s string) (Kind, error) {
	switch s {
	case "", "publish":
		return Publish, nil
	case "retract":
		return Retract, nil
	}
	return 0, Errorf(ErrInvalid, "unknown kind %q of event: want publish or retract", s)
}
