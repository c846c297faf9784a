package pubsub_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"tidings"
	"tidings/edge"
	"tidings/internal/lease"
	"tidings/outlet/outlettest"
	wire "tidings/outlet/xmpp"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/component"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmpptest"
)

// The domains of the tests: of the component and of the server behind it.
const (
	linked = "pubsub.example.org"
	home   = "example.org"
	secret = "hush"
)

// places keep the acknowledged positions of links, as a journal does.
type places struct {
	mu sync.Mutex
	m  map[string]service.Mark
}

type position struct {
	p      *places
	domain string
}

func (p position) Load(context.Context) (service.Mark, bool, error) {
	p.p.mu.Lock()
	defer p.p.mu.Unlock()
	m, ok := p.p.m[p.domain]
	return m, ok, nil
}

func (p position) Save(_ context.Context, m service.Mark) error {
	p.p.mu.Lock()
	defer p.p.mu.Unlock()
	if p.p.m == nil {
		p.p.m = map[string]service.Mark{}
	}
	p.p.m[p.domain] = m
	return nil
}

// process is a server with the world's nodes behind links.
type process struct {
	*outlettest.World
	model *model.Service
	srv   map[string]*pubsub.Server // by domain
	link  map[string]*component.Link
	stop  func() // gracefully
}

// leased is a lease as cmd/tidings has it.
type leased struct {
	*lease.Lease
	srv  *pubsub.Server
	link **component.Link
}

func (l leased) Acquire(ctx context.Context) error {
	l.srv.Suspend()
	err := l.Lease.Acquire(ctx)
	if err == nil {
		at, ok := (*l.link).Acknowledged()
		l.srv.Resume(ctx, at, ok)
	}
	return err
}

// run serves the world's nodes at domains behind the host. bernardo@example.org may create nodes. standby has it wait for a lease.
func run(w *outlettest.World, h *xmpptest.Host, at *places, standby bool, domains ...string) *process {
	w.Helper()
	ctx := context.Background()
	p := &process{World: w, srv: map[string]*pubsub.Server{}, link: map[string]*component.Link{}}
	nodes, err := w.Journal.Bucket(ctx, "nodes")
	if err != nil {
		w.Fatal(err)
	}
	links, err := w.Journal.Bucket(ctx, "links")
	if err != nil {
		w.Fatal(err)
	}
	p.model, err = model.Open(ctx, model.Options{Store: nodes, Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost", Domains: []string{home},
		Admins: []string{"polonius@localhost"}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		w.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	for _, domain := range domains {
		var l *component.Link
		srv, err := pubsub.New(pubsub.Options{Model: p.model, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience, Domain: domain,
			Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) { return nil, nil },
			Link:   &pubsub.Link{Peer: func(a jid.JID) service.Peer { return l.Peer(a, domain) }, AudienceOf: w.Policy.AudienceOf, Host: home, Embedded: "localhost"}})
		if err != nil {
			w.Fatal(err)
		}
		o := component.Options{Edge: w.Edge, Addr: h.Addr(), Domain: domain, Host: home, Secret: secret, Position: position{at, domain}}
		if standby {
			o.Lease = leased{lease.New(links, "lease:"+domain), srv, &l}
		}
		if l, err = component.New(o); err != nil {
			w.Fatal(err)
		}
		if err := l.Handle(domain, srv); err != nil {
			w.Fatal(err)
		}
		if !standby {
			at, ok := l.Acknowledged()
			srv.Resume(running, at, ok)
		}
		p.srv[domain], p.link[domain] = srv, l
		work.Go(func() {
			if err := l.Run(running); err != nil {
				w.Error(err)
			}
		})
	}
	p.stop = sync.OnceFunc(func() {
		if err := w.Hub.Drain(ctx); err != nil {
			w.Error(err)
		}
		cancel()
		work.Wait()
		for _, domain := range domains {
			if !standby { // else another one has it
				h.Gone(domain)
			}
		}
		for _, srv := range p.srv {
			srv.Close()
		}
		p.model.Close()
	})
	w.Cleanup(p.stop)
	return p
}

// iq sends a request and returns what is in the answer.
func ask(h *xmpptest.Host, from, to, typ, payload string) string {
	id := fmt.Sprintf("q%d", asked.next())
	h.Send(to, fmt.Sprintf("<iq type='%s' id='%s' from='%s' to='%s'>%s</iq>", typ, id, from, to, payload))
	return h.Wait(to, "<iq", "id='"+id+"'")
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

var asked counter

func inPubSub(op string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + op + "</pubsub>"
}

func inOwner(op string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>" + op + "</pubsub>"
}

// must is ask for a request that is granted.
func (p *process) must(h *xmpptest.Host, from, to, payload string) string {
	p.Helper()
	got := ask(h, from, to, "set", payload)
	if !strings.Contains(got, "type='result'") {
		p.Fatalf("%s asks %s\nand is answered %s", from, payload, got)
	}
	return got
}

func subscribe(node, j string) string {
	return inPubSub(fmt.Sprintf("<subscribe node='%s' jid='%s'/>", node, j))
}

// entity is an account of the server behind the link, as the model knows it.
func entity(bare string) model.Entity {
	return model.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: bare}, JID: bare, Service: linked}
}

