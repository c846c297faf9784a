package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tidings"
)

// statusReport is what GET /status tells: figures of this moment, which /metrics has as time series.
type statusReport struct {
	Version    string           `json:"version"`
	Ready      bool             `json:"ready"`
	Started    time.Time        `json:"started"`
	Uptime     float64          `json:"uptime_seconds"`
	Durability string           `json:"durability"`
	Head       tidings.Position `json:"head"`
	Oldest     tidings.Position `json:"oldest"`
	Journal    journalStatus    `json:"journal"`
	Hub        hubStatus        `json:"hub"`
	Edge       edgeStatus       `json:"edge"`
	Publish    publishStatus    `json:"publish"`
	UDP        *udpStatus       `json:"udp,omitempty"`

	Poll         []pollStatus   `json:"poll,omitempty"`
	EventStreams []streamStatus `json:"eventstreams,omitempty"`
	Redis        []redisStatus  `json:"redis,omitempty"`
	IRC          *ircStatus     `json:"irc,omitempty"`
	XMPP         *xmppStatus    `json:"xmpp,omitempty"`
	Bridges      []bridgeStatus `json:"bridges,omitempty"`
	SocketIO     socketIOStatus `json:"socket_io"`
	RCStream     rcstreamStatus `json:"rcstream"`
}

type journalStatus struct {
	Events     uint64  `json:"events"`
	Bytes      uint64  `json:"bytes"`
	Appended   uint64  `json:"appended"`
	Duplicates uint64  `json:"duplicates"`
	Commits    uint64  `json:"commits"`
	CommitTime float64 `json:"commit_seconds"`
}

type hubStatus struct {
	Subscriptions int64  `json:"subscriptions"`
	Feeds         int    `json:"feeds"`
	TailBytes     int64  `json:"tail_bytes"`
	Dispatched    uint64 `json:"dispatched"`
	Encoded       uint64 `json:"encoded"`
	Behind        uint64 `json:"behind"`
	Gaps          uint64 `json:"gaps"`
}

type edgeStatus struct {
	Connections int64             `json:"connections"`
	Writes      uint64            `json:"writes"`
	Bytes       uint64            `json:"bytes"`
	Closed      map[string]uint64 `json:"closed"`
	Refused     uint64            `json:"refused"`
	Unused      map[string]uint64 `json:"unused"` // connections that ended without a request, by reason
}

type publishStatus struct {
	Published  uint64         `json:"published"`
	Retracted  uint64         `json:"retracted"`
	Duplicates uint64         `json:"duplicates"`
	Refused    map[int]uint64 `json:"refused"`
}

type udpStatus struct {
	Received    uint64            `json:"received"`
	Bytes       uint64            `json:"bytes"`
	Queued      int               `json:"queued"`
	Appended    uint64            `json:"appended"`
	Duplicates  uint64            `json:"duplicates"`
	KernelDrops uint64            `json:"kernel_drops"`
	Dropped     map[string]uint64 `json:"dropped"`
}

func (s *server) report() statusReport {
	j, h, e, p := s.journal.Stats(), s.hub.Stats(), s.edge.Stats(), s.publish.Stats()
	r := statusReport{
		Version: versionText(), Ready: s.ready.Load(), Started: s.begun.UTC(), Uptime: time.Since(s.begun).Seconds(),
		Durability: j.Durability, Head: s.journal.Head(), Oldest: s.journal.Oldest(),
		Journal: journalStatus{Events: j.Events, Bytes: j.Bytes, Appended: j.Appended, Duplicates: j.Duplicates, Commits: j.Commits, CommitTime: j.CommitTime.Seconds()},
		// The live page's own counting is a subscription, and no reader's.
		Hub:     hubStatus{Subscriptions: h.Subscriptions - 1, Feeds: h.Feeds - 1, TailBytes: h.TailBytes, Dispatched: h.Dispatched, Encoded: h.Encoded, Behind: h.Behind, Gaps: h.Gaps},
		Edge:    edgeStatus{Connections: e.Conns, Writes: e.Writes, Bytes: e.Bytes, Closed: e.Closed},
		Publish: publishStatus(p),
	}
	if s.listener != nil {
		r.Edge.Refused = s.listener.Refused()
		r.Edge.Unused = s.httpConns.stats()
	}
	if s.udp != nil {
		u := udpStatus(s.udp.Stats())
		r.UDP = &u
	}
	r.IRC = s.ircReport()
	r.XMPP = s.xmppReport()
	r.Bridges = s.bridgesReport()
	r.SocketIO = socketIOStatus(s.sio.Stats())
	r.RCStream = rcstreamStatus(s.rc.Stats())
	s.remote.report(&r)
	return r
}

func (s *server) status(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.report()) }

