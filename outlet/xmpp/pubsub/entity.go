package pubsub

import (
	"context"

	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// Form types of XEP-0060 section 16.4.
const (
	formConfig         = model.NS + "#node_config"
	formOptions        = model.NS + "#subscribe_options"
	formPublishOptions = model.NS + "#publish-options"
	formMetadata       = model.NS + "#meta-data"
	formAuthorization  = model.NS + "#subscribe_authorization"
)

// subscribe is section 6.1, with the options of section 6.3.7.
func (r *request) subscribe(op, how xmlstream.Element) (work, error) {
	node := op.Attr("node")
	j, err := checked(op.Attr("jid"))
	if err != nil {
		return nil, err
	}
	opts, _, err := values(how, formOptions)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		r.asks(node)
		sub, err := r.srv.opt.Model.Subscribe(ctx, r.who, node, j, opts)
		if err != nil {
			return nil, err
		}
		r.follow(ctx, &sub)
		return envelope(model.NS, func(b *xmlstream.Builder) {
			appendSubscription(b, &sub, true)
			if opts != nil {
				b.Open("options").Raw(formOf(dataform.TypeResult, formOptions, sub.Options.Fields()).Append(nil)).Close()
			}
		}), nil
	}, nil
}

// follow sends the node's last item behind the answer to who has subscribed, where the node wants it (section 6.1.7).
func (r *request) follow(ctx context.Context, sub *model.Subscription) {
	if sub.Topic == "" || sub.State != model.Subscribed || sub.JID != r.who.JID && sub.JID != r.bare {
		return
	}
	c := r.srv.opt.Model.Lookup(sub.Topic)
	if c == nil || c.SendLast == model.SendNever {
		return
	}
	if _, _, ok := r.srv.opt.Model.Deliverable(sub); !ok {
		return
	}
	subs, err := r.srv.opt.Model.Subscriptions(r.who, sub.Node)
	if err != nil {
		return
	}
	to := r.full
	if r.account != nil {
		to, _ = jid.Parse(sub.JID) // it was an address when it was stored
	}
	r.behind = r.last(ctx, sub, to, sub.Since, several(subs, sub))
}

// appendSubscription appends the element subscription; with its node if that is not said around it.
func appendSubscription(b *xmlstream.Builder, sub *model.Subscription, node bool) {
	var attrs []string
	if node {
		attrs = append(attrs, "node", sub.Node)
	}
	attrs = append(attrs, "jid", sub.JID)
	if sub.SubID != "" {
		attrs = append(attrs, "subid", sub.SubID)
	}
	attrs = append(attrs, "subscription", string(sub.State))
	if sub.Options != nil && !sub.Options.Expires.IsZero() {
		attrs = append(attrs, "expiry", sub.Options.Expires.UTC().Format("2006-01-02T15:04:05Z"))
	}
	b.Empty("subscription", attrs...)
}

// unsubscribe is section 6.2.
func (r *request) unsubscribe(op xmlstream.Element) (work, error) {
	node, subID := op.Attr("node"), op.Attr("subid")
	j, err := checked(op.Attr("jid"))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		r.asks(node)
		return nil, r.srv.opt.Model.Unsubscribe(ctx, r.who, node, j, subID)
	}, nil
}

// options is section 6.3.2.
func (r *request) options(op xmlstream.Element) work {
	node, j, subID := op.Attr("node"), address(op.Attr("jid")), op.Attr("subid")
	return func(ctx context.Context) ([]byte, error) {
		sub, err := r.srv.opt.Model.Options(ctx, r.who, node, j, subID)
		if err != nil {
			return nil, err
		}
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("options", "node", sub.Node, "jid", sub.JID, "subid", sub.SubID)
			b.Raw(formOf(dataform.TypeForm, formOptions, sub.Options.Fields()).Append(nil)).Close()
		}), nil
	}
}

// setOptions is section 6.3.5.
func (r *request) setOptions(op xmlstream.Element) (work, error) {
	node, j, subID := op.Attr("node"), address(op.Attr("jid")), op.Attr("subid")
	v, cancelled, err := values(op, formOptions)
	if err == nil && v == nil && !cancelled {
		err = condition(model.BadRequest, model.InvalidOptions, "the request has no form")
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		if cancelled {
			return nil, nil
		}
		r.asks(node)
		return nil, r.srv.opt.Model.SetOptions(ctx, r.who, node, j, subID, v)
	}, nil
}

// defaultOptions is section 6.4.
func (r *request) defaultOptions(op xmlstream.Element) work {
	node := op.Attr("node")
	return func(ctx context.Context) ([]byte, error) {
		o, err := r.srv.opt.Model.DefaultOptions(ctx, node)
		if err != nil {
			return nil, err
		}
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("default", nodeAttr(node)...)
			b.Raw(formOf(dataform.TypeForm, formOptions, o.Fields()).Append(nil)).Close()
		}), nil
	}
}

// nodeAttr is the attribute node, if there is one.
func nodeAttr(node string) []string {
	if node == "" {
		return nil
	}
	return []string{"node", node}
}

// subscriptions is section 5.6.
func (r *request) subscriptions(op, pubsub xmlstream.Element) (work, error) {
	node := op.Attr("node")
	page, err := pageIn(pubsub)
	if err != nil {
		return nil, err
	}
	return func(context.Context) ([]byte, error) {
		all, err := r.srv.opt.Model.Subscriptions(r.who, node)
		if err != nil {
			return nil, err
		}
		list, set, err := window(all, subID, page, func(b *xmlstream.Builder, s *model.Subscription) { appendSubscription(b, s, true) })
		if err != nil {
			return nil, err
		}
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("subscriptions", nodeAttr(node)...).Raw(list).Close().Raw(set)
		}), nil
	}, nil
}

func subID(s *model.Subscription) string { return s.SubID }

// affiliations is section 5.7.
func (r *request) affiliations(op, pubsub xmlstream.Element) (work, error) {
	node := op.Attr("node")
	page, err := pageIn(pubsub)
	if err != nil {
		return nil, err
	}
	return func(context.Context) ([]byte, error) {
		all, err := r.srv.opt.Model.Affiliations(r.who, node)
		if err != nil {
			return nil, err
		}
		list, set, err := window(all, func(a *model.Affiliated) string { return a.Node }, page, func(b *xmlstream.Builder, a *model.Affiliated) {
			b.Empty("affiliation", "node", a.Node, "affiliation", string(a.Affiliation))
		})
		if err != nil {
			return nil, err
		}
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("affiliations", nodeAttr(node)...).Raw(list).Close().Raw(set)
		}), nil
	}, nil
}
