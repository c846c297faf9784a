package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
	"tidings/journal"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestOptions(t *testing.T) {
	for name, o := range map[string]journal.Options{
		"nothing":     {},
		"both":        {Dir: "x", URL: "nats://127.0.0.1"},
		"stream":      {Dir: "x", Stream: "a.b"},
		"replicas":    {Dir: "x", Replicas: 6},
		"durability":  {Dir: "x", Durability: "none"},
		"window":      {Dir: "x", DedupeWindow: time.Millisecond},
		"payload":     {Dir: "x", MaxPayload: 1 << 30},
		"prefix":      {Dir: "x", Retention: []journal.Retention{{Prefix: "a"}}},
		"twice":       {Dir: "x", Retention: []journal.Retention{{Prefix: "/a"}, {Prefix: "/a"}}},
		"negative":    {Dir: "x", Retention: []journal.Retention{{Age: -1}}},
		"tail":        {Dir: "x", TailBytes: -1},
		"glob prefix": {Dir: "x", Retention: []journal.Retention{{Prefix: "/a/*"}}},
	} {
		j, err := journal.OpenJetStream(context.Background(), o)
		if tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%s: got error %v, want ErrInvalid", name, err)
		}
		if j != nil {
			j.Close()
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a directory was made for options that cannot be")
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := open(t, journal.Options{Dir: dir})
	_, err := journal.OpenJetStream(context.Background(), journal.Options{Dir: dir})
	if tidings.KindOf(err) != tidings.ErrConflict {
		t.Fatalf("a second journal in the directory: %v, want ErrConflict", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, journal.Options{Dir: dir})
}

func TestNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.OpenJetStream(context.Background(), journal.Options{Dir: file}); err == nil {
		t.Error("a journal was opened in a file")
	}
}

func TestForeignStream(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "tidings", Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	_, err = journal.OpenJetStream(t.Context(), journal.Options{URL: srv.ClientURL()})
	if tidings.KindOf(err) != tidings.ErrConflict {
		t.Errorf("a stream of somebody else: %v, want ErrConflict", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := journal.OpenJetStream(t.Context(), journal.Options{URL: "nats://127.0.0.1:1", Timeout: time.Second})
	if tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("no server: %v, want ErrUnavailable", err)
	}
}

// TestForeignPurge has an operator purge the stream: what is gone is unknown, so positions before are gaps.
func TestForeignPurge(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	o := journal.Options{URL: srv.ClientURL(), TrimInterval: -1}
	j := open(t, o)
	var at []tidings.Position
	for i := range 10 {
		a, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, a[0].Position)
	}
	j.Close()
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "tidings")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(at[5].Offset)); err != nil {
		t.Fatal(err)
	}
	j = open(t, o)
	var gap *tidings.GapError
	if _, _, err := j.Read(t.Context(), at[2], nil, 10); !errors.As(err, &gap) || gap.Oldest != at[4] {
		t.Errorf("Read: %v, want a gap up to %s", err, at[4])
	}
	if evs, _, err := j.Read(t.Context(), at[4], nil, 10); err != nil || len(evs) != 5 {
		t.Errorf("Read: %d events, %v, want 5", len(evs), err)
	}
}

// TestServerRestarts has the server at the URL go away and come back.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	srv := natsServer(t, dir, -1)
	port := srv.Addr().String()
	j := open(t, journal.Options{URL: srv.ClientURL(), TrimInterval: -1, Timeout: 2 * time.Second, Log: silent})
	put := func(name string) (tidings.Position, error) {
		a, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: []byte(name), Key: name})
		if err != nil {
			return tidings.Position{}, err
		}
		return a[0].Position, nil
	}
	if _, err := put("1"); err != nil {
		t.Fatal(err)
	}
	zero := tidings.Position{Epoch: j.Head().Epoch}
	srv.Shutdown()
	srv.WaitForShutdown()
	if _, err := put("2"); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("Append without a server: %v, want ErrUnavailable", err)
	}
	if evs, _, err := j.Read(t.Context(), zero, nil, 10); err != nil || len(evs) != 1 {
		t.Errorf("Read without a server: %d events, %v, want the one in memory", len(evs), err)
	}
	var n int
	if _, err := fmt.Sscanf(port[len("127.0.0.1:"):], "%d", &n); err != nil {
		t.Fatal(err)
	}
	natsServer(t, dir, n)
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := put("2")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("30s after the server is back:", err)
		}
	}
	evs, _, err := j.Read(t.Context(), zero, nil, 10)
	if err != nil || len(evs) != 2 || string(evs[1].Payload) != "2" {
		t.Errorf("Read: %d events, %v, want both", len(evs), err)
	}
}

