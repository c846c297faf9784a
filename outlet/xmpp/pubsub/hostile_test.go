package pubsub_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
)

// What is too much is refused in the words of the protocol, and changes nothing.
func TestLimits(t *testing.T) {
	c := newCourt(t, newEdge(t))
	defer c.close()
	p := c.peer("hamlet")
	for _, node := range []string{"n", "wall"} {
		p.ask("set", pubsubSet, "<create node='"+node+"'/>")
	}
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	long := strings.Repeat("x", 100_000)
	for _, x := range []struct{ name, typ, space, payload, want string }{
		{"items to publish", "set", pubsubSet, "<publish node='n'>" + repeat(501, "<item id='%d'><a xmlns='b'/></item>") + "</publish>", "policy-violation"},
		{"items to retract", "set", pubsubSet, "<retract node='n'>" + repeat(501, "<item id='%d'/>") + "</retract>", "policy-violation"},
		{"items to retrieve", "get", pubsubSet, "<items node='n'>" + repeat(501, "<item id='%d'/>") + "</items>", "policy-violation"},
		{"affiliations", "set", ownerSet, "<affiliations node='n'>" + repeat(501, "<affiliation jid='a%d@localhost' affiliation='member'/>") + "</affiliations>", "policy-violation"},
		{"subscriptions", "set", ownerSet, "<subscriptions node='n'>" + repeat(501, "<subscription jid='a%d@localhost' subscription='subscribed'/>") + "</subscriptions>", "policy-violation"},
		{"a long item ID", "set", pubsubSet, "<publish node='n'><item id='" + long + "'><a xmlns='b'/></item></publish>", "bad-request"},
		{"a long item ID to retract", "set", pubsubSet, "<retract node='n'><item id='" + long + "'/></retract>", "item-not-found"},
		{"a long name to create", "set", pubsubSet, "<create node='" + long + "'/>", "not-acceptable"},
		{"a long name to subscribe to", "set", pubsubSet, "<subscribe node='" + long + "' jid='hamlet@localhost'/>", "item-not-found"},
		{"a long JID", "set", pubsubSet, "<subscribe node='n' jid='hamlet@localhost/" + long + "'/>", "bad-request"},
		{"a long SubID", "set", pubsubSet, "<unsubscribe node='n' jid='hamlet@localhost' subid='" + long + "'/>", "unexpected-request"},
		{"many fields", "set", ownerSet, "<configure node='n'><x xmlns='jabber:x:data' type='submit'>" + repeat(4000, "<field var='pubsub#f%d'><value>1</value></field>") + "</x></configure>", "not-acceptable"},
		{"many values", "set", ownerSet, "<configure node='n'><x xmlns='jabber:x:data' type='submit'><field var='pubsub#contact'>" + repeat(5000, "<value>a%d@b</value>") + "</field></x></configure>", "not-acceptable"},
		{"a long value", "set", ownerSet, "<configure node='n'><x xmlns='jabber:x:data' type='submit'><field var='pubsub#title'><value>" + long + "</value></field></x></configure>", "not-acceptable"},
		{"many options", "set", pubsubSet, "<subscribe node='n' jid='hamlet@localhost'/><options><x xmlns='jabber:x:data' type='submit'><field var='pubsub#show-values'>" + repeat(5000, "<value>chat%d</value>") + "</field></x></options>", "bad-request"},
		{"a field twice", "set", ownerSet, "<configure node='n'><x xmlns='jabber:x:data' type='submit'>" + repeat(2, "<field var='pubsub#title'><value>%d</value></field>") + "</x></configure>", "bad-request"},
		{"a long redirect", "set", ownerSet, "<delete node='n'><redirect uri='" + long + "'/></delete>", "not-acceptable"},
		{"a page of a negative size", "get", pubsubSet, "<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><max>-1</max></set>", "bad-request"},
		{"a page of a huge size", "get", pubsubSet, "<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><max>99999999999999999999</max></set>", "bad-request"},
		{"a pattern of many parts", "set", pubsubSet, "<subscribe node='" + strings.Repeat("/**", 17) + "' jid='hamlet@localhost'/>", "item-not-found"},
	} {
		if got := p.refused(x.typ, x.space, x.payload); got != x.want {
			t.Errorf("%s: the answer is %q, want %q", x.name, got, x.want)
		}
	}
	if st := c.model.Stats(); st.Nodes != 2 || st.Subscriptions != 0 || st.Entities != 1 {
		t.Errorf("left behind: %+v", st)
	}
	a := p.ask("get", pubsubSet, "<items node='n'/>")
	if n := a.Payload().First(); !n.First().IsZero() {
		t.Errorf("the node has items: %s", n.Raw())
	}
}