func (p *process) create(node string, config model.Values) {
	p.Helper()
	if _, err := p.model.Create(context.Background(), entity("bernardo@"+home), node, config); err != nil {
		p.Fatal(err)
	}
}

// publish publishes items with the ids.
func (p *process) publish(node string, ids ...string) {
	p.Helper()
	for _, id := range ids {
		if _, err := p.model.Publish(context.Background(), entity("bernardo@"+home), node, []model.NewItem{{ID: id, ContentType: "text/plain", Payload: []byte(id)}}, nil); err != nil {
			p.Fatal(err)
		}
	}
}

// items returns the ids of the items that stanzas notify of, by address.
func items(stanzas []string) map[string][]string {
	got := map[string][]string{}
	for _, st := range stanzas {
		_, to, _ := strings.Cut(st, "to='")
		to, _, _ = strings.Cut(to, "'")
		for _, item := range strings.Split(st, "<item id='")[1:] {
			id, _, _ := strings.Cut(item, "'")
			got[to] = append(got[to], id)
		}
	}
	return got
}

func (p *process) expect(got []string, want map[string][]string) {
	p.Helper()
	have := items(got)
	for to := range have {
		if want[to] == nil {
			p.Errorf("%s got %q", to, have[to])
		}
	}
	for to := range want {
		if !slices.Equal(have[to], want[to]) {
			p.Errorf("%s got %q, want %q", to, have[to], want[to])
		}
	}
}

// Who subscribes their bare JID is pushed items there, behind the answer and without a notice of what it says.
func TestLinkSubscribe(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h, &places{}, false, linked)
	p.must(h, "bernardo@example.org/watch", linked, inPubSub("<create node='/news'/>"))
	p.must(h, "romeo@example.org/phone", linked, subscribe("/news", "romeo@example.org"))
	p.must(h, "juliet@other.lit/balcony", linked, subscribe("/news", "juliet@other.lit/balcony"))
	if got := ask(h, "romeo@example.org/phone", linked, "set", subscribe("/news", "juliet@other.lit")); !strings.Contains(got, "invalid-jid") {
		t.Errorf("subscribed somebody else: %s", got)
	}
	if got := ask(h, "romeo@example.org/phone", linked, "set", inPubSub("<create node='/romeo'/>")); !strings.Contains(got, "type='result'") {
		t.Errorf("an account of the server: %s", got)
	}
	if got := ask(h, "juliet@other.lit/balcony", linked, "set", inPubSub("<create node='/juliet'/>")); !strings.Contains(got, "registration-required") {
		t.Errorf("an account of another server: %s", got)
	}
	if got := ask(h, "romeo@example.org/phone", linked, "set", inPubSub("<publish node='/news'><item/></publish>")); !strings.Contains(got, "forbidden") {
		t.Errorf("who may not publish: %s", got)
	}
	p.publish("/news", "1", "2")
	p.stop()
	got := h.Take(linked)
	p.expect(got, map[string][]string{"romeo@example.org": {"1", "2"}, "juliet@other.lit/balcony": {"1", "2"}})
	for _, st := range got {
		if strings.Contains(st, "<subscription") {
			t.Errorf("a notice of one's own request: %s", st)
		}
	}
}

