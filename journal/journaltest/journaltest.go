// Package journaltest is the suite that every journal has to pass. It says in code what package journal says in prose.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

// Journal is what the suite needs of a journal beside the interface.
type Journal interface {
	journal.Journal
	// ReadKept is Read that is silent about removed events.
	ReadKept(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)
	// Trim removes what the rules of retention do not keep at the time and returns how many events that were.
	Trim(ctx context.Context, now time.Time) (int, error)
}

// Opener opens journals of one kind.
type Opener struct {
	// Open opens a journal with the given limits, retention and window. Called again after a Close in the same test, it
	// opens the same store.
	Open func(t *testing.T, o journal.Options) Journal
	// Forgets says that a journal is empty when it is opened again.
	Forgets bool
}

// Run runs the suite; open is called once for each of its tests.
func Run(t *testing.T, open func(t *testing.T) Opener) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, Opener)
	}{
		{"Empty", testEmpty},
		{"Append", testAppend},
		{"Fields", testFields},
		{"Invalid", testInvalid},
		{"Canceled", testCanceled},
		{"Duplicates", testDuplicates},
		{"DedupeWindow", testDedupeWindow},
		{"Read", testRead},
		{"ReadWithTopicsAside", testReadAside},
		{"ReadBounds", testReadBounds},
		{"Gap", testGap},
		{"At", testAt},
		{"Last", testLast},
		{"Topics", testTopics},
		{"Mark", testMark},
		{"Notify", testNotify},
		{"Stats", testStats},
		{"RetentionByAge", testRetentionByAge},
		{"RetentionByBytes", testRetentionByBytes},
		{"RetentionByPrefix", testRetentionByPrefix},
		{"RetentionNested", testRetentionNested},
		{"RetentionOfAll", testRetentionOfAll},
		{"MarkOutlivesEvents", testMarkOutlives},
		{"Concurrent", testConcurrent},
		{"ReadersJoining", testReadersJoining},
		{"Close", testClose},
		{"Bucket", testBucket},
		{"BucketWatch", testBucketWatch},
		{"BucketReopened", testBucketReopened},
		{"BucketUpdate", testBucketUpdate},
		{"BucketUpdateConcurrent", testBucketUpdateConcurrent},
		{"BucketUpdateSeen", testBucketUpdateSeen},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, open(t)) })
	}
}

// quiet are the options of most tests: nothing happens by itself.
var quiet = journal.Options{TrimInterval: -1}

// suite is one journal under test.
type suite struct {
	*testing.T
	Opener
	Journal
	opts journal.Options
}

func start(t *testing.T, o Opener, opts journal.Options) *suite {
	t.Helper()
	if opts.TrimInterval == 0 {
		opts.TrimInterval = -1
	}
	s := &suite{T: t, Opener: o, opts: opts, Journal: o.Open(t, opts)}
	t.Cleanup(func() { s.Journal.Close() })
	return s
}

// reopened runs f now and, where the journal does not forget, again after reopening it.
func (s *suite) reopened(f func(t *testing.T)) {
	s.T.Helper()
	s.T.Run("first", f)
	if !s.Forgets && s.reopen() {
		s.T.Run("reopened", f)
	}
}

// reopen closes the journal and opens it again, and reports whether it has kept its events.
func (s *suite) reopen() bool {
	s.T.Helper()
	if s.Forgets {
		return false
	}
	if err := s.Journal.Close(); err != nil {
		s.T.Fatal("Close:", err)
	}
	s.Journal = s.Open(s.T, s.opts)
	return true
}

func (s *suite) append(evs ...tidings.Event) []tidings.Appended {
	s.T.Helper()
	got, err := s.Journal.Append(s.T.Context(), evs...)
	if err != nil {
		s.T.Fatal("Append:", err)
	}
	if len(got) != len(evs) {
		s.T.Fatalf("Append of %d events returned %d results", len(evs), len(got))
	}
	return got
}

// event returns an event; its payload is its name.
func event(topic tidings.Topic, name string) tidings.Event {
	return tidings.Event{Topic: topic, ContentType: "text/plain", Payload: []byte(name)}
}

// put appends one event for each name.
func (s *suite) put(topic tidings.Topic, names ...string) []tidings.Appended {
	s.T.Helper()
	evs := make([]tidings.Event, len(names))
	for i, n := range names {
		evs[i] = event(topic, n)
	}
	return s.append(evs...)
}

func patterns(ps ...string) (out []tidings.Pattern) {
	for _, p := range ps {
		out = append(out, tidings.MustPattern(p))
	}
	return out
}

// readAll reads from after to the head, at most max events at a time.
func readAll(t *testing.T, j Journal, after tidings.Position, max int, ps ...string) []tidings.Event {
	t.Helper()
	evs, err := readTo(t.Context(), j.Read, after, j.Head(), max, patterns(ps...))
	if err != nil {
		t.Fatalf("Read(%s, %q): %v", after, ps, err)
	}
	return evs
}

type readFunc func(context.Context, tidings.Position, []tidings.Pattern, int) ([]tidings.Event, tidings.Position, error)

// readTo reads until the position reached is at or after to, and checks what any answer has to be.
func readTo(ctx context.Context, read readFunc, after, to tidings.Position, max int, ps []tidings.Pattern) ([]tidings.Event, error) {
	var all []tidings.Event
	for after.Offset < to.Offset {
		evs, upTo, err := read(ctx, after, ps, max)
		if err != nil {
			return all, err
		}
		if len(evs) > max {
			return all, fmt.Errorf("got %d events and asked for at most %d", len(evs), max)
		}
		last := after
		for _, e := range evs {
			if e.Position.Epoch != after.Epoch || e.Position.Offset <= last.Offset {
				return all, fmt.Errorf("event at %s comes behind %s", e.Position, last)
			}
			last = e.Position
		}
		if upTo.Offset < last.Offset || upTo.Offset <= after.Offset || upTo.Epoch != after.Epoch {
			return all, fmt.Errorf("after %s the answer is said to be complete up to %s, its last event is at %s", after, upTo, last)
		}
		all = append(all, evs...)
		after = upTo
	}
	return all, nil
}

func names(evs []tidings.Event) []string {
	out := []string{}
	for _, e := range evs {
		out = append(out, string(e.Payload))
	}
	return out
}

func wantNames(t *testing.T, what string, evs []tidings.Event, want ...string) {
	t.Helper()
	if got, want := fmt.Sprint(names(evs)), fmt.Sprint(want); got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func wantKind(t *testing.T, what string, err error, kind tidings.ErrorKind) {
	t.Helper()
	if tidings.KindOf(err) != kind {
		t.Errorf("%s: got error %v, want one of kind %q", what, err, kind)
	}
}

// wantGap checks that reading after the position is a gap, and returns the position to go on from.
func wantGap(t *testing.T, j Journal, after tidings.Position, ps ...string) tidings.Position {
	t.Helper()
	_, _, err := j.Read(t.Context(), after, patterns(ps...), 10)
	var gap *tidings.GapError
	if !errors.As(err, &gap) {
		t.Fatalf("Read(%s, %q): got error %v, want a gap", after, ps, err)
	}
	if gap.Asked != after {
		t.Errorf("the gap is said to be after %s, asked was %s", gap.Asked, after)
	}
	if _, _, err := j.Read(t.Context(), gap.Oldest, patterns(ps...), 10); err != nil {
		t.Errorf("Read(%s), where the gap said to go on: %v", gap.Oldest, err)
	}
	return gap.Oldest
}
