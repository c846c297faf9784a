package pubsub_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"tidings"
	"tidings/outlet/outlettest"
	model "tidings/pubsub"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// carrier is the service as the suite wants a server. Readers resume by the archive (XEP-0442), as XMPP's do.
type carrier struct {
	*fixture
}

func (c carrier) Close() { c.close() }

// reader is an anonymous session with subscriptions.
type reader struct {
	nc     *dial.Conn
	topics []string

	after tidings.Position // the archives are asked for what follows; zero when they have answered
	asked int              // archives that have answered
	from  tidings.Position // where the next page of the one that is asked begins
	last  tidings.Position // of the last message given out
	found []outlettest.Event
	live  []outlettest.Event
	over  bool
}

// Open subscribes to the topics.
func (c carrier) Open(r outlettest.Request) (outlettest.Conn, error) {
	for _, topic := range r.Topics {
		if _, err := tidings.ParseTopic(topic); err != nil {
			continue
		}
		_, err := c.model.Create(context.Background(), model.Entity{Actor: tidings.Actor{Kind: tidings.System}}, topic, nil)
		if err != nil && !errors.Is(err, tidings.ErrConflict) {
			return nil, err
		}
	}
	nc, err := dial.Dial(context.Background(), dial.Config{JID: jid.MustParse("localhost"), Address: c.addr, DialContext: outlettest.Dialer(r.ReceiveBuffer).DialContext})
	if err != nil {
		return nil, err
	}
	x := &reader{nc: nc, topics: r.Topics, after: r.After, from: r.After}
	if err := x.open(); err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

func (x *reader) open() error {
	ctx := context.Background()
	for _, t := range x.topics {
		if _, err := x.nc.Request(ctx, "set", serviceJID, fmt.Appendf(nil, pubsubSet, fmt.Sprintf("<subscribe node='%s' jid='%s'/>", t, x.nc.JID()))); err != nil {
			if e, ok := errors.AsType[*stanza.Error](err); ok {
				err = tidings.Errorf(map[string]tidings.ErrorKind{"forbidden": tidings.ErrForbidden}[e.Condition], "%w", e)
			}
			return err
		}
	}
	// With the answer to a request behind them the flows are attached.
	if _, err := x.nc.Request(ctx, "get", serviceJID, []byte(dial.Ping)); err != nil {
		return err
	}
	if !x.after.IsZero() {
		x.ask()
	}
	return nil
}

// ask asks an archive for a page.
func (x *reader) ask() {
	q := mam.Query{Node: x.topics[x.asked], Page: rsm.Request{Max: 40, Index: -1, After: x.from.String()}}
	x.nc.Send(fmt.Appendf(nil, "<iq type='set' id='page' to='pubsub.localhost'>%s</iq>", q.Append(nil)))
}

func (x *reader) Close() { x.nc.Drop() }

// event reads what a message says; ok is false if that is nothing.
func event(message xmlstream.Element) (e outlettest.Event, ok bool, err error) {
	if gap := message.Child("urn:tidings:0", "gap"); !gap.IsZero() {
		e.Kind = outlettest.Gap
		e.Position, err = tidings.ParsePosition(gap.Attr("oldest"))
		return e, true, err
	}
	const ns = "http://jabber.org/protocol/pubsub#event"
	item := message.Child(ns, "event").Child(ns, "items").Child(ns, "item")
	j := item.Child("urn:xmpp:json:0", "json")
	if j.IsZero() {
		return e, false, nil
	}
	id := message.Child("urn:xmpp:sid:0", "stanza-id").Attr("id")
	if id != message.Attr("id") || item.Attr("id") != id {
		return e, false, fmt.Errorf("a message with the ids %q, %q and %q", id, message.Attr("id"), item.Attr("id"))
	}
	e.Kind, e.Payload = outlettest.Message, []byte(j.Text())
	e.Position, err = tidings.ParsePosition(id)
	return e, true, err
}

func (x *reader) Next() (outlettest.Event, error) {
	for {
		if x.after.IsZero() && len(x.found) > 0 {
			e := x.found[0]
			x.found = x.found[1:]
			x.last = e.Position
			return e, nil
		}
		if x.after.IsZero() && len(x.live) > 0 {
			e := x.live[0]
			x.live = x.live[1:]
			if e.Position.Offset <= x.last.Offset && e.Position.Epoch == x.last.Epoch { // the archive had it
				continue
			}
			x.last = e.Position
			return e, nil
		}
		st, err := x.nc.Next(context.Background())
		if err != nil {
			if _, ok := errors.AsType[*stream.Error](err); ok && !x.over {
				x.over = true
				return outlettest.Event{Kind: outlettest.Goodbye}, nil
			} else if ok || err == dial.ErrClosed || err == dial.ErrDone {
				err = io.EOF
			}
			return outlettest.Event{}, err
		}
		el := st.Element
		switch {
		case st.Kind == stanza.Message:
			if r, ok := mam.FindResult(el); ok {
				e, ok, err := event(r.Message)
				if err != nil || !ok || e.Position.String() != r.ID {
					return e, fmt.Errorf("a result that means nothing: %s, %v", el.Raw(), err)
				}
				x.found = append(x.found, e)
				x.from = e.Position
				break
			}
			e, ok, err := event(el)
			if err != nil || !ok {
				return e, fmt.Errorf("a message that means nothing: %s, %v", el.Raw(), err)
			}
			x.live = append(x.live, e)
		case st.ID == "page":
			if st.Type == stanza.TypeError {
				p, err := tidings.ParsePosition(st.Child("error").Child("urn:tidings:0", "gap").Attr("oldest"))
				if err != nil || x.after.IsZero() {
					return outlettest.Event{}, fmt.Errorf("the archive answers %s", el.Raw())
				}
				x.from = p
				if len(x.found) == 0 {
					x.found = append(x.found, outlettest.Event{Kind: outlettest.Gap, Position: p})
				}
				x.ask()
				break
			}
			fin, err := mam.ParseFin(el.First())
			if err != nil {
				return outlettest.Event{}, err
			}
			if fin.Complete {
				x.asked, x.from = x.asked+1, x.after
			}
			if x.asked < len(x.topics) {
				x.ask()
				break
			}
			x.after = tidings.Position{}
			slices.SortStableFunc(x.found, func(a, b outlettest.Event) int { return cmp.Compare(a.Position.Offset, b.Position.Offset) })
		}
	}
}

// TestSuite runs the suite of outlets. Nobody presents a token over PubSub, and a topic is subscribed to once it has events
// or was created, so the suite's are made before.
func TestSuite(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Public: true, Serve: func(w *outlettest.World) outlettest.Server {
		return carrier{serve(w)}
	}})
}