// figure is one time series, or one for each value of a label.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*statusReport, func(v float64, label ...string))
}

func counter(name, help string, label []string, value func(*statusReport, func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("tidings_"+name, help, label, nil), prometheus.CounterValue, value}
}

func gauge(name, help string, value func(*statusReport, func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("tidings_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func gaugeBy(name, help string, label []string, value func(*statusReport, func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("tidings_"+name, help, label, nil), prometheus.GaugeValue, value}
}

func byLabel[K comparable](m map[K]uint64, text func(K) string, add func(float64, ...string)) {
	for k, v := range m {
		add(float64(v), text(k))
	}
}

func reason(s string) string { return s }

var figures = append(sourceFigures(), []figure{
	gauge("journal_events", "Events kept in the journal.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Journal.Events)) }),
	gauge("journal_bytes", "Bytes the journal takes in its store.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Journal.Bytes)) }),
	counter("journal_appended_total", "Events appended.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Journal.Appended)) }),
	counter("journal_duplicates_total", "Events not appended because their key had been seen.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Journal.Duplicates)) }),
	counter("journal_commits_total", "Groups of events made durable together.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Journal.Commits)) }),
	counter("journal_commit_seconds_total", "Time spent making them durable.", nil, func(r *statusReport, add func(float64, ...string)) { add(r.Journal.CommitTime) }),
	gauge("subscriptions", "Subscriptions now.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Subscriptions)) }),
	gauge("feeds", "Distinct questions that subscriptions ask.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Feeds)) }),
	gauge("feed_tail_bytes", "Encoded bytes kept for readers that lag.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.TailBytes)) }),
	counter("dispatched_total", "Events dispatched to feeds.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Dispatched)) }),
	counter("encoded_total", "Times an event was encoded into a feed.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Encoded)) }),
	counter("readers_behind_total", "Times a reader fell behind its feed and went on from the journal.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Behind)) }),
	counter("gaps_total", "Gaps that readers were told of.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Hub.Gaps)) }),
	gauge("connections", "Connections that streams are pushed to.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.Edge.Connections)) }),
	counter("writes_total", "Write system calls to them.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Edge.Writes)) }),
	counter("written_bytes_total", "Bytes written to them.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Edge.Bytes)) }),
	counter("connections_closed_total", "Such connections closed, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.Edge.Closed, reason, add) }),
	counter("connections_refused_total", "Connections refused because their address had too many.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Edge.Refused)) }),
	counter("connections_unused_total", "Connections that ended without a request, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.Edge.Unused, reason, add) }),
	gauge("rcstream_clients", "Clients of RCStream (Socket.IO 0.9) with a transport.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.RCStream.Connected)) }),
	counter("rcstream_ended_total", "Sessions of Socket.IO 0.9 that ended, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.RCStream.Ended, reason, add) }),
	counter("rcstream_dropped_total", "What clients of Socket.IO 0.9 sent and was dropped, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.RCStream.Dropped, reason, add) }),
	gauge("socket_io_sessions", "Sessions of Socket.IO 4.", func(r *statusReport, add func(float64, ...string)) { add(float64(r.SocketIO.Sessions)) }),
	counter("socket_io_ended_total", "Sessions of Socket.IO 4 that ended, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.SocketIO.Ended, reason, add) }),
	counter("socket_io_dropped_total", "What clients of Socket.IO 4 sent and was dropped, by reason.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) { byLabel(r.SocketIO.Dropped, reason, add) }),
	counter("published_total", "Events published over HTTP.", nil, func(r *statusReport, add func(float64, ...string)) { add(float64(r.Publish.Published)) }),
	counter("publish_refused_total", "Requests to publish that were refused, by status.", []string{"status"}, func(r *statusReport, add func(float64, ...string)) {
		byLabel(r.Publish.Refused, strconv.Itoa, add)
	}),
	counter("udp_received_total", "Datagrams received.", nil, func(r *statusReport, add func(float64, ...string)) {
		if r.UDP != nil {
			add(float64(r.UDP.Received))
		}
	}),
	counter("udp_appended_total", "Events that came in datagrams and were appended.", nil, func(r *statusReport, add func(float64, ...string)) {
		if r.UDP != nil {
			add(float64(r.UDP.Appended))
		}
	}),
	counter("udp_dropped_total", "Datagrams dropped, by reason; kernel-buffer are those the kernel had no room for.", []string{"reason"}, func(r *statusReport, add func(float64, ...string)) {
		if r.UDP != nil {
			byLabel(r.UDP.Dropped, reason, add)
		}
	}),
}...)

// collector gives Prometheus the figures of the moment it asks.
type collector struct{ s *server }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- f.desc
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	r := c.s.report()
	for _, f := range figures {
		f.value(&r, func(v float64, label ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, label...)
		})
	}
}

func (s *server) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}
