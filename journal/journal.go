package journal

import (
	"context"
	"time"

	"tidings"
)

// Journal is one ordered, durable log of events.
//
// All methods may be called from many goroutines. After Close they return an error of kind tidings.ErrUnavailable.
type Journal interface {
	// Append stores the events in the order given and returns once they are as durable as the journal's mode says.
	// Either all of them are stored or the error tells why none is; an event whose Key was seen within the
	// deduplication window is not stored again, and its result is the first one's position. Concurrent calls share
	// commits. No reader sees an event before its Append is about to return.
	//
	// Append sets Position in its own copy, takes over the Payload without copying it, and fills a zero Time with the
	// time of the call. Errors: ErrInvalid, ErrTooLarge (a payload over the limit), ErrUnavailable.
	Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error)

	// Read returns, in order, at most max events after the position that match one of the patterns (every event if
	// there are none), and the position up to which that answer is complete: it may lie behind the last event
	// returned, never before it, and equals after only if nothing came later. Read does not wait.
	//
	// It returns a *tidings.GapError if events after the position that match are not kept any more, if the position
	// is of another epoch, or if it lies after the head.
	Read(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)

	// ReadKept is Read without its GapError for events that retention has removed: it returns what is kept. Where rules
	// of retention differ between the topics that the patterns match, events are kept before a GapError's Oldest; a
	// reader that was told of the gap gets them so, up to Oldest, and uses Read from there on.
	ReadKept(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)

	// Head returns the position of the last durable event. In an empty journal its Offset is 0 or that of the last
	// event that was removed.
	Head() tidings.Position

	// Oldest returns the position to read after in order to get every event that is kept.
	Oldest() tidings.Position

	// At returns the position to read after in order to get the events appended at or after t: Oldest if t is before
	// all of them, Head if it is after.
	At(ctx context.Context, t time.Time) (tidings.Position, error)

	// Last returns the last event of the topic, or an error of kind ErrNotFound.
	Last(ctx context.Context, topic tidings.Topic) (tidings.Event, error)

	// Topics returns the topics that have an event and match the pattern, with the number of events kept, sorted.
	Topics(ctx context.Context, pattern tidings.Pattern) ([]TopicInfo, error)

	// Mark returns the Mark of the last event that publisher appended with one, be it a repeat, or "" if there is none.
	// It outlives the event's own retention.
	Mark(ctx context.Context, publisher string) (string, error)

	// Notify asks for a non-blocking send on ch whenever Head has moved; ch has a buffer of one. The function
	// returned ends it.
	Notify(ch chan<- struct{}) (stop func())

	// Stats returns figures for /status and /metrics.
	Stats() Stats

	// Bucket opens a named set of registry entries (tokens, accounts, nodes), which has the journal's durability and is
	// seen by every process on the same store. Names are [a-z0-9_-]+.
	Bucket(ctx context.Context, name string) (Bucket, error)

	// Close commits what is under way and closes the store. It is safe to call twice.
	Close() error
}

// TopicInfo describes a topic that has events.
type TopicInfo struct {
	Topic  tidings.Topic
	Events uint64 // number kept
}

// Stats are figures of a journal at one moment.
type Stats struct {
	Events     uint64        // kept
	Bytes      uint64        // taken by them in the store
	Appended   uint64        // since opening
	Duplicates uint64        // refused by Key since opening
	Commits    uint64        // groups written since opening
	CommitTime time.Duration // spent in them
	Durability string        // fsync, interval, memory, or server: that of the NATS servers at a URL
}

// Retention says how long the events below a prefix are kept. Of several rules the one with the longest prefix that
// covers a topic holds for it.
type Retention struct {
	Prefix tidings.Topic // "" for every topic; otherwise the topic itself and all below it
	Age    time.Duration // 0: no limit
	Bytes  int64         // 0: no limit; the oldest go first
}

// Bucket is a set of named values beside the log, in the same store. Keys are 1 to 255 bytes of any valid UTF-8. A change
// is as durable as the journal's mode says when the call returns; calls at the same time share their syncs.
type Bucket interface {
	// Put stores the value under the key.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes the key; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Update replaces the value under the key by what f returns for the one that is there, which is nil if the key is
	// not; a nil value deletes the key. Where another change comes in between, f is called again with what that has left,
	// so no change is lost, whichever process makes it; f must not call the bucket. An error of f ends the call, and is
	// returned as it is.
	Update(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error
	// Watch calls f for every entry and, until ctx ends, for every change made by any process, with a nil value for a
	// key that was deleted. It returns once f has been called for all that was there; later calls come from another
	// goroutine, one at a time. A change made through this Bucket has reached f when Put, Delete or Update
	// returns, or a later one of the same key has.
	Watch(ctx context.Context, f func(key string, value []byte)) error
}
