package pubsub

import (
	"context"
	"sync/atomic"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/service"
)

// channel is what those behind a link share who subscribe to the same in the same form and may read the same of it.
type channel struct {
	srv   *Server
	key   channelKey
	query hub.Query
	refs  int         // guarded by Server.mu
	over  atomic.Bool // what may be read has changed: each goes on in the channel that is right for it
}

type channelKey struct {
	node     string
	subID    string // if the subscriber has several subscriptions to the node
	audience string
	body     bool
	digest   bool
}

func (ch *channel) form() form {
	return form{service: ch.srv.opt.Domain, body: ch.key.body, subID: ch.key.subID, digest: ch.key.digest, model: ch.srv.opt.Model}
}

func (ch *channel) glob() bool {
	_, one := ch.query.Patterns[0].Topic()
	return !one
}

// join returns the channel of a key, for which quit has to be called.
func (s *Server) join(a *account, key channelKey, query hub.Query) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channels[key]
	if ch == nil {
		ch = &channel{srv: s, key: key, query: query}
		s.channels[key] = ch
	}
	ch.refs++
	if ch.glob() {
		s.globs[a]++
	}
	return ch
}

func (s *Server) quit(a *account, ch *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch.refs--; ch.refs == 0 && s.channels[ch.key] == ch {
		delete(s.channels, ch.key)
	}
	if !ch.glob() {
		return
	}
	if s.globs[a]--; s.globs[a] == 0 {
		delete(s.globs, a)
	}
}

// end has everybody who is in the channel go on where they stand, in the one that is right for them by now. It does not block.
func (s *Server) end(ch *channel) {
	if ch.over.Swap(true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[ch.key] == ch {
		delete(s.channels, ch.key)
	}
	if s.closed {
		return
	}
	s.work.Go(func() {
		s.each(func(a *account) {
			for _, p := range a.pushed {
				if p.channel == ch {
					a.reconcile(ch.key.node, s.now)
					return
				}
			}
		})
	})
}

// now is where a flow begins that has no past: at the head, or behind what the hub has still to dispatch from before the
// subscription was made or approved.
func (s *Server) now(sub *model.Subscription) service.Mark {
	head := s.opt.Hub.Head()
	if head.Epoch == sub.Since.Epoch {
		head.Offset = max(head.Offset, sub.Since.Offset)
	}
	return wire.MarkOf(head)
}

// pushed is a subscription as a flow to its address.
type pushed struct {
	account *account
	channel *channel
	handle  service.Handle // belongs to whose turn it is
	begin   service.Mark
	subID   string
	past    atomic.Bool // another has its place, or none
}

func (p *pushed) place() place { return place{p.channel.key.node, p.subID} }

// Key implements service.Flow.
func (p *pushed) Key() any { return p.channel }

// Mark implements service.Flow.
func (p *pushed) Mark() service.Mark { return p.begin }

// Open implements service.Flow. It reads as everybody does, or else as one of those who may read the same: if they lose a right
// the others go on by another.
func (p *pushed) Open(after service.Mark) (*edge.Group, service.Source, error) {
	ch := p.channel
	s := ch.srv
	var actor tidings.Actor
	if ch.key.audience != "" {
		actor = p.account.actor()
	}
	g, src, err := wire.Open(s.opt.Hub, s.opt.Edge, hub.Request{Query: ch.query, Actor: actor, Form: ch.form()}, after, ch.form().isGap)
	if err == nil && ch.glob() && s.opt.Link.AudienceOf(actor, ch.query.Patterns) != ch.key.audience {
		src.Close()
		err = errChanged
	}
	switch kind := tidings.KindOf(err); {
	case err == nil:
		return g, ch.form().gather(&reading{Source: src, channel: ch}), nil
	case kind == tidings.ErrForbidden || kind == tidings.ErrUnauthenticated:
		// Another flow takes its place, if one is to.
		s.end(ch)
		return s.pauses, standing(after), nil
	}
	return nil, nil, err
}

// Ended implements service.Flow: the carrier has no place for it.
func (p *pushed) Ended(err error) {
	if p.past.Load() {
		return
	}
	s := p.channel.srv
	s.with(p.account.bare, func(a *account) {
		if a.drop(p) {
			s.drops.Add(DropFlow, 1, "node", p.channel.key.node, "client", a.bare, "err", err)
		}
	})
}

// reading is a source of a channel. It does not end: when it is over, it stands still until nobody reads it any more.
type reading struct {
	service.Source
	channel *channel
	over    bool
	at      service.Mark // when it is over
}

func (r *reading) Next() ([]byte, edge.Status) {
	if r.over {
		return nil, edge.Idle
	}
	p, st := r.Source.Next()
	if st == edge.Ended {
		r.over, r.at = true, r.Source.Mark()
		r.channel.srv.end(r.channel)
		return nil, edge.Idle
	}
	return p, st
}

// Mark stands still as well: what is published from then on is for the channel that takes the place of this one.
func (r *reading) Mark() service.Mark {
	if r.over {
		return r.at
	}
	return r.Source.Mark()
}

// standing is a source that gives out nothing.
func standing(at service.Mark) service.Source { return &still{at: at} }

type still struct {
	unread
	at service.Mark
}

func (s *still) Next() ([]byte, edge.Status) { return nil, edge.Idle }
func (s *still) Advance(int) []byte          { return nil }
func (s *still) Mark() service.Mark          { return s.at }

// unread is what a source has that reads nothing.
type unread struct{}

func (unread) Fetch(context.Context) {}
func (unread) Goodbye() []byte       { return nil }
func (unread) Close()                {}
