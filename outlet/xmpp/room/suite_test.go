package room_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmpptest"
)

// patience bounds every wait; passing it is a failure.
const patience = 20 * time.Second

// carrier is the rooms on a server with a listener.
type carrier struct {
	w       *outlettest.World
	rooms   *room.Server
	addr    string
	close   func()
	archive bool // readers resume by the archive and not by the join
	sets    map[string]string
}

func (c *carrier) Close() { c.close() }

// serve serves the world's rooms.
func serve(w *outlettest.World, o room.Options) *carrier {
	w.Helper()
	rooms := newServer(w.T, o)
	srv, err := server.New(server.Options{Edge: w.Edge, Domain: "localhost", Anonymous: true})
	if err != nil {
		w.Fatal(err)
	}
	if err := srv.Handle(o.Domain, rooms); err != nil {
		w.Fatal(err)
	}
	c := &carrier{w: w, rooms: rooms}
	addr, stop := xmpptest.Serve(w, func(ln net.Listener) error { return srv.Serve(ln, server.NoTLS) }, srv.Close)
	c.addr = addr
	c.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(w.Hub.Drain(ctx), rooms.Stop(ctx)); err != nil {
			w.Error(err)
		}
		stop()
	})
	w.Cleanup(c.close)
	return c
}

// Open enters a room; several patterns are rooms of the configuration.
func (c *carrier) Open(r outlettest.Request) (outlettest.Conn, error) {
	address := c.sets[strings.Join(r.Topics, " ")]
	if address == "" {
		j, ok := c.rooms.Address(tidings.MustPattern(r.Topics[0]))
		if !ok || len(r.Topics) > 1 {
			return nil, fmt.Errorf("%v have no room", r.Topics)
		}
		address = j.String()
	}
	nc, err := dial.Dial(context.Background(), dial.Config{JID: jid.MustParse("localhost"), Address: c.addr, DialContext: outlettest.Dialer(r.ReceiveBuffer).DialContext})
	if err != nil {
		return nil, err
	}
	x := &reader{nc: nc, room: address}
	if c.archive && !r.After.IsZero() {
		x.after = r.After
	}
	x.join(r, !c.archive)
	if err := x.entered(); err != nil {
		x.Close()
		return nil, err
	}
	if x.after != (tidings.Position{}) {
		x.ask()
	}
	return x, nil
}

// reader is an anonymous session in one room.
type reader struct {
	nc   *dial.Conn
	room string
	last tidings.Position // of the last message given out

	// Reading the archive: everything behind after; what comes live meanwhile waits.
	after  tidings.Position
	found  []outlettest.Event
	live   []outlettest.Event
	denied bool

	leaving bool // it has been told that the server stops
}

func (x *reader) say(format string, args ...any) { x.nc.Send(fmt.Appendf(nil, format, args...)) }

func (x *reader) join(r outlettest.Request, since bool) {
	var b xmlstream.Builder
	b.Open("presence", "to", x.room+"/reader").Open("x", "xmlns", muc.NS).Empty("history", "maxstanzas", "0")
	if r.Token != "" {
		b.TextElement("password", r.Token)
	}
	if since && !r.After.IsZero() {
		b.TextElement("filter", "since="+r.After.String(), "xmlns", "urn:tidings:0")
	}
	b.Close().Close()
	x.say("%s", b.Bytes())
}

// entered waits for the subject, behind which everything comes.
func (x *reader) entered() error {
	for {
		st, err := x.nc.Next(context.Background())
		if err != nil {
			return err
		}
		if e := st.Err(); e != nil && st.Kind == stanza.Presence {
			kind := map[string]tidings.ErrorKind{"not-authorized": tidings.ErrUnauthenticated, "forbidden": tidings.ErrForbidden}[e.Condition]
			return tidings.Errorf(kind, "%w", e)
		}
		if _, ok := muc.Subject(&st); ok {
			// The flow is attached behind the subject: with the answer to a ping it is.
			x.say("<iq type='get' id='entered' to='%s/reader'><ping xmlns='urn:xmpp:ping'/></iq>", x.room)
			return nil
		}
	}
}

// ask asks for a page of the archive.
func (x *reader) ask() {
	q := mam.Query{Page: rsm.Request{Max: 40, Index: -1, After: x.after.String()}}
	x.say("<iq type='set' id='page' to='%s'>%s</iq>", x.room, q.Append(nil))
}

