package pubsub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/outlet/outlettest"
	model "tidings/pubsub"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

var serviceJID = jid.MustParse("pubsub.localhost")

// client is a session with what tests ask for.
type client struct {
	t   *testing.T
	ctx context.Context
	*dial.Conn
	cfg dial.Config
}

// login returns a session of the user, which can be resumed. change may be nil.
func (f *fixture) login(ctx context.Context, user string, change func(*dial.Config)) *client {
	f.Helper()
	c := &client{t: f.T, ctx: ctx, cfg: dial.Config{JID: jid.MustParse(user + "@localhost/x"), Password: user, Address: f.addr, Manage: true}}
	if change != nil {
		change(&c.cfg)
	}
	var err error
	if c.Conn, err = dial.Dial(ctx, c.cfg); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Conn.Close() })
	return c
}

// ask asks the service, whose answer has to be a result.
func (c *client) ask(typ, format string, args ...any) xmlstream.Element {
	c.t.Helper()
	a, err := c.Request(c.ctx, typ, serviceJID, fmt.Appendf(nil, format, args...))
	if err != nil {
		c.t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return a.Payload()
}

const (
	pubsubSet = "<pubsub xmlns='" + model.NS + "'>%s</pubsub>"
	ownerSet  = "<pubsub xmlns='" + model.NS + "#owner'>%s</pubsub>"
)

func (c *client) set(format string, args ...any) {
	c.t.Helper()
	c.ask("set", pubsubSet, fmt.Sprintf(format, args...))
}

func (c *client) own(format string, args ...any) {
	c.t.Helper()
	c.ask("set", ownerSet, fmt.Sprintf(format, args...))
}

func (c *client) say(text string) {
	c.t.Helper()
	if err := c.Send([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// elsewhere is another session of the account.
func elsewhere(cfg *dial.Config) {
	cfg.JID, _ = jid.New(cfg.JID.Local(), cfg.JID.Domain(), "elsewhere")
}

// config is a form with one field.
func config(field, value string) string {
	return fmt.Sprintf("<x xmlns='jabber:x:data' type='submit'><field var='pubsub#%s'><value>%s</value></field></x>", field, value)
}

// numbersIn returns the node and the numbers of the items that numbered has appended; of any other stanza there are none.
func numbersIn(st *stanza.Stanza) (node string, all []int) {
	items := st.Element.Child(model.NS+"#event", "event").Child(model.NS+"#event", "items")
	for item := range items.Children() {
		n := 0
		if _, err := fmt.Sscanf(item.Attr("id"), "n%d", &n); err == nil {
			all = append(all, n)
		}
	}
	return items.Attr("node"), all
}

// numbered appends an item that says its number.
func (f *fixture) numbered(topic string, n int) {
	f.Append(tidings.Event{Topic: tidings.Topic(topic), ID: fmt.Sprintf("n%d", n), ContentType: "text/xml", Payload: fmt.Appendf(nil, "<n>%d</n>", n)})
}

// A session whose connection is cut again and again, anywhere, has every item of its subscriptions once and in order: of a node
// by its bare JID, and of a pattern by its full one, whether they come in digests or not.
func TestResumption(t *testing.T) {
	t.Parallel()
	t.Run("one by one", func(t *testing.T) {
		t.Parallel()
		resumption(t, 250, "")
	})
	t.Run("digests", func(t *testing.T) {
		t.Parallel()
		resumption(t, 1000, "<options>"+config("digest", "1")+"</options>")
	})
}

func resumption(t *testing.T, events int, options string) {
	f := serve(newWorld(t))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cut := outlettest.Cut{After: 1 << 20}
	x := f.login(ctx, "francisco", func(cfg *dial.Config) { cfg.DialContext = cut.DialContext })
	f.login(ctx, "hamlet", nil).set("<create node='n'/>")
	x.say("<presence/>")
	x.set("<subscribe node='n' jid='francisco@localhost'/>%s", options)
	x.set("<subscribe node='/sport/*' jid='%s'/>%s", x.JID(), options)
	last := map[string]int{"n": 0, "/sport/a": 0} // the number of the last item
	published := make(chan struct{})
	next := make(chan struct{}, 1)
	go func() {
		defer close(published)
		for n := 1; n <= events; n++ {
			f.numbered("/~n", n)
			f.numbered("/sport/a", n)
			f.numbered("/elsewhere", n)
			if n%5 != 0 {
				continue
			}
			select {
			case <-next: // the reader is on its way
			case <-ctx.Done():
				return
			}
		}
	}()
	dials, digests := 0, 0
	broken := false
	for last["n"] < events || last["/sport/a"] < events {
		st, err := x.Next(ctx)
		if err != nil || !broken {
			if ctx.Err() != nil {
				t.Fatalf("%v: %v after %d connections", last, err, dials)
			}
			broken = true
			x.cfg.Resume = x.Drop()
			for x.Conn = nil; x.Conn == nil; { // it may be cut while it resumes
				cut.After = 800 + random.IntN(8000)
				if x.Conn, err = dial.Dial(ctx, x.cfg); err != nil && ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			if dials++; !x.Resumed() {
				t.Fatal("the session was not resumed")
			}
			continue
		}
		node, all := numbersIn(&st)
		if len(all) > 1 {
			digests++
		}
		for _, n := range all {
			if n != last[node]+1 {
				t.Fatalf("%s: item %d behind %d, after %d connections", node, n, last[node], dials)
			}
			last[node] = n
		}
		select {
		case next <- struct{}{}:
		default:
		}
	}
	<-published
	if dials < 10 {
		t.Errorf("only %d connections were cut", dials)
	}
	if (digests > 0) != (options != "") {
		t.Errorf("%d digests", digests)
	}
	t.Logf("%d connections, %d digests", dials, digests)
}

// What takes a right away from a session that waits to be resumed is honoured when it comes back: of what it may not read any
// more, it gets nothing. What changes nothing costs it nothing.
func TestResumptionAfterChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		access string
		change func(f *fixture, owner *client)
		want   string // of the node
	}{
		{"nothing", "open", func(*fixture, *client) {}, "4 5 6"},
		{"a title", "open", func(_ *fixture, o *client) { o.own("<configure node='n'>%s</configure>", config("title", "x")) }, "4 5 6"},
		{"a ban", "open", func(_ *fixture, o *client) {
			o.own("<affiliations node='n'><affiliation jid='francisco@localhost' affiliation='outcast'/></affiliations>")
		}, ""},
		{"a whitelist", "open", func(_ *fixture, o *client) {
			o.own("<configure node='n'>%s</configure>", config("access_model", "whitelist"))
		}, ""},
		{"a member less", "whitelist", func(_ *fixture, o *client) {
			o.own("<affiliations node='n'><affiliation jid='francisco@localhost' affiliation='none'/></affiliations>")
		}, ""},
		{"a subscription ended", "open", func(_ *fixture, o *client) {
			o.own("<subscriptions node='n'><subscription jid='francisco@localhost' subscription='none'/></subscriptions>")
		}, ""},
		{"another subscription", "open", func(f *fixture, o *client) {
			f.login(o.ctx, "francisco", elsewhere).set("<subscribe node='n' jid='francisco@localhost'/><options>%s</options>", config("include_body", "1"))
		}, "4 5 6 6"},
		{"paused", "open", func(f *fixture, o *client) {
			f.login(o.ctx, "francisco", elsewhere).set("<options node='n' jid='francisco@localhost'>%s</options>", config("deliver", "0"))
		}, ""},
		{"a body", "open", func(f *fixture, o *client) {
			f.login(o.ctx, "francisco", elsewhere).set("<options node='n' jid='francisco@localhost'>%s</options>", config("include_body", "1"))
		}, "4 5 6"},
		{"digests", "open", func(f *fixture, o *client) {
			f.login(o.ctx, "francisco", elsewhere).set("<options node='n' jid='francisco@localhost'>%s</options>", config("digest", "1"))
		}, "4 5 6"},
		{"deleted", "open", func(_ *fixture, o *client) { o.own("<delete node='n'/>") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := serve(newWorld(t))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			owner := f.login(ctx, "hamlet", nil)
			owner.set("<create node='n'/><configure>%s</configure>", config("access_model", c.access))
			owner.set("<create node='sentinel'/>")
			if c.access == "whitelist" {
				owner.own("<affiliations node='n'><affiliation jid='francisco@localhost' affiliation='member'/></affiliations>")
			}
			x := f.login(ctx, "francisco", nil)
			x.say("<presence/>")
			x.set("<subscribe node='n' jid='francisco@localhost'/>")
			x.set("<subscribe node='sentinel' jid='francisco@localhost'/>")
			var got []string // the numbers of the node's items
			until := func(node string, n int) {
				for {
					st, err := x.Next(ctx)
					if err != nil {
						t.Fatalf("%v: %v", got, err)
					}
					of, all := numbersIn(&st)
					for _, m := range all {
						if of == "n" {
							got = append(got, fmt.Sprint(m))
						}
					}
					if of == node && slices.Contains(all, n) {
						return
					}
				}
			}
			for n := 1; n <= 3; n++ {
				f.numbered("/~n", n)
			}
			until("n", 3)
			x.cfg.Resume = x.Drop()
			f.numbered("/~n", 4)
			f.numbered("/~n", 5)
			c.change(f, owner)
			f.numbered("/~n", 6)
			if err := f.Hub.Drain(ctx); err != nil {
				t.Fatal(err)
			}
			var err error
			if x.Conn, err = dial.Dial(ctx, x.cfg); err != nil || !x.Resumed() {
				t.Fatalf("resumed: %t, %v", err == nil && x.Resumed(), err)
			}
			for range strings.Count(c.want, "6") { // each subscription has its own
				until("n", 6)
			}
			for n := 1; n <= 2; n++ { // whatever else there is comes before the second
				x.ask("get", dial.Ping)
				f.numbered("/~sentinel", n)
				until("sentinel", n)
			}
			want := strings.TrimSpace("1 2 3 " + c.want)
			slices.Sort(got) // by two subscriptions they come in no order between each other
			if got := strings.Join(got, " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
