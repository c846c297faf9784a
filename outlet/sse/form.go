package sse

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"time"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/internal/cloudevents"
	"tidings/outlet"
	"tidings/recentchange"
)

// gapData is the JSON that tells a reader of a gap: what it asked for, and the position it goes on from.
func gapData(g *tidings.GapError) []byte {
	b, _ := json.Marshal(struct {
		Asked  tidings.Position `json:"asked"`
		Oldest tidings.Position `json:"oldest"`
	}{g.Asked, g.Oldest})
	return b
}

// appendRetry appends a reconnection time (the standard's "retry" field) between d and twice d, so that the readers of
// a server that stops do not all come back at once.
func appendRetry(dst []byte, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 1)
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, ms+rand.Int64N(ms), 10)
	return append(dst, "\n\n"...)
}

// appendData appends the bytes as data fields, one for each line, and ends the message.
func appendData(dst, data []byte) []byte {
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	for {
		i := bytes.IndexAny(data, "\r\n")
		line := data
		if i >= 0 {
			line = data[:i]
		}
		dst = append(dst, "data: "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if i < 0 {
			break
		}
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
	return append(dst, '\n')
}

// appendGap appends a gap as an event of its own type, which a client that only listens for messages does not see and
// one that wants to know can. Its id is where the reader goes on from.
func appendGap(dst []byte, id []byte, g *tidings.GapError) []byte {
	dst = append(dst, "event: gap\nid: "...)
	dst = append(dst, id...)
	dst = append(dst, '\n')
	return appendData(dst, gapData(g))
}

// appendEnd appends why a subscription ends, as an event of type error.
func appendEnd(dst []byte, err error) []byte {
	b, _ := json.Marshal(map[string]string{"message": err.Error()})
	dst = append(dst, "event: error\n"...)
	return appendData(dst, b)
}

// payloadForm writes what was published as the data of an event (GET /topics/{topic}).
type payloadForm struct{ retry time.Duration }

func (f payloadForm) Key() string { return "sse" }

func (f payloadForm) Append(dst []byte, it *hub.Item) []byte {
	dst = append(dst, "id: "...)
	dst = it.Position.AppendText(dst)
	if it.Kind == tidings.Retract {
		dst = append(dst, "\nevent: retract\n"...)
		return appendData(dst, []byte(it.ItemID()))
	}
	dst = append(dst, "\nevent: message\n"...)
	_, data := outlet.Payload(nil, it)
	return appendData(dst, data)
}

func (f payloadForm) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return appendGap(dst, g.Oldest.AppendText(nil), g)
}
func (f payloadForm) AppendEnd(dst []byte, err error) []byte { return appendEnd(dst, err) }
func (f payloadForm) AppendGoodbye(dst []byte) []byte        { return appendRetry(dst, f.retry) }

// envelopeForm writes each event as a CloudEvent (GET /subscribe), so that a reader of several topics knows which.
type envelopeForm struct{ payloadForm }

func (f envelopeForm) Key() string { return "sse+cloudevents" }

func (f envelopeForm) Append(dst []byte, it *hub.Item) []byte {
	dst = append(dst, "id: "...)
	dst = it.Position.AppendText(dst)
	dst = append(dst, "\nevent: message\ndata: "...)
	typ, data := outlet.Payload(nil, it)
	dst = cloudevents.Append(dst, it.Event, typ, data)
	return append(dst, "\n\n"...)
}

// ndjsonForm writes each event as a CloudEvent on a line of its own.
type ndjsonForm struct{}

func (ndjsonForm) Key() string { return "ndjson" }

func (ndjsonForm) Append(dst []byte, it *hub.Item) []byte {
	typ, data := outlet.Payload(nil, it)
	return append(cloudevents.Append(dst, it.Event, typ, data), '\n')
}

func (ndjsonForm) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return append(cloudevents.AppendGap(dst, g), '\n')
}
func (ndjsonForm) AppendEnd(dst []byte, err error) []byte { return dst }
func (ndjsonForm) AppendGoodbye(dst []byte) []byte        { return dst }

// streamForm writes recent changes exactly as EventStreams does (GET /v2/stream/{names}); other events have no form in
// it.
type streamForm struct {
	epoch uint32
	retry time.Duration
}

func (f streamForm) Key() string { return "eventstreams" }

// appendID appends an id as EventStreams has it: the assignment a reader comes back with to get what follows offset.
func (f streamForm) appendID(dst []byte, offset uint64) []byte {
	dst = append(dst, `[{"topic":"`...)
	dst = append(dst, outlet.StreamTopic(f.epoch)...)
	dst = append(dst, `","partition":0,"offset":`...)
	dst = strconv.AppendUint(dst, offset+1, 10)
	return append(dst, "}]"...)
}

func (f streamForm) Append(dst []byte, it *hub.Item) []byte {
	rc, ok := it.Value().(*recentchange.RecentChange)
	if !ok || rc == nil || it.Kind != tidings.Publish {
		return dst
	}
	dst = append(dst, "event: message\nid: "...)
	dst = f.appendID(dst, it.Position.Offset)
	dst = append(dst, "\ndata: "...)
	dst = outlet.AppendRecentChange(dst, it.Event, rc)
	return append(dst, "\n\n"...)
}

func (f streamForm) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return appendGap(dst, f.appendID(nil, g.Oldest.Offset), g)
}
func (f streamForm) AppendEnd(dst []byte, err error) []byte { return appendEnd(dst, err) }
func (f streamForm) AppendGoodbye(dst []byte) []byte        { return appendRetry(dst, f.retry) }

// streamLines is streamForm's NDJSON: one change a line, no ids.
type streamLines struct{}

func (streamLines) Key() string { return "eventstreams-ndjson" }

func (streamLines) Append(dst []byte, it *hub.Item) []byte {
	rc, ok := it.Value().(*recentchange.RecentChange)
	if !ok || rc == nil || it.Kind != tidings.Publish {
		return dst
	}
	return append(outlet.AppendRecentChange(dst, it.Event, rc), '\n')
}

// AppendGap has no place for a gap in changes that stand alone: the schema allows an event with nothing but its stream
// and time, which clients of EventStreams know to skip as they skip canaries, and it carries the positions.
func (streamLines) AppendGap(dst []byte, g *tidings.GapError) []byte {
	dst = append(dst, `{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"domain":"canary","stream":"`+outlet.Stream+`","dt":"`...)
	dst = time.Now().UTC().AppendFormat(dst, time.RFC3339)
	dst = append(dst, `"},"gap":`...)
	dst = append(dst, gapData(g)...)
	return append(dst, "}\n"...)
}
func (streamLines) AppendEnd(dst []byte, err error) []byte { return dst }
func (streamLines) AppendGoodbye(dst []byte) []byte        { return dst }
