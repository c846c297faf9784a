package journal

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tidings"
)

// The modes of durability.
const (
	// Fsync makes Append return when the events are on the disk.
	Fsync = "fsync"
	// Interval makes Append return when the operating system has the events, which go to the disk every
	// Options.SyncInterval: a process that is killed loses nothing, a machine that loses power loses that much.
	Interval = "interval"
)

// Options say how a journal is to be. The zero value of each field means its default.
type Options struct {
	// Dir is the data directory of an embedded journal; it is made if need be. Either Dir or URL is needed.
	Dir string
	// URL is that of a NATS server or a comma-separated list of a cluster's, such as nats://127.0.0.1:4222.
	URL string
	// Stream is the name of the stream and the first token of its subjects: 1 to 32 of [A-Za-z0-9_-]; default tidings.
	Stream string
	// Replicas is the number of copies in a cluster, 1 to 5; default 1. Embedded there is one.
	Replicas int
	// Durability is Fsync (default) or Interval. By URL it is the cluster's own and this has no effect.
	Durability string
	// SyncInterval is the time between two syncs in the mode Interval; default 1 s.
	SyncInterval time.Duration
	// DedupeWindow is how long a Key is remembered, in memory; default 2 minutes, at least 100 ms.
	DedupeWindow time.Duration
	// MaxPayload is the limit of an event's payload in bytes; default 1 MiB, at most 32 MiB.
	MaxPayload int
	// Retention is the rules after which old events are removed; none keeps them all.
	Retention []Retention
	// TrimInterval is the time between two looks for events to remove; default 1 minute. Below 0 only Trim does it.
	TrimInterval time.Duration
	// TailBytes bounds the newest events that are kept in memory for readers; default 16 MiB.
	TailBytes int64
	// Timeout bounds the wait for an answer of the NATS server; default 10 s.
	Timeout time.Duration
	// Log gets the journal's and the NATS server's warnings; default slog.Default().
	Log *slog.Logger
}

const maxMaxPayload = 32 << 20

// withDefaults returns o with its zero values replaced, or an error of kind ErrInvalid.
func (o Options) withDefaults() (Options, error) {
	bad := func(format string, args ...any) (Options, error) {
		return Options{}, tidings.Errorf(tidings.ErrInvalid, "journal: "+format, args...)
	}
	setDefault(&o.Stream, "tidings")
	setDefault(&o.Replicas, 1)
	setDefault(&o.Durability, Fsync)
	setDefault(&o.SyncInterval, time.Second)
	setDefault(&o.DedupeWindow, 2*time.Minute)
	setDefault(&o.MaxPayload, 1<<20)
	setDefault(&o.TrimInterval, time.Minute)
	setDefault(&o.TailBytes, 16<<20)
	setDefault(&o.Timeout, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	switch {
	case len(o.Stream) > 32 || strings.Trim(o.Stream, nameBytes) != "":
		return bad("stream name %q: want 1 to 32 letters, digits, - and _", o.Stream)
	case o.Replicas < 1 || o.Replicas > 5:
		return bad("%d replicas: want 1 to 5", o.Replicas)
	case o.Durability != Fsync && o.Durability != Interval:
		return bad("durability %q: want %s or %s", o.Durability, Fsync, Interval)
	case o.SyncInterval < 0 || o.TailBytes < 0 || o.Timeout < 0:
		return bad("an interval or a limit is below 0")
	case o.DedupeWindow < 100*time.Millisecond:
		return bad("deduplication window of %s: want 100ms at least", o.DedupeWindow)
	case o.MaxPayload < 0 || o.MaxPayload > maxMaxPayload:
		return bad("payload limit of %d bytes: want at most %d", o.MaxPayload, maxMaxPayload)
	}
	seen := map[tidings.Topic]bool{}
	for _, r := range o.Retention {
		if r.Prefix != "" {
			if _, err := tidings.ParseTopic(string(r.Prefix)); err != nil {
				return Options{}, fmt.Errorf("journal: prefix of a retention rule: %w", err)
			}
		}
		if seen[r.Prefix] {
			return bad("two retention rules for the prefix %q", r.Prefix)
		}
		if r.Age < 0 || r.Bytes < 0 {
			return bad("retention rule for %q: a limit is below 0", r.Prefix)
		}
		seen[r.Prefix] = true
	}
	return o, nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// checkEvents validates what Append was given and returns its own copy with the times filled in.
func checkEvents(events []tidings.Event, maxPayload int) ([]tidings.Event, error) {
	now := time.Now()
	own := make([]tidings.Event, len(events))
	for i := range events {
		e := events[i]
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("journal: event %d: %w", i, err)
		}
		if len(e.Payload) > maxPayload {
			return nil, tidings.Errorf(tidings.ErrTooLarge, "the payload has %d bytes and may have %d", len(e.Payload), maxPayload)
		}
		if e.Time.IsZero() {
			e.Time = now
		}
		e.Time = e.Time.Round(0).UTC()
		if y := e.Time.Year(); y < 0 || y > 9999 {
			return nil, tidings.Errorf(tidings.ErrInvalid, "the time is in the year %d: want 0 to 9999", y)
		}
		e.Position = tidings.Position{}
		own[i] = e
	}
	return own, nil
}

// errClosed is what every method returns after Close.
func errClosed() error {
	return tidings.Errorf(tidings.ErrUnavailable, "the journal is closed")
}

// errLocked says that another process has the data directory.
func errLocked(dir string) error {
	return tidings.Errorf(tidings.ErrConflict,
		"the data directory %s is in use by another process: stop that one, or start this one with another directory (--data DIR)", dir)
}