// A bare JID that has subscribed before a restart gets what was published while nobody was there, in order and once, without
// having to write.
func TestLinkAway(t *testing.T) {
	t.Parallel()
	w, h, at := newWorld(t), xmpptest.NewHost(t, secret), &places{}
	p := run(w, h, at, false, linked)
	p.create("/news", nil)
	p.create("/other", nil)
	p.must(h, "romeo@example.org/phone", linked, subscribe("/news", "romeo@example.org"))
	p.must(h, "romeo@example.org/phone", linked, subscribe("/*", "romeo@example.org"))
	p.publish("/news", "1", "2")
	p.stop()
	got := items(h.Take(linked))["romeo@example.org"]
	slices.Sort(got)
	if !slices.Equal(got, []string{"1", "1", "2", "2"}) {
		t.Errorf("got %q", got)
	}

	// While nobody is there: another process, which has no link.
	q := run(w, h, at, false)
	q.publish("/news", "3", "4")
	q.publish("/other", "x")
	q.stop()
	p = run(w, h, at, false, linked)
	h.Wait(linked, "to='romeo@example.org'", "id='x'")
	p.publish("/news", "5")
	p.stop()
	got = items(h.Take(linked))["romeo@example.org"]
	slices.Sort(got)
	if !slices.Equal(got, []string{"3", "3", "4", "4", "5", "5"}) {
		t.Errorf("got %q", got)
	}

	// What was not acknowledged comes again.
	p = run(w, h, at, false, linked)
	h.Connected(linked)
	h.Deaf(true)
	p.publish("/news", "6")
	h.Wait(linked, "<item id='6'")
	h.Wait(linked, "<item id='6'")
	h.Cut(linked)
	h.Connected(linked)
	h.Wait(linked, "<item id='6'")
	h.Wait(linked, "<item id='6'")
	h.Deaf(false)
	h.Cut(linked) // a ping before it is never answered
	h.Connected(linked)
	h.Wait(linked, "<item id='6'")
	h.Wait(linked, "<item id='6'")
	p.stop()
	p = run(w, h, at, false, linked)
	p.stop()
	p.expect(h.Take(linked), nil)
}

// A right that is taken away ends the pushing before the request that takes it is answered; and nobody else's.
func TestLinkRevocation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		access string // of the node
		pre    string // affiliation of both
		change string
		others bool // who else subscribes stays
	}{
		{"outcast", "open", "", inOwner("<affiliations node='/news'><affiliation jid='romeo@example.org' affiliation='outcast'/></affiliations>"), true},
		{"member", "whitelist", "member", inOwner("<affiliations node='/news'><affiliation jid='romeo@example.org' affiliation='none'/></affiliations>"), true},
		{"unsubscribed", "open", "", inOwner("<subscriptions node='/news'><subscription jid='romeo@example.org' subscription='none'/></subscriptions>"), true},
		{"whitelist", "open", "", inOwner("<configure node='/news'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field><field var='pubsub#access_model'><value>whitelist</value></field></x></configure>"), false},
		{"deletion", "open", "", inOwner("<delete node='/news'/>"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, h := newWorld(t), xmpptest.NewHost(t, secret)
			p := run(w, h, &places{}, false, linked)
			p.create("/news", model.Values{"access_model": {tt.access}})
			for _, j := range []string{"romeo@example.org", "juliet@example.org", "nurse@example.org"} {
				if tt.pre != "" {
					p.must(h, "bernardo@example.org/watch", linked, inOwner("<affiliations node='/news'><affiliation jid='"+j+"' affiliation='"+tt.pre+"'/></affiliations>"))
				}
				p.must(h, j+"/phone", linked, subscribe("/news", j))
			}
			p.publish("/news", "1")
			for _, j := range []string{"romeo", "juliet", "nurse"} {
				h.Wait(linked, "to='"+j+"@example.org'", "<item id='1'")
			}
			p.must(h, "bernardo@example.org/watch", linked, tt.change)
			if tt.name == "deletion" {
				for _, j := range []string{"romeo", "juliet", "nurse"} {
					h.Wait(linked, "to='"+j+"@example.org'", "<delete node='/news'")
				}
				p.create("/news", nil)
			}
			h.Take(linked)
			p.publish("/news", "2")
			if tt.others { // they may be going over to another source, which a stop would leave to the next process
				h.Wait(linked, "to='juliet@example.org'", "<item id='2'")
				h.Wait(linked, "to='nurse@example.org'", "<item id='2'")
			}
			p.stop()
			p.expect(h.Take(linked), nil)
		})
	}
}

