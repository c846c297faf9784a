// Package poll takes in the changes of a wiki that sends no feed, by asking its API (list=recentchanges) again and again.
//
// Every change comes once and none is left out, which asking for "what is newer than the last one" does not achieve: the
// number (rcid) and the time of a change are fixed before it is committed, and a replica shows it later still, so that a
// row may turn up behind others that are newer. So each poll begins Config.Overlap before the newest change
// it has seen, now and then as far back as Config.Late, and passes over the rows that it knows by their rcid. The
// state after a batch of changes is the Mark of its last event, with the rcids that a restart must know.
package poll

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/internal/drops"
	"tidings/internal/retry"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake"
)

// The reasons for which a change is dropped, beside those of packages intake and recentchange.
const (
	// NoID is a row without an rcid.
	NoID = "no-rcid"
	// Overflow counts seconds of which not all changes could be had: there were more than a page, and the wiki, MediaWiki
	// 1.19 or older, can go on by the second only.
	Overflow = "same-second-overflow"
)

// Defaults and limits.
const (
	DefaultInterval = 10 * time.Second
	DefaultOverlap  = 30 * time.Second
	DefaultLate     = 5 * time.Minute
	DefaultMaxLag   = 5 * time.Second
	MinInterval     = time.Second

	maxBackoff = 5 * time.Minute
	pagePause  = 100 * time.Millisecond // between the pages of one poll
)

// Config is what a Poller is made of. API, UserAgent and Append are required.
type Config struct {
	// API is the address of the wiki's api.php.
	API *url.URL
	// UserAgent names the program and whom to write to.
	UserAgent string
	// Token is sent as Authorization: Bearer, for a wiki that wants to know who reads; empty for none.
	Token string
	// Interval is the time from one poll to the next; at least MinInterval.
	Interval time.Duration
	// Overlap is how far behind the newest change each poll begins. A change that becomes visible that long after its time
	// is found by the next poll.
	Overlap time.Duration
	// Late is how far behind it a poll begins each fifth of this time. A change that becomes visible that long after its
	// time, less a fifth, is found; one that takes longer is not.
	Late time.Duration
	// MaxLag asks the wiki to refuse while its replicas lag by more, in whole seconds; 0 for any lag.
	MaxLag time.Duration
	// Publisher is that of the events; it differs between sources, because each has a Mark of its own.
	Publisher string
	// Begin is where to begin without a Mark, by this machine's clock; zero: the time of New.
	Begin time.Time
	// Mark is the last one of Publisher in the journal.
	Mark string
	// Stored reports whether the journal has an event with the key, from this source before a crash that took its Mark or
	// from another, which it would not recognise as a repeat.
	Stored func(key string) bool
	// Wikis tells what the API does not.
	Wikis recentchange.Wikis
	// Append is called for one batch at a time, and again with the same batch if it fails with an error that may pass.
	Append intake.Append
	// HTTP makes the requests; nil is http.DefaultClient.
	HTTP *http.Client
	// Log gets errors and what is dropped, at a bounded rate; default slog.Default().
	Log *slog.Logger
}

// Poller polls one wiki.
type Poller struct {
	config Config
	url    *url.URL
	http   *http.Client
	drops  *drops.Drops
	intake *intake.Intake

	requests, bytes, polls, rows, late, known, errors, lagged, shortened atomic.Uint64

	// Run's.
	wiki        string
	contentType string
	skew        time.Duration // the wiki's clock less ours
	window      *window
	swept       time.Time // when the last poll began that went back as far as Late

	mu     sync.Mutex
	status status
}

// status is what changes slowly.
type status struct {
	wiki   string
	newest time.Time
	err    string
}

// Stats are figures since New.
type Stats struct {
	Wiki       string    // the wiki's id; empty until it has answered
	Newest     time.Time // of the newest change seen
	LastError  string    // empty if the last request succeeded
	Requests   uint64
	Bytes      uint64 // in answers
	Polls      uint64 // that succeeded
	Rows       uint64 // received
	Late       uint64 // changes that became visible behind newer ones
	Stored     uint64 // changes that the journal had, for longer than it recognises a repeat
	Appended   uint64
	Duplicates uint64 // events whose Key the journal had seen
	Errors     uint64 // requests that failed, Lagged aside
	Lagged     uint64 // requests refused because the wiki's replicas lagged
	Shortened  uint64 // times Late was cut short because there were too many changes to remember
	Dropped    map[string]uint64
}

