package sse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet/outlettest"
)

// assigner returns a server with ten events, and its epoch as ids have it.
func assigner(t *testing.T) (s *Server, epoch string) {
	w := outlettest.NewMemory(t, hub.Options{}, edge.Options{Loops: 1})
	w.Publish("/a", 1, 10)
	if err := w.Hub.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &Server{Hub: w.Hub, Edge: w.Edge, MaxPatterns: 1}, fmt.Sprintf("%08x", w.Journal.Head().Epoch)
}

// FuzzLastEventID: what a client sends is a position or an error in KafkaSSE's words; one that is well-formed leads to
// no place behind the head of this journal unless it asks for one.
func FuzzLastEventID(f *testing.F) {
	for _, s := range []string{
		`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":5}]`,
		`[{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":1532031066001},{"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}]`,
		`["mediawiki.recentchange"]`, `[{"topic":"0000beef.mediawiki.recentchange","partition":0,"offset":9223372036854775807}]`,
		`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":0,"timestamp":-9223372036854775808}]`,
		`[{"topic":"x.y","partition":0,"offset":1}]`, `[]`, `[null]`, `{`, ``, `5f3a9c01-7`, `[{"topic":"mediawiki.recentchange","partition":0,"offset":-2}]`,
		`[{"topic":"mediawiki.recentchange","partition":0,"timestamp":9223372036854775807}]`, `[[[["mediawiki.recentchange"]]]]`,
	} {
		f.Add(s)
	}
	var s *Server
	var epoch string
	f.Fuzz(func(t *testing.T, id string) {
		if s == nil { // it serves every input of this process
			j := journal.NewMemory(outlettest.Options(""))
			if _, err := j.Append(context.Background(), make10()...); err != nil {
				t.Fatal(err)
			}
			s = &Server{Hub: hub.New(j, nil, hub.Options{})}
			epoch = fmt.Sprintf("%08x", j.Head().Epoch)
		}
		r := httptest.NewRequest("GET", StreamsPath+"recentchange", nil)
		p, err := s.assigned(r, strings.ReplaceAll(id, "EPOCH", epoch))
		if err != nil {
			var bad *assignmentError
			if !errors.As(err, &bad) || bad.status != http.StatusBadRequest && bad.status != http.StatusNotFound || bad.name == "" || p != (tidings.Position{}) {
				t.Errorf("%q: %v, %v", id, p, err)
			}
			return
		}
		head := s.Hub.Head()
		if p.Epoch == head.Epoch && p.Offset > head.Offset && strings.Count(id, "topic") != 1 {
			t.Errorf("%q leads to %v, the head is %v", id, p, head)
		}
	})
}

func make10() []tidings.Event {
	events := make([]tidings.Event, 10)
	for i := range events {
		events[i].Topic = "/a"
	}
	return events
}

func TestAssigned(t *testing.T) {
	s, epoch := assigner(t)
	head, oldest := s.Hub.Head(), s.Hub.Oldest()
	at := func(offset uint64) tidings.Position { return tidings.Position{Epoch: head.Epoch, Offset: offset} }
	for _, tt := range []struct {
		id   string
		want tidings.Position
	}{
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":5}]`, at(4)},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":0}]`, at(0)},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":7},{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":3}]`, at(2)},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":7},"mediawiki.recentchange"]`, at(6)},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":400}]`, at(399)}, // a gap, and told as one
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":-1}]`, head},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"offset":-2}]`, oldest},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"timestamp":0}]`, oldest},
		{`[{"topic":"EPOCH.mediawiki.recentchange","partition":0,"timestamp":99999999999999}]`, head},
		{`[{"topic":"0000000.mediawiki.recentchange","partition":0,"offset":3}]`, tidings.Position{Offset: 2}},
		{`[{"topic":"mediawiki.recentchange","partition":0,"offset":3}]`, tidings.Position{Offset: 2}},
		{`["mediawiki.recentchange"]`, head},
	} {
		got, err := s.assigned(httptest.NewRequest("GET", "/", nil), strings.ReplaceAll(tt.id, "EPOCH", epoch))
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.id, got, err, tt.want)
		}
	}
}

// A connection that cannot be taken over is answered with an error and leaves no subscription behind.
func TestNotTaken(t *testing.T) {
	s, _ := assigner(t)
	s.Authenticate = func(*http.Request) (tidings.Actor, error) { return tidings.Actor{}, nil }
	for target, serve := range map[string]http.HandlerFunc{"/v2/stream/recentchange": s.ServeStream, "/subscribe?topic=/a": s.ServeSubscribe} {
		w := httptest.NewRecorder()
		serve(w, httptest.NewRequest("GET", target, nil))
		if w.Code != http.StatusInternalServerError || w.Header().Get("Connection") != "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
		if n := s.Hub.Stats().Subscriptions; n != 0 {
			t.Errorf("%s left %d subscriptions", target, n)
		}
	}
}