// Those who read a pattern read of it what each of them may, and go on where they stand when that changes.
func TestLinkPatterns(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h, &places{}, false, linked)
	p.create("/a/open", nil)
	p.create("/a/closed", model.Values{"access_model": {"whitelist"}})
	owner := "bernardo@example.org/watch"
	affiliate := func(node, j, is string) {
		t.Helper()
		p.must(h, owner, linked, inOwner("<affiliations node='"+node+"'><affiliation jid='"+j+"' affiliation='"+is+"'/></affiliations>"))
	}
	for _, j := range []string{"romeo@example.org", "juliet@example.org", "nurse@example.org"} {
		p.must(h, j+"/phone", linked, subscribe("/a/*", j))
	}
	affiliate("/a/closed", "juliet@example.org", "member")
	const romeo, juliet, nurse = "romeo@example.org", "juliet@example.org", "nurse@example.org"
	step := func(n string, want map[string]string) { // letters are of the nodes
		t.Helper()
		p.publish("/a/open", "o"+n)
		p.publish("/a/closed", "c"+n)
		for j, letters := range want {
			for _, l := range strings.Split(letters, "") {
				h.Wait(linked, "to='"+j+"'", "<item id='"+l+n+"'")
			}
		}
	}
	step("1", map[string]string{romeo: "o", juliet: "oc", nurse: "o"})
	affiliate("/a/open", romeo, "outcast")
	affiliate("/a/closed", nurse, "member")
	step("2", map[string]string{juliet: "oc", nurse: "oc"})
	affiliate("/a/open", romeo, "none")
	affiliate("/a/closed", juliet, "none")
	step("3", map[string]string{romeo: "o", juliet: "o", nurse: "oc"})
	p.stop()
	p.expect(h.Take(linked), nil)
	if st := p.srv[linked].Stats(); st.Dropped[pubsub.DropFlow] != 0 {
		t.Errorf("%+v", st)
	}
}

// Domains over links of their own keep apart, and so does the embedded server's.
func TestLinksKeepApart(t *testing.T) {
	t.Parallel()
	const second = "news.example.org"
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h, &places{}, false, linked, second)
	p.create("/news", model.Values{"notify_config": {"1"}})
	p.must(h, "romeo@example.org/phone", linked, subscribe("/news", "romeo@example.org"))
	p.must(h, "juliet@example.org/phone", second, subscribe("/news", "juliet@example.org"))
	p.must(h, "nurse@example.org/phone", linked, subscribe("/news", "nurse@example.org"))
	p.must(h, "nurse@example.org/phone", second, subscribe("/news", "nurse@example.org"))
	if got := ask(h, "romeo@example.org/phone", second, "get", inPubSub("<subscriptions/>")); strings.Contains(got, "<subscription ") {
		t.Errorf("told of a subscription through another service: %s", got)
	}
	p.publish("/news", "1")
	p.must(h, "bernardo@example.org/watch", linked, inOwner("<configure node='/news'><x xmlns='jabber:x:data' type='submit'><field var='pubsub#title'><value>News</value></field></x></configure>"))
	p.stop()
	for domain, want := range map[string][]string{linked: {"romeo@example.org", "nurse@example.org"}, second: {"juliet@example.org", "nurse@example.org"}} {
		got := h.Take(domain)
		all := map[string][]string{}
		for _, j := range want {
			all[j] = []string{"1"}
		}
		p.expect(got, all)
		told := 0
		for _, st := range got {
			if strings.Contains(st, "<configuration") {
				told++
			}
		}
		if told != 2 {
			t.Errorf("%s told %d of the configuration", domain, told)
		}
	}
}

// A process that waits takes over where the other one was, as soon as that one stops.
func TestLinkStandby(t *testing.T) {
	t.Parallel()
	w, h, at := newWorld(t), xmpptest.NewHost(t, secret), &places{}
	one := run(w, h, at, true, linked)
	h.Connected(linked)
	two := run(w, h, at, true, linked)
	one.create("/news", nil)
	one.must(h, "romeo@example.org/phone", linked, subscribe("/news", "romeo@example.org"))
	one.publish("/news", "1")
	h.Wait(linked, "<item id='1'")
	one.must(h, "juliet@example.org/phone", linked, subscribe("/news", "juliet@example.org"))
	h.Wait(linked, "to='juliet@example.org'", "<item id='1'", "<delay") // the last item
	if st := two.link[linked].Stats(); st.Connected || st.Flows != 0 {
		t.Errorf("two have the link: %+v", st)
	}
	one.stop()
	h.Take(linked)
	two.publish("/news", "2")
	h.Wait(linked, "to='romeo@example.org'", "<item id='2'")
	h.Wait(linked, "to='juliet@example.org'", "<item id='2'")
	two.must(h, "nurse@example.org/phone", linked, subscribe("/news", "nurse@example.org"))
	h.Wait(linked, "to='nurse@example.org'", "<item id='2'", "<delay")
	two.stop()
	two.expect(h.Take(linked), nil)
}

