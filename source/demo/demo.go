// Package demo makes up the changes of a dozen wikis, so that a newcomer without a wiki sees something happen.
//
// Pages, people and summaries are invented. The form is real: the payload of an event is what MediaWiki 1.39's
// JSONRCFeedFormatter would send, a page's revisions and lengths follow from one another, and the ids of a wiki grow,
// also from one run to the next.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"tidings"
	"tidings/recentchange"
)

// Publisher is the Publisher of the events.
const Publisher = "demo"

// MaxRate is the highest rate, in changes a second. Above it the ids of one run could run ahead of the clock that the
// next one starts from.
const MaxRate = 20_000

const (
	batch   = 512         // events in one Append
	maxLate = time.Second // how far behind the clock changes are still made up for
	backoff = time.Second // after a failed Append
)

// Run appends rate changes a second on average, at random times as independent editors would make them, until ctx ends;
// then it returns nil. An Append that fails is tried again each second and logged; meanwhile nothing changes on these
// wikis. A rate outside of (0, MaxRate] is an error of kind ErrInvalid, as is an event that the journal will never take.
func Run(ctx context.Context, rate float64, appendEvents func(context.Context, ...tidings.Event) ([]tidings.Appended, error)) error {
	if !(rate > 0 && rate <= MaxRate) {
		return tidings.Errorf(tidings.ErrInvalid, "demo: the rate %v is not above 0 and at most %d changes a second", rate, MaxRate)
	}
	now := time.Now()
	random := rand.New(rand.NewPCG(uint64(now.UnixNano()), 0x7469_6469_6e67_7321))
	w := newWorld(random, now)
	gap := func() time.Duration { return time.Duration(random.ExpFloat64() / rate * float64(time.Second)) }
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := now.Add(gap())
	for {
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(due) > maxLate {
			due = now
		}
		events := make([]tidings.Event, 0, 1)
		for !due.After(now) && len(events) < batch {
			e, err := w.event(now)
			if err != nil {
				return err
			}
			events = append(events, e)
			due = due.Add(gap())
		}
		if err := store(ctx, appendEvents, events); err != nil {
			return err
		}
	}
}

// store appends the events, again and again if it has to, until ctx ends.
func store(ctx context.Context, appendEvents func(context.Context, ...tidings.Event) ([]tidings.Appended, error), events []tidings.Event) error {
	for {
		_, err := appendEvents(ctx, events...)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.Is(err, tidings.ErrInvalid) || errors.Is(err, tidings.ErrTooLarge):
			return fmt.Errorf("demo: appending: %w", err)
		}
		slog.Warn("appending has failed", "source", Publisher, "events", len(events), "again in", backoff, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
	}
}

// event returns the next change as an event.
func (w *world) event(now time.Time) (tidings.Event, error) {
	rc := w.change(now)
	topic, err := rc.Topic()
	if err != nil {
		return tidings.Event{}, fmt.Errorf("demo: making up a change: %w", err)
	}
	return tidings.Event{
		Topic: topic, Key: rc.Key(), Time: rc.Time(), ContentType: recentchange.TypeJSON,
		Payload: rc.AppendJSON(nil), Publisher: Publisher,
	}, nil
}
