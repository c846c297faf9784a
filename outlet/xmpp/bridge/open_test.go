package bridge

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/journal"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

type everybody struct{}

func (everybody) May(_ tidings.Actor, _ tidings.Action, t tidings.Topic) error {
	if t == "/private" {
		return tidings.Errorf(tidings.ErrForbidden, "it is private")
	}
	return nil
}
func (everybody) Audience(tidings.Actor) string { return "" }

// kept is a Store with what is in it.
type kept struct {
	value string
	err   error
}

func (k kept) Put(context.Context, string, []byte) error { return k.err }

func (k kept) Watch(_ context.Context, f func(string, []byte)) error {
	f("other bridge 00", []byte("{"))
	f("nonsense", []byte("{"))
	if k.value != "" {
		f("b 00", []byte(k.value))
	}
	return nil
}

func TestOpenRefuses(t *testing.T) {
	j := journal.NewMemory(journal.Options{TrimInterval: -1})
	defer j.Close()
	h := hub.New(j, everybody{}, hub.Options{})
	defer h.Close()
	x := []tidings.Pattern{tidings.MustPattern("/x")}
	broken := errors.New("the disk is full")
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no hub", func(o *Options) { o.Hub = nil }, "needs a hub"},
		{"no name", func(o *Options) { o.Name = "" }, "needs a hub, a store, a name"},
		{"no room", func(o *Options) { o.Rooms = nil }, "and a room"},
		{"nobody", func(o *Options) { o.Dial.JID, o.Nick = jid.MustParse("example.org"), "" }, "needs an account or a nick"},
		{"no address", func(o *Options) { o.Rooms[0].Address = "a b@c" }, "is no address of a room"},
		{"an address of a service", func(o *Options) { o.Rooms[0].Address = "c.example" }, "is no address of a room"},
		{"an address of an occupant", func(o *Options) { o.Rooms[0].Address = "r@c/n" }, "is no address of a room"},
		{"no topics", func(o *Options) { o.Rooms[0].Patterns = nil }, "has no topics"},
		{"private", func(o *Options) { o.Rooms[0].Patterns = []tidings.Pattern{tidings.MustPattern("/private")} }, "it is private"},
		{"a template of services", func(o *Options) { o.Rooms[0].Address = "r@{host}" }, "is no template"},
		{"a template of nothing", func(o *Options) { o.Rooms[0].Address = "{host}" }, "is no template"},
		{"a template without a domain", func(o *Options) { o.Rooms[0].Address = "{host}@" }, "the template"},
		{"a private template", func(o *Options) {
			o.Rooms[0] = Room{Address: "{host}@c", Patterns: []tidings.Pattern{tidings.MustPattern("/private")}}
		}, "it is private"},
		{"a broken position", func(o *Options) { o.Store = kept{value: "{"} }, "the position stored under"},
		{"a broken store", func(o *Options) { o.Store = kept{err: broken} }, broken.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Hub: h, Store: kept{}, Name: "b", Dial: dial.Config{JID: jid.MustParse("a@b")}, Rooms: []Room{{Address: "r@c", Patterns: x}}}
			tt.change(&o)
			b, err := Open(t.Context(), o)
			if err == nil {
				b.Stop(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if n := h.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// FuzzTemplate makes rooms of what wikis say they are: an address in the domain of the template, or an error.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"enwiki", "de.wikipedia.org", "acme-rc_", "Ünïcode", " a ", "a@b", "a/b", `\20`, "", strings.Repeat("x", 2000), "\x00", "{host}", "{wiki}"} {
		f.Add(seed, "{wiki}-rc", "/recentchange/"+strings.Map(func(r rune) rune {
			if r < ' ' || strings.ContainsRune("/*?[]", r) {
				return -1
			}
			return r
		}, seed))
		f.Add(seed, "x{host}", "/recentchange/a")
	}
	f.Fuzz(func(t *testing.T, wiki, local, topic string) {
		tp, err := tidings.ParseTopic(topic)
		if err != nil || !isTemplate(local) {
			return
		}
		tm, err := newTemplate(Room{Address: local + "@rooms.example.org"})
		if err != nil {
			return
		}
		address, err := tm.room(found{tp, wiki})
		if err == nil && (address.Domain() != "rooms.example.org" || address.Local() == "" || !address.IsBare()) {
			t.Errorf("%q, %q, %q: %s", local, wiki, topic, address)
		}
	})
}

// FuzzFrame: what is put into frames comes out of them.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("<message/>"), uint32(7), uint64(9), int64(1700000000000), true)
	f.Add([]byte(""), uint32(0), uint64(0), int64(0), false)
	f.Fuzz(func(t *testing.T, body []byte, epoch uint32, offset uint64, ms int64, gap bool) {
		at := tidings.Position{Epoch: epoch, Offset: offset}
		var b []byte
		for range 2 {
			n := len(b)
			b = endFrame(append(beginFrame(b, gap, at, time.UnixMilli(ms)), body...), n)
		}
		for range 2 {
			var fr frame
			fr, b = cutFrame(b)
			if fr.gap != gap || fr.at != at || !fr.time.Equal(time.UnixMilli(ms)) || string(fr.body) != string(body) {
				t.Fatalf("%+v", fr)
			}
		}
		if len(b) != 0 {
			t.Errorf("%d bytes are left", len(b))
		}
	})
}