// TestTwoProcesses has two journals on one stream, as two servers of a cluster have.
func TestTwoProcesses(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	o := journal.Options{URL: srv.ClientURL(), TrimInterval: -1, DedupeWindow: time.Hour,
		Retention: []journal.Retention{{Prefix: "/a", Age: time.Hour}, {Prefix: "/b", Age: time.Hour}}}
	one, two := open(t, o), open(t, o)
	if one.Head() != two.Head() {
		t.Fatalf("Head is %s and %s", one.Head(), two.Head())
	}
	zero := one.Head()
	ch := make(chan struct{}, 1)
	defer two.Notify(ch)()
	wait := func(to tidings.Position) {
		t.Helper()
		for two.Head().Offset < to.Offset {
			select {
			case <-ch:
			case <-time.After(20 * time.Second):
				t.Fatalf("the other process is at %s after 20s, want %s", two.Head(), to)
			}
		}
	}
	var last tidings.Position
	for i := range 20 {
		evs := []tidings.Event{
			{Topic: "/a", Payload: fmt.Append(nil, "a", i), Key: fmt.Sprint("a", i)},
			{Topic: "/b", Payload: fmt.Append(nil, "b", i), Publisher: "p", Mark: fmt.Sprint(i)},
		}
		got, err := one.Append(t.Context(), evs...)
		if err != nil {
			t.Fatal(err)
		}
		last = got[1].Position
		// The other one finds the repeat, alone and within a batch.
		again, err := two.Append(t.Context(), evs[:1]...)
		if err != nil || !again[0].Duplicate || again[0].Position != got[0].Position {
			t.Fatalf("a repeat: %v, %v, want a duplicate of %s", again, err, got[0].Position)
		}
		again, err = two.Append(t.Context(), tidings.Event{Topic: "/c"}, evs[0], tidings.Event{Topic: "/c", Key: fmt.Sprint("c", i)})
		if err != nil || !again[1].Duplicate || again[0].Duplicate || again[2].Duplicate {
			t.Fatalf("a repeat in a batch: %v, %v", again, err)
		}
	}
	wait(last)
	if m, err := two.Mark(t.Context(), "p"); err != nil || m != "19" {
		t.Errorf("Mark = %q, %v", m, err)
	}
	count := func(j *journal.JetStream, topic string) int {
		evs, _, err := j.Read(t.Context(), zero, []tidings.Pattern{tidings.MustPattern(topic)}, 100)
		if errors.Is(err, tidings.ErrGap) {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		return len(evs)
	}
	if a, c := count(two, "/a"), count(two, "/c"); a != 20 || c != 40 {
		t.Errorf("the other process has %d and %d events, want 20 and 40", a, c)
	}
	// Each removes; both know all of it.
	later := time.Now().Add(2 * time.Hour)
	done := make(chan error, 2)
	removed := make(chan int, 2)
	for _, j := range []*journal.JetStream{one, two} {
		go func() {
			n, err := j.Trim(context.Background(), later)
			removed <- n
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal("Trim:", err)
		}
	}
	if n := <-removed + <-removed; n < 40 {
		t.Errorf("%d events removed, want 40", n)
	}
	got, err := one.Append(t.Context(), tidings.Event{Topic: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	wait(got[0].Position)
	for name, j := range map[string]*journal.JetStream{"one": one, "two": two} {
		if a, b, c := count(j, "/a"), count(j, "/b"), count(j, "/c"); a != -1 || b != -1 || c != 40 {
			t.Errorf("%s: %d, %d and %d events, want gaps and 40", name, a, b, c)
		}
	}
	// A bucket is seen by both.
	b1, err := one.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	b2, err := two.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	if err := b2.Watch(t.Context(), func(key string, _ []byte) { seen <- key }); err != nil {
		t.Fatal(err)
	}
	if err := b1.Put(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		t.Error("the other process has not seen the entry after 20s")
	}
}

// TestCluster keeps three copies.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	// The routes have to be known before the first server starts: take ports that are free now.
	var routes []string
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, fmt.Sprint("nats://", l.Addr()))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var urls []string
	for i, port := range ports {
		srv, err := server.NewServer(&server.Options{ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: -1, JetStream: true,
			StoreDir: t.TempDir(), NoSigs: true, NoLog: true, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port}})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		t.Cleanup(func() {
			srv.Shutdown()
			srv.WaitForShutdown()
		})
		if !srv.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server is not ready")
		}
		urls = append(urls, srv.ClientURL())
	}
	var j *journal.JetStream
	for deadline := time.Now().Add(60 * time.Second); ; {
		var err error
		j, err = journal.OpenJetStream(t.Context(), journal.Options{URL: strings.Join(urls, ","), Replicas: 3, TrimInterval: -1, TailBytes: 2000, Log: silent, Timeout: 3 * time.Second})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster has no leader after 60s:", err)
		}
	}
	t.Cleanup(func() { j.Close() })
	n := 0
	for range 50 {
		var evs []tidings.Event
		for range 7 {
			evs = append(evs, tidings.Event{Topic: tidings.Topic(fmt.Sprint("/t/", n%3)), Payload: fmt.Append(nil, n)})
			n++
		}
		if _, err := j.Append(t.Context(), evs...); err != nil {
			t.Fatal(err)
		}
	}
	zero := tidings.Position{Epoch: j.Head().Epoch}
	for _, ps := range [][]tidings.Pattern{nil, {tidings.MustPattern("/t/1")}, {tidings.MustPattern("/t/*")}} {
		got := 0
		for at := zero; at != j.Head(); {
			evs, upTo, err := j.Read(t.Context(), at, ps, 40)
			if err != nil {
				t.Fatal(err)
			}
			got += len(evs)
			at = upTo
		}
		want := n
		if len(ps) == 1 && ps[0].String() == "/t/1" {
			want = (n + 1) / 3
		}
		if got != want {
			t.Errorf("%v: %d events, want %d", ps, got, want)
		}
	}
}
