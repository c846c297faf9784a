package outlettest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
)

// patience bounds every wait for the outlet; passing it is a failure.
const patience = 20 * time.Second

// feedTail is the bound of a feed in the worlds of the suite: small, so that readers who lag go on from the journal.
const feedTail = 64 << 10

// World is a server without its listeners. Everything below /private is private, and what is below /brief and /recentchange
// goes when Trim is called.
type World struct {
	*testing.T
	Parts

	shut sync.Once
}

// Parts are what a server consists of for its outlets.
type Parts struct {
	Journal journal.Journal
	Policy  *access.Policy
	Hub     *hub.Hub
	Edge    *edge.Edge
}

// Options returns the options of a journal that NewWorld takes; dir is the data directory. What the disk has after a
// loss of power is for the journal's own suite, so nothing waits for it here.
func Options(dir string) journal.Options {
	return journal.Options{Dir: dir, Durability: journal.Interval, TrimInterval: -1, Log: slog.New(slog.DiscardHandler),
		Retention: []journal.Retention{{Prefix: "/brief", Age: time.Hour}, {Prefix: "/recentchange", Age: time.Hour}}}
}

// NewMemory returns a World on a journal in memory that ends with the test.
func NewMemory(t *testing.T, ho hub.Options, eo edge.Options) *World {
	t.Helper()
	j := journal.NewMemory(Options(""))
	t.Cleanup(func() { j.Close() })
	return NewWorld(t, j, ho, eo)
}

// NewWorld returns a World on the journal, made with Options. It ends with the test; the journal stays open.
func NewWorld(t *testing.T, j journal.Journal, ho hub.Options, eo edge.Options) *World {
	t.Helper()
	if ho.FeedTail == 0 {
		ho.FeedTail = feedTail
	}
	w := &World{T: t, Parts: newParts(t, j, ho, eo)}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.shutdown(ctx)
	})
	return w
}

// ForFuzz returns the parts of a server, on a journal in memory, that all inputs of a fuzz test share. They end with it, at once.
func ForFuzz(f *testing.F, ho hub.Options) Parts {
	f.Helper()
	p := newParts(f, journal.NewMemory(Options("")), ho, edge.Options{})
	f.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Edge.Shutdown(ctx)
		p.Hub.Close()
		p.Policy.Close()
		p.Journal.Close()
	})
	return p
}

func newParts(t testing.TB, j journal.Journal, ho hub.Options, eo edge.Options) Parts {
	t.Helper()
	ctx := context.Background()
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		t.Fatal(err)
	}
	p := Parts{Journal: j}
	if p.Policy, err = access.Open(ctx, tokens, access.Options{Private: []tidings.Pattern{tidings.MustPattern("/private/**")}}); err != nil {
		t.Fatal(err)
	}
	p.Hub = hub.New(j, p.Policy, ho)
	p.Policy.OnChange(p.Hub.Recheck)
	if p.Edge, err = edge.New(eo); err != nil {
		t.Fatal(err)
	}
	return p
}

// Shutdown stops the World as a server stops: what is acknowledged is dispatched, readers get it and are told goodbye.
func (w *World) Shutdown() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.shutdown(ctx)
}

func (w *World) shutdown(ctx context.Context) {
	w.shut.Do(func() {
		if ctx.Err() == nil {
			if err := w.Hub.Drain(ctx); err != nil {
				w.Error("draining the hub:", err)
			}
			if err := w.Edge.Shutdown(ctx); err != nil {
				w.Error("shutting down the edge:", err)
			}
		} else {
			w.Edge.Shutdown(ctx)
		}
		w.Hub.Close()
		w.Policy.Close()
	})
}

// Bucket returns the journal's bucket of the name.
func (w *World) Bucket(name string) journal.Bucket {
	w.Helper()
	b, err := w.Journal.Bucket(context.Background(), name)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// Topics returns the topics that there are, as outlets want it.
func (w *World) Topics(ctx context.Context, p tidings.Pattern) (topics []tidings.Topic, err error) {
	infos, err := w.Journal.Topics(ctx, p)
	for _, i := range infos {
		topics = append(topics, i.Topic)
	}
	return topics, err
}

// Append publishes an event and returns its position.
func (w *World) Append(e tidings.Event) tidings.Position {
	w.Helper()
	r, err := w.Journal.Append(context.Background(), e)
	if err != nil {
		w.Fatal(err)
	}
	return r[0].Position
}

// Publish publishes events on the topic with the payloads {"n":FROM} to {"n":TO} and returns their positions.
func (w *World) Publish(topic string, from, to int) []tidings.Position {
	w.Helper()
	return w.publish(topic, from, to, "")
}

func (w *World) publish(topic string, from, to int, pad string) (ps []tidings.Position) {
	w.Helper()
	const batch = 200
	for from <= to {
		var events []tidings.Event
		for ; from <= to && len(events) < batch; from++ {
			events = append(events, event(topic, from, pad))
		}
		r, err := w.Journal.Append(context.Background(), events...)
		if err != nil {
			w.Fatal(err)
		}
		for _, a := range r {
			ps = append(ps, a.Position)
		}
	}
	return ps
}

func event(topic string, n int, pad string) tidings.Event {
	payload := fmt.Appendf(nil, `{"n":%d}`, n)
	if pad != "" {
		payload = fmt.Appendf(nil, `{"n":%d,"pad":%q}`, n, pad)
	}
	return tidings.Event{Topic: tidings.Topic(topic), ContentType: "application/json", Payload: payload}
}

// number returns the number in a payload that Publish made.
func number(payload []byte) (int, error) {
	var v struct{ N *int }
	if err := json.Unmarshal(payload, &v); err != nil || v.N == nil {
		return 0, fmt.Errorf("%.100q is no payload of the suite: %v", payload, err)
	}
	return *v.N, nil
}

// Trim removes what is below /brief and /recentchange.
func (w *World) Trim() {
	w.Helper()
	trimmer := w.Journal.(interface {
		Trim(ctx context.Context, now time.Time) (int, error)
	})
	if _, err := trimmer.Trim(context.Background(), time.Now().Add(2*time.Hour)); err != nil {
		w.Fatal(err)
	}
}

// Token makes a token that may read what the pattern matches.
func (w *World) Token(pattern string) (id, token string) {
	w.Helper()
	id, token, err := w.Policy.Create(context.Background(), "reader", []string{"read:" + pattern}, 0)
	if err != nil {
		w.Fatal(err)
	}
	return id, token
}

// Revoke ends the token with the id.
func (w *World) Revoke(id string) {
	w.Helper()
	if err := w.Policy.Revoke(context.Background(), id); err != nil {
		w.Fatal(err)
	}
}
