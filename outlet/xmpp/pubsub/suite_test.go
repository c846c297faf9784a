package pubsub_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"tidings"
	"tidings/outlet/outlettest"
	model "tidings/pubsub"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// carrier is the service as the suite wants a server. Readers resume by the archive (XEP-0442), as XMPP's do.
type carrier struct {
	*fixture
}

func (c carrier) Close() { c.close() }

// reader is an anonymous session with subscriptions.
type reader struct {
	nc     net.Conn
	scan   xmlstream.Scanner
	doc    xmlstream.Document
	jid    string
	topics []string

	after tidings.Position // the archives are asked for what follows; zero when they have answered
	asked int              // archives that have answered
	from  tidings.Position // where the next page of the one that is asked begins
	last  tidings.Position // of the last message given out
	found []outlettest.Event
	live  []outlettest.Event
	over  bool
}

const header = "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

func (x *reader) say(format string, args ...any) { fmt.Fprintf(x.nc, format, args...) }

// Open subscribes to the topics.
func (c carrier) Open(r outlettest.Request) (outlettest.Conn, error) {
	nc, err := outlettest.Dialer(r.ReceiveBuffer).Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	for _, topic := range r.Topics {
		if _, err := tidings.ParseTopic(topic); err != nil {
			continue
		}
		_, err := c.model.Create(context.Background(), model.Entity{Actor: tidings.Actor{Kind: tidings.System}}, topic, nil)
		if err != nil && !errors.Is(err, tidings.ErrConflict) {
			return nil, err
		}
	}
	x := &reader{nc: nc, topics: r.Topics, after: r.After, from: r.After}
	if err := x.open(); err != nil {
		nc.Close()
		return nil, err
	}
	return x, nil
}

func (x *reader) open() error {
	x.say(header + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>")
	if _, err := x.until("success"); err != nil {
		return err
	}
	x.scan.Restart()
	x.say(header + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	el, err := x.until("iq")
	if err != nil {
		return err
	}
	x.jid = el.First().First().Text()
	for _, t := range x.topics {
		x.say("<iq type='set' id='s' to='pubsub.localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='%s' jid='%s'/></pubsub></iq>", t, x.jid)
		el, err := x.until("iq")
		if err != nil {
			return err
		}
		if el.Attr("type") == "error" {
			e := stanza.ParseError(el.Child("jabber:client", "error"))
			return tidings.Errorf(map[string]tidings.ErrorKind{"forbidden": tidings.ErrForbidden}[e.Condition], "%w", e)
		}
	}
	// With the answer to a request behind them the flows are attached.
	x.say("<iq type='get' id='p' to='pubsub.localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	if _, err := x.until("iq"); err != nil {
		return err
	}
	if !x.after.IsZero() {
		x.ask()
	}
	return nil
}

func (x *reader) next() (xmlstream.Element, error) {
	var buf [16 << 10]byte
	for {
		kind, b, err := x.scan.Next()
		switch {
		case err != nil:
			return xmlstream.Element{}, err
		case kind == xmlstream.End:
			return xmlstream.Element{}, io.EOF
		case kind == xmlstream.Stanza:
			return x.doc.Parse(b, xmlstream.NewContext("jabber:client", "stream", xmlstream.SpaceStream))
		case kind == xmlstream.None:
			n, err := x.nc.Read(buf[:])
			if n == 0 && err != nil {
				return xmlstream.Element{}, err
			}
			x.scan.Feed(bytes.Clone(buf[:n]))
		}
	}
}

// until returns the next element with the name; messages before it are kept.
func (x *reader) until(name string) (xmlstream.Element, error) {
	for {
		el, err := x.next()
		if err != nil || el.Name() == name {
			return el, err
		}
		if el.Name() == "message" {
			e, ok, err := event(el)
			if err != nil || !ok {
				return el, fmt.Errorf("a message that means nothing: %s, %v", el.Raw(), err)
			}
			x.live = append(x.live, e)
		}
	}
}

// ask asks an archive for a page.
func (x *reader) ask() {
	q := mam.Query{Node: x.topics[x.asked], Page: rsm.Request{Max: 40, Index: -1, After: x.from.String()}}
	x.say("<iq type='set' id='page' to='pubsub.localhost'>%s</iq>", q.Append(nil))
}

func (x *reader) Close() { x.nc.Close() }

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
		el, err := x.next()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = io.EOF
			}
			return outlettest.Event{}, err
		}
		switch {
		case el.Is(xmlstream.SpaceStream, "error") && !x.over:
			x.over = true
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		case el.Name() == "message":
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
		case el.Name() == "iq" && el.Attr("id") == "page":
			if el.Attr("type") == "error" {
				p, err := tidings.ParsePosition(el.Child("jabber:client", "error").Child("urn:tidings:0", "gap").Attr("oldest"))
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
