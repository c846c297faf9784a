package pubsub

import (
	"context"
	"slices"
	"strconv"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/rsm"
	"tidings/xmpp/xmlstream"
)

// maxAnswer bounds the bytes of the items of one answer, from the second item on.
const maxAnswer = 64 << 10

// maxItems bounds the items that one request names.
const maxItems = 500

var errItems = tidings.Errorf(tidings.ErrTooLarge, "a request names at most %d items", maxItems)

// retrieve is section 6.5.
func (r *request) retrieve(op, pubsub xmlstream.Element) (work, error) {
	ask := model.ItemsRequest{Node: op.Attr("node"), SubID: op.Attr("subid")}
	if text := op.Attr("max_items"); text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return nil, condition(model.BadRequest, "", "max_items is no number from 1 up")
		}
		ask.Max = int(n)
	}
	for c := range op.Children() {
		if c.Is(model.NS, "item") {
			if c.Attr("id") == "" {
				return nil, condition(model.BadRequest, "", "an item that is asked for has no id")
			}
			ask.IDs = append(ask.IDs, c.Attr("id"))
		}
	}
	if len(ask.IDs) > maxItems {
		return nil, errItems
	}
	backward := true // what is too much is left out at the beginning, unless a page is read forwards
	if set := rsm.Find(pubsub); !set.IsZero() {
		page, err := rsm.Parse(set)
		if err != nil {
			return nil, err
		}
		ask.Page, backward = pageOf(page), page.Backward
		if ask.Max > 0 && (ask.Page.Max == 0 || ask.Max < ask.Page.Max) && !ask.Page.Count {
			ask.Page.Max = ask.Max
		}
	}
	if len(ask.IDs) > 0 {
		ask.Page, backward = nil, false
	}
	return func(ctx context.Context) ([]byte, error) {
		got, err := r.srv.opt.Model.Items(ctx, r.who, ask)
		if err != nil {
			return nil, err
		}
		items, left := r.render(&got, backward)
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("items", "node", ask.Node)
			for _, it := range items {
				b.Raw(it)
			}
			b.Close()
			if ask.Page != nil || left || !got.Complete {
				b.Raw(resultOf(&got).Append(nil))
			}
		}), nil
	}, nil
}

// pageOf returns a page in the model's words.
func pageOf(p rsm.Request) *model.Page {
	page := &model.Page{Max: max(p.Max, 0), Count: p.Max == 0, After: p.After, Before: p.Before, Last: p.Backward && p.Before == ""}
	if p.Index >= 0 {
		page.Index = p.Index
	}
	return page
}

// render returns the items as elements, as many as an answer may hold, and takes the others out of got.
func (r *request) render(got *model.Items, backward bool) (items [][]byte, left bool) {
	fm := form{service: r.srv.domain.String(), model: r.srv.opt.Model}
	size, n := 0, 0
	for i := range got.Items {
		it := got.Items[i]
		if backward {
			it = got.Items[len(got.Items)-1-i]
		}
		b := fm.appendItem(nil, it, model.NS, true)
		if size += len(b); size > maxAnswer && n > 0 {
			left = true
			break
		}
		items = append(items, b)
		n++
	}
	if backward {
		slices.Reverse(items)
		got.Index += len(got.Items) - n
		got.Items = got.Items[len(got.Items)-n:]
	} else {
		got.Items = got.Items[:n]
	}
	return items, left
}

// resultOf returns where the items lie among those of the node (XEP-0059).
func resultOf(got *model.Items) rsm.Result {
	res := rsm.Result{Index: -1, Count: got.Count}
	if n := len(got.Items); n > 0 {
		res.First, res.Last, res.Index = got.Items[0].ItemID(), got.Items[n-1].ItemID(), got.Index
	}
	return res
}

// publish is section 7.1.
func (r *request) publish(op, how xmlstream.Element) (work, error) {
	node := op.Attr("node")
	var items []model.NewItem
	for c := range op.Children() {
		if !c.Is(model.NS, "item") {
			continue
		}
		it := model.NewItem{ID: c.Attr("id")}
		n := 0
		for payload := range c.Children() {
			it.ContentType, it.Payload = wire.Payload(payload)
			it.Namespace = payload.Space()
			n++
		}
		if n > 1 {
			return nil, condition(model.BadRequest, model.InvalidPayload, "an item has one payload, not "+strconv.Itoa(n))
		}
		items = append(items, it)
	}
	if len(items) > maxItems {
		return nil, errItems
	}
	options, _, err := values(how, formPublishOptions)
	if err == nil && options == nil && !how.IsZero() { // section 7.1.5: it has to have one
		err = condition(model.BadRequest, "", "the publish-options have no form to be submitted")
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		done, err := r.srv.opt.Model.Publish(ctx, r.who, node, items, options)
		if err != nil {
			return nil, err
		}
		r.srv.published.Add(uint64(len(done)))
		return envelope(model.NS, func(b *xmlstream.Builder) {
			b.Open("publish", "node", node)
			for _, it := range done {
				if it.ID != "" {
					b.Empty("item", "id", it.ID)
				}
			}
			b.Close()
		}), nil
	}, nil
}

// retract is section 7.2.
func (r *request) retract(op xmlstream.Element) (work, error) {
	node := op.Attr("node")
	notify, ok := dataform.ParseBool(op.Attr("notify"))
	if !ok && op.HasAttr("notify") {
		return nil, condition(model.BadRequest, "", "notify is neither true nor false")
	}
	var ids []string
	for c := range op.Children() {
		if c.Is(model.NS, "item") {
			ids = append(ids, c.Attr("id"))
		}
	}
	if len(ids) > maxItems {
		return nil, errItems
	}
	return func(ctx context.Context) ([]byte, error) {
		return nil, r.srv.opt.Model.Retract(ctx, r.who, node, notify, ids...)
	}, nil
}

// names returns the ids of items.
func names(items []*hub.Item) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.ItemID()
	}
	return out
}
