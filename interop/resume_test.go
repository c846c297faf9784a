//go:build interop && linux

package interop_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// progress is a number that others can wait for.
type progress struct {
	mu      sync.Mutex
	value   int
	changed chan struct{}
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

func (p *progress) set(v int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.value = v
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *progress) get() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value
}

// wait returns once the value is v or more.
func (p *progress) wait(ctx context.Context, v int) error {
	for {
		p.mu.Lock()
		value, changed := p.value, p.changed
		p.mu.Unlock()
		if value >= v {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("stuck at %d of %d: %w", value, v, ctx.Err())
		}
	}
}

// TestResumeAtRandomPoints: a subscriber whose connection is cut a thousand times, anywhere, an event's middle included,
// sees each of 100,000 events once and in order. One time in twenty it stays away for a while, so that it has to catch
// up from further back.
func TestResumeAtRandomPoints(t *testing.T) {
	const total, batch, cuts = 100_000, 100, 1000
	ctx, cancel := context.WithTimeout(t.Context(), 110*time.Second)
	defer cancel()
	s := newServer(t, "")

	steady := newProgress()
	var begun, readers sync.WaitGroup
	read := func(name, path string, number func(string) (int, error), cut bool) {
		r := &cutReader{url: s.url + path, number: number, total: total, steady: steady}
		if cut {
			r.random = rand.New(rand.NewPCG(rand.Uint64(), 0))
		}
		begun.Add(1)
		readers.Go(func() {
			err := r.run(ctx, begun.Done)
			switch {
			case err != nil:
				t.Errorf("%s: %v", name, err)
				cancel()
			case cut && r.cuts < cuts:
				t.Errorf("%s was cut %d times only", name, r.cuts)
			}
			t.Logf("%s: %d events, %d cuts, the longest absence %d events", name, r.seen, r.cuts, r.longest)
		})
	}
	// The one whose connection stays sees what was stored, and when. The sender waits for it, because UDP does not.
	read("the steady reader", "/v2/stream/recentchange", number, false)
	read("the EventStreams reader", "/v2/stream/recentchange", number, true)
	read("the reader of a subscription", "/subscribe?topic=/recentchange/*", enveloped, true)

	begun.Wait()
	c := newChanges(t, s)
	for c.sent < total && ctx.Err() == nil {
		c.send(t, batch)
		if err := steady.wait(ctx, c.sent); err != nil {
			t.Errorf("sending: %v", err)
			cancel()
		}
	}
	readers.Wait()
}

// enveloped is number for a change in a CloudEvents envelope.
func enveloped(data string) (int, error) {
	var envelope struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(data), &envelope); err != nil {
		return 0, fmt.Errorf("%w in %.200q", err, data)
	}
	return number(string(envelope.Data))
}

// cutReader reads the changes 1 to total and demands each once and in order.
type cutReader struct {
	url    string
	number func(data string) (int, error)
	total  int
	random *rand.Rand // nil for the one that is never cut, and whose progress steady is
	steady *progress

	seen, cuts, longest int
	lastID              string
}

// run reads until it has seen everything. It calls begun once its first connection stands: what is published from then
// on, it has to see.
func (r *cutReader) run(ctx context.Context, begun func()) error {
	begun = sync.OnceFunc(begun)
	defer begun()
	for r.seen < r.total {
		// A reader that has seen nothing yet has nothing to go on from: its first connection lives for some events.
		events, bytes := r.total, 0
		if r.random != nil {
			events, bytes = r.random.IntN(180), r.random.IntN(700)
		}
		if r.seen == 0 {
			events = max(events, 1)
		}
		st, err := connect(ctx, r.url, r.lastID)
		if err != nil {
			return fmt.Errorf("after change %d: %w", r.seen, err)
		}
		begun()
		err = r.read(st, events, bytes)
		st.close()
		if err != nil {
			return err
		}
		r.cuts++
		if r.random != nil && r.random.IntN(20) == 0 {
			away := r.random.IntN(3000)
			if err := r.steady.wait(ctx, min(r.seen+away, r.total)); err != nil {
				return err
			}
			r.longest = max(r.longest, r.steady.get()-r.seen)
		}
	}
	return nil
}

// read reads so many events, then up to so many bytes more, and returns nil when the connection is to be cut.
func (r *cutReader) read(st *stream, events, bytes int) error {
	for i := 0; r.seen < r.total; i++ {
		if i == events {
			// What the reader has buffered belongs to the bytes that came before the cut.
			st.lines = bufio.NewReader(io.LimitReader(st.lines, int64(bytes)))
		}
		e, err := st.next()
		if err != nil {
			if i >= events && err == io.ErrUnexpectedEOF {
				return nil
			}
			return fmt.Errorf("after change %d: %w", r.seen, err)
		}
		n, err := r.number(e.Data)
		if err != nil || n != r.seen+1 || e.Type != "message" || e.ID == "" || e.ID == r.lastID {
			return fmt.Errorf("after change %d (id %s) came %s %d (id %s, %v): %.300s", r.seen, r.lastID, e.Type, n, e.ID, err, e.Data)
		}
		r.seen, r.lastID = n, e.ID
		if r.random == nil {
			r.steady.set(n)
		}
	}
	return nil
}

// ack is what the server answered to a publisher.
type ack struct {
	Position  string `json:"position"`
	Topic     string `json:"topic"`
	Duplicate bool   `json:"duplicate"`
}

// publisher publishes on one topic, one event after the other, each until it is acknowledged.
type publisher struct {
	server       *server
	topic, token string
	client       *http.Client
	acks         []ack // the n-th is that of event n+1
	retries      int
	duplicates   int
}

