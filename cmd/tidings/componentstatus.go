package main

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidings"
	"tidings/config"
	outletxmpp "tidings/outlet/xmpp"
)

type componentStatus struct {
	Domain          string                  `json:"domain"`
	Addr            string                  `json:"addr"`
	Senders         []string                `json:"senders,omitempty"`
	Multicast       bool                    `json:"multicast"` // the server distributes messages for many addresses
	Connected       bool                    `json:"connected"`
	Since           time.Time               `json:"since,omitzero"` // of the connection, or of its loss
	LastError       string                  `json:"last_error,omitempty"`
	WaitingForLease bool                    `json:"waiting_for_lease"`
	Reconnects      uint64                  `json:"reconnects"`
	StanzasIn       uint64                  `json:"stanzas_in"`
	StanzasOut      uint64                  `json:"stanzas_out"`
	BytesOut        uint64                  `json:"bytes_out"`
	Peers           int64                   `json:"peers"`
	Flows           int64                   `json:"flows"`
	Sources         int64                   `json:"sources"`
	Waiting         int64                   `json:"waiting_bytes"`
	Tasks           int64                   `json:"tasks"`
	TasksRefused    uint64                  `json:"tasks_refused"`
	Acknowledged    *tidings.Position       `json:"acknowledged,omitempty"`
	Dropped         map[string]uint64       `json:"dropped"`
	Serves          []componentDomainStatus `json:"serves"`
}

type componentDomainStatus struct {
	Domain string             `json:"domain"`
	PubSub *linkedNodesStatus `json:"pubsub,omitempty"`
	Rooms  *roomsStatus       `json:"rooms,omitempty"`
}

type linkedNodesStatus struct {
	Accounts  int               `json:"accounts"`
	Writers   int               `json:"writers"`
	Flows     int64             `json:"flows"`
	Requests  uint64            `json:"requests"`
	Published uint64            `json:"published"`
	Notices   uint64            `json:"notices"`
	Dropped   map[string]uint64 `json:"dropped"`
}

// componentsReport returns what /status has of the components.
func (s *server) componentsReport() (reports []componentStatus) {
	if s.components == nil {
		return nil
	}
	for _, l := range s.components.links {
		st := l.link.Stats()
		r := componentStatus{Domain: l.Domain, Addr: l.Addr, Senders: l.Senders, Multicast: st.Multicast, Connected: st.Connected, Since: st.Since.UTC(), WaitingForLease: st.WaitingForLease,
			Reconnects: st.Reconnects, StanzasIn: st.StanzasIn, StanzasOut: st.StanzasOut, BytesOut: st.BytesOut, Peers: st.Peers, Flows: st.Flows,
			Sources: st.Sources, Waiting: st.Waiting, Tasks: st.Tasks, TasksRefused: st.TasksRefused, Dropped: maps.Clone(st.Dropped)}
		if !st.Connected {
			r.LastError = st.LastError
		}
		if m, ok := l.link.Acknowledged(); ok {
			r.Acknowledged = new(outletxmpp.PositionOf(m))
		}
		if r.Dropped == nil {
			r.Dropped = map[string]uint64{}
		}
		for _, d := range l.domains {
			x := componentDomainStatus{Domain: d.Domain}
			switch d.Component.Serves {
			case config.ServesPubSub:
				ps := d.pubsub.Stats()
				x.PubSub = &linkedNodesStatus{ps.Accounts, ps.Clients, ps.Flows, ps.Requests, ps.Published, ps.Notices, ps.Dropped}
			case config.ServesRooms:
				rs := d.rooms.Stats()
				x.Rooms = &roomsStatus{rs.Rooms, rs.Visitors, rs.Occupants, rs.Joins, rs.Pages, rs.Dropped}
			}
			for reason, n := range d.refused.Snapshot() {
				r.Dropped[reason] += n
			}
			r.Serves = append(r.Serves, x)
		}
		reports = append(reports, r)
	}
	return reports
}

// componentFigure is a figure of each component's link.
func componentFigure(name, help string, kind prometheus.ValueType, value func(*componentStatus) float64) figure {
	desc := prometheus.NewDesc("tidings_xmpp_component_"+name, help, []string{"domain"}, nil)
	return figure{desc, kind, func(r *statusReport, add func(float64, ...string)) {
		if r.XMPP == nil {
			return
		}
		for i := range r.XMPP.Components {
			add(value(&r.XMPP.Components[i]), r.XMPP.Components[i].Domain)
		}
	}}
}

func init() {
	gauge := func(name, help string, value func(*componentStatus) float64) figure {
		return componentFigure(name, help, prometheus.GaugeValue, value)
	}
	counter := func(name, help string, value func(*componentStatus) float64) figure {
		return componentFigure(name, help, prometheus.CounterValue, value)
	}
	bit := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	dropped := prometheus.NewDesc("tidings_xmpp_component_dropped_total", "What links to other XMPP servers dropped, by reason.", []string{"domain", "reason"}, nil)
	figures = append(figures,
		gauge("connected", "Whether the link to the other XMPP server is up.", func(c *componentStatus) float64 { return bit(c.Connected) }),
		gauge("waiting_for_lease", "Whether another process has the link.", func(c *componentStatus) float64 { return bit(c.WaitingForLease) }),
		gauge("peers", "Addresses behind the link that are known.", func(c *componentStatus) float64 { return float64(c.Peers) }),
		gauge("flows", "Subscriptions and visits that are pushed over the link.", func(c *componentStatus) float64 { return float64(c.Flows) }),
		gauge("waiting_bytes", "Bytes of answers and notices that wait for the link.", func(c *componentStatus) float64 { return float64(c.Waiting) }),
		gauge("acknowledged_offset", "Offset up to which the server has routed everything.", func(c *componentStatus) float64 {
			if c.Acknowledged == nil {
				return 0
			}
			return float64(c.Acknowledged.Offset)
		}),
		counter("reconnects_total", "Connections of the link after its first one.", func(c *componentStatus) float64 { return float64(c.Reconnects) }),
		counter("stanzas_in_total", "Stanzas from the server.", func(c *componentStatus) float64 { return float64(c.StanzasIn) }),
		counter("stanzas_out_total", "Stanzas to the server, those that flow from topics included.", func(c *componentStatus) float64 { return float64(c.StanzasOut) }),
		counter("written_bytes_total", "Bytes to the server.", func(c *componentStatus) float64 { return float64(c.BytesOut) }),
		figure{dropped, prometheus.CounterValue, func(r *statusReport, add func(float64, ...string)) {
			if r.XMPP == nil {
				return
			}
			for _, c := range r.XMPP.Components {
				for reason, n := range c.Dropped {
					add(float64(n), c.Domain, reason)
				}
			}
		}},
	)
}