// New returns a Poller. Errors are of kind ErrInvalid, about a value that is missing or out of range; a Mark that cannot
// be read is logged and not used.
func New(c Config) (*Poller, error) {
	if c.API == nil || c.API.Scheme != "http" && c.API.Scheme != "https" || c.API.Host == "" {
		return nil, tidings.Errorf(tidings.ErrInvalid, "poll: the address of the API is not of the form https://wiki.example.org/w/api.php")
	}
	if c.Interval < MinInterval || c.Overlap < 0 || c.Late < c.Overlap {
		return nil, tidings.Errorf(tidings.ErrInvalid, "poll: an interval of %v, an overlap of %v and changes up to %v late do not go together", c.Interval, c.Overlap, c.Late)
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
	p := &Poller{config: c, url: c.API, http: c.HTTP, drops: drops.New(c.Log, c.Publisher)}
	p.intake = &intake.Intake{Publisher: c.Publisher, Append: c.Append, Drops: p.drops, Log: c.Log}
	return p, nil
}

// Stats returns figures of this moment.
func (p *Poller) Stats() Stats {
	p.mu.Lock()
	s := p.status
	p.mu.Unlock()
	return Stats{
		Wiki: s.wiki, Newest: s.newest, LastError: s.err, Requests: p.requests.Load(), Bytes: p.bytes.Load(), Polls: p.polls.Load(), Rows: p.rows.Load(),
		Late: p.late.Load(), Stored: p.known.Load(), Appended: p.intake.Appended(), Duplicates: p.intake.Duplicates(), Errors: p.errors.Load(), Lagged: p.lagged.Load(),
		Shortened: p.shortened.Load(), Dropped: p.drops.Snapshot(),
	}
}

// Run polls until ctx ends, and returns nil. It gives up on no error: it waits, longer after each failure in a row, and
// at least as long as the wiki asks for.
func (p *Poller) Run(ctx context.Context) error {
	defer p.drops.Flush()
	// What has been received is appended even when ctx has ended, for a while.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(intake.ShutdownTime, giveUp)
	})
	defer stop()
	for failures := 0; ; {
		begun := time.Now()
		err := p.start(ctx)
		if err == nil {
			err = p.poll(ctx, work)
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := max(p.config.Interval-time.Since(begun), MinInterval)
		if err == nil {
			failures = 0
			p.polls.Add(1)
			p.note(nil)
		} else {
			wait = p.failed(err, failures)
			if !lagged(err) {
				failures++
			}
		}
		if retry.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// failed counts the error and returns how long to wait.
func (p *Poller) failed(err error, failures int) time.Duration {
	p.note(err)
	base := p.config.Interval
	var r *refusal
	if errors.As(err, &r) {
		base = max(base, r.wait)
	}
	if lagged(err) {
		p.lagged.Add(1)
		wait := retry.Backoff(base, base/2, 0)
		p.config.Log.Info("the wiki's replicas lag", "source", p.config.Publisher, "again in", wait, "error", err)
		return wait
	}
	p.errors.Add(1)
	wait := retry.Backoff(base, maxBackoff, failures)
	p.config.Log.Warn("polling has failed", "source", p.config.Publisher, "again in", wait, "error", err)
	return wait
}

// note keeps what Stats tells.
func (p *Poller) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.err = ""
	if err != nil {
		p.status.err = err.Error()
	}
	p.stand()
}

// stand keeps which wiki answers and how far its changes have been seen. The caller holds mu.
func (p *Poller) stand() {
	p.status.wiki = p.wiki
	if p.window != nil && p.window.high > 0 {
		p.status.newest = time.Unix(p.window.high, 0).UTC()
	}
}

// start asks which wiki this is, unless that is known, and makes the window.
func (p *Poller) start(ctx context.Context) error {
	if p.window != nil {
		return nil
	}
	g, err := p.site(ctx)
	if err != nil {
		return err
	}
	if p.contentType, err = recentchange.APIType(g.WikiID, g.wiki()); err != nil {
		return err
	}
	p.wiki = g.WikiID
	if !g.Time.IsZero() {
		p.skew = time.Until(g.Time)
	}
	p.window = p.begin()
	p.config.Log.Info("polling", "source", p.config.Publisher, "wiki", p.wiki, "generator", g.Generator, "from", time.Unix(p.window.high, 0).UTC())
	return nil
}

// begin returns the window of the mark, or one that begins at Config.Begin.
func (p *Poller) begin() *window {
	if p.config.Mark != "" {
		wiki, w, err := parseMark(p.config.Mark)
		switch {
		case err != nil:
			p.config.Log.Error("the position of the last run cannot be read; polling begins anew", "source", p.config.Publisher, "error", err)
		case wiki != p.wiki:
			p.config.Log.Warn("another wiki answers than in the last run; polling begins anew", "source", p.config.Publisher, "was", wiki, "is", p.wiki)
		default:
			return w
		}
	}
	t := p.config.Begin.Add(p.skew).Unix()
	return &window{floor: second(t), high: t, seen: map[int64]int64{}}
}

// poll reads the list from behind the newest change to its end.
func (p *Poller) poll(ctx, work context.Context) error {
	w, begun := p.window, time.Now()
	back := p.config.Overlap
	if begun.Sub(p.swept) >= p.config.Late/5 {
		back = p.config.Late
	}
	from := max(w.high-int64(back.Seconds()), w.floor.time)
	newest := w.high
	var next url.Values
	for {
		pg, err := p.list(ctx, from, next)
		if err != nil {
			return err
		}
		fresh, ok := p.store(work, pg, newest)
		if !ok {
			return nil // ctx has ended
		}
		if pg.next == nil {
			break
		}
		if from, next, err = p.following(pg, from, next, fresh); err != nil {
			return err
		}
		if w.prune(w.high - int64(p.config.Late.Seconds())) {
			p.shorten()
		}
		if retry.Sleep(ctx, pagePause) != nil {
			return nil
		}
	}
	if back == p.config.Late {
		p.swept = begun
	}
	if w.prune(w.high - int64(p.config.Late.Seconds())) {
		p.shorten()
	}
	return nil
}

// shorten counts that the window could not hold what it should.
func (p *Poller) shorten() {
	p.shortened.Add(1)
	p.config.Log.Warn("there are too many changes to remember: those that become visible late may be missed",
		"source", p.config.Publisher, "from", time.Unix(p.window.floor.time, 0).UTC())
}

// following returns the parameters of the page behind pg. A wiki that goes on by the second only gives the same page again
// where a second has more changes than a page: then the next second is the best there is.
func (p *Poller) following(pg *page, from int64, next url.Values, fresh int) (int64, url.Values, error) {
	if start, err := time.Parse(time.RFC3339, pg.next.Get("rcstart")); err == nil && pg.next.Get("rccontinue") == "" {
		if fresh == 0 && start.Unix() <= from {
			p.drops.Add(Overflow, 1, "second", start)
			return from + 1, nil, nil
		}
		return start.Unix(), nil, nil
	}
	if next.Encode() == pg.next.Encode() {
		return 0, nil, errors.New("the API goes on where it was: " + next.Encode())
	}
	return from, pg.next, nil
}

// store appends the rows that are not known and returns how many those were. It returns false if ctx ended before they
// were stored.
func (p *Poller) store(ctx context.Context, pg *page, newest int64) (fresh int, ok bool) {
	w := p.window
	now := time.Now()
	p.rows.Add(uint64(len(pg.rows)))
	events := make([]tidings.Event, 0, min(len(pg.rows), intake.Batch))
	flush := func() bool {
		if len(events) == 0 {
			return true
		}
		events[len(events)-1].Mark = w.mark(p.wiki)
		p.mu.Lock()
		p.stand() // before anybody can see the events
		p.mu.Unlock()
		stored := p.intake.Store(ctx, events, nil)
		events = make([]tidings.Event, 0, intake.Batch) // the journal keeps the others
		return stored
	}
	for _, r := range pg.rows {
		if r.id < 0 {
			r.time = w.high // it may have none
		}
		if w.known(r.place) {
			continue
		}
		fresh++
		w.add(r.place, pg.now)
		if r.external { // feeds do not have them either
			continue
		}
		if r.id < 0 {
			p.drops.Add(NoID, 1)
			continue
		}
		e, err := p.intake.Event(p.contentType, r.bytes, p.config.Wikis, now)
		if err != nil {
			p.drops.Add(intake.ReasonOf(err), 1, "rcid", r.id, "error", err)
			continue
		}
		if p.config.Stored(e.Key) {
			p.known.Add(1)
			continue
		}
		if r.time < newest {
			p.late.Add(1)
		}
		if events = append(events, e); len(events) == intake.Batch {
			if !flush() {
				return fresh, false
			}
		}
	}
	return fresh, flush()
}
