// Package intake is what the sources of this folder have in common: it turns a payload into an event and hands events to
// the journal, in order and in batches, again while that fails.
package intake

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/internal/drops"
	"tidings/internal/retry"
	"tidings/recentchange"
)

// The reasons for which an event is dropped, beside the reasons of package recentchange for payloads that do not decode.
const (
	InvalidEvent       = "invalid-event"       // it decodes and does not make a valid event
	QueueFull          = "queue-full"          // the journal is slower than the source
	JournalUnavailable = "journal-unavailable" // the queue filled up while the journal failed, or it failed until shutdown
	JournalRefused     = "journal-refused"     // the journal took no event like this one
)

// Limits.
const (
	Batch        = 512              // events in one Append
	ShutdownTime = 10 * time.Second // for appending what has been received, while the journal fails
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// Append stores the events in order, all of them or none, and returns once they are durable.
type Append func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error)

// Intake appends what one source has received. Appended, Duplicates and Drops may be read at any time.
type Intake struct {
	Publisher string // of the events, and the source in the log
	Append    Append
	Drops     *drops.Drops
	Log       *slog.Logger

	appended, duplicates atomic.Uint64
}

// Appended returns the number of events stored.
func (in *Intake) Appended() uint64 { return in.appended.Load() }

// Duplicates returns the number of events whose Key the journal had seen.
func (in *Intake) Duplicates() uint64 { return in.duplicates.Load() }

// Event returns the event of one payload, with a copy of it. Its errors have a recentchange.Reason or say what an event
// may not hold; see ReasonOf.
func (in *Intake) Event(contentType string, payload []byte, wikis recentchange.Wikis, received time.Time) (tidings.Event, error) {
	rc, err := recentchange.Decode(contentType, payload)
	if err != nil {
		return tidings.Event{}, err
	}
	wikis.Fill(rc, received)
	topic, err := rc.Topic()
	if err != nil {
		return tidings.Event{}, err
	}
	e := tidings.Event{
		Topic: topic, Key: rc.Key(), Time: rc.Time(), ContentType: contentType,
		Payload: append(make([]byte, 0, len(payload)), payload...), Publisher: in.Publisher,
	}
	return e, e.Validate()
}

// ReasonOf returns the reason of an error of Event, for the counters of drops.
func ReasonOf(err error) string {
	if reason := recentchange.ReasonOf(err); reason != "" {
		return string(reason)
	}
	return InvalidEvent
}

// Store appends the events, again and again while the journal fails. It drops and counts what the journal will never
// take, and everything once ctx has ended, which is the one case in which it returns false. failing is told when that
// begins and ends; it may be nil.
func (in *Intake) Store(ctx context.Context, events []tidings.Event, failing func(bool)) bool {
	for attempt := 0; ; attempt++ {
		results, err := in.Append(ctx, events...)
		if err == nil {
			if failing != nil {
				failing(false)
			}
			for _, r := range results {
				if r.Duplicate {
					in.duplicates.Add(1)
				} else {
					in.appended.Add(1)
				}
			}
			return true
		}
		if errors.Is(err, tidings.ErrInvalid) || errors.Is(err, tidings.ErrTooLarge) || errors.Is(err, tidings.ErrForbidden) {
			return in.refused(ctx, events, err, failing)
		}
		if failing != nil {
			failing(true)
		}
		backoff := min(minBackoff<<min(attempt, 10), maxBackoff)
		in.Log.Warn("appending has failed", "source", in.Publisher, "events", len(events), "again in", backoff, "error", err)
		if retry.Sleep(ctx, backoff) != nil {
			in.Drops.Add(JournalUnavailable, uint64(len(events)), "error", err)
			return false
		}
	}
}

// refused deals with a batch that the journal will never take: each event is tried alone, so that one of them does not
// cost the others.
func (in *Intake) refused(ctx context.Context, events []tidings.Event, err error, failing func(bool)) bool {
	if len(events) > 1 {
		stored := true
		for i := range events {
			stored = in.Store(ctx, events[i:i+1], failing) && stored
		}
		return stored
	}
	reason := JournalRefused
	if errors.Is(err, tidings.ErrTooLarge) {
		reason = string(recentchange.TooLarge)
	}
	in.Drops.Add(reason, 1, "topic", events[0].Topic, "error", err)
	return true
}
