package pubsub

import (
	"context"

	"tidings"
	"tidings/outlet/xmpp/requests"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

const nsOwner = model.NS + "#owner"

// request is an IQ that is answered, without what is valid during the call only.
type request struct {
	*client
	st stanza.Stanza

	before, behind []byte // stanzas that come with the answer
}

// work does what a request asks for, and returns the payload of its result. It may block.
type work func(ctx context.Context) ([]byte, error)

func (r *request) result(payload []byte) { r.peer.Send(r.st.AppendResult(nil, payload)) }
func (r *request) fail(err error)        { r.peer.Send(r.st.AppendError(nil, errorOf(err))) }

// do has the work done when the client's earlier requests have been answered.
func (r *request) do(f work) {
	var payload []byte
	desk := &r.srv.desk
	desk.Add(r.client, requests.Job{
		Prepare: func(ctx context.Context) (err error) {
			payload, err = f(ctx)
			return err
		},
		Finish: func(done func()) {
			desk.Send(r.client, append(r.st.AppendResult(r.before, payload), r.behind...))
			desk.Taken(r.client, done)
		},
		Refuse: r.refuse,
	})
}

var errUnserved = stanza.ServiceUnavailable()

// iq answers an IQ sent to the service.
func (s *Server) iq(p service.Peer, st *stanza.Stanza) {
	if !st.Request() {
		return
	}
	s.requests.Add(1)
	r := &request{client: s.client(p), st: *st}
	r.st.Element = xmlstream.Element{}
	payload, get := st.Payload(), st.Type == stanza.TypeGet
	var f work
	var err error
	switch space := payload.Space(); {
	case st.To != s.domain:
		err = errUnserved
	case payload.Is(model.NS, "pubsub") && get:
		f, err = r.ask(payload)
	case payload.Is(model.NS, "pubsub"):
		f, err = r.act(payload)
	case payload.Is(nsOwner, "pubsub"):
		f, err = r.own(payload, get)
	case get && payload.Is(disco.NSInfo, "query"):
		f, err = r.info(payload.Attr("node"))
	case get && payload.Is(disco.NSItems, "query"):
		f, err = r.items(payload)
	case space == mam.NS:
		f, err = r.archive(payload, get)
	case !get && payload.Is(nsCommands, "command"):
		f, err = r.command(payload)
	case get:
		r.about(payload)
		return
	default:
		err = errUnserved
	}
	if err != nil {
		// Behind the answers of what was asked before.
		failed := err
		f = func(context.Context) ([]byte, error) { return nil, failed }
	}
	r.do(f)
}

// about answers what every entity is asked.
func (r *request) about(payload xmlstream.Element) {
	if answer, ok := requests.About(payload, r.srv.opt.Version); ok {
		r.result(answer)
	} else {
		r.fail(errUnserved)
	}
}

// manners are the elements that say how an operation is to be done, and stand behind it.
var manners = map[string]string{"subscribe": "options", "publish": "publish-options", "create": "configure"}

// operation returns the child of a pubsub element that says what is wanted, and the one behind it that says how, if there is
// one. There is one request in an element (XEP-0060 section 6.1.1). What says how names neither node nor JID (sections 6.3.7
// and 8.1.3): clients that repeat those of the request are understood, those that name others are not.
func operation(pubsub xmlstream.Element) (op, how xmlstream.Element, err error) {
	for c := range pubsub.Children() {
		switch {
		case c.Space() != pubsub.Space():
		case op.IsZero():
			op = c
		case how.IsZero() && pubsub.Is(model.NS, "pubsub") && c.Name() == manners[op.Name()]:
			how = c
		default:
			return op, how, condition(model.BadRequest, "", "the request asks for more than one thing, or in another order than "+op.Name()+" and how")
		}
	}
	if n := how.Attr("node"); n != "" && n != op.Attr("node") {
		return op, how, condition(model.BadRequest, "", "the request names two nodes")
	}
	if j := how.Attr("jid"); j != "" && address(j) != address(op.Attr("jid")) {
		return op, how, condition(model.BadRequest, "", "the request names two JIDs")
	}
	return op, how, nil
}

// ask is for requests of the type get (XEP-0060 sections 5 and 6).
func (r *request) ask(pubsub xmlstream.Element) (work, error) {
	op, _, err := operation(pubsub)
	if err != nil {
		return nil, err
	}
	switch op.Name() {
	case "items":
		return r.retrieve(op, pubsub)
	case "subscriptions":
		return r.subscriptions(op, pubsub)
	case "affiliations":
		return r.affiliations(op, pubsub)
	case "options":
		return r.options(op), nil
	case "default":
		return r.defaultOptions(op), nil
	}
	return nil, condition(model.BadRequest, "", "the request asks for nothing that there is in "+model.NS)
}

// act is for requests of the type set (XEP-0060 sections 6 to 8.1).
func (r *request) act(pubsub xmlstream.Element) (work, error) {
	op, how, err := operation(pubsub)
	if err != nil {
		return nil, err
	}
	switch op.Name() {
	case "subscribe":
		return r.subscribe(op, how)
	case "unsubscribe":
		return r.unsubscribe(op)
	case "options":
		return r.setOptions(op)
	case "publish":
		return r.publish(op, how)
	case "retract":
		return r.retract(op)
	case "create":
		return r.create(op, how)
	}
	return nil, condition(model.BadRequest, "", "the request does nothing that there is in "+model.NS)
}

// own is for the requests of owners (XEP-0060 sections 8.2 to 8.9).
func (r *request) own(pubsub xmlstream.Element, get bool) (work, error) {
	op, _, err := operation(pubsub)
	if err != nil {
		return nil, err
	}
	switch name := op.Name(); {
	case name == "configure" && get:
		return r.configuration(op), nil
	case name == "configure":
		return r.configure(op)
	case name == "default" && get:
		return r.defaults(op)
	case name == "delete" && !get:
		return r.deletion(op), nil
	case name == "purge" && !get:
		return r.purge(op), nil
	case name == "subscriptions" && get:
		return r.nodeSubscriptions(op, pubsub)
	case name == "subscriptions":
		return r.setSubscriptions(op)
	case name == "affiliations" && get:
		return r.nodeAffiliations(op, pubsub)
	case name == "affiliations":
		return r.setAffiliations(op)
	}
	return nil, condition(model.BadRequest, "", "the request asks for nothing that there is in "+nsOwner)
}

// values returns what a form in an element says; nil if there is none, or if it was cancelled.
func values(parent xmlstream.Element, formType string) (v model.Values, cancelled bool, err error) {
	x := dataform.Find(parent)
	if x.IsZero() {
		return nil, false, nil
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return nil, false, err
	}
	switch {
	case f.Type == dataform.TypeCancel:
		return nil, true, nil
	case f.Type != dataform.TypeSubmit:
		return nil, false, condition(model.BadRequest, "", "the form is not of the type submit")
	case f.FormType() != "" && f.FormType() != formType:
		return nil, false, condition(model.BadRequest, "", "the form is not of the type "+formType)
	}
	v = model.Values{}
	for i := range f.Fields {
		fd := &f.Fields[i]
		if fd.Var == dataform.FormType {
			continue
		}
		if _, twice := v[fd.Var]; twice {
			return nil, false, condition(model.BadRequest, "", "a field of the form is there twice")
		}
		if fd.Var == "pubsub#contact" {
			for _, text := range fd.Values {
				if _, err := jid.Parse(text); err != nil {
					return nil, false, condition(model.NotAcceptable, "", "pubsub#contact: a JID is none")
				}
			}
		}
		v[fd.Var] = fd.Values
	}
	return v, false, nil
}

// formOf returns fields of the model as a form.
func formOf(typ, formType string, fields []model.Field) *dataform.Form {
	f := dataform.New(typ, formType)
	for _, fd := range fields {
		out := dataform.Field{Var: fd.Var, Type: fd.Type, Label: fd.Label, Values: fd.Values}
		if typ == dataform.TypeForm {
			for _, o := range fd.Options {
				out.Options = append(out.Options, dataform.Option{Value: o})
			}
		}
		f.Fields = append(f.Fields, out)
	}
	return f
}

// address returns a JID as the model wants it: prepared, or as it was given if it is none.
func address(text string) string {
	if j, err := jid.Parse(text); err == nil {
		return j.String()
	}
	return text
}

// checked is address for a JID that has to be one.
func checked(text string) (string, error) {
	if text == "" {
		return "", condition(model.BadRequest, model.JIDRequired, "the request names no JID")
	}
	j, err := jid.Parse(text)
	if err != nil {
		return "", condition(model.BadRequest, model.InvalidJID, "the JID is none")
	}
	return j.String(), nil
}

// envelope wraps what f appends in a pubsub element.
func envelope(space string, f func(b *xmlstream.Builder)) []byte {
	var b xmlstream.Builder
	b.Open("pubsub", "xmlns", space)
	f(&b)
	return b.Close().Bytes()
}

// may reports whether the client may read a topic.
func (r *request) may(t tidings.Topic) bool {
	return r.srv.opt.May(r.who.Actor, tidings.ReadAction, t) == nil
}