// A list that is longer than an answer is had in pages, each of which is bounded, with everything in it once.
func TestLongLists(t *testing.T) {
	const all = 1200
	c := newCourt(t, newEdge(t))
	defer c.close()
	p := c.peer("hamlet")
	p.ask("set", pubsubSet, "<create node='n'/>")
	resource := strings.Repeat("r", 200)
	for from := 0; from < all; from += 400 {
		var subs, affs strings.Builder
		for i := from; i < from+400; i++ {
			fmt.Fprintf(&subs, "<subscription jid='a%d@localhost/%s' subscription='subscribed'/>", i, resource)
			fmt.Fprintf(&affs, "<affiliation jid='a%d@%s.example.org' affiliation='member'/>", i, resource[:60])
		}
		for _, change := range []string{"<subscriptions node='n'>" + subs.String() + "</subscriptions>", "<affiliations node='n'>" + affs.String() + "</affiliations>"} {
			if a := p.ask("set", ownerSet, change); a.Type != stanza.TypeResult {
				t.Fatal(a.Element.Raw())
			}
		}
	}
	for list, want := range map[string]int{"subscriptions": all, "affiliations": all + 1} {
		for _, backward := range []bool{false, true} {
			seen := map[string]bool{}
			page, pages := "", 0
			for {
				a := p.ask("get", ownerSet, fmt.Sprintf("<%s node='n'/>%s", list, page))
				if size := len(a.Element.Raw()); size > 70_000 {
					t.Fatalf("%s: an answer of %d bytes", list, size)
				}
				n := 0
				for el := range a.Payload().First().Children() {
					if id := el.Attr("jid"); seen[id] {
						t.Fatalf("%s: %s comes twice", list, id)
					} else {
						seen[id] = true
					}
					n++
				}
				if pages++; n == 0 {
					break
				}
				res := rsm.ParseResult(rsm.Find(a.Payload()))
				if res.Count != want || res.First == "" {
					t.Fatalf("%s: the page lies at %+v", list, res)
				}
				ask := rsm.Request{Max: -1, Index: -1, After: res.Last}
				if backward {
					ask = rsm.Request{Max: -1, Index: -1, Backward: true, Before: res.First}
				}
				page = string(ask.Append(nil))
				if backward && pages == 1 { // what comes without a page is the first one
					clear(seen)
					page = string(rsm.Request{Max: -1, Index: -1, Backward: true}.Append(nil))
				}
			}
			if len(seen) != want || pages < 3 {
				t.Errorf("%s: %d entries on %d pages, want %d", list, len(seen), pages, want)
			}
		}
	}
}

