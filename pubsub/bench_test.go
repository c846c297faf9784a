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

// benchOptions are those of a service over the journal, with a policy and a hub that end with the benchmark.
func benchOptions(b *testing.B, j journal.Journal) Options {
	b.Helper()
	ctx := context.Background()
	nodes, err := j.Bucket(ctx, "nodes")
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		b.Fatal(err)
	}
	policy, err := access.Open(ctx, tokens, access.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	h := hub.New(j, policy, hub.Options{})
	policy.OnChange(h.Recheck)
	b.Cleanup(func() {
		h.Close()
		policy.Close()
	})
	return Options{Store: nodes, Log: j, Hub: h, Policy: policy, Domain: "localhost"}
}

// benchService opens a service that ends with the benchmark.
func benchService(b *testing.B, o Options) *Service {
	b.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// benchMemory is a journal in memory that ends with the benchmark.
func benchMemory(b *testing.B) journal.Journal {
	j := journal.NewMemory(journal.Options{})
	b.Cleanup(func() { j.Close() })
	return j
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
			open := func() *journal.JetStream {
				j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, Durability: journal.Interval})
				if err != nil {
					b.Fatal(err)
				}
				return j
			}
			j := open()
			bucket, err := j.Bucket(ctx, "nodes")
			if err != nil {
				b.Fatal(err)
			}
			fill(b, bucket, size.nodes, size.accounts)
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			j = open()
			b.Cleanup(func() { j.Close() })
			o := benchOptions(b, j)
			h := o.Hub
			before, start := heap(), time.Now()
			s, err := Open(ctx, o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close() // and not in a cleanup, which would hold it while the next run measures the heap
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
	s := benchService(b, benchOptions(b, benchMemory(b)))
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
	o := benchOptions(b, benchMemory(b))
	log := &nowhere{Log: o.Log}
	o.Log = log
	s := benchService(b, o)
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