// publish publishes event n, again and again while the server is down or cannot take it.
func (p *publisher) publish(ctx context.Context, n int) error {
	body := fmt.Sprintf(`{"n":%d,"bed":%q,"note":%q}`, n, p.topic, strings.Repeat("x", n%300))
	for attempt := 0; ; attempt++ {
		if err := p.server.await(ctx); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.server.url+"/topics"+p.topic, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+p.token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", p.topic+"#"+strconv.Itoa(n))
		resp, err := p.client.Do(req)
		if err == nil {
			var answer []byte
			answer, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
				var a ack
				if err := json.Unmarshal(answer, &a); err != nil || a.Position == "" || a.Topic != p.topic ||
					resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK ||
					a.Duplicate != (resp.StatusCode == http.StatusOK) || a.Position != resp.Header.Get("Position") {
					return fmt.Errorf("%s, event %d: %s %v: %.300s", p.topic, n, resp.Status, resp.Header, answer)
				}
				if a.Duplicate {
					if attempt == 0 {
						return fmt.Errorf("%s, event %d was new and is called a duplicate: %s", p.topic, n, answer)
					}
					p.duplicates++
				}
				p.acks = append(p.acks, a)
				return nil
			}
		}
		if p.retries++; attempt > 1000 {
			return fmt.Errorf("%s, event %d: given up: %w", p.topic, n, err)
		}
	}
}

// told is one event as a subscriber saw it.
type told struct {
	position, topic string
	n               int
}

func tell(e event) (told, error) {
	var envelope struct {
		Source, Position string
		Data             struct{ N int }
	}
	if err := json.Unmarshal([]byte(e.Data), &envelope); err != nil {
		return told{}, fmt.Errorf("%w in %.300q", err, e.Data)
	}
	if e.Type != "message" || envelope.Position != e.ID {
		return told{}, fmt.Errorf("%s with id %s: %.300s", e.Type, e.ID, e.Data)
	}
	return told{e.ID, strings.TrimPrefix(envelope.Source, "/topics"), envelope.Data.N}, nil
}

// TestResumeThroughKills: eight publishers repeat under the same Idempotency-Key what was not acknowledged while the
// server is killed ten times, and a subscriber resumes each time. Nothing acknowledged is lost or told twice, each event
// is where its acknowledgement says, and what the subscriber was told is what the journal holds in the end.
func TestResumeThroughKills(t *testing.T) {
	const publishers, each, kills = 8, 2500, 10
	ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
	defer cancel()
	s := newServer(t, "")
	token := s.token("publish:/beds/*")
	fail := func(format string, args ...any) {
		t.Errorf(format, args...)
		cancel()
	}

	var mu sync.Mutex
	acknowledged := 0
	done := newProgress()
	var work sync.WaitGroup
	all := make([]*publisher, publishers)

	// The subscriber's first position is that of the first event, which is published before the others.
	first := &publisher{server: s, topic: "/beds/0", token: token, client: http.DefaultClient}
	if err := first.publish(ctx, 1); err != nil {
		t.Fatal(err)
	}
	begin := first.acks[0].Position
	var seen []told
	work.Go(func() {
		next := map[string]int{first.topic: 1}
		err := follow(ctx, s, "/subscribe?topic=/beds/*", begin, func(e event) error {
			x, err := tell(e)
			if err != nil {
				return err
			}
			if next[x.topic]++; x.n != next[x.topic] {
				return fmt.Errorf("%s: event %d came instead of %d", x.topic, x.n, next[x.topic])
			}
			if seen = append(seen, x); len(seen) == publishers*each-1 {
				return io.EOF
			}
			return nil
		})
		if !errors.Is(err, io.EOF) {
			fail("the subscriber, after %d events: %v", len(seen), err)
		}
	})
	for i := range all {
		p := &publisher{server: s, topic: "/beds/" + strconv.Itoa(i), token: token, client: &http.Client{Transport: &http.Transport{}}}
		if i == 0 {
			p.acks = first.acks
		}
		all[i] = p
		work.Go(func() {
			defer p.client.CloseIdleConnections()
			for n := len(p.acks) + 1; n <= each; n++ {
				if err := p.publish(ctx, n); err != nil {
					fail("%v", err)
					return
				}
				mu.Lock()
				acknowledged++
				done.set(acknowledged)
				mu.Unlock()
			}
		})
	}
	for i := range kills {
		if err := done.wait(ctx, (i+1)*publishers*each/(kills+1)); err != nil {
			fail("kill %d: %v", i+1, err)
			break
		}
		s.kill()
		s.start()
	}
	work.Wait()
	if t.Failed() {
		return
	}

	// Each event once, in order, and where its acknowledgement said.
	at := map[string]told{}
	for _, x := range seen {
		at[x.position] = x
	}
	retries, duplicates := 0, 0
	for _, p := range all {
		for i, a := range p.acks {
			if want := (told{a.Position, p.topic, i + 1}); a.Position != begin && at[a.Position] != want {
				t.Fatalf("acknowledged %v, told %v", want, at[a.Position])
			}
		}
		retries += p.retries
		duplicates += p.duplicates
	}
	t.Logf("%d events, %d kills, %d requests repeated, of which %d had been stored", len(seen)+1, kills, retries, duplicates)

	// The journal, read again from the same place after one more start, tells the same.
	s.stop()
	s.start()
	var again []told
	if err := follow(ctx, s, "/subscribe?topic=/beds/*", begin, func(e event) error {
		x, err := tell(e)
		if again = append(again, x); err == nil && len(again) == len(seen) {
			err = io.EOF
		}
		return err
	}); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !slices.Equal(seen, again) {
		t.Error("the journal holds other events than the subscriber was told")
	}
}