// Those who own nodes are told what there is to decide, by the service that was asked.
func TestLinkApproval(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h, &places{}, false, linked, "news.example.org")
	p.create("/news", model.Values{"access_model": {"authorize"}, "notify_sub": {"1"}})
	if got := p.must(h, "romeo@example.org/phone", linked, subscribe("/news", "romeo@example.org")); !strings.Contains(got, "subscription='pending'") {
		t.Error(got)
	}
	asks := h.Wait(linked, "<message", "to='bernardo@example.org'", "#subscribe_authorization")
	_, subID, _ := strings.Cut(asks, "pubsub#subid")
	_, subID, _ = strings.Cut(subID, "<value>")
	subID, _, _ = strings.Cut(subID, "<")
	p.publish("/news", "1")
	h.Send(linked, "<message from='bernardo@example.org/watch' to='"+linked+"'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>"+
		"<field var='pubsub#subid'><value>"+subID+"</value></field><field var='pubsub#node'><value>/news</value></field><field var='pubsub#subscriber_jid'><value>romeo@example.org</value></field>"+
		"<field var='pubsub#allow'><value>true</value></field></x></message>")
	h.Wait(linked, "to='romeo@example.org'", "subscription='subscribed'")
	h.Wait(linked, "to='bernardo@example.org'", "subscription='subscribed'")
	h.Wait(linked, "to='romeo@example.org'", "<item id='1'", "<delay")
	p.publish("/news", "2")
	p.stop()
	p.expect(h.Take(linked), map[string][]string{"romeo@example.org": {"2"}})
	if got := h.Take("news.example.org"); len(got) != 0 {
		t.Errorf("told through another service: %q", got)
	}
}

// What comes back from an address that is not there ends what goes to it; what says nothing of the account ends nothing.
func TestLinkReturned(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h, &places{}, false, linked)
	p.create("/news", nil)
	bounce := func(from, id, condition, typ string) {
		h.Send(linked, fmt.Sprintf("<message type='error' from='%s' to='%s' id='%s'><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
			from, linked, id, typ, condition))
	}
	subscriptions := func() (all []string) {
		for _, s := range p.model.Subscribers("/news") {
			all = append(all, s.JID)
		}
		return all
	}
	for _, tt := range []struct {
		j, condition, typ, id string
		ends                  bool
	}{
		{"a@example.org/x", "service-unavailable", "cancel", "", true},
		{"b@example.org/x", "recipient-unavailable", "wait", "", true},
		{"c@example.org/x", "gone", "cancel", "", true},
		{"d@example.org/x", "remote-server-timeout", "wait", "", false},
		{"e@example.org/x", "service-unavailable", "cancel", "before", false},
		{"f@example.org", "service-unavailable", "cancel", "", false},
		{"g@example.org", "item-not-found", "cancel", "", false},
		{"h@example.org", "gone", "cancel", "", true},
		{"i@example.org", "recipient-unavailable", "wait", "", false},
	} {
		before := w.Hub.Head().String()
		p.publish("/news", "of "+tt.j)
		w.Hub.Drain(context.Background())
		p.must(h, tt.j, linked, subscribe("/news", tt.j))
		if tt.id == "before" {
			tt.id = before
		}
		bounce(tt.j, tt.id, tt.condition, tt.typ)
		if tt.ends {
			h.Wait(linked, "to='"+tt.j+"'", "subscription='none'")
		}
		// With the answer, what came before it has been taken in.
		ask(h, tt.j, linked, "get", "<ping xmlns='urn:xmpp:ping'/>")
		if there := slices.Contains(subscriptions(), tt.j); there == tt.ends {
			t.Errorf("%s of %s: the subscription is there: %t", tt.condition, tt.j, there)
		}
	}
	// A resource that says goodbye is gone.
	h.Send(linked, "<presence type='unavailable' from='d@example.org/x' to='"+linked+"'/>")
	h.Wait(linked, "to='d@example.org/x'", "subscription='none'")
	p.stop()
}

