package room

import (
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// message answers a message sent to the service: nobody but the bot speaks here.
func (s *Server) message(p service.Peer, st *stanza.Stanza) {
	o := s.visitor(p).in(st.To.Local())
	var err *stanza.Error
	switch {
	case st.Type == stanza.TypeError:
		if o != nil && requests.Undeliverable(st) {
			v := o.visitor
			s.desk.Add(v, requests.Job{Finish: func(done func()) {
				if !o.gone {
					v.bounced(o)
				}
				done()
			}, Refuse: func(error) {}})
		}
		return
	case st.To.Local() == "":
		err = stanza.ServiceUnavailable("the service itself takes no messages")
	case o == nil:
		err = stanza.NotAcceptable("you are not in this room")
	case st.To.IsBare():
		err = stanza.Forbidden("visitors do not speak here: what is published is said by " + s.opt.Bot)
	case st.Type == stanza.TypeGroupchat:
		err = stanza.BadRequest("a message to all goes to the room's address")
	case st.To != o.self && st.To != o.room.bot:
		err = stanza.ItemNotFound("nobody of that nickname is here")
	default:
		err = stanza.Forbidden("there are no private messages in this room")
	}
	p.Send(st.AppendError(nil, err))
}
