package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/access"
	"tidings/hub"
	"tidings/journal"
)

// fill stores nodes with 10 subscriptions each, of as many accounts as told.
func fill(b *testing.B, bucket journal.Bucket, nodes, accounts int) {
	b.Helper()
	var wg sync.WaitGroup
	const writers = 64
	for w := range writers {
		wg.Go(func() {
			for i := w; i < nodes; i += writers {
				name := fmt.Sprintf("/bench/%d/node", i)
				st := &stored{life: uint64(i + 1), created: time.Now().UTC().Truncate(time.Second), creator: "owner@localhost", config: &builtin}
				if i%2 == 0 {
					c := builtin
					c.Title, c.AccessModel = fmt.Sprint("Node ", i), AccessAuthorize
					st.config = &c
				}
				st = st.with(fmt.Sprintf("owner%d@localhost", i%1000), Owner)
				v, err := st.encode(name)
				if err == nil {
					err = bucket.Put(b.Context(), nodeKey(name), v)
				}
				var recs []record
				for k := range 10 {
					recs = append(recs, record{jid: fmt.Appendf(nil, "user%d@localhost", (i*10+k)%accounts), id: newSubID(), state: Subscribed, since: uint64(i)})
				}
				if err == nil {
					err = bucket.Put(b.Context(), shardKey(name, 0), encodeShard(shardHead{life: st.life, name: name}, recs))
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type benchForm struct{}

func (benchForm) Key() string                                      { return "bench" }
func (benchForm) Append(dst []byte, it *hub.Item) []byte           { return append(dst, it.Payload...) }
func (benchForm) AppendGap(dst []byte, _ *tidings.GapError) []byte { return dst }
func (benchForm) AppendEnd(dst []byte, _ error) []byte             { return dst }
func (benchForm) AppendGoodbye(dst []byte) []byte                  { return dst }
func (benchForm) Wake()                                            {}

// BenchmarkNodes opens a journal with nodes of 10 subscriptions each, and publishes to one of them with a reader on it:
// run it with -benchtime 2000x.
func BenchmarkNodes(b *testing.B) {
	for _, size := range []struct{ nodes, accounts int }{{10, 100}, {100_000, 100_000}, {100_000, 1_000_000}} {
		b.Run(fmt.Sprintf("nodes=%d/accounts=%d", size.nodes, size.accounts), func(b *testing.B) {
			ctx := context.Background()
			dir := b.TempDir()
			open := func() (*journal.JetStream, journal.Bucket) {
				j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, Durability: journal.Interval})
				if err != nil {
					b.Fatal(err)
				}
				bucket, err := j.Bucket(ctx, "nodes")
				if err != nil {
					b.Fatal(err)
				}
				return j, bucket
			}
			j, bucket := open()
			fill(b, bucket, size.nodes, size.accounts)
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			j, bucket = open()
			defer j.Close()
			tokens, err := j.Bucket(ctx, "tokens")
			if err != nil {
				b.Fatal(err)
			}
			policy, err := access.Open(ctx, tokens, access.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer policy.Close()
			h := hub.New(j, policy, hub.Options{})
			defer h.Close()
			policy.OnChange(h.Recheck)
			before, start := heap(), time.Now()
			s, err := Open(ctx, Options{Store: bucket, Log: j, Hub: h, Policy: policy, Domain: "localhost"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			load := time.Since(start)
			bytes := float64(heap()-before) / float64(size.nodes*10)
			if st := s.Stats(); st.Subscriptions != size.nodes*10 || st.Nodes != size.nodes || st.Malformed != 0 {
				b.Fatalf("%+v", st)
			}
			topic := tidings.Topic("/bench/6/node")
			who := tidings.Actor{Kind: tidings.User, Name: "user60@localhost"}
			for _, q := range []hub.Query{queryOf(topic), {Patterns: []tidings.Pattern{tidings.MustPattern("/bench/**")}}} {
				sub, err := h.Subscribe(hub.Request{After: h.Head(), Query: q, Actor: who, Form: benchForm{}, NewWaker: func() hub.Waker { return benchForm{} }})
				if err != nil {
					b.Fatal(err)
				}
				defer sub.Close()
			}
			owner := Entity{Actor: tidings.Actor{Kind: tidings.User, Name: "owner6@localhost"}, JID: "owner6@localhost/x"}
			payload := make([]byte, 512)
			b.ResetTimer()
			for range b.N {
				if _, err := s.Publish(ctx, owner, string(topic), []NewItem{{ContentType: "text/plain", Payload: payload}}, nil); err != nil {
					b.Fatal(err)
				}
			}
			if err := h.Drain(ctx); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(load.Seconds(), "load-s")
			b.ReportMetric(bytes, "B/subscription")
		})
	}
}

// BenchmarkSubscribe subscribes accounts to one node, which takes 10,000 of them at the least to grow its shards.
func BenchmarkSubscribe(b *testing.B) {
	ctx := context.Background()
	j := journal.NewMemory(journal.Options{})
	defer j.Close()
	nodes, err := j.Bucket(ctx, "nodes")
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		b.Fatal(err)
	}
	policy, err := access.Open(ctx, tokens, access.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer policy.Close()
	h := hub.New(j, policy, hub.Options{})
	defer h.Close()
	s, err := Open(ctx, Options{Store: nodes, Log: j, Hub: h, Policy: policy, Domain: "localhost"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Create(ctx, Entity{Actor: tidings.Actor{Kind: tidings.System}}, "n", nil); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		jid := fmt.Sprintf("user%d@localhost", i)
		i++
		if _, err := s.Subscribe(ctx, Entity{Actor: tidings.Actor{Kind: tidings.User, Name: jid}, JID: jid}, "n", jid, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend appends as HTTP does, beside the journal alone, as the sources do.
func BenchmarkAppend(b *testing.B) {
	ctx := context.Background()
	j := journal.NewMemory(journal.Options{})
	defer j.Close()
	nodes, err := j.Bucket(ctx, "nodes")
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		b.Fatal(err)
	}
	policy, err := access.Open(ctx, tokens, access.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer policy.Close()
	h := hub.New(j, policy, hub.Options{})
	defer h.Close()
	log := &nowhere{Log: j}
	s, err := Open(ctx, Options{Store: nodes, Log: log, Hub: h, Policy: policy, Domain: "localhost"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Create(ctx, Entity{Actor: tidings.Actor{Kind: tidings.System}}, "/node", Values{"max_payload_size": {"1000"}}); err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func(context.Context, ...tidings.Event) ([]tidings.Appended, error){"log": log.Append, "service": s.Append} {
		for _, topic := range []tidings.Topic{"/topic", "/node"} {
			b.Run(name+string(topic), func(b *testing.B) {
				e := tidings.Event{Topic: topic, ID: "x", ContentType: "application/json", Payload: make([]byte, 512)}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := f(ctx, e); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// nowhere is a log that keeps nothing.
type nowhere struct{ Log }

func (nowhere) Append(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	return make([]tidings.Appended, len(events)), nil
}
