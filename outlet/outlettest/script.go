package outlettest

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// Script is what transcripts do and know in a World, beside what is their outlet's. They have the directives
//
//	! publish TOPIC TYPE PAYLOAD   payload as it is, or quoted as in Go; TYPE may be one of the words of NewScript
//	! retract TOPIC ID
//	! trim                         removes what is below /brief and /recentchange
//	! token NAME PATTERN           makes a token that may read the pattern; {{NAME}} is the token
//	! revoke NAME
//	! clock NAME                   {{NAME}}, and in milliseconds {{NAME.ms}}, is a time between what was published before and after
//
// The first two set {{position}}, {{offset}} and {{next}}, the offset behind it. {{start}} is the position before all of them and
// {{epoch}} its epoch.
type Script struct {
	*World
	Vars map[string]string
	Do   map[string]func(vars map[string]string, args string) error

	types map[string]string
	ids   map[string]string // of tokens
}

// NewScript returns the Script of a World; types are the content types for which a word stands.
func NewScript(w *World, types map[string]string) *Script {
	start := w.Hub.Head()
	s := &Script{World: w, types: types, ids: map[string]string{},
		Vars: map[string]string{"epoch": fmt.Sprintf("%08x", start.Epoch), "start": start.String()}}
	s.Do = map[string]func(map[string]string, string) error{
		"publish": s.publish, "retract": s.retract, "trim": s.trim, "token": s.token, "revoke": s.revoke, "clock": clock,
	}
	return s
}

// Event publishes an event of 2026-03-04T05:06:07Z, sets the variables of its position and waits until it has been dispatched.
func (s *Script) Event(vars map[string]string, e tidings.Event) error {
	e.Time = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r, err := s.Journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	p := r[0].Position
	vars["position"], vars["offset"], vars["next"] = p.String(), fmt.Sprint(p.Offset), fmt.Sprint(p.Offset+1)
	return s.Hub.Drain(context.Background())
}

func (s *Script) publish(vars map[string]string, args string) error {
	a := strings.SplitN(args, " ", 3)
	if len(a) < 3 {
		return fmt.Errorf("want a topic, a type and a payload")
	}
	topic, typ, payload := a[0], a[1], a[2]
	if t, ok := s.types[typ]; ok {
		typ = t
	}
	if strings.HasPrefix(payload, `"`) {
		var err error
		if payload, err = strconv.Unquote(payload); err != nil {
			return err
		}
	}
	return s.Event(vars, tidings.Event{Topic: tidings.Topic(topic), ContentType: typ, Payload: []byte(payload)})
}

func (s *Script) retract(vars map[string]string, args string) error {
	topic, id, _ := strings.Cut(args, " ")
	return s.Event(vars, tidings.Event{Topic: tidings.Topic(topic), ID: id, Kind: tidings.Retract})
}

func (s *Script) trim(map[string]string, string) error {
	s.Trim()
	return nil
}

func (s *Script) token(vars map[string]string, args string) error {
	name, pattern, _ := strings.Cut(args, " ")
	s.ids[name], vars[name] = s.Token(pattern)
	return nil
}

func (s *Script) revoke(_ map[string]string, name string) error {
	s.Revoke(s.ids[name])
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
