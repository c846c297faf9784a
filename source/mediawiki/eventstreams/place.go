package eventstreams

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// assignment is a member of the array that the id of a message is: where to go on in one partition of one topic. An
// offset is exact. A timestamp, in milliseconds, is a millisecond after the last message of that topic, and passes over
// others of the same one.
type assignment struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    *int64 `json:"offset,omitempty"`
	Timestamp *int64 `json:"timestamp,omitempty"`
}

// maxAssignments bounds the array. Wikimedia's has one for each of two datacentres.
const maxAssignments = 16

// place is where to go on in the upstream.
type place struct {
	time time.Time    // of the newest event, for an upstream that knows the place no more
	raw  string       // an id that is no such array
	at   []assignment // replaced, never changed in place
}

// origin is the member meta of an event, as far as it says where the event is from.
type origin struct {
	Topic     string    `json:"topic"`
	Partition int       `json:"partition"`
	Offset    *int64    `json:"offset"`
	Time      time.Time `json:"dt"`
	Domain    string    `json:"domain"`
}

// id returns what to send as Last-Event-ID; empty if there is nothing to go on from.
func (p *place) id() string {
	if len(p.at) == 0 {
		return p.raw
	}
	b, _ := json.Marshal(p.at) // strings and numbers
	return string(b)
}

// advance moves behind a message with that id and origin. The origin's offset is more exact than the id.
func (p *place) advance(id string, o origin) {
	if o.Time.After(p.time) {
		p.time = o.Time
	}
	var list []assignment
	if err := json.Unmarshal([]byte(id), &list); err != nil || len(list) > maxAssignments {
		p.at, p.raw = nil, id
		return
	}
	for i := range list {
		a := &list[i]
		if j := slices.IndexFunc(p.at, a.same); j >= 0 && (a.Offset == nil || *a.Offset < 0) {
			*a = p.at[j] // what we have seen of that topic is known more exactly
		}
		if a.Offset != nil && *a.Offset < 0 && !o.Time.IsZero() {
			// "From now on", since nothing has come of that topic. Later that would be later: a minute before this event is
			// early enough for any order in which the topics are read, and repeats are recognised.
			ms := o.Time.Add(-time.Minute).UnixMilli()
			a.Offset, a.Timestamp = nil, &ms
		}
	}
	if o.Topic != "" && o.Offset != nil {
		exact := assignment{Topic: o.Topic, Partition: o.Partition, Offset: new(int64)}
		*exact.Offset = *o.Offset + 1
		if j := slices.IndexFunc(list, exact.same); j >= 0 {
			list[j] = exact
		}
	}
	p.at, p.raw = list, ""
}

// same reports whether both are of one partition of one topic.
func (a *assignment) same(b assignment) bool { return a.Topic == b.Topic && a.Partition == b.Partition }

// mark returns the place as text, for an event's Mark: the time in milliseconds since 1970, a blank and the id. It is
// empty if an event cannot hold it.
func (p *place) mark() string {
	m := strconv.FormatInt(p.time.UnixMilli(), 10) + " " + p.id()
	if len(m) > tidings.MaxMarkBytes {
		return ""
	}
	return m
}

// parseMark returns the place that a mark tells.
func parseMark(s string) (place, error) {
	ms, id, ok := strings.Cut(s, " ")
	t, err := strconv.ParseInt(ms, 10, 64)
	if !ok || err != nil {
		return place{}, tidings.Errorf(tidings.ErrInvalid, "eventstreams: %.60q is not a mark of this source", s)
	}
	p := place{time: time.UnixMilli(t).UTC(), raw: id}
	if err := json.Unmarshal([]byte(id), &p.at); err == nil && len(p.at) <= maxAssignments {
		p.raw = ""
	} else {
		p.at = nil
	}
	return p, nil
}
