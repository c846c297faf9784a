package room_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tidings"
	"tidings/outlet/outlettest"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/muc"
	"tidings/xmpp/stanza"
)

// A session whose connection is cut again and again, anywhere, has every event of its rooms once and in order: those of the
// history, those it missed and those that come.
func TestResumption(t *testing.T) {
	t.Parallel()
	const events = 400
	w := newWorld(t)
	c := serve(w, options(w))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cfg := dial.Config{JID: jid.MustParse("localhost"), Address: c.addr, Manage: true}
	cut := outlettest.Cut{After: 8000}
	cfg.DialContext = cut.DialContext
	x, err := dial.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	rooms := map[string]int{"mixed": 0, `\2fnews\2f*`: 0} // the number of the last event
	w.Publish("/news/a", 1, 15)
	for local := range rooms {
		presence := fmt.Sprintf("<presence to='%s@conference.localhost/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>", local)
		if err := x.Send([]byte(presence)); err != nil {
			t.Fatal(err)
		}
	}
	published := make(chan struct{})
	next := make(chan struct{}, 1)
	go func() {
		defer close(published)
		for n := 16; n <= events; n += 5 {
			w.Publish("/news/a", n, n+4)
			w.Publish("/elsewhere", 1, 2)
			select {
			case <-next: // the reader is on its way
			case <-ctx.Done():
				return
			}
		}
	}()
	dials := 0
	for done := 0; done < len(rooms); {
		st, err := x.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatalf("%v: %v after %d connections", rooms, err, dials)
			}
			cfg.Resume = x.Drop()
			for x = nil; x == nil; { // it may be cut while it resumes
				cut.After = 800 + random.IntN(12_000)
				if x, err = dial.Dial(ctx, cfg); err != nil && ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			if dials++; !x.Resumed() {
				t.Fatal("the session was not resumed")
			}
			continue
		}
		if u, ok := muc.FindUser(st.Element); ok && !u.Has(muc.StatusSelf) && u.Item.Role != muc.Moderator || st.Type == "unavailable" {
			t.Fatalf("said: %s", st.Element.Raw())
		}
		e, ok, err := event(st.Element)
		if err != nil || !ok {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(string(e.Payload), `{"n":%d}`, &n); err != nil {
			t.Fatal(err)
		}
		local := st.From.Local()
		if want := rooms[local] + 1; n != want && want > 1 { // the history has the last 20
			t.Fatalf("%s: event %d, want %d, after %d connections", local, n, want, dials)
		}
		rooms[local] = n
		if n == events {
			done++
		}
		select {
		case next <- struct{}{}:
		default:
		}
	}
	<-published
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if dials < 10 {
		t.Errorf("only %d connections were cut", dials)
	}
	t.Logf("%d connections", dials)
}

// Who enters many rooms at once and acknowledges late is sent no more than its session may keep.
func TestManyJoinsManaged(t *testing.T) {
	t.Parallel()
	const rooms = 150
	w := newWorld(t)
	c := serve(w, options(w))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range 20 {
		w.Append(tidings.Event{Topic: "/news/a", ContentType: "text/plain", Payload: bytes.Repeat([]byte("x"), 1000)})
	}
	x, err := dial.Dial(ctx, dial.Config{JID: jid.MustParse("localhost"), Address: c.addr, Manage: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rooms {
		if err := x.Send(fmt.Appendf(nil, "<presence to='\\2fnews\\2f%d[a]@conference.localhost/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i)); err != nil {
			t.Fatal(err)
		}
		if err := x.Send(fmt.Appendf(nil, "<presence to='\\2fnews\\2f[a%d]@conference.localhost/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i)); err != nil {
			t.Fatal(err)
		}
	}
	subjects, messages := 0, 0
	for subjects < 2*rooms {
		st, err := x.Next(ctx)
		if err != nil {
			t.Fatalf("after %d rooms: %v", subjects, err)
		}
		if _, ok := muc.Subject(&st); ok {
			subjects++
		} else if st.Kind == stanza.Message {
			messages++
		}
	}
	if messages != 20*rooms {
		t.Errorf("%d messages of history, want %d", messages, 20*rooms)
	}
	x.Close()
}