func (x *reader) Close() { x.nc.Drop() }

// event reads what a message says; ok is false if that is nothing.
func event(message xmlstream.Element) (e outlettest.Event, ok bool, err error) {
	if gap := message.Child("urn:tidings:0", "gap"); !gap.IsZero() {
		e.Kind = outlettest.Gap
		e.Position, err = tidings.ParsePosition(gap.Attr("oldest"))
		return e, true, err
	}
	j := message.Child("urn:xmpp:json:0", "json")
	if j.IsZero() {
		return e, false, nil
	}
	id := message.Child("urn:xmpp:sid:0", "stanza-id").Attr("id")
	if id != message.Attr("id") || message.Child("jabber:client", "body").Text() == "" {
		return e, false, fmt.Errorf("a message with the ids %q and %q", id, message.Attr("id"))
	}
	e.Kind, e.Payload = outlettest.Message, []byte(j.Text())
	e.Position, err = tidings.ParsePosition(id)
	return e, true, err
}

func (x *reader) Next() (outlettest.Event, error) {
	for {
		if len(x.found) > 0 {
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
			if _, ok := errors.AsType[*stream.Error](err); ok && !x.leaving {
				x.leaving = true
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
				x.after = e.Position
				break
			}
			e, ok, err := event(el)
			if err != nil || !ok || x.denied {
				return e, fmt.Errorf("a message that means nothing: %s, %v", el.Raw(), err)
			}
			x.live = append(x.live, e)
		case st.ID == "page":
			if st.Type == stanza.TypeError {
				gap := st.Child("error").Child("urn:tidings:0", "gap")
				p, err := tidings.ParsePosition(gap.Attr("oldest"))
				if err != nil || x.after.IsZero() {
					return outlettest.Event{}, fmt.Errorf("the archive answers %s", el.Raw())
				}
				x.after = p
				x.found = append(x.found, outlettest.Event{Kind: outlettest.Gap, Position: p})
				x.ask()
				break
			}
			fin, err := mam.ParseFin(el.First())
			if err != nil {
				return outlettest.Event{}, err
			}
			if fin.Complete {
				x.after = tidings.Position{}
			} else {
				x.ask()
			}
		case st.ID == "denied":
			return outlettest.Event{}, io.EOF
		case st.Kind == stanza.Presence:
			u, _ := muc.FindUser(el)
			switch {
			case u.Has(muc.StatusShutdown):
				x.leaving = true
				return outlettest.Event{Kind: outlettest.Goodbye}, nil
			case u.Has(muc.StatusAffiliationLost) && u.Has(muc.StatusSelf):
				x.denied = true // and nothing comes any more
				x.say("<iq type='get' id='denied' to='%s/reader'><ping xmlns='urn:xmpp:ping'/></iq>", x.room)
				return outlettest.Event{Kind: outlettest.Denied}, nil
			}
			return outlettest.Event{}, fmt.Errorf("a presence that means nothing: %s", el.Raw())
		}
	}
}

func testSuite(t *testing.T, archive bool) {
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server {
		o := options(w)
		// The sets of patterns that the suite subscribes to are rooms by configuration.
		_, name, _ := strings.Cut(w.Name(), "/")
		topic := "/suite/" + strings.ReplaceAll(name, "/", ".")
		sets := map[string]string{}
		for local, ps := range map[string][]string{"both": {topic + "/a", topic + "/[bc]"}, "pair": {topic + "x", topic[:len(topic)-1] + "?"}} {
			o.Rooms[local] = room.Room{Patterns: []tidings.Pattern{tidings.MustPattern(ps[0]), tidings.MustPattern(ps[1])}}
			sets[strings.Join(ps, " ")] = local + "@" + o.Domain
		}
		o.Topics = func(_ context.Context, p tidings.Pattern) (ts []tidings.Topic, err error) { // they exist before their first event
			t, ok := p.Topic()
			if ok {
				ts = append(ts, t)
			}
			return ts, nil
		}
		c := serve(w, o)
		c.archive, c.sets = archive, sets
		return c
	}})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	testSuite(t, false)
}

// TestSuiteOfArchives has readers resume as clients do that know XEP-0313 only.
func TestSuiteOfArchives(t *testing.T) {
	t.Parallel()
	testSuite(t, true)
}
