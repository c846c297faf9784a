package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"
	"time"

	"tidings/config"
	"tidings/journal"
	"tidings/source/mediawiki/eventstreams"
	"tidings/source/mediawiki/poll"
	"tidings/source/mediawiki/redis"
)

// remote are the sources that go and get changes.
type remote struct {
	polls   []*poll.Poller
	streams []*eventstreams.Source
	redises []*redis.Source
	names   struct{ polls, streams, redises []string } // the publishers
}

// hasRemote reports whether there are such sources.
func hasRemote(c *config.Config) bool { return len(c.Poll)+len(c.EventStreams)+len(c.Redis) > 0 }

// openSources starts the sources of the configuration that go and get changes.
func (s *server) openSources(ctx context.Context) error {
	c := s.cfg
	if !hasRemote(&c) {
		return nil
	}
	begins, err := openBegins(ctx, s.journal)
	if err != nil {
		return err
	}
	for _, p := range c.Poll {
		u, err := url.Parse(p.APIURL)
		if err != nil {
			return err
		}
		name := publisherName("mediawiki-poll", u)
		mark, begin, err := begins.of(ctx, name, time.Duration(p.Begin))
		if err != nil {
			return err
		}
		poller, err := poll.New(poll.Config{
			API: u, UserAgent: s.userAgent(u), Token: p.Token, Interval: time.Duration(p.Interval), Overlap: time.Duration(p.Overlap), Late: time.Duration(p.Late),
			MaxLag: poll.DefaultMaxLag, Publisher: name, Begin: begin, Mark: mark, Stored: s.keys.old, Wikis: c.Wikis, Append: s.append, Log: s.log,
		})
		if err != nil {
			return err
		}
		s.remote.polls, s.remote.names.polls = append(s.remote.polls, poller), append(s.remote.names.polls, name)
		s.sources.Go(func() { s.fail("polling "+u.Host, poller.Run(ctx)) })
	}
	for _, e := range c.EventStreams {
		u, err := url.Parse(e.URL)
		if err != nil {
			return err
		}
		name := publisherName("eventstreams", u)
		mark, begin, err := begins.of(ctx, name, time.Duration(e.Begin))
		if err != nil {
			return err
		}
		source, err := eventstreams.New(eventstreams.Config{
			URL: u, UserAgent: s.userAgent(u), Token: e.Token, Silence: time.Duration(e.Silence),
			Publisher: name, Begin: begin, Mark: mark, Stored: s.keys.old, Wikis: c.Wikis, Append: s.append, Log: s.log,
		})
		if err != nil {
			return err
		}
		s.remote.streams, s.remote.names.streams = append(s.remote.streams, source), append(s.remote.names.streams, name)
		s.sources.Go(func() { s.fail("the stream of "+u.Host, source.Run(ctx)) })
	}
	for _, r := range c.Redis {
		u, err := url.Parse(r.URL)
		if err != nil {
			return errors.New("the address of a Redis server cannot be read") // it may have a password in it
		}
		name := publisherName("redis", u)
		source, err := redis.New(redis.Config{URL: u, Patterns: r.Patterns, Publisher: name, Wikis: c.Wikis, Append: s.append, Log: s.log})
		if err != nil {
			return err
		}
		s.remote.redises, s.remote.names.redises = append(s.remote.redises, source), append(s.remote.names.redises, name)
		s.sources.Go(func() { s.fail("Redis at "+u.Host, source.Run(ctx)) })
	}
	return nil
}

// publisherName names a source after its address, without what may be secret in that.
func publisherName(kind string, u *url.URL) string {
	at := u.Host + strings.TrimSuffix(u.RequestURI(), "/")
	if len(at) > 200 {
		h := fnv.New64a()
		h.Write([]byte(at))
		at = fmt.Sprintf("%.150s…%016x", strings.ToValidUTF8(at[:150], ""), h.Sum64())
	}
	return kind + ":" + at
}

// userAgent is how the sources present themselves to a server.
func (s *server) userAgent(u *url.URL) string {
	if s.cfg.Contact == "" && !isLoopback(u.String()) {
		s.log.Warn("contact is not set: many wikis refuse robots that do not say whom to write to", "server", u.Host)
	}
	return userAgent(s.cfg.Contact)
}

