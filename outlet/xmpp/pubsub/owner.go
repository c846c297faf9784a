package pubsub

import (
	"context"
	"errors"

	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// create is section 8.1.
func (r *request) create(op, pubsub xmlstream.Element) (work, error) {
	node := op.Attr("node")
	v, cancelled, err := values(pubsub.Child(model.NS, "configure"), formConfig)
	if err == nil && cancelled {
		err = condition(model.BadRequest, "", "the form is cancelled")
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		name, err := r.srv.opt.Model.Create(ctx, r.who, node, v)
		if err != nil || node != "" {
			return nil, err
		}
		return envelope(model.NS, func(b *xmlstream.Builder) { b.Empty("create", "node", name) }), nil
	}, nil
}

// configuration is section 8.2.1.
func (r *request) configuration(op xmlstream.Element) work {
	node := op.Attr("node")
	return func(ctx context.Context) ([]byte, error) {
		c, err := r.srv.opt.Model.Config(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		return envelope(nsOwner, func(b *xmlstream.Builder) {
			b.Open("configure", "node", node).Raw(formOf(dataform.TypeForm, formConfig, c.Fields()).Append(nil)).Close()
		}), nil
	}
}

// configure is sections 8.2.4 and 8.2.5.
func (r *request) configure(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	v, cancelled, err := values(op, formConfig)
	if err == nil && v == nil && !cancelled {
		err = condition(model.BadRequest, "", "the request has no form")
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		if cancelled {
			return nil, nil
		}
		return nil, r.srv.opt.Model.Configure(ctx, r.who, node, v)
	}, nil
}

// defaults is section 8.3.
func (r *request) defaults() work {
	return func(context.Context) ([]byte, error) {
		return envelope(nsOwner, func(b *xmlstream.Builder) {
			b.Open("default").Raw(formOf(dataform.TypeForm, formConfig, r.srv.opt.Model.Default().Fields()).Append(nil)).Close()
		}), nil
	}
}

// deletion is section 8.4.
func (r *request) deletion(op xmlstream.Element) work {
	node, redirect := op.Attr("node"), op.Child(nsOwner, "redirect").Attr("uri")
	return func(ctx context.Context) ([]byte, error) {
		return nil, r.srv.opt.Model.Delete(ctx, r.who, node, redirect)
	}
}

// purge is section 8.5.
func (r *request) purge(op xmlstream.Element) work {
	node := op.Attr("node")
	return func(ctx context.Context) ([]byte, error) { return nil, r.srv.opt.Model.Purge(ctx, r.who, node) }
}

// nodeSubscriptions is section 8.8.1.
func (r *request) nodeSubscriptions(op xmlstream.Element) work {
	node := op.Attr("node")
	return func(ctx context.Context) ([]byte, error) {
		subs, err := r.srv.opt.Model.NodeSubscriptions(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		return listSubscriptions(node, subs), nil
	}
}

func listSubscriptions(node string, subs []model.Subscription) []byte {
	return envelope(nsOwner, func(b *xmlstream.Builder) {
		b.Open("subscriptions", "node", node)
		for i := range subs {
			appendSubscription(b, &subs[i], false)
		}
		b.Close()
	})
}

// setSubscriptions is section 8.8.2.
func (r *request) setSubscriptions(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	var changes []model.Subscription
	for c := range op.Children() {
		if !c.Is(nsOwner, "subscription") {
			continue
		}
		j, err := checked(c.Attr("jid"))
		if err != nil {
			return nil, err
		}
		changes = append(changes, model.Subscription{JID: j, SubID: c.Attr("subid"), State: model.State(c.Attr("subscription"))})
	}
	return func(ctx context.Context) ([]byte, error) {
		err := r.srv.opt.Model.SetSubscriptions(ctx, r.who, node, changes)
		var rejected *model.RejectedError
		if errors.As(err, &rejected) {
			return nil, &partly{listSubscriptions(node, rejected.Subscriptions), rejected}
		}
		return nil, err
	}, nil
}

// nodeAffiliations is section 8.9.1.
func (r *request) nodeAffiliations(op xmlstream.Element) work {
	node := op.Attr("node")
	return func(ctx context.Context) ([]byte, error) {
		all, err := r.srv.opt.Model.NodeAffiliations(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		return listAffiliations(node, all), nil
	}
}

func listAffiliations(node string, all []model.Affiliated) []byte {
	return envelope(nsOwner, func(b *xmlstream.Builder) {
		b.Open("affiliations", "node", node)
		for _, a := range all {
			b.Empty("affiliation", "jid", a.JID, "affiliation", string(a.Affiliation))
		}
		b.Close()
	})
}

// setAffiliations is section 8.9.2.
func (r *request) setAffiliations(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	var changes []model.Affiliated
	for c := range op.Children() {
		if !c.Is(nsOwner, "affiliation") {
			continue
		}
		j, err := checked(c.Attr("jid"))
		if err != nil {
			return nil, err
		}
		changes = append(changes, model.Affiliated{JID: j, Affiliation: model.Affiliation(c.Attr("affiliation"))})
	}
	return func(ctx context.Context) ([]byte, error) {
		err := r.srv.opt.Model.SetAffiliations(ctx, r.who, node, changes)
		var rejected *model.RejectedError
		if errors.As(err, &rejected) {
			return nil, &partly{listAffiliations(node, rejected.Affiliations), rejected}
		}
		return nil, err
	}, nil
}

// partly is the error of a request of which some was refused: its answer says what that was (sections 8.8.2.4 and 8.9.2.4).
type partly struct {
	payload []byte
	err     error
}

func (p *partly) Error() string { return p.err.Error() }
func (p *partly) Unwrap() error { return p.err }

// refuse answers with an error, and with what was refused.
func (r *request) refuse(err error) {
	var p *partly
	if !errors.As(err, &p) {
		r.fail(err)
		return
	}
	b := stanza.AppendStart(nil, stanza.IQ, stanza.TypeError, r.st.ID, r.st.To, r.st.From)
	b = append(b, p.payload...)
	r.peer.Send(stanza.AppendEnd(stanza.NotAcceptable(err.Error()).Append(b), stanza.IQ))
}
