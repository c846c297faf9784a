package room_test

import (
	"bytes"
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
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln, server.NoTLS); err != nil {
			w.Error("serving:", err)
		}
	}()
	c := &carrier{w: w, rooms: rooms, addr: ln.Addr().String()}
	c.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(w.Hub.Drain(ctx), rooms.Stop(ctx)); err != nil {
			w.Error(err)
		}
		srv.Close()
		<-done
	})
	w.Cleanup(c.close)
	return c
}

// session is a client that is logged in anonymously.
type session struct {
	nc   net.Conn
	scan xmlstream.Scanner
	doc  xmlstream.Document
	jid  string
}

const header = "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

func (c *carrier) dial(rcvbuf int) (*session, error) {
	nc, err := outlettest.Dialer(rcvbuf).Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	s := &session{nc: nc}
	s.say(header + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>")
	if el, err := s.until("success"); err != nil {
		nc.Close()
		return nil, fmt.Errorf("logging in: %v: %w", el.Name(), err)
	}
	s.scan.Restart()
	s.say(header + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	el, err := s.until("iq")
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("binding: %w", err)
	}
	s.jid = el.First().First().Text()
	return s, nil
}

func (s *session) say(text string) { io.WriteString(s.nc, text) }

// next returns the next element; io.EOF at the end of the stream.
func (s *session) next() (xmlstream.Element, error) {
	var buf [16 << 10]byte
	for {
		kind, b, err := s.scan.Next()
		switch {
		case err != nil:
			return xmlstream.Element{}, err
		case kind == xmlstream.End:
			return xmlstream.Element{}, io.EOF
		case kind == xmlstream.Stanza:
			el, err := s.doc.Parse(b, xmlstream.NewContext("jabber:client", "stream", xmlstream.SpaceStream))
			return el, err
		case kind == xmlstream.None:
			n, err := s.nc.Read(buf[:])
			if n == 0 && err != nil {
				return xmlstream.Element{}, err
			}
			s.scan.Feed(bytes.Clone(buf[:n]))
		}
	}
}

// until returns the next element with the name.
func (s *session) until(name string) (xmlstream.Element, error) {
	for {
		el, err := s.next()
		if err != nil || el.Name() == name {
			return el, err
		}
	}
}

// Open enters a room; several patterns are rooms of the configuration.
func (c *carrier) Open(r outlettest.Request) (outlettest.Conn, error) {
	s, err := c.dial(r.ReceiveBuffer)
	if err != nil {
		return nil, err
	}
	address := c.sets[strings.Join(r.Topics, " ")]
	if address == "" {
		j, ok := c.rooms.Address(tidings.MustPattern(r.Topics[0]))
		if !ok || len(r.Topics) > 1 {
			s.nc.Close()
			return nil, fmt.Errorf("%v have no room", r.Topics)
		}
		address = j.String()
	}
	x := &reader{session: s, room: address}
	if c.archive && !r.After.IsZero() {
		x.after = r.After
	}
	x.join(r, !c.archive)
	if err := x.entered(); err != nil {
		s.nc.Close()
		return nil, err
	}
	if x.after != (tidings.Position{}) {
		x.ask()
	}
	return x, nil
}

// reader is a session in one room.
type reader struct {
	*session
	room string
	last tidings.Position // of the last message given out

	// Reading the archive: everything behind after; what comes live meanwhile waits.
	after  tidings.Position
	found  []outlettest.Event
	live   []outlettest.Event
	denied bool

	leaving bool // it has been told that the server stops
}

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
	x.say(string(b.Bytes()))
}

// entered waits for the subject, behind which everything comes.
func (x *reader) entered() error {
	for {
		el, err := x.next()
		switch {
		case err != nil:
			return err
		case el.Name() == "presence" && el.Attr("type") == "error":
			e := stanza.ParseError(el.Child("jabber:client", "error"))
			kind := map[string]tidings.ErrorKind{"not-authorized": tidings.ErrUnauthenticated, "forbidden": tidings.ErrForbidden}[e.Condition]
			return tidings.Errorf(kind, "%w", e)
		case !el.Child("jabber:client", "subject").IsZero():
			// The flow is attached behind the subject: with the answer to a ping it is.
			x.say(fmt.Sprintf("<iq type='get' id='entered' to='%s/reader'><ping xmlns='urn:xmpp:ping'/></iq>", x.room))
			return nil
		}
	}
}

// ask asks for a page of the archive.
func (x *reader) ask() {
	q := mam.Query{Page: rsm.Request{Max: 40, Index: -1, After: x.after.String()}}
	x.say("<iq type='set' id='page' to='" + x.room + "'>" + string(q.Append(nil)) + "</iq>")
}

func (x *reader) Close() { x.nc.Close() }

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
		el, err := x.next()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = io.EOF
			}
			return outlettest.Event{}, err
		}
		switch {
		case el.Is(xmlstream.SpaceStream, "error") && !x.leaving:
			x.leaving = true
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		case el.Name() == "message":
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
		case el.Name() == "iq" && el.Attr("id") == "page":
			if el.Attr("type") == "error" {
				gap := el.Child("jabber:client", "error").Child("urn:tidings:0", "gap")
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
		case el.Name() == "iq" && el.Attr("id") == "denied":
			return outlettest.Event{}, io.EOF
		case el.Name() == "presence":
			u, _ := muc.FindUser(el)
			switch {
			case u.Has(muc.StatusShutdown):
				x.leaving = true
				return outlettest.Event{Kind: outlettest.Goodbye}, nil
			case u.Has(muc.StatusAffiliationLost) && u.Has(muc.StatusSelf):
				x.denied = true // and nothing comes any more
				x.say("<iq type='get' id='denied' to='" + x.room + "/reader'><ping xmlns='urn:xmpp:ping'/></iq>")
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
