package component

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tidings/xmpp/service"
)

// figures are what is counted.
type figures struct {
	mine        atomic.Bool // this process has the link: it may save
	leasing     atomic.Bool
	healthy     atomic.Bool // a ping has been answered on this connection
	distributes atomic.Bool // the server does, messages for many addresses
	flows       atomic.Int64
	sources     atomic.Int64
	tasks       atomic.Int64 // that wait
	refused     atomic.Uint64
	reconnects  atomic.Uint64
	stanzasIn   atomic.Uint64
	stanzasOut  atomic.Uint64
	bytesOut    atomic.Uint64

	log struct {
		sync.Mutex
		since   time.Time
		err     error // the last one
		dropped map[string]uint64
		logged  map[string]time.Time
	}
}

// Stats are figures of a Link at one moment.
type Stats struct {
	Connected       bool
	Since           time.Time         // of the connection, or of its loss; zero before the first one
	LastError       string            // why there is no connection, or was none last
	Reconnects      uint64            // connections after the first one
	StanzasIn       uint64            // from the server, answers to pings among them
	StanzasOut      uint64            // messages of flows, for each address, and calls of Send that have been written
	BytesOut        uint64            // of XML
	Peers           int64             // addresses that are remembered
	Flows           int64             // attached
	Sources         int64             // open, which flows share
	Multicast       bool              // the server distributes messages for many addresses
	Waiting         int64             // bytes of Sends that wait
	Tasks           int64             // that wait
	TasksRefused    uint64            // because too many waited
	Acknowledged    service.Mark      // the zero Mark if nothing is known
	WaitingForLease bool              // another process has the link
	Dropped         map[string]uint64 // stanzas, or calls of Send, by reason
}

// Stats returns the figures.
func (l *Link) Stats() Stats {
	st := Stats{Reconnects: l.reconnects.Load(), StanzasIn: l.stanzasIn.Load(), StanzasOut: l.stanzasOut.Load(), BytesOut: l.bytesOut.Load(),
		Flows: l.flows.Load(), Sources: l.sources.Load(), Tasks: l.tasks.Load(), TasksRefused: l.refused.Load(), WaitingForLease: l.leasing.Load()}
	l.mu.Lock()
	st.Connected = l.carrier != nil
	st.Multicast = st.Connected && l.distributes.Load()
	st.Peers, st.Waiting = int64(l.peers), int64(l.waiting)
	st.Acknowledged = l.ack
	l.mu.Unlock()
	l.log.Lock()
	st.Since, st.Dropped = l.log.since, maps.Clone(l.log.dropped)
	if l.log.err != nil {
		st.LastError = l.log.err.Error()
	}
	l.log.Unlock()
	return st
}

// logEvery is how often one thing is logged at most.
const logEvery = 10 * time.Second

// loud reports whether something may be logged again.
func (l *Link) loud(what string) bool {
	if l.log.logged == nil {
		l.log.logged = map[string]time.Time{}
	}
	now := time.Now()
	if now.Sub(l.log.logged[what]) < logEvery {
		return false
	}
	l.log.logged[what] = now
	return true
}

// drop counts what is dropped.
func (l *Link) drop(reason string, n int, p *peer, args ...any) {
	l.log.Lock()
	if l.log.dropped == nil {
		l.log.dropped = map[string]uint64{}
	}
	l.log.dropped[reason] += uint64(n)
	total := l.log.dropped[reason]
	loud := l.loud(reason)
	l.log.Unlock()
	if loud {
		if p != nil {
			args = append(args, "peer", p.addr)
		}
		l.opt.Log.Warn("component: dropped", append([]any{slog.String("reason", reason), slog.Uint64("count", total)}, args...)...)
	}
}

// note logs an error that time may mend.
func (l *Link) note(what string, err error, args ...any) {
	l.log.Lock()
	loud := l.loud(what + ": " + err.Error())
	if len(l.log.logged) > 1000 {
		clear(l.log.logged)
	}
	l.log.Unlock()
	if loud {
		l.opt.Log.Warn("component: "+what, append([]any{"err", err}, args...)...)
	}
}
