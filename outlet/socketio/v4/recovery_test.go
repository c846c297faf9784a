package v4

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
	"tidings/outlet/outlettest"
	"tidings/outlet/socketio"
)

// client does what the reference client does to be recovered: it keeps the pid, and the last argument of the last event if
// that is a text.
type client struct {
	*engine
	namespace   string // "" or "/rc,"
	pid, offset string
	recovered   bool
}

func (c *client) connect(t *testing.T, e *engine) {
	t.Helper()
	c.engine = e
	auth := ""
	if c.pid != "" {
		auth = fmt.Sprintf(`{"pid":%q,"offset":%q}`, c.pid, c.offset)
	}
	if err := e.send("40" + c.namespace + auth); err != nil {
		t.Fatal(err)
	}
	p := e.expect(t, "40"+c.namespace+`\{.*\}`)[0]
	var m struct{ SID, PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(p, "40"+c.namespace)), &m); err != nil {
		t.Fatal(err)
	}
	c.recovered = m.PID == c.pid
	c.pid = m.PID
}

// event returns the next event's name and first argument.
func (c *client) event(t *testing.T) (name string, arg json.RawMessage) {
	t.Helper()
	p := c.expect(t, "42"+c.namespace+`\[.*\]`)[0]
	name, args, ok := parseEvent([]byte(strings.TrimPrefix(p, "42"+c.namespace)))
	if !ok {
		t.Fatalf("the packet %q is no event", p)
	}
	var offset string
	if len(args) > 1 && json.Unmarshal(args[len(args)-1], &offset) == nil {
		c.offset = offset
	}
	return name, args[0]
}

func (c *client) numbers(t *testing.T, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		name, arg := c.event(t)
		var ce struct{ Data struct{ N int } }
		if err := json.Unmarshal(arg, &ce); err != nil || name != "event" || ce.Data.N != n {
			t.Fatalf("got %s %s, want event %d", name, arg, n)
		}
	}
}

// TestRecovery: a client that comes back gets what it missed of what it had subscribed to, on whatever transport, and from a
// server that was started anew.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	open := func() (*world, func()) {
		j, err := journal.OpenJetStream(t.Context(), outlettest.Options(dir))
		if err != nil {
			t.Fatal(err)
		}
		w := newWorldOn(t, j, Options{Log: slog.New(slog.DiscardHandler)})
		return w, func() {
			w.web.Close()
			w.World.Shutdown()
			w.web.stop()
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	w, stop := open()
	for _, m := range []mode{overSocket, overPolls, upgraded} {
		topic := fmt.Sprintf("/m%d", m)
		c := &client{}
		c.connect(t, w.start(t, m))
		if c.recovered {
			t.Error("recovered from nothing")
		}
		c.send(fmt.Sprintf(`42["subscribe",{"topics":[%q],"filter":{"n":[1,2,3,4,5,6,7,8,9]}}]`, topic))
		if name, _ := c.event(t); name != "subscribed" {
			t.Fatalf("got %s", name)
		}
		// Before the first event there is an offset to come back with.
		c.Close()
		w.Publish(topic, 1, 3)
		c.connect(t, w.start(t, (m+1)%3))
		if !c.recovered {
			t.Error("not recovered before the first event")
		}
		c.numbers(t, 1, 3)
		w.Publish(topic, 4, 4)
		w.Publish(topic, 100, 100) // filtered
		c.numbers(t, 4, 4)
		c.Close()
		w.Publish(topic, 5, 6)
		stop()
		w, stop = open()
		c.connect(t, w.start(t, m))
		if !c.recovered {
			t.Error("not recovered after the restart")
		}
		c.numbers(t, 5, 6)
		w.Publish(topic, 7, 7)
		c.numbers(t, 7, 7)
		// What it subscribes to then is added to what it had.
		c.send(`42["subscribe","/other"]`)
		if _, arg := c.event(t); !strings.Contains(string(arg), `"topics":["`+topic+`","/other"]`) {
			t.Errorf("got %s", arg)
		}
		c.Close()
	}
	stop()
}