// A gap is told to each of them.
func TestLinkGap(t *testing.T) {
	t.Parallel()
	w, h, at := newWorld(t), xmpptest.NewHost(t, secret), &places{}
	p := run(w, h, at, false, linked)
	w.Publish("/brief/x", 1, 2)
	if err := w.Hub.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.must(h, "romeo@example.org/phone", linked, subscribe("/brief/x", "romeo@example.org"))
	p.must(h, "juliet@example.org/phone", linked, subscribe("/brief/x", "juliet@example.org"))
	p.stop()
	w.Publish("/brief/x", 3, 5)
	w.Trim()
	w.Publish("/brief/x", 6, 6)
	run(w, h, at, false, linked)
	for _, j := range []string{"romeo", "juliet"} {
		h.Wait(linked, "to='"+j+"@example.org'", "<gap xmlns='"+wire.NS+"'")
		h.Wait(linked, "to='"+j+"@example.org'", "<json")
	}
}

// still is a peer of a link that is down: what is asked of it waits.
type still struct {
	jid   jid.JID
	flow  service.Flow
	swaps []func(service.Mark) service.Flow
}

func (s *still) JID() jid.JID                                  { return s.jid }
func (s *still) Account() string                               { return "" }
func (s *still) Anonymous() bool                               { return false }
func (s *still) Send([]byte)                                   {}
func (s *still) Task(func(context.Context) (then func())) bool { return false }
func (s *still) Detach()                                       { s.flow = nil }
func (s *still) Swap(next func(service.Mark) service.Flow)     { s.swaps = append(s.swaps, next) }

// Attach keeps the first one: notices come as others.
func (s *still) Attach(f service.Flow) service.Handle {
	if s.flow != nil {
		return &still{}
	}
	s.flow = f
	return s
}

// A flow whose reader has other rights by the time that the link is up again stands still until the other one takes its place.
func TestLinkRightsWhileDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := run(w, xmpptest.NewHost(t, secret), &places{}, false)
	peers := map[jid.JID]*still{}
	srv, err := pubsub.New(pubsub.Options{Model: p.model, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience, Domain: linked,
		Link: &pubsub.Link{AudienceOf: w.Policy.AudienceOf, Host: home, Peer: func(a jid.JID) service.Peer {
			if peers[a] == nil {
				peers[a] = &still{jid: a}
			}
			return peers[a]
		}}})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	p.create("/news", nil)
	for _, j := range []string{"romeo@example.org", "juliet@example.org"} {
		if _, err := p.model.Subscribe(ctx, entity(j), "/news", j, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.model.SetAffiliations(ctx, entity("bernardo@"+home), "/news", []model.Affiliated{{JID: "romeo@example.org", Affiliation: model.Member}}); err != nil {
		t.Fatal(err)
	}
	srv.Resume(t.Context(), service.Mark{}, false)
	p.publish("/news", "1")
	if err := p.model.Configure(ctx, entity("bernardo@"+home), "/news", model.Values{"access_model": {"whitelist"}}); err != nil {
		t.Fatal(err)
	}
	p.publish("/news", "2")
	if err := w.Hub.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if juliet := peers[jid.MustParse("juliet@example.org")]; juliet.flow != nil {
		t.Error("who may not read any more is pushed it")
	}
	romeo := peers[jid.MustParse("romeo@example.org")]
	if romeo.flow == nil || len(romeo.swaps) == 0 {
		t.Fatalf("%+v", romeo)
	}
	_, src, err := romeo.flow.Open(romeo.flow.Mark())
	if err != nil {
		t.Fatal(err)
	}
	if b, st := src.Next(); st != edge.Idle || src.Mark() != romeo.flow.Mark() {
		t.Errorf("%q, %v, at %v", b, st, src.Mark())
	}
	for _, next := range romeo.swaps {
		if f := next(src.Mark()); f != nil {
			src.Close()
			if _, src, err = f.Open(f.Mark()); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer src.Close()
	var got []byte
	for range 10 {
		b, st := src.Next()
		if st == edge.Behind {
			src.Fetch(ctx)
			continue
		}
		if st != edge.Ready {
			break
		}
		got = append(got, b...)
		src.Advance(len(b))
	}
	if strings.Count(string(got), "<item id=") != 2 || !strings.Contains(string(got), "<item id='1'") {
		t.Errorf("%q", got)
	}
	if st := srv.Stats(); st.Flows != 1 || st.Accounts != 1 {
		t.Errorf("%+v", st)
	}
}
