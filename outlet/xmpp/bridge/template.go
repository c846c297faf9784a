package bridge

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
	"tidings/xmpp/jid"
)

// What stands in the address of a template.
const (
	forWiki = "{wiki}"
	forHost = "{host}"
)

// wikiTopics begins the topics of wikis.
const wikiTopics = "/recentchange/"

func isTemplate(address string) bool {
	return strings.Contains(address, forWiki) || strings.Contains(address, forHost)
}

// template makes a room for each wiki. It reads the topics in a form that has bytes only for an event whose flow is not
// known yet, so it costs a look at each event.
type template struct {
	Room
	local, domain string
	form          finder
	sub           *hub.Subscription
	idle          atomic.Bool
	key           string
	after         tidings.Position // where it goes on, should it be ended
	retry         time.Time
}

func newTemplate(r Room) (*template, error) {
	local, domain, ok := strings.Cut(r.Address, "@")
	if !ok || isTemplate(domain) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "bridge: %q is no template of rooms: want one such as {wiki}@conference.example.org", r.Address)
	}
	if _, err := jid.New("room", domain, ""); err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "bridge: the template %q: %w", r.Address, err)
	}
	if len(r.Patterns) == 0 {
		r.Patterns = []tidings.Pattern{tidings.MustPattern(wikiTopics + "*")}
	}
	return &template{Room: r, local: local, domain: domain}, nil
}

// found is an event whose flow is not known: what the room's address is made of.
type found struct {
	Topic tidings.Topic `json:"topic"`
	Wiki  string        `json:"wiki,omitempty"`
}

// of returns what an event's room is made of; ok is false if it has none.
func (t *template) of(it *hub.Item) (f found, ok bool) {
	f.Topic = it.Topic
	if strings.Contains(t.local, forWiki) {
		if rc, _ := it.Value().(*recentchange.RecentChange); rc != nil {
			f.Wiki = rc.Wiki.Value()
		}
		return f, f.Wiki != ""
	}
	return f, true
}

// room returns the address of the room.
func (t *template) room(f found) (jid.JID, error) {
	host := string(f.Topic[strings.LastIndexByte(string(f.Topic), '/')+1:])
	local, err := jid.EscapeLocal(strings.NewReplacer(forWiki, f.Wiki, forHost, host).Replace(t.local))
	if err != nil {
		return jid.JID{}, err
	}
	return jid.New(local, t.domain, "")
}

// query returns what the room's flow of the topic reads.
func (t *template) query(f found) (hub.Query, error) {
	q := hub.Query{Patterns: []tidings.Pattern{tidings.PatternOf(f.Topic)}, Filter: t.Filter}
	if f.Wiki == "" {
		return q, nil
	}
	wiki, err := hub.NewFieldFilter(map[string][]string{"wiki": {f.Wiki}})
	q.Filter = hub.All(t.Filter, wiki)
	return q, err
}

// finder is the form of a template.
type finder struct {
	t     *template
	name  string
	known *sync.Map // of found
}

func (f finder) Key() string { return f.name }

// Append appends what an event's room is made of, unless that is known.
func (f finder) Append(dst []byte, it *hub.Item) []byte {
	what, ok := f.t.of(it)
	if !ok { // counted once: there is no flow that would
		what = found{}
	} else if _, known := f.known.Load(what); known {
		return dst
	}
	b, err := json.Marshal(what)
	if err != nil {
		return dst // strings are always JSON
	}
	n := len(dst)
	return endFrame(append(beginFrame(dst, false, it.Position, it.Time), b...), n)
}

// AppendGap appends nothing: a room that is found later begins with what there is.
func (f finder) AppendGap(dst []byte, _ *tidings.GapError) []byte { return dst }
func (f finder) AppendEnd(dst []byte, _ error) []byte             { return dst }
func (f finder) AppendGoodbye(dst []byte) []byte                  { return dst }

// watch begins to look for rooms behind a position.
func (b *Bridge) watch(t *template, key string, after tidings.Position) error {
	t.key, t.after = key, after
	t.form = finder{t, "xmpp bridge finder " + key, new(sync.Map)}
	if err := b.subscribeTemplate(t); err != nil {
		return err
	}
	b.templates = append(b.templates, t)
	return nil
}

func (b *Bridge) subscribeTemplate(t *template) (err error) {
	t.idle.Store(false)
	t.sub, err = b.opt.Hub.Subscribe(hub.Request{
		After: t.after, Query: hub.Query{Patterns: tidings.Patterns(t.Patterns...), Filter: t.Filter}, Form: t.form,
		NewWaker: func() hub.Waker { return waker{b, &t.idle} },
	})
	return err
}

func (t *template) close() {
	if t.sub != nil {
		t.after = t.sub.Reached()
		t.sub.Close()
		t.sub = nil
	}
}

// discovered adds the flow of a room that a template has made.
func (b *Bridge) discovered(t *template, rec record) error {
	f := found{rec.Topic, rec.Wiki}
	if _, known := t.form.known.Load(f); known {
		return nil
	}
	address, err := t.room(f)
	if err != nil {
		return err
	}
	q, err := t.query(f)
	if err != nil {
		return err
	}
	rec.Room, rec.Template = address.String(), t.Address
	flow, err := b.addFlow(address, t.Room, rec, q)
	if err != nil {
		return err
	}
	t.form.known.Store(f, true)
	flow.save()
	return nil
}
