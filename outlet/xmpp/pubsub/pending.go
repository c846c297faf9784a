package pubsub

import (
	"context"

	"tidings/outlet/xmpp/requests"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// The ad-hoc command (XEP-0050) for subscriptions that wait for approval.
const (
	nsCommands     = "http://jabber.org/protocol/commands"
	commandPending = model.NS + "#get-pending"
	pendingTitle   = "Subscriptions that wait for approval"
)

// requested asks the owners of a node to approve a subscription (section 8.6).
func (s *Server) requested(n *model.Notification) {
	s.owners(n, authorization(&n.Subscription))
}

// authorization is the form that asks for an approval.
func authorization(sub *model.Subscription) []byte {
	f := dataform.New(dataform.TypeForm, formAuthorization)
	f.Title = "PubSub subscriber request"
	f.Instructions = []string{"To approve this entity's subscription request, submit the form with yes, and to refuse it with no."}
	f.Add("pubsub#subid", dataform.Hidden, sub.SubID)
	f.Fields = append(f.Fields,
		dataform.Field{Var: "pubsub#node", Type: dataform.TextSingle, Label: "Node", Values: []string{sub.Node}},
		dataform.Field{Var: "pubsub#subscriber_jid", Type: dataform.JIDSingle, Label: "Subscriber", Values: []string{sub.JID}},
		dataform.Field{Var: "pubsub#allow", Type: dataform.Boolean, Label: "Allow this JID to subscribe?", Values: []string{"false"}})
	return f.Append(nil)
}

// message takes an owner's answer to a request for approval (section 8.6).
func (s *Server) message(p service.Peer, st *stanza.Stanza) {
	if st.Type == stanza.TypeError {
		if requests.Undeliverable(st) {
			s.drops.Add(DropBounced, 1, "client", p.JID())
		}
		if s.opt.Link != nil {
			s.returned(st)
		}
		return
	}
	refuse := func(err error) {
		if b := st.AppendError(nil, errorOf(err)); len(b) > 0 {
			p.Send(b)
		}
	}
	x := dataform.Find(st.Element)
	if st.To != s.domain || x.IsZero() {
		refuse(stanza.ServiceUnavailable("the service takes requests, and answers to requests for approval"))
		return
	}
	f, err := dataform.Parse(x)
	if err == nil && f.FormType() != formAuthorization {
		err = stanza.BadRequest("the form is not of the type " + formAuthorization)
	}
	if err != nil {
		refuse(err)
		return
	}
	if f.Type == dataform.TypeCancel {
		return
	}
	allow, ok := dataform.ParseBool(f.Value("pubsub#allow"))
	subscriber, err := checked(f.Value("pubsub#subscriber_jid"))
	if f.Type != dataform.TypeSubmit || !ok || err != nil {
		refuse(stanza.BadRequest("the form says nothing of whom to allow"))
		return
	}
	c := s.client(p)
	head := *st
	head.Element = xmlstream.Element{}
	node, subID := f.Value("pubsub#node"), f.Value("pubsub#subid")
	s.desk.Add(c, requests.Job{
		Prepare: func(ctx context.Context) error {
			return s.opt.Model.Approve(ctx, c.who, node, subscriber, subID, allow)
		},
		Finish: func(done func()) { done() },
		Refuse: func(err error) { p.Send(head.AppendError(nil, errorOf(err))) },
	})
}

// command is section 8.7: the form with the nodes that somebody waits for, and behind it the requests of the one that was
// chosen. It has no state: what comes with a form is its second step.
func (r *request) command(cmd xmlstream.Element) (work, error) {
	if cmd.Attr("node") != commandPending {
		return nil, stanza.ItemNotFound("there is no such command")
	}
	session, action := cmd.Attr("sessionid"), cmd.Attr("action")
	if len(session) > 64 {
		return nil, badCommand("bad-sessionid", "the session is none")
	}
	switch action {
	case "", "execute", "next", "complete":
	case "cancel":
		return func(context.Context) ([]byte, error) { return appendCommand(session, "canceled", nil), nil }, nil
	default:
		return nil, badCommand("malformed-action", "there is no such action")
	}
	v, cancelled, err := values(cmd, formAuthorization)
	if err != nil {
		return nil, err
	}
	if cancelled {
		return func(context.Context) ([]byte, error) { return appendCommand(session, "canceled", nil), nil }, nil
	}
	if v == nil {
		return func(context.Context) ([]byte, error) {
			nodes, err := r.srv.opt.Model.PendingNodes(r.who)
			if err != nil {
				return nil, err
			}
			f := dataform.New(dataform.TypeForm, formAuthorization)
			field := dataform.Field{Var: "pubsub#node", Type: dataform.ListSingle, Label: "Nodes"}
			for _, node := range nodes {
				field.Options = append(field.Options, dataform.Option{Value: node})
			}
			f.Fields = append(f.Fields, field)
			return appendCommand(stream.NewID(), "executing", f), nil
		}, nil
	}
	if len(v["pubsub#node"]) != 1 {
		return nil, badCommand("bad-payload", "the form names no node")
	}
	node := v["pubsub#node"][0]
	return func(ctx context.Context) ([]byte, error) {
		subs, err := r.srv.opt.Model.Pending(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		for i := range subs {
			r.behind = append(r.behind, r.srv.notice(r.full, "", authorization(&subs[i]))...)
		}
		return appendCommand(session, "completed", nil), nil
	}, nil
}

func badCommand(name, text string) error {
	return stanza.BadRequest(text).With(nsCommands, name)
}

func appendCommand(session, status string, f *dataform.Form) []byte {
	var b xmlstream.Builder
	if session == "" { // nobody was given one: this is the whole of it
		session = stream.NewID()
	}
	b.Open("command", "xmlns", nsCommands, "sessionid", session, "node", commandPending, "status", status)
	if f != nil {
		b.Open("actions", "execute", "complete").Empty("complete").Close()
		b.Raw(f.Append(nil))
	}
	return b.Close().Bytes()
}
