package socketio

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestID(t *testing.T) {
	id := NewID()
	if got, ok := ParseID(id.String()); !ok || got != id || len(id.String()) != 20 || id == NewID() {
		t.Errorf("%s became %v, %t", id, got, ok)
	}
	for _, s := range []string{"", "x", strings.Repeat("A", 19), strings.Repeat("A", 21), strings.Repeat("/", 20), "AAAAAAAAAAAAAAAAAA==", strings.Repeat("\n", 20)} {
		if _, ok := ParseID(s); ok {
			t.Errorf("%q is taken for an id", s)
		}
	}
}

func TestCounts(t *testing.T) {
	var c Counts
	c.Add("a")
	c.Add("b")
	c.Add("a")
	if got := c.Snapshot(); !maps.Equal(got, map[string]uint64{"a": 2, "b": 1}) {
		t.Error(got)
	}
}

func TestCut(t *testing.T) {
	for in, want := range map[string]string{"": "", "é": "é", "a\xffb": "a?b", strings.Repeat("x", 70): strings.Repeat("x", 64), strings.Repeat("x", 63) + "é": strings.Repeat("x", 63) + "?"} {
		if got := Cut(in); got != want || Cut([]byte(in)) != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, tt := range []struct {
		origin  string
		origins []string
		allowed bool
	}{
		{"", nil, true},
		{"http://h:1", nil, true},
		{"https://H:1", nil, true},
		{"http://h:2", nil, false},
		{"http://evil", []string{"https://good"}, false},
		{"https://good", []string{"https://good"}, true},
		{"https://any", []string{"*"}, true},
		{"null", nil, false},
		{"http://", nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://h:1/", nil)
		r.Header.Set("Origin", tt.origin)
		w := httptest.NewRecorder()
		named := w.Header()
		if got := AllowOrigin(w, r, tt.origins); got != tt.allowed || got && named.Get("Access-Control-Allow-Origin") != tt.origin {
			t.Errorf("%q with %q: %t, %v", tt.origin, tt.origins, got, named)
		}
	}
}

// TestTurn: what is due is given out in its second, whatever seconds were missed.
func TestTurn(t *testing.T) {
	var w Wheel[*session]
	a, b, c := new(session), new(session), new(session)
	w.Add(a, 1)
	w.Add(b, 3)
	w.Add(c, 1000) // farther than the wheel reaches: as far as it does
	for _, tt := range []struct {
		now  uint32
		want []*session
	}{{1, []*session{a}}, {2, nil}, {4, []*session{b}}, {126, nil}, {300, []*session{c}}, {301, nil}} {
		if got := w.turn(tt.now); len(got) != len(tt.want) || len(got) == 1 && got[0] != tt.want[0] {
			t.Errorf("second %d: %d due, want %d", tt.now, len(got), len(tt.want))
		}
	}
	w.Add(a, 7) // gone by
	if got := w.turn(302); len(got) != 1 {
		t.Errorf("one that was due long ago: %d", len(got))
	}
}

// session notes when it is called, and wants to be called every two seconds, three times.
type session struct {
	called []uint32
}

func (s *session) Tick(now uint32) uint32 {
	if s.called = append(s.called, now); len(s.called) == 3 {
		return 0
	}
	return now + 2
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWheel[*session]()
		s := &session{}
		w.Add(s, w.Now()+1)
		go w.Run(t.Context())
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(s.called) != 3 || s.called[1] != s.called[0]+2 || s.called[2] != s.called[1]+2 || s.called[0] > 3 {
			t.Errorf("called in the seconds %v", s.called)
		}
	})
}

func TestDefaults(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: 25 * time.Second, -1: 25 * time.Second, time.Millisecond: time.Second, 1500 * time.Millisecond: time.Second, time.Hour: maxTime} {
		got := in
		if Whole(&got, 25*time.Second); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
	for in, want := range map[int]int{0: 7, -1: 7, 3: 3} {
		got := in
		if Positive(&got, 7); got != want {
			t.Errorf("%d became %d", in, got)
		}
	}
	if Seconds(2500*time.Millisecond) != 2 {
		t.Error(Seconds(2500 * time.Millisecond))
	}
}
