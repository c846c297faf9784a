package pubsub

import (
	"context"
	"errors"
	"slices"

	"tidings"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// create is section 8.1.
func (r *request) create(op, how xmlstream.Element) (work, error) {
	node := op.Attr("node")
	v, cancelled, err := values(how, formConfig)
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

// defaults is section 8.3. A form in the request says for which type of node (XEP-0248 section 9).
func (r *request) defaults(op xmlstream.Element) (work, error) {
	v, _, err := values(op, formConfig)
	if err != nil {
		return nil, err
	}
	return func(context.Context) ([]byte, error) {
		c := *r.srv.opt.Model.Default()
		if typ, ok := v["pubsub#node_type"]; ok {
			if err := c.Set(model.Values{"pubsub#node_type": typ}); err != nil {
				return nil, err
			}
		}
		return envelope(nsOwner, func(b *xmlstream.Builder) {
			b.Open("default").Raw(formOf(dataform.TypeForm, formConfig, c.Fields()).Append(nil)).Close()
		}), nil
	}, nil
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

// nodeSubscriptions is section 8.8.1. Those that wait for approval are not listed: section 8.7 has them.
func (r *request) nodeSubscriptions(op, pubsub xmlstream.Element) (work, error) {
	node := op.Attr("node")
	page, err := pageIn(pubsub)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		all, err := r.srv.opt.Model.NodeSubscriptions(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(s model.Subscription) bool { return s.State == model.Pending })
		return listSubscriptions(node, all, page)
	}, nil
}

func listSubscriptions(node string, all []model.Subscription, page *rsm.Request) ([]byte, error) {
	list, set, err := window(all, subID, page, func(b *xmlstream.Builder, s *model.Subscription) { appendSubscription(b, s, false) })
	if err != nil {
		return nil, err
	}
	return envelope(nsOwner, func(b *xmlstream.Builder) { b.Open("subscriptions", "node", node).Raw(list).Close().Raw(set) }), nil
}

// maxChanges bounds the subscriptions, and the affiliations, that one request changes.
const maxChanges = 500

var errChanges = tidings.Errorf(tidings.ErrTooLarge, "a request changes at most %d subscriptions or affiliations", maxChanges)

// setSubscriptions is section 8.8.2. What is not said of a subscription stays.
func (r *request) setSubscriptions(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	return change(op, "subscription", model.NotThere, func(c xmlstream.Element, jid string, to model.State) model.Subscription {
		return model.Subscription{JID: jid, SubID: c.Attr("subid"), State: to}
	}, func(ctx context.Context, changes []model.Subscription) error {
		return r.srv.opt.Model.SetSubscriptions(ctx, r.who, node, changes)
	}, func(rejected *model.RejectedError, wrong []model.Subscription) ([]byte, error) {
		return listSubscriptions(node, append(wrong, rejected.Subscriptions...), nil)
	})
}

// nodeAffiliations is section 8.9.1.
func (r *request) nodeAffiliations(op, pubsub xmlstream.Element) (work, error) {
	node := op.Attr("node")
	page, err := pageIn(pubsub)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		all, err := r.srv.opt.Model.NodeAffiliations(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		return listAffiliations(node, all, page)
	}, nil
}

func listAffiliations(node string, all []model.Affiliated, page *rsm.Request) ([]byte, error) {
	list, set, err := window(all, func(a *model.Affiliated) string { return a.JID }, page, func(b *xmlstream.Builder, a *model.Affiliated) {
		b.Empty("affiliation", "jid", a.JID, "affiliation", string(a.Affiliation))
	})
	if err != nil {
		return nil, err
	}
	return envelope(nsOwner, func(b *xmlstream.Builder) { b.Open("affiliations", "node", node).Raw(list).Close().Raw(set) }), nil
}

// setAffiliations is section 8.9.2. What is not said of an account stays.
func (r *request) setAffiliations(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	return change(op, "affiliation", model.None, func(_ xmlstream.Element, jid string, to model.Affiliation) model.Affiliated {
		return model.Affiliated{JID: jid, Affiliation: to}
	}, func(ctx context.Context, changes []model.Affiliated) error {
		return r.srv.opt.Model.SetAffiliations(ctx, r.who, node, changes)
	}, func(rejected *model.RejectedError, wrong []model.Affiliated) ([]byte, error) {
		return listAffiliations(node, append(wrong, rejected.Affiliations...), nil)
	})
}

// change sets what the children of op of a name say, each of a JID in the attribute of that name. JIDs that are none are refused
// beside what the model refuses; list lists both, the former as none.
func change[T any, S ~string](op xmlstream.Element, name string, none S, of func(c xmlstream.Element, jid string, to S) T,
	set func(ctx context.Context, changes []T) error, list func(rejected *model.RejectedError, wrong []T) ([]byte, error)) (work, error) {
	var changes, wrong []T
	var why error
	for c := range op.Children() {
		if !c.Is(nsOwner, name) || !c.HasAttr(name) {
			continue
		}
		if j, err := checked(c.Attr("jid")); err == nil {
			changes = append(changes, of(c, j, S(c.Attr(name))))
		} else {
			why, wrong = err, append(wrong, of(c, c.Attr("jid"), none))
		}
	}
	if len(changes)+len(wrong) > maxChanges {
		return nil, errChanges
	}
	return func(ctx context.Context) ([]byte, error) {
		err := set(ctx, changes)
		rejected := new(model.RejectedError)
		switch {
		case errors.As(err, &rejected):
		case err != nil:
			return nil, err
		case len(wrong) == 0:
			return nil, nil
		default:
			err = why
		}
		refused, e := list(rejected, wrong)
		if e != nil {
			return nil, e
		}
		return nil, &partly{refused, err}
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
