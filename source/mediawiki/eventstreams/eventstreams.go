// Package eventstreams takes in the recent changes that another server serves as EventStreams: stream.wikimedia.org, or
// another Tidings.
//
// It goes on behind the last event it has stored, by the offsets in the events themselves, which are exact where the ids
// of Wikimedia's stream are not; it takes a connection on which nothing comes for too long for dead; and where
// the upstream says that events are lost, or knows the place no more, it logs that, counts it, and records it as
// an event on [GapTopic].
package eventstreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/internal/drops"
	"tidings/internal/retry"
	"tidings/internal/sse"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake"
)

// GapTopic is where gaps of upstreams are recorded: application/json with source, asked, oldest and reason.
const GapTopic tidings.Topic = "/tidings/gaps"

// The reasons for which a message is dropped, beside those of packages intake and recentchange.
const (
	UnknownMessage = "unknown-message" // of a type that is none of a stream's
	NoMark         = "no-mark"         // its place is too long to be kept; the event itself is not dropped
)

// Defaults and limits.
const (
	DefaultSilence = 2 * time.Minute

	queueBytes   = 64 << 20
	maxMessage   = recentchange.MaxBytes + 64<<10
	firstRetry   = time.Second // until the server tells its own
	maxRetry     = time.Minute // of what it tells
	maxBackoff   = 2 * time.Minute
	busyRetry    = 10 * time.Second // after 429 that does not say how long
	leastSilence = 30 * time.Second
	remembered   = 8192 // keys of events
)

// Config is what a Source is made of. URL, UserAgent and Append are required.
type Config struct {
	// URL is the address of the stream, such as https://stream.wikimedia.org/v2/stream/recentchange.
	URL *url.URL
	// UserAgent names the program and whom to write to.
	UserAgent string
	// Token is sent as Authorization: Bearer; empty for none.
	Token string
	// Silence is how long a connection may bring nothing before it is taken for dead; once the server has sent a
	// keepalive, three times the time between those if that is less. Default DefaultSilence.
	Silence time.Duration
	// Publisher is that of the events; it differs between sources, because each has a Mark of its own.
	Publisher string
	// Begin is where to begin without a Mark, by this machine's clock; zero: the time of New.
	Begin time.Time
	// Mark is the last one of Publisher in the journal.
	Mark string
	// Stored reports whether the journal has an event with the key, from this source before a crash that took its Mark or
	// from another, which it would not recognise as a repeat.
	Stored func(key string) bool
	// Wikis tells what the events do not.
	Wikis recentchange.Wikis
	// Append is called for one batch at a time, and again with the same batch if it fails with an error that may pass.
	Append intake.Append
	// HTTP makes the requests; it must have no Timeout. nil is http.DefaultClient.
	HTTP *http.Client
	// Log gets errors and what is dropped, at a bounded rate; default slog.Default().
	Log *slog.Logger
}

// Source reads one stream.
type Source struct {
	config Config
	drops  *drops.Drops
	intake *intake.Intake
	queue  *intake.Queue

	messages, canaries, repeats, connections, silences, gaps atomic.Uint64

	// Run's.
	place place
	seen  recent
	retry time.Duration

	mu     sync.Mutex
	status status
}

type status struct {
	connected bool
	err       string
	newest    time.Time
	gap       *Gap
}

// Gap is what an upstream has lost before it came here.
type Gap struct {
	Source string    `json:"source"`
	Asked  string    `json:"asked"`  // where this server wanted to go on from
	Oldest string    `json:"oldest"` // where it goes on; empty if by time
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"` // when it was told
}

// Stats are figures since New.
type Stats struct {
	Connected   bool
	Newest      time.Time // of the newest event
	LastError   string    // why the last connection was lost or not made; empty while connected
	Connections uint64    // made
	Silences    uint64    // connections given up because nothing came
	Messages    uint64    // received
	Canaries    uint64    // of them, events that announce no change
	Repeats     uint64    // of them, those that had come before
	Gaps        uint64
	LastGap     *Gap
	Queued      int
	Appended    uint64
	Duplicates  uint64 // events whose Key the journal had seen
	Dropped     map[string]uint64
}

