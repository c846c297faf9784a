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
