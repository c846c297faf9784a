package sse_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt. Beside the directives of package transcript they have
//
//	! publish TOPIC TYPE PAYLOAD   payload as it is, or quoted as in Go
//	! change TITLE BOT             a change of the English Wikipedia
//	! retract TOPIC ID
//	! trim                         removes what is below /brief and /recentchange
//	! token NAME PATTERN           makes a token that may read the pattern; {{NAME}} is the token
//	! revoke NAME
//	! clock NAME                   {{NAME}} and {{NAME.ms}} are a time between what was published before and after
//
// The first three set {{position}}, {{offset}} and {{next}}, the offset behind it. {{start}} is the position before all
// of them and {{epoch}} its epoch.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		o := outlettest.Options("")
		o.Retention = append(o.Retention, journal.Retention{Prefix: "/recentchange", Age: time.Hour})
		j := journal.NewMemory(o)
		t.Cleanup(func() { j.Close() })
		eo := edge.Options{}
		if strings.HasSuffix(t.Name(), "keepalive") {
			eo.Keepalive = time.Second
		}
		w := outlettest.NewWorld(t, j, hub.Options{Decode: outlet.Decoder(nil)}, eo)
		s := serve(w, nil)
		t.Cleanup(s.Close)
		f := &fixture{World: w, ids: map[string]string{}}
		start := w.Hub.Head()
		return &transcript.Runner{
			Dial: func() (net.Conn, error) { return s.dial(0) },
			Vars: map[string]string{"epoch": fmt.Sprintf("%08x", start.Epoch), "start": start.String()},
			Do: map[string]func(map[string]string, string) error{
				"publish": f.publish, "change": f.change, "retract": f.retract, "trim": f.trim,
				"token": f.token, "revoke": f.revoke, "clock": clock,
			},
		}
	})
}

type fixture struct {
	*outlettest.World
	ids map[string]string // of tokens
}

func (f *fixture) append(vars map[string]string, e tidings.Event) error {
	e.Time = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r, err := f.Journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	p := r[0].Position
	vars["position"], vars["offset"], vars["next"] = p.String(), fmt.Sprint(p.Offset), fmt.Sprint(p.Offset+1)
	return f.Hub.Drain(context.Background())
}

func (f *fixture) publish(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	if len(a) < 3 {
		return fmt.Errorf("want a topic, a type and a payload")
	}
	if a[2] != "" && a[2][0] == '"' {
		s, err := strconv.Unquote(a[2])
		if err != nil {
			return err
		}
		a[2] = s
	}
	return f.append(vars, tidings.Event{Topic: tidings.Topic(a[0]), ContentType: a[1], Payload: []byte(a[2])})
}

func (f *fixture) change(vars map[string]string, args string) error {
	title, bot, _ := strings.Cut(args, " ")
	return f.append(vars, tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1772600767,`+
			`"user":"Ann","bot":%s,"minor":false,"length":{"old":null,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://en.wikipedia.org","server_name":"en.wikipedia.org","server_script_path":"/w","wiki":"enwiki"}`, title, bot)})
}

func (f *fixture) retract(vars map[string]string, args string) error {
	topic, id, _ := strings.Cut(args, " ")
	return f.append(vars, tidings.Event{Topic: tidings.Topic(topic), ID: id, Kind: tidings.Retract})
}

func (f *fixture) trim(map[string]string, string) error {
	f.Trim()
	return nil
}

func (f *fixture) token(vars map[string]string, args string) error {
	name, pattern, _ := strings.Cut(args, " ")
	f.ids[name], vars[name] = f.Token(pattern)
	return nil
}

func (f *fixture) revoke(_ map[string]string, name string) error {
	f.Revoke(f.ids[name])
	return nil
}

func clock(vars map[string]string, name string) error {
	now := nextMilli()
	vars[name], vars[name+".ms"] = now.UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprint(now.UnixMilli())
	nextMilli()
	return nil
}

// nextMilli waits for the clock's next millisecond.
func nextMilli() time.Time {
	for was := time.Now().UnixMilli(); ; runtime.Gosched() {
		if now := time.Now(); now.UnixMilli() > was {
			return now
		}
	}
}