func userAgent(contact string) string {
	version, _, _ := strings.Cut(strings.TrimPrefix(versionText(), "tidings "), " ")
	agent := "tidings/" + strings.Trim(version, "()")
	if contact != "" {
		agent += " (" + contact + ")"
	}
	return agent
}

// begins remembers when each source was started for the first time: until it has stored an event, and with it a Mark,
// that is where it begins each time, so that what happens between two starts is not lost.
type begins struct {
	journal journal.Journal
	bucket  journal.Bucket
	times   map[string]time.Time
}

func openBegins(ctx context.Context, j journal.Journal) (*begins, error) {
	b := &begins{journal: j, times: map[string]time.Time{}}
	var err error
	if b.bucket, err = j.Bucket(ctx, "sources"); err != nil {
		return nil, err
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	err = b.bucket.Watch(watch, func(name string, value []byte) {
		if t, err := time.Parse(time.RFC3339, string(value)); err == nil && watch.Err() == nil {
			b.times[name] = t
		}
	})
	return b, err
}

// of returns the source's Mark and its first start, which is now, less back, if this is it.
func (b *begins) of(ctx context.Context, name string, back time.Duration) (mark string, begin time.Time, err error) {
	if mark, err = b.journal.Mark(ctx, name); err != nil || mark != "" {
		return mark, time.Time{}, err
	}
	begin, ok := b.times[name]
	if !ok {
		begin = time.Now().Add(-back).UTC()
		err = b.bucket.Put(ctx, name, []byte(begin.Format(time.RFC3339)))
	}
	return "", begin, err
}

// The figures of the sources, each with the name that is the publisher of its events.
type pollStatus struct {
	Source     string            `json:"source"`
	Wiki       string            `json:"wiki,omitempty"`
	Newest     *time.Time        `json:"newest,omitempty"`
	LastError  string            `json:"last_error,omitempty"`
	Requests   uint64            `json:"requests"`
	Bytes      uint64            `json:"bytes"`
	Polls      uint64            `json:"polls"`
	Rows       uint64            `json:"rows"`
	Late       uint64            `json:"late"`
	Stored     uint64            `json:"stored"`
	Appended   uint64            `json:"appended"`
	Duplicates uint64            `json:"duplicates"`
	Errors     uint64            `json:"errors"`
	Lagged     uint64            `json:"lagged"`
	Shortened  uint64            `json:"shortened"`
	Dropped    map[string]uint64 `json:"dropped"`
}

type streamStatus struct {
	Source      string            `json:"source"`
	Connected   bool              `json:"connected"`
	Newest      *time.Time        `json:"newest,omitempty"`
	LastError   string            `json:"last_error,omitempty"`
	Connections uint64            `json:"connections"`
	Silences    uint64            `json:"silences"`
	Messages    uint64            `json:"messages"`
	Canaries    uint64            `json:"canaries"`
	Repeats     uint64            `json:"repeats"`
	Gaps        uint64            `json:"gaps"`
	LastGap     *eventstreams.Gap `json:"last_gap,omitempty"`
	Queued      int               `json:"queued"`
	Appended    uint64            `json:"appended"`
	Duplicates  uint64            `json:"duplicates"`
	Dropped     map[string]uint64 `json:"dropped"`
}

type redisStatus struct {
	Source        string            `json:"source"`
	Connected     bool              `json:"connected"`
	LastError     string            `json:"last_error,omitempty"`
	Connections   uint64            `json:"connections"`
	Interruptions uint64            `json:"interruptions"`
	Down          float64           `json:"down_seconds"`
	Messages      uint64            `json:"messages"`
	Bytes         uint64            `json:"bytes"`
	Queued        int               `json:"queued"`
	Appended      uint64            `json:"appended"`
	Duplicates    uint64            `json:"duplicates"`
	Dropped       map[string]uint64 `json:"dropped"`
}

// known returns the time, or nil for the zero one.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// report adds the figures of this moment.
func (r *remote) report(to *statusReport) {
	for i, p := range r.polls {
		st := p.Stats()
		to.Poll = append(to.Poll, pollStatus{
			r.names.polls[i], st.Wiki, known(st.Newest), st.LastError, st.Requests, st.Bytes, st.Polls, st.Rows, st.Late, st.Stored,
			st.Appended, st.Duplicates, st.Errors, st.Lagged, st.Shortened, st.Dropped,
		})
	}
	for i, e := range r.streams {
		st := e.Stats()
		to.EventStreams = append(to.EventStreams, streamStatus{
			r.names.streams[i], st.Connected, known(st.Newest), st.LastError, st.Connections, st.Silences, st.Messages, st.Canaries, st.Repeats,
			st.Gaps, st.LastGap, st.Queued, st.Appended, st.Duplicates, st.Dropped,
		})
	}
	for i, d := range r.redises {
		st := d.Stats()
		to.Redis = append(to.Redis, redisStatus{
			r.names.redises[i], st.Connected, st.LastError, st.Connections, st.Interruptions, st.Down.Seconds(), st.Messages, st.Bytes, st.Queued,
			st.Appended, st.Duplicates, st.Dropped,
		})
	}
}

// sourceFigures are the time series of the sources, by the label source.
func sourceFigures() []figure {
	type add = func(float64, ...string)
	one := []string{"source"}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return []figure{
		counter("source_appended_total", "Events that a source brought and that were appended.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Appended), p.Source)
			}
			for _, e := range r.EventStreams {
				add(float64(e.Appended), e.Source)
			}
			for _, d := range r.Redis {
				add(float64(d.Appended), d.Source)
			}
		}),
		counter("source_duplicates_total", "Events that a source brought and that another had brought before.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Duplicates), p.Source)
			}
			for _, e := range r.EventStreams {
				add(float64(e.Duplicates), e.Source)
			}
			for _, d := range r.Redis {
				add(float64(d.Duplicates), d.Source)
			}
		}),
		counter("source_dropped_total", "Changes that a source received and dropped, by reason.", []string{"source", "reason"}, func(r *statusReport, add add) {
			drop := func(source string, dropped map[string]uint64) {
				for reason, n := range dropped {
					add(float64(n), source, reason)
				}
			}
			for _, p := range r.Poll {
				drop(p.Source, p.Dropped)
			}
			for _, e := range r.EventStreams {
				drop(e.Source, e.Dropped)
			}
			for _, d := range r.Redis {
				drop(d.Source, d.Dropped)
			}
		}),
		gaugeBy("source_up", "1 if the last request succeeded, or the connection stands.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(flag(p.LastError == "" && p.Polls > 0), p.Source)
			}
			for _, e := range r.EventStreams {
				add(flag(e.Connected), e.Source)
			}
			for _, d := range r.Redis {
				add(flag(d.Connected), d.Source)
			}
		}),
		gaugeBy("source_newest_timestamp_seconds", "Time of the newest change that a source has seen.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				if p.Newest != nil {
					add(float64(p.Newest.Unix()), p.Source)
				}
			}
			for _, e := range r.EventStreams {
				if e.Newest != nil {
					add(float64(e.Newest.Unix()), e.Source)
				}
			}
		}),
		counter("poll_requests_total", "Requests to APIs.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Requests), p.Source)
			}
		}),
		counter("poll_errors_total", "Requests to APIs that failed, those refused for lag aside.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Errors), p.Source)
			}
		}),
		counter("poll_lagged_total", "Requests to APIs that were refused because replicas lagged.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Lagged), p.Source)
			}
		}),
		counter("poll_late_total", "Changes that became visible behind newer ones.", one, func(r *statusReport, add add) {
			for _, p := range r.Poll {
				add(float64(p.Late), p.Source)
			}
		}),
		counter("eventstreams_gaps_total", "Gaps that an upstream told of, or could not exclude.", one, func(r *statusReport, add add) {
			for _, e := range r.EventStreams {
				add(float64(e.Gaps), e.Source)
			}
		}),
		counter("eventstreams_connections_total", "Connections made to upstreams.", one, func(r *statusReport, add add) {
			for _, e := range r.EventStreams {
				add(float64(e.Connections), e.Source)
			}
		}),
		counter("redis_interruptions_total", "Connections to Redis that were lost; what was published until the next is lost too.", one, func(r *statusReport, add add) {
			for _, d := range r.Redis {
				add(float64(d.Interruptions), d.Source)
			}
		}),
		counter("redis_down_seconds_total", "Time without a connection to Redis after the first.", one, func(r *statusReport, add add) {
			for _, d := range r.Redis {
				add(d.Down, d.Source)
			}
		}),
	}
}