// TestNotRecovered: who cannot be recovered is told by another pid, and of the gap where there is one.
func TestNotRecovered(t *testing.T) {
	w := newWorld(t, Options{})
	at := w.Publish("/brief/a", 1, 5)
	head := w.Publish("/a", 1, 1)[0]
	old := socketio.NewID().String()
	other := tidings.Position{Epoch: head.Epoch ^ 1, Offset: 1}
	_, private := w.Token("/private/**")
	for _, tc := range []struct {
		name, pid, offset string
		recovered, gap    bool
	}{
		{"nothing subscribed to", old, head.String(), true, false},
		{"subscribed", old, head.String() + "?topic=%2Fa", true, false},
		{"no offset", old, "", false, false},
		{"pid of another kind", "x", head.String() + "?topic=%2Fa", false, false},
		{"a query too long to be an offset", old, head.String() + "?", false, false},
		{"bad query", old, head.String() + "?topic=a", false, false},
		{"bad filter", old, head.String() + "?topic=%2Fa&filter=(", false, false},
		{"another epoch", old, other.String() + "?topic=%2Fa", false, true},
		{"from the future", old, tidings.Position{Epoch: head.Epoch, Offset: head.Offset + 100}.String() + "?topic=%2Fa", false, true},
		{"forbidden", old, head.String() + "?topic=%2Fprivate%2Fa", false, false},
		{"rubbish", old, "rubbish", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &client{pid: tc.pid, offset: tc.offset}
			c.connect(t, w.start(t, overSocket))
			if c.recovered != tc.recovered {
				t.Errorf("recovered: %t", c.recovered)
			}
			if tc.gap {
				if name, arg := c.event(t); name != "gap" || !strings.Contains(string(arg), tc.offset[:10]) {
					t.Errorf("got %s %s", name, arg)
				}
			}
			c.send(`420["subscribe","/x"]`)
			c.expect(t, `42\["subscribed".*`, `430.*`)
		})
	}
	t.Run("token", func(t *testing.T) { // the rights are asked again
		e := w.start(t, overSocket)
		e.send(fmt.Sprintf(`40{"token":%q,"pid":%q,"offset":"%s?topic=%%2Fprivate%%2Fa"}`, private, old, head))
		e.expect(t, `40\{"sid":.*"pid":"`+old+`".*`)
	})
	// Within the log as a whole and yet lost: recovered, and told of the gap by an event.
	w.Trim()
	c := &client{pid: old, offset: at[1].String() + "?topic=%2Fbrief%2Fa"}
	c.connect(t, w.start(t, overSocket))
	if name, _ := c.event(t); name != "gap" {
		t.Errorf("got %s", name)
	}
}

// TestUpgradeWhilePublishing: nothing is missed or comes twice on the way from polls to a WebSocket.
func TestUpgradeWhilePublishing(t *testing.T) {
	w := newWorld(t, Options{})
	for round := range 5 {
		topic := fmt.Sprintf("/up%d", round)
		e := w.start(t, overPolls)
		c := &client{}
		c.connect(t, e)
		c.send(fmt.Sprintf(`42["subscribe",%q]`, topic))
		c.event(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for n := 1; n <= 200; n++ {
				w.Publish(topic, n, n)
			}
		}()
		c.numbers(t, 1, 10)
		if err := e.upgrade(); err != nil {
			t.Fatal(err)
		}
		c.numbers(t, 11, 200)
		<-done
		w.Publish(topic, 201, 203)
		c.numbers(t, 201, 203)
		c.Close()
	}
}

// TestHeartbeat: the server pings on each transport, keeps who answers, and ends who does not and who never connects.
func TestHeartbeat(t *testing.T) {
	w := newWorld(t, Options{PingInterval: time.Second, PingTimeout: time.Second, ConnectTimeout: 2 * time.Second, Log: slog.New(slog.DiscardHandler)})
	modes(t, func(t *testing.T, m mode) {
		t.Parallel()
		good, dumb, idle := w.start(t, m), w.start(t, m), w.start(t, m)
		good.send("40")
		topic := fmt.Sprintf("/hb%d", m)
		good.send(fmt.Sprintf(`42["subscribe",%q]`, topic))
		good.expect(t, connected, `42\["subscribed".*`)
		answer := make(chan string, 1)
		go func() {
			p, err := good.next() // answers pings meanwhile
			answer <- fmt.Sprint(p, err)
		}()
		dumb.send("40")
		dumb.expect(t, connected)
		begun := time.Now()
		ended := func(e *engine) {
			for {
				var p string
				var err error
				if e.ws != nil {
					_, b, err2 := e.ws.Read(e.ctx)
					p, err = string(b), err2
				} else {
					p, err = e.do("GET", "")
				}
				if err != nil || strings.HasSuffix(p, "1") {
					return
				}
				if p != "2" && p != "6" {
					t.Errorf("a client that says nothing got %q", p)
				}
			}
		}
		ended(dumb)
		if d := time.Since(begun); d > 10*time.Second || d < 900*time.Millisecond {
			t.Errorf("a client that does not answer was ended after %s", d)
		}
		// This one answers its pings and never connects.
		if p, err := idle.next(); err == nil && p != "1" {
			t.Errorf("got %s", p)
		}
		w.Publish(topic, 1, 1)
		if p := <-answer; !strings.HasPrefix(p, `42["event"`) {
			t.Errorf("a client that answers got %s", p)
		}
	})
	t.Cleanup(func() {
		st := w.Stats().Ended
		if st["ping-timeout"] < 3 || st["never-connected"] < 3 {
			t.Errorf("ended: %v", st)
		}
	})
}
