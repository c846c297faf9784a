package component

import (
	"strings"
	"testing"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// What is sent is shared among the senders, all for one account over one of them; what comes over any of them is served. Nothing is
// acknowledged before the server has answered over each, and the end of one is the end of all.
func TestSenders(t *testing.T) {
	w := start(t, func(o *Options) { o.Senders = senderNames[:1] }, map[string]service.Service{domain: newDesk(echo)})
	const accounts = 8
	for i := range accounts {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
		w.link.Peer(user(i).Bare(), domain).Attach(w.j.reader(1, 0))
	}
	w.j.publish(1)
	lines := w.connectAll()
	over := map[jid.JID]int{}
	var pings []stanza.Stanza
	for lane, s := range lines {
		for {
			st := s.next()
			if isPing(&st) {
				pings = append(pings, st)
				break
			}
			if was, ok := over[st.To.Bare()]; ok && was != lane {
				t.Errorf("the messages for the addresses of %s are shared among connections", st.To.Bare())
			}
			over[st.To.Bare()] = lane
		}
	}
	if len(over) != accounts {
		t.Errorf("messages for %d of %d accounts", len(over), accounts)
	}
	lanes := map[int]bool{}
	// An answer goes over the connection that has the account's messages, wherever the request has come from.
	for i := range accounts {
		lane := over[user(i).Bare()]
		lanes[lane] = true
		lines[i%2].send("<iq type='get' id='q' from='" + strings.ReplaceAll(strings.ReplaceAll(user(i).String(), "&", "&amp;"), "'", "&apos;") + "' to='pub.example'><q xmlns='urn:q'/></iq>")
		if st := lines[lane].next(); st.ID != "q" || st.To != user(i) {
			t.Errorf("%s", st.Element.Raw())
		}
	}
	if len(lanes) != 2 {
		t.Error("all accounts are of one connection: choose other names for this test")
	}
	lines[1].send("<iq type='get' id='own' from='ann@host.example/r' to='out1.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	if st := lines[0].next(); st.ID != "own" || st.Type != stanza.TypeError {
		t.Errorf("%s", st.Element.Raw())
	}
	// One answer, twice.
	lines[0].pong(&pings[1])
	lines[0].pong(&pings[1])
	lines[0].send("<iq type='get' id='behind' from='ann@host.example/r' to='nowhere.example'><q xmlns='urn:q'/></iq>")
	if st := lines[0].next(); st.ID != "behind" {
		t.Errorf("%s", st.Element.Raw())
	}
	if m, _ := w.link.Acknowledged(); m.Offset > 0 {
		t.Errorf("%v is acknowledged, and over the first connection nothing was", m)
	}
	lines[0].pong(&pings[0])
	w.until("acknowledged", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })

	lines[1].nc.Close()
	if _, err := lines[0].element(); err == nil {
		t.Error("the first connection goes on without the second")
	}
	w.j.publish(1)
	lines = w.connectAll()
	if err := w.lastError(); err == nil || !strings.Contains(err.Error(), "sender out1.example") {
		t.Error("the error is", err)
	}
	ended := make(chan int)
	for _, s := range lines {
		go func() {
			n := 0
			for {
				el, err := s.element()
				if err == errStream {
					s.nc.Close()
					ended <- n
					return
				}
				if err != nil {
					t.Error(err)
					ended <- n
					return
				}
				if st, err := stanza.Parse(el); err == nil && isPing(&st) {
					lines[0].pong(&st)
				} else {
					n++
				}
			}
		}()
	}
	w.until("the position", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })
	w.cancel()
	if n := <-ended + <-ended; n != 2*accounts {
		t.Errorf("%d messages", n)
	}
}

func TestSendersRefused(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	for _, c := range []struct{ names, want string }{
		{"pub.example", "no domain of its own"},
		{"a.example a.example", "no domain of its own"},
		{"a@b", "domain of a sender"},
		{strings.Repeat("a ", MaxSenders+1), "at most"},
	} {
		_, err := New(Options{Edge: w.e, Addr: "127.0.0.1:1", Domain: domain, Secret: secret, Senders: strings.Fields(c.names)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.names, err)
		}
	}
}