// A client that asks for much and reads nothing has one request under way, and is refused what is too much; each is answered.
func TestGreedy(t *testing.T) {
	c := newCourt(t, newEdge(t))
	defer c.close()
	p := c.peer("hamlet")
	p.ask("set", pubsubSet, "<create node='n'/>")
	for i := range 20 {
		p.ask("set", pubsubSet, fmt.Sprintf("<publish node='n'><item id='%d'><a xmlns='b'>%s</a></item></publish>", i, strings.Repeat("x", 3000)))
	}
	p.Out, p.Tasks, p.Mute = nil, 0, true
	const asked = 1500
	for i := range asked {
		p.Say(fmt.Sprintf("<iq type='get' id='%d' to='pubsub.localhost'><pubsub xmlns='%s'><items node='n'/></pubsub></iq>", i, model.NS))
	}
	refused := len(p.Out)
	for i := range p.Out {
		if p.Out[i].Err().Condition != "resource-constraint" {
			t.Fatalf("unasked: %s", p.Out[i].Element.Raw())
		}
	}
	if p.Tasks != 1 || refused == 0 || refused > asked/2 || c.srv.Stats().Dropped[pubsub.DropJobs] != uint64(refused) {
		t.Errorf("%d requests are under way and %d refused: %+v", p.Tasks, refused, c.srv.Stats())
	}
	p.Mute = false
	c.run()
	if len(p.Out) != asked {
		t.Errorf("%d of %d requests are answered", len(p.Out), asked)
	}
}

// A client that goes while its request is under way leaves nothing behind.
func TestGoneMeanwhile(t *testing.T) {
	c := newCourt(t, newEdge(t))
	defer c.close()
	p := c.peer("hamlet")
	p.ask("set", pubsubSet, "<create node='n'/>")
	p.ask("set", pubsubSet, "<subscribe node='n' jid='hamlet@localhost/x'/>")
	if st := c.srv.Stats(); st.Flows != 1 {
		t.Fatalf("subscribed: %+v", st)
	}
	p.Say("<iq type='get' id='1' to='pubsub.localhost'><pubsub xmlns='" + model.NS + "'><items node='n'/></pubsub></iq>")
	p.Gone()
	if st := c.srv.Stats(); st.Flows != 0 || st.Clients != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// FuzzStanzas gives the service any stanzas of several clients: lines of a user's name and a stanza. Whatever they are, what it
// sends is stanzas to who is meant, each request is answered once, and clients that have gone leave nothing behind. The seeds are
// what the clients of the scripts say.
func FuzzStanzas(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no script: %v", err)
	}
	users := map[string]bool{"hamlet": true, "francisco": true, "bernardo": true, "horatio": true, "polonius": true, "guest": true}
	var jids []string
	for u := range users {
		jids = append(jids, "{{"+u+"}}", u+"@localhost/x")
	}
	jids = append(jids, "{{", "", "}}", "")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said strings.Builder
		who := ""
		for line := range strings.Lines(strings.NewReplacer(jids...).Replace(string(text))) {
			switch name, does, _ := strings.Cut(line, " "); {
			case strings.HasPrefix(line, "  ") && who != "":
				fmt.Fprintf(&said, "%s %s", who, strings.TrimLeft(line, " "))
			case strings.HasPrefix(does, "sends:") && users[name]:
				who = name
			default:
				who = ""
			}
		}
		f.Add(said.String())
	}
	e := newEdge(f)
	f.Fuzz(func(t *testing.T, said string) {
		if len(said) > 60_000 {
			return
		}
		c := newCourt(t, e)
		defer c.close()
		asked := map[string]int{}
		for line := range strings.Lines(said) {
			user, text, _ := strings.Cut(line, " ")
			if !users[user] {
				continue
			}
			if st, ok := c.peer(user).Try(text); ok && st.Request() {
				asked[user+" "+st.ID]++
			}
			if len(line)%2 == 0 {
				c.run()
			}
		}
		c.run()
		for user, p := range c.peers {
			for i := range p.Out {
				if st := &p.Out[i]; st.Kind == stanza.IQ {
					asked[user+" "+st.ID]--
				}
			}
		}
		for id, n := range asked {
			if n != 0 {
				t.Errorf("the requests %q have %d answers too few", id, n)
			}
		}
		for _, p := range c.peers {
			p.Gone()
		}
		if st := c.srv.Stats(); st.Clients != 0 || c.hub.Stats().Subscriptions != 0 {
			t.Errorf("left behind: %+v, %d subscriptions of the hub", st, c.hub.Stats().Subscriptions)
		}
	})
}