// New returns a Source. An error, of kind ErrInvalid, is about the URL; a Mark that cannot be read is logged and not used.
func New(c Config) (*Source, error) {
	if c.URL == nil || c.URL.Scheme != "http" && c.URL.Scheme != "https" || c.URL.Host == "" {
		return nil, tidings.Errorf(tidings.ErrInvalid, "eventstreams: the address of the stream is not of the form https://stream.example.org/v2/stream/recentchange")
	}
	if c.Silence <= 0 {
		c.Silence = DefaultSilence
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	if c.Begin.IsZero() {
		c.Begin = time.Now()
	}
	if c.Stored == nil {
		c.Stored = func(string) bool { return false }
	}
	s := &Source{config: c, drops: drops.New(c.Log, c.Publisher), retry: firstRetry}
	s.intake = &intake.Intake{Publisher: c.Publisher, Append: c.Append, Drops: s.drops, Log: c.Log}
	s.queue = s.intake.NewQueue(queueBytes)
	if c.Mark != "" {
		var err error
		if s.place, err = parseMark(c.Mark); err != nil {
			c.Log.Error("the position of the last run cannot be read; reading begins anew", "source", c.Publisher, "error", err)
		}
	}
	return s, nil
}

// Stats returns figures of this moment.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	return Stats{
		Connected: st.connected, Newest: st.newest, LastError: st.err, LastGap: st.gap,
		Connections: s.connections.Load(), Silences: s.silences.Load(), Messages: s.messages.Load(), Canaries: s.canaries.Load(),
		Repeats: s.repeats.Load(), Gaps: s.gaps.Load(), Queued: s.queue.Len(), Appended: s.intake.Appended(),
		Duplicates: s.intake.Duplicates(), Dropped: s.drops.Snapshot(),
	}
}

func (s *Source) note(f func(*status)) {
	s.mu.Lock()
	f(&s.status)
	s.mu.Unlock()
}

// errSilent says that nothing came for too long.
var errSilent = errors.New("nothing came for too long")

// refusal is an answer that is no stream.
type refusal struct {
	status int
	detail string
	wait   time.Duration // what Retry-After asks for
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the server answered %d %s %s", r.status, http.StatusText(r.status), r.detail)
}

// Run reads until ctx ends, then stores what it has received and returns nil. It gives up on no error: it waits, longer
// after each failure in a row, and comes back to where it was.
func (s *Source) Run(ctx context.Context) error {
	defer s.drops.Flush()
	finish := s.queue.Start(ctx)
	defer finish()
	for failures := 0; ; failures++ {
		before := s.messages.Load()
		err := s.connect(ctx)
		s.note(func(st *status) { st.connected, st.err = false, err.Error() })
		if ctx.Err() != nil {
			return nil
		}
		if s.messages.Load() > before {
			failures = 0
		}
		base := s.retry
		var r *refusal
		if errors.As(err, &r) {
			base = max(base, r.wait)
			if r.status == http.StatusTooManyRequests && r.wait == 0 {
				base = max(base, busyRetry)
			}
			s.unknownPlace(r)
		}
		wait := retry.Backoff(base, maxBackoff, failures)
		s.config.Log.Log(ctx, level(err), "the stream was lost", "source", s.config.Publisher, "again in", wait, "error", err)
		if retry.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// level is that of a log entry: a server that ends a stream in order, as Wikimedia's does every quarter of an hour, is
// nothing to worry about.
func level(err error) slog.Level {
	if errors.Is(err, io.EOF) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// unknownPlace deals with a server that does not take the place to go on from: what came since the last event is asked
// for by time, and that is a gap, since nobody knows whether it is all.
func (s *Source) unknownPlace(r *refusal) {
	switch r.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
	default:
		return
	}
	if id := s.place.id(); id != "" {
		s.gap(Gap{Asked: id, Reason: r.Error()})
		s.place = place{time: s.place.time}
	}
}

// gap logs, counts and records a gap.
func (s *Source) gap(g Gap) {
	g.Source, g.Time = s.config.Publisher, time.Now().UTC()
	s.gaps.Add(1)
	s.note(func(st *status) { st.gap = &g })
	s.config.Log.Error("the upstream has lost events, or cannot say that it has not", "source", g.Source, "asked", g.Asked, "oldest", g.Oldest, "reason", g.Reason)
	payload, _ := json.Marshal(g) // strings and a time
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %q", g.Source, g.Asked, g.Oldest)
	s.queue.Put(tidings.Event{
		Topic: GapTopic, Key: fmt.Sprintf("gap/%016x", h.Sum64()), Time: g.Time, ContentType: "application/json", Payload: payload, Publisher: s.config.Publisher,
	})
}

// request returns the request that goes on from where the source is.
func (s *Source) request(ctx context.Context) (*http.Request, error) {
	u := *s.config.URL
	id := s.place.id()
	if q := u.Query(); id == "" && !q.Has("since") {
		since := s.config.Begin
		if s.place.time.After(since) {
			since = s.place.time
		}
		q.Set("since", strconv.FormatInt(since.UnixMilli(), 10))
		u.RawQuery = q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-store")
	req.Header.Set("User-Agent", s.config.UserAgent)
	if s.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.config.Token)
	}
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	return req, nil
}

// connect makes one connection and reads it to its end, which is never without an error.
func (s *Source) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lost := func(err error) error {
		if context.Cause(ctx) == errSilent {
			s.silences.Add(1)
			return errSilent
		}
		return err
	}
	watch := time.AfterFunc(s.config.Silence, func() { cancel(errSilent) })
	defer watch.Stop()
	req, err := s.request(ctx)
	if err != nil {
		return err
	}
	resp, err := s.config.HTTP.Do(req)
	if err != nil {
		return lost(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // what came is enough
		return &refusal{resp.StatusCode, string(detail), retry.After(resp.Header, time.Now())}
	}
	if typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); typ != "text/event-stream" {
		return fmt.Errorf("its type is %q and not text/event-stream", resp.Header.Get("Content-Type"))
	}
	s.connections.Add(1)
	s.note(func(st *status) { st.connected, st.err = true, "" })
	s.config.Log.Info("reading", "source", s.config.Publisher, "from", s.place.id())

	body := &sse.Watched{Reader: resp.Body, Timer: watch, Most: s.config.Silence}
	d := sse.NewDecoder(body, maxMessage, "")
	var heard time.Time // the last message or comment
	var keepalive time.Duration
	d.Comment = func() {
		now := time.Now()
		if !heard.IsZero() { // a keepalive comes after a silence of its interval; :ok comes first
			keepalive = max(keepalive, now.Sub(heard))
			body.Most = min(s.config.Silence, max(3*keepalive, leastSilence))
		}
		heard = now
	}
	why := error(io.EOF)
	for {
		m, err := d.Next()
		if d.Retry >= 0 {
			s.retry = min(max(d.Retry, firstRetry), maxRetry)
		}
		if err == io.EOF {
			return lost(why)
		}
		if err != nil {
			return lost(err)
		}
		heard = time.Now()
		s.messages.Add(1)
		if m.Type == "error" { // why the server is about to end the stream
			why = fmt.Errorf("the server says: %.300s", m.Data)
			continue
		}
		if err := s.message(ctx, m); err != nil {
			return lost(err)
		}
	}
}

