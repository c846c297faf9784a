package component

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// distributes answers the question whether the server distributes messages for many addresses, if the stanza is it.
func distributes(s *server, st *stanza.Stanza) bool {
	asked := st.Request() && st.Payload().Is(disco.NSInfo, "query")
	if asked {
		s.send(string(st.AppendResult(nil, (&disco.Info{Features: []string{disco.NSInfo, nsDistribute}}).Append(nil))))
	}
	return asked
}

// eachAddress calls f with what each address of a message is sent (XEP-0033).
func eachAddress(st *stanza.Stanza, f func(*stanza.Stanza) error) error {
	list := st.Element.Child(nsAddress, "addresses")
	if list.IsZero() {
		return fmt.Errorf("no addresses in %s", st.Element.Raw())
	}
	for c := range list.Children() {
		to, err := jid.Parse(c.Attr("jid"))
		if err != nil || !c.Is(nsAddress, "address") || c.Attr("type") != "bcc" {
			return errors.Join(err, fmt.Errorf("an address is %s", c.Raw()))
		}
		copy := *st
		copy.To = to
		if err := f(&copy); err != nil {
			return err
		}
	}
	return nil
}

// What is for many addresses is sent once where the server distributes it, and to each of them where it does not, or refuses to.
func TestMulticast(t *testing.T) {
	w := start(t, func(o *Options) { o.Multicast = true }, map[string]service.Service{domain: newDesk(nil)})
	const addresses = maxAddresses + 9
	for i := range addresses {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
	}
	// gets reads what there is for each address of one message, up to a ping, and returns by how many stanzas.
	gets := func(s *server, want string) (stanzas int) {
		t.Helper()
		var had []string
		note := func(st *stanza.Stanza) error {
			if number(st) != want {
				return fmt.Errorf("%s, not message %s", st.Element.Raw(), want)
			}
			had = append(had, st.To.String())
			return nil
		}
		for {
			st := s.next()
			var err error
			switch {
			case isPing(&st) && len(had) > 0:
				var all []string
				for i := range addresses {
					all = append(all, user(i).String())
				}
				slices.Sort(all)
				if slices.Sort(had); !slices.Equal(had, all) {
					t.Fatalf("message %s is for %q", want, had)
				}
				s.pong(&st)
				return stanzas
			case isPing(&st):
				s.pong(&st)
				continue
			case st.To == w.link.multicast.to:
				err = eachAddress(&st, note)
			default:
				err = note(&st)
			}
			if err != nil {
				t.Fatal(err)
			}
			stanzas++
		}
	}
	acknowledged := func() {
		t.Helper()
		w.until("acknowledged", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })
	}

	s := w.connect()
	if st := s.next(); !distributes(s, &st) || st.To.String() != "example" {
		t.Fatalf("%s", st.Element.Raw())
	}
	w.until("known", func() bool { return w.link.Stats().Multicast })
	w.j.publish(1)
	if n := gets(s, "1.0"); n != 2 {
		t.Errorf("%d stanzas", n)
	}
	acknowledged()
	if out := w.link.Stats().StanzasOut; out != addresses+1 { // and the question
		t.Errorf("%d messages are counted", out)
	}

	// Refused: on another connection it comes again, and to each.
	w.j.publish(1)
	st := s.next()
	s.send("<message type='error' from='" + w.link.multicast.to.String() + "' to='pub.example'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	if st.To != w.link.multicast.to {
		t.Errorf("%s", st.Element.Raw())
	}
	for ; !isPing(&st); st = s.next() {
	}
	s.pong(&st)
	if err := s.toEnd(); err != errStream {
		t.Error(err)
	}
	s.nc.Close()
	s = w.connect()
	if n := gets(s, "2.0"); n != addresses {
		t.Errorf("%d stanzas", n)
	}
	acknowledged()
	if st := w.link.Stats(); st.Multicast || !strings.Contains(st.LastError, ErrMulticast.Error()) {
		t.Errorf("%+v", st)
	}

	// The one behind it is asked again, and says that it does not.
	s.nc.Close()
	s = w.connect()
	st = s.next()
	if !st.Request() || !st.Payload().Is(disco.NSInfo, "query") {
		t.Fatalf("%s", st.Element.Raw())
	}
	s.send(string(st.AppendResult(nil, (&disco.Info{Features: []string{disco.NSInfo, nsAddress}}).Append(nil))))
	w.until("said", func() bool { return strings.Contains(w.logs.String(), "mod_multicast") })
	w.j.publish(1)
	if n := gets(s, "3.0"); n != addresses {
		t.Errorf("%d stanzas", n)
	}
	acknowledged()
}

func TestMulticastRefused(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	if _, err := New(Options{Edge: w.e, Addr: "127.0.0.1:1", Domain: domain, Secret: secret, Senders: senderNames, Multicast: true}); err == nil {
		t.Error("several connections, and one message for all")
	}
}
