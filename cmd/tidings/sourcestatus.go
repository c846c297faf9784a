package main

import (
	"time"

	"tidings/source/mediawiki/eventstreams"
)

// sourceStatus is what /status tells of every source that goes and gets changes.
type sourceStatus struct {
	Source     string            `json:"source"` // the publisher of its events
	LastError  string            `json:"last_error,omitempty"`
	Newest     *time.Time        `json:"newest,omitempty"`
	Appended   uint64            `json:"appended"`
	Duplicates uint64            `json:"duplicates"`
	Dropped    map[string]uint64 `json:"dropped"`
	up         bool              // the last request succeeded, or the connection stands
}

func (s sourceStatus) name() string { return s.Source }

// Beside it each kind has its own figures.
type pollStatus struct {
	sourceStatus
	Wiki      string `json:"wiki,omitempty"`
	Requests  uint64 `json:"requests"`
	Bytes     uint64 `json:"bytes"`
	Polls     uint64 `json:"polls"`
	Rows      uint64 `json:"rows"`
	Late      uint64 `json:"late"`
	Stored    uint64 `json:"stored"`
	Errors    uint64 `json:"errors"`
	Lagged    uint64 `json:"lagged"`
	Shortened uint64 `json:"shortened"`
}

type streamStatus struct {
	sourceStatus
	Connected   bool              `json:"connected"`
	Connections uint64            `json:"connections"`
	Silences    uint64            `json:"silences"`
	Messages    uint64            `json:"messages"`
	Canaries    uint64            `json:"canaries"`
	Repeats     uint64            `json:"repeats"`
	Gaps        uint64            `json:"gaps"`
	LastGap     *eventstreams.Gap `json:"last_gap,omitempty"`
	Queued      int               `json:"queued"`
}

type redisStatus struct {
	sourceStatus
	Connected     bool    `json:"connected"`
	Connections   uint64  `json:"connections"`
	Interruptions uint64  `json:"interruptions"`
	Down          float64 `json:"down_seconds"`
	Messages      uint64  `json:"messages"`
	Bytes         uint64  `json:"bytes"`
	Queued        int     `json:"queued"`
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
			sourceStatus: sourceStatus{r.names.polls[i], st.LastError, known(st.Newest), st.Appended, st.Duplicates, st.Dropped, st.LastError == "" && st.Polls > 0},
			Wiki:         st.Wiki, Requests: st.Requests, Bytes: st.Bytes, Polls: st.Polls, Rows: st.Rows, Late: st.Late, Stored: st.Stored, Errors: st.Errors,
			Lagged: st.Lagged, Shortened: st.Shortened,
		})
	}
	for i, e := range r.streams {
		st := e.Stats()
		to.EventStreams = append(to.EventStreams, streamStatus{
			sourceStatus: sourceStatus{r.names.streams[i], st.LastError, known(st.Newest), st.Appended, st.Duplicates, st.Dropped, st.Connected},
			Connected:    st.Connected, Connections: st.Connections, Silences: st.Silences, Messages: st.Messages, Canaries: st.Canaries, Repeats: st.Repeats,
			Gaps: st.Gaps, LastGap: st.LastGap, Queued: st.Queued,
		})
	}
	for i, d := range r.redises {
		st := d.Stats()
		to.Redis = append(to.Redis, redisStatus{
			sourceStatus: sourceStatus{r.names.redises[i], st.LastError, nil, st.Appended, st.Duplicates, st.Dropped, st.Connected},
			Connected:    st.Connected, Connections: st.Connections, Interruptions: st.Interruptions, Down: st.Down.Seconds(), Messages: st.Messages, Bytes: st.Bytes,
			Queued: st.Queued,
		})
	}
}

// sources calls f for each source of the report.
func (r *statusReport) sources(f func(sourceStatus)) {
	for _, p := range r.Poll {
		f(p.sourceStatus)
	}
	for _, e := range r.EventStreams {
		f(e.sourceStatus)
	}
	for _, d := range r.Redis {
		f(d.sourceStatus)
	}
}

// sourceFigures are the time series of the sources, by the label source.
func sourceFigures() []figure {
	type add = func(float64, ...string)
	one := []string{"source"}
	all := func(value func(sourceStatus) (v float64, known bool)) func(*statusReport, add) {
		return func(r *statusReport, add add) {
			r.sources(func(s sourceStatus) {
				if v, ok := value(s); ok {
					add(v, s.Source)
				}
			})
		}
	}
	polls := func(r *statusReport) []pollStatus { return r.Poll }
	streams := func(r *statusReport) []streamStatus { return r.EventStreams }
	redises := func(r *statusReport) []redisStatus { return r.Redis }
	return []figure{
		counter("source_appended_total", "Events that a source brought and that were appended.", one,
			all(func(s sourceStatus) (float64, bool) { return float64(s.Appended), true })),
		counter("source_duplicates_total", "Events that a source brought and that another had brought before.", one,
			all(func(s sourceStatus) (float64, bool) { return float64(s.Duplicates), true })),
		counter("source_dropped_total", "Changes that a source received and dropped, by reason.", []string{"source", "reason"}, func(r *statusReport, add add) {
			r.sources(func(s sourceStatus) {
				for reason, n := range s.Dropped {
					add(float64(n), s.Source, reason)
				}
			})
		}),
		gaugeBy("source_up", "1 if the last request succeeded, or the connection stands.", one, all(func(s sourceStatus) (float64, bool) {
			if s.up {
				return 1, true
			}
			return 0, true
		})),
		gaugeBy("source_newest_timestamp_seconds", "Time of the newest change that a source has seen.", one, all(func(s sourceStatus) (float64, bool) {
			if s.Newest == nil {
				return 0, false
			}
			return float64(s.Newest.Unix()), true
		})),
		counter("poll_requests_total", "Requests to APIs.", one, each(polls, func(p pollStatus) float64 { return float64(p.Requests) })),
		counter("poll_errors_total", "Requests to APIs that failed, those refused for lag aside.", one, each(polls, func(p pollStatus) float64 { return float64(p.Errors) })),
		counter("poll_lagged_total", "Requests to APIs that were refused because replicas lagged.", one, each(polls, func(p pollStatus) float64 { return float64(p.Lagged) })),
		counter("poll_late_total", "Changes that became visible behind newer ones.", one, each(polls, func(p pollStatus) float64 { return float64(p.Late) })),
		counter("eventstreams_gaps_total", "Gaps that an upstream told of, or could not exclude.", one, each(streams, func(e streamStatus) float64 { return float64(e.Gaps) })),
		counter("eventstreams_connections_total", "Connections made to upstreams.", one, each(streams, func(e streamStatus) float64 { return float64(e.Connections) })),
		counter("redis_interruptions_total", "Connections to Redis that were lost; what was published until the next is lost too.", one,
			each(redises, func(d redisStatus) float64 { return float64(d.Interruptions) })),
		counter("redis_down_seconds_total", "Time without a connection to Redis after the first.", one, each(redises, func(d redisStatus) float64 { return d.Down })),
	}
}

// each returns a figure of every source of a kind.
func each[S interface{ name() string }](of func(*statusReport) []S, value func(S) float64) func(*statusReport, func(float64, ...string)) {
	return func(r *statusReport, add func(float64, ...string)) {
		for _, s := range of(r) {
			add(value(s), s.name())
		}
	}
}
