package pubsub

import (
	"tidings/edge"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stream"
)

// tellAbroad is tell behind a link, where a node may have more subscribers than a link takes messages at once: the notice is a flow
// that they share.
func (s *Server) tellAbroad(n *model.Notification, typ string, content []byte) {
	b := attr(append([]byte{service.To}, " from='"...), s.opt.Domain)
	b = append(b, "' id='"...)
	b = append(attr(b, stream.NewID()), '\'')
	if typ != "" {
		b = append(attr(append(b, " type='"...), typ), '\'')
	}
	b = append(append(append(b, '>'), content...), "</message>"...)
	news := &announcement{srv: s, message: b, mark: wire.MarkOf(s.opt.Hub.Head())}
	told := map[string]bool{}
	for i := range n.Subscriptions {
		sub := &n.Subscriptions[i]
		if sub.Service != s.service() || !sub.Options.Deliver || !hears(sub, n) || told[sub.JID] {
			continue
		}
		told[sub.JID] = true
		to, err := jid.Parse(sub.JID)
		if err != nil {
			continue // what is stored was an address when it was
		}
		s.with(sub.Bare(), func(*account) {
			s.notices.Add(1)
			s.opt.Link.Peer(to).Attach(news)
		})
	}
}

// announcement is a flow of one message.
type announcement struct {
	srv     *Server
	message []byte
	mark    service.Mark
}

func (a *announcement) Key() any           { return a }
func (a *announcement) Mark() service.Mark { return a.mark }
func (a *announcement) Ended(error)        {}
func (a *announcement) Open(after service.Mark) (*edge.Group, service.Source, error) {
	return a.srv.pauses, &said{news: a, done: after != a.mark}, nil
}

// said is the source of an announcement.
type said struct {
	unread
	news *announcement
	done bool
}

func (s *said) Next() ([]byte, edge.Status) {
	if s.done {
		return nil, edge.Ended
	}
	return s.news.message, edge.Ready
}

func (s *said) Advance(n int) (rest []byte) {
	if n == 0 {
		return nil
	}
	s.done = true
	return s.news.message[n:]
}

func (s *said) Mark() service.Mark {
	if s.done {
		return s.news.mark.Plus(1)
	}
	return s.news.mark
}
