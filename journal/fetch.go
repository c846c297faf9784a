package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

// message is a stored message as it comes from the store.
type message struct {
	subject string
	seq     uint64
	at      time.Time // when it was appended
	header  nats.Header
	data    []byte
}

const (
	fetchMessages = 1000    // in one batch at most
	fetchBytes    = 4 << 20 // likewise, and one message more
)

var errNoMessage = errors.New("journal: no such message")

// getRequest is a request of JetStream's message get API, the direct one or the leader's.
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	LastFor   string     `json:"last_by_subj,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

func storeReadError(err error) error {
	return tidings.Errorf(tidings.ErrUnavailable, "reading the journal's store: %w", err)
}

// direct sends a batched direct get and returns the messages, and whether there were no more.
func (j *JetStream) direct(ctx context.Context, req getRequest) (msgs []message, end bool, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, false, storeReadError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.opts.Timeout)
	defer cancel()
	inbox := j.nc.NewInbox()
	sub, err := j.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, storeReadError(err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, false, storeReadError(err)
	}
	if err := j.nc.PublishRequest("$JS.API.DIRECT.GET."+j.opts.Stream, inbox, body); err != nil {
		return nil, false, storeReadError(err)
	}
	prev := "0" // sequence of the message before, which each message names
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, storeReadError(err)
		}
		if status := m.Header.Get("Status"); status != "" {
			switch status {
			case "204":
				if m.Header.Get("Nats-Last-Sequence") != prev {
					return nil, false, storeReadError(errors.New("messages of an answer are missing"))
				}
				return msgs, m.Header.Get("Nats-Num-Pending") == "0", nil
			case "404":
				return msgs, true, nil
			}
			return nil, false, storeReadError(fmt.Errorf("status %s %s", status, m.Header.Get("Description")))
		}
		if before := m.Header.Get("Nats-Last-Sequence"); before != prev {
			return nil, false, storeReadError(errors.New("messages of an answer are missing"))
		}
		prev = m.Header.Get("Nats-Sequence")
		x, err := parseMessage(m)
		if err != nil {
			return nil, false, err
		}
		msgs = append(msgs, x)
	}
}

// leader asks the stream's leader for one message; its answer misses nothing that was acknowledged.
func (j *JetStream) leader(ctx context.Context, req getRequest) (message, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return message{}, storeReadError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.opts.Timeout)
	defer cancel()
	m, err := j.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+j.opts.Stream, body)
	if err != nil {
		return message{}, storeReadError(err)
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return message{}, storeReadError(err)
	}
	if r.Error != nil {
		if r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return message{}, errNoMessage
		}
		return message{}, storeReadError(r.Error)
	}
	if r.Message == nil {
		return message{}, storeReadError(errors.New("an answer without a message"))
	}
	x := message{subject: r.Message.Subject, seq: r.Message.Seq, at: r.Message.Time, data: r.Message.Data}
	if len(r.Message.Header) > 0 {
		if x.header, err = nats.DecodeHeadersMsg(r.Message.Header); err != nil {
			return message{}, storeReadError(err)
		}
	}
	return x, nil
}

// lastOf returns the last message whose subject matches, or errNoMessage.
func (j *JetStream) lastOf(ctx context.Context, filter string) (message, error) {
	return j.leader(ctx, getRequest{LastFor: filter})
}

// next returns the first message at or behind seq that the filter selects, by a direct get.
func (j *JetStream) next(ctx context.Context, filter string, seq uint64) (message, error) {
	body, err := json.Marshal(getRequest{Seq: seq, NextFor: filter})
	if err != nil {
		return message{}, storeReadError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.opts.Timeout)
	defer cancel()
	m, err := j.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+j.opts.Stream, body)
	if err != nil {
		return message{}, storeReadError(err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		return parseMessage(m)
	case "404":
		return message{}, errNoMessage
	default:
		return message{}, storeReadError(fmt.Errorf("status %s %s", status, m.Header.Get("Description")))
	}
}

// parseMessage returns the message in an answer to a direct get.
func parseMessage(m *nats.Msg) (x message, err error) {
	x = message{subject: m.Header.Get("Nats-Subject"), header: m.Header, data: m.Data}
	if x.seq, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return x, storeReadError(errors.New("a message without a sequence"))
	}
	if x.at, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
		return x, storeReadError(fmt.Errorf("malformed time of message %d", x.seq))
	}
	return x, nil
}

// A scan takes the messages a filter selects one by one where they are this far apart or more, and reads all messages
// in batches where they are closer. JetStream has batches with a filter too; but for each it counts all the messages
// there are to come, and for that it loads every block of the log.
const (
	sparse       = 16
	sparseSample = 32 // how many gaps or messages in a row tell
)

// scan calls visit for the stored messages in (after, limit] that the filter selects ("" is all), in order, until it
// returns false. It returns the sequence up to which it is complete. first is the size of the first batch; the others
// are larger.
func (j *JetStream) scan(ctx context.Context, filter string, after, limit uint64, first int, visit func(*message) bool) (upTo uint64, err error) {
	return j.scanSome(ctx, filter, after, limit, first, math.MaxInt, visit)
}

// scanSome is scan that stops once so many messages have been read.
func (j *JetStream) scanSome(ctx context.Context, filter string, after, limit uint64, first, maxScanned int, visit func(*message) bool) (upTo uint64, err error) {
	scanned := 0
	oneByOne := filter != "" && !strings.ContainsAny(filter, "*>")
	for batch := first; after < limit && scanned < maxScanned; {
		if oneByOne {
			start, n := after, 0
			for ; n < sparseSample && after < limit; n++ {
				m, err := j.next(ctx, filter, after+1)
				if errors.Is(err, errNoMessage) || err == nil && m.seq > limit {
					if again, err := j.laggard(ctx, filter, after, limit); err != nil || !again {
						return limit, err
					}
					continue
				}
				if err != nil || !visit(&m) {
					return after, err
				}
				after = m.seq
			}
			scanned += n
			oneByOne = after-start >= sparse*sparseSample
			batch = fetchMessages
			continue
		}
		msgs, end, err := j.direct(ctx, getRequest{Seq: after + 1, Batch: batch, MaxBytes: fetchBytes})
		if err != nil {
			return after, err
		}
		scanned += len(msgs)
		batch = min(4*batch, fetchMessages)
		hits := 0
		for i := range msgs {
			if msgs[i].seq > limit {
				return limit, nil
			}
			if filter == "" || matchSubject(filter, msgs[i].subject) {
				if !visit(&msgs[i]) {
					return after, nil
				}
				hits++
			}
			after = msgs[i].seq
		}
		if end {
			if again, err := j.laggard(ctx, "", after, limit); err != nil || !again {
				return limit, err
			}
		}
		oneByOne = filter != "" && len(msgs) >= sparseSample && hits*sparse < len(msgs)
	}
	return after, nil
}

// laggard reports whether an answer that ended after the given sequence came from a replica that lags behind: the
// leader has a message in (after, limit].
func (j *JetStream) laggard(ctx context.Context, filter string, after, limit uint64) (bool, error) {
	if j.srv != nil || j.opts.Replicas == 1 || after >= limit {
		return false, nil
	}
	if filter == "" {
		filter = ">"
	}
	m, err := j.leader(ctx, getRequest{Seq: after + 1, NextFor: filter})
	if errors.Is(err, errNoMessage) {
		return false, nil
	}
	return err == nil && m.seq <= limit, err
}

// matchSubject reports whether a NATS filter selects the subject.
func matchSubject(filter, subject string) bool {
	for {
		f, frest, fmore := strings.Cut(filter, ".")
		if f == ">" {
			return true
		}
		s, srest, smore := strings.Cut(subject, ".")
		if f != "*" && f != s || fmore != smore {
			return false
		}
		if !fmore {
			return true
		}
		filter, subject = frest, srest
	}
}

// fetchAll returns the events in (after, last].
func (j *JetStream) fetchAll(ctx context.Context, after, last uint64) ([]tidings.Event, error) {
	var out []tidings.Event
	var failed error
	_, err := j.scan(ctx, "", after, last, fetchMessages, func(m *message) bool {
		if _, ok := j.subj.topicOf(m.subject); !ok {
			return true
		}
		e, err := j.event(m)
		if err != nil {
			failed = err
			return false
		}
		out = append(out, e)
		return true
	})
	return out, errors.Join(err, failed)
}

// event decodes an event's message.
func (j *JetStream) event(m *message) (tidings.Event, error) {
	return j.subj.decode(m.subject, m.header, m.data, j.pos(m.seq))
}

// countEvents returns the number of events kept.
func (j *JetStream) countEvents(ctx context.Context) (uint64, error) {
	msgs, _, err := j.direct(ctx, getRequest{Seq: 1, NextFor: j.subj.events + ">", Batch: 1})
	if err != nil || len(msgs) == 0 {
		return 0, err
	}
	n, err := strconv.ParseUint(msgs[0].header.Get("Nats-Num-Pending"), 10, 64)
	return n + 1, err
}

// fillTail reads the newest events that were there on opening, so that readers who come back after a restart find them
// in memory.
func (j *JetStream) fillTail(ctx context.Context) {
	head := j.head.Load()
	if head == 0 || j.opts.TailBytes == 0 {
		return
	}
	info, err := j.stream.Info(ctx)
	if err != nil || info.State.Msgs == 0 {
		return
	}
	perMessage := max(info.State.Bytes/info.State.Msgs, 64)
	n := uint64(j.opts.TailBytes) / perMessage
	from := max(head-min(head, n), j.oldest.Load())
	evs, err := j.fetchAll(ctx, from, head)
	if err != nil {
		if ctx.Err() == nil {
			j.log.Warn("journal: reading the newest events into memory", "error", err)
		}
		return
	}
	j.tail.prepend(evs, from, head)
}