// message takes one message in.
func (s *Source) message(ctx context.Context, m sse.Message) error {
	switch m.Type {
	case "message":
	case "gap":
		var g struct{ Asked, Oldest string }
		_ = json.Unmarshal(m.Data, &g) // whatever it says, it is a gap
		s.gap(Gap{Asked: g.Asked, Oldest: g.Oldest, Reason: "the upstream says so"})
		s.place.advance(m.ID, origin{})
		return nil
	default:
		s.drops.Add(UnknownMessage, 1, "type", m.Type)
		return nil
	}
	var o struct{ Meta origin }
	_ = json.Unmarshal(m.Data, &o) // what is wrong with it shows when it is decoded
	s.place.advance(m.ID, o.Meta)
	e, err := s.intake.Event(recentchange.TypeEventStreams, m.Data, s.config.Wikis, time.Now())
	switch {
	case recentchange.ReasonOf(err) == recentchange.Canary || o.Meta.Domain == "canary":
		s.canaries.Add(1)
		return nil
	case err != nil:
		s.drops.Add(intake.ReasonOf(err), 1, "id", m.ID, "error", err)
		return nil
	case e.Key != "" && (s.config.Stored(e.Key) || !s.seen.add(e.Key)):
		s.repeats.Add(1)
		return nil
	}
	if e.Mark = s.place.mark(); e.Mark == "" {
		s.drops.Add(NoMark, 1, "id", m.ID)
	}
	s.note(func(st *status) {
		if e.Time.After(st.newest) {
			st.newest = e.Time
		}
	})
	// The upstream keeps what does not fit: a journal that is slow or down costs nothing but time.
	if err := s.queue.Wait(ctx); err != nil {
		return err
	}
	s.queue.Put(e)
	return nil
}

// recent are the keys of the last events.
type recent struct {
	ring []string
	next int
	keys map[string]bool
}

// add returns false if the key is among them.
func (r *recent) add(key string) bool {
	if r.keys[key] {
		return false
	}
	if r.keys == nil {
		r.keys = map[string]bool{}
	}
	if len(r.ring) < remembered {
		r.ring = append(r.ring, key)
	} else {
		delete(r.keys, r.ring[r.next])
		r.ring[r.next] = key
		r.next = (r.next + 1) % remembered
	}
	r.keys[key] = true
	return true
}
