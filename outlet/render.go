package outlet

import (
	"fmt"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
)

// Stream is the name EventStreams gives to recent changes.
const Stream = "mediawiki.recentchange"

// StreamTopic returns the name of a stream's topic as EventStreams clients see it: where the datacentre stands at
// Wikimedia there is the epoch of the journal, so that an offset is never taken for one of another journal.
func StreamTopic(epoch uint32) string { return fmt.Sprintf("%08x.%s", epoch, Stream) }

// Payload returns what readers of a topic get as the event's content. A recent change is EventStreams JSON, in whichever
// dialect it came; everything else is the bytes as published. scratch, which may be nil, is used for the former.
func Payload(scratch []byte, it *hub.Item) (contentType string, data []byte) {
	if rc, ok := it.Value().(*recentchange.RecentChange); ok && rc != nil {
		return "application/json", AppendRecentChange(scratch[:0], it.Event, rc)
	}
	return it.ContentType, it.Payload
}

// AppendRecentChange appends the change as EventStreams has it, with the event's place in its meta.
func AppendRecentChange(dst []byte, e *tidings.Event, rc *recentchange.RecentChange) []byte {
	return rc.AppendEventStreams(dst, recentchange.Meta{
		Topic:  StreamTopic(e.Position.Epoch),
		Stream: Stream,
		Offset: e.Position.Offset,
		Time:   e.Time,
	})
}

// Decoder returns what a hub decodes events with (hub.Options.Decode): a recent change, with what wikis knows and its dialect
// lacks, or nil.
func Decoder(wikis recentchange.Wikis) func(*tidings.Event) any {
	return func(e *tidings.Event) any {
		if e.Kind != tidings.Publish || !recentchange.IsRecentChange(e.ContentType) {
			return nil
		}
		rc, err := recentchange.Decode(e.ContentType, e.Payload)
		if err != nil {
			return nil // a publisher's content type that does not fit its payload: just bytes
		}
		wikis.Fill(rc, e.Time)
		return rc
	}
}
