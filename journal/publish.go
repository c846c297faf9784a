package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

// The most that is published before its acknowledgements are awaited. JetStream itself refuses messages when 100,000
// of them or 128 MiB wait to be stored.
const (
	windowMessages = 2000
	windowBytes    = 24 << 20
	maxBatch       = 1000 // messages in an atomic batch (nats-server's limit)
)

// ack is JetStream's answer to one message.
type ack struct {
	seq uint64
	dup bool
	err error
}

// publisher publishes messages to the stream and matches the acknowledgements. One goroutine at a time may use it.
type publisher struct {
	nc      *nats.Conn
	timeout time.Duration
	inbox   string
	sub     *nats.Subscription
	flights uint64
	late    bool // the last flight was: do not wait as long for the next

	mu  sync.Mutex
	cur *flight
}

// flight is the messages that are published and not all acknowledged.
type flight struct {
	reply string // one for all of them: the server keeps a cache of the subjects it has seen
	acks  []ack
	got   int
	done  chan struct{}
}

func newPublisher(nc *nats.Conn, timeout time.Duration) (*publisher, error) {
	p := &publisher{nc: nc, timeout: timeout, inbox: nc.NewInbox() + "."}
	sub, err := nc.Subscribe(p.inbox+"*", p.receive)
	if err != nil {
		return nil, fmt.Errorf("journal: subscribing to acknowledgements: %w", err)
	}
	p.sub = sub
	return p, nil
}

// receive takes in an acknowledgement. A stream stores and answers one message after the other, so within a flight the
// answers come in order.
func (p *publisher) receive(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.cur
	if f == nil || f.reply != m.Subject || f.got == len(f.acks) {
		return // of a flight that was given up
	}
	f.acks[f.got] = parseAck(m)
	if f.got++; f.got == len(f.acks) {
		close(f.done)
	}
}

// parseAck reads an acknowledgement: {"stream":"tidings","seq":5,"duplicate": true} or {"error":{...}}.
func parseAck(m *nats.Msg) ack {
	if m.Header.Get("Status") == "503" {
		return ack{err: nats.ErrNoResponders}
	}
	const seqField = `"seq":`
	if i := bytes.Index(m.Data, []byte(seqField)); i >= 0 && !bytes.Contains(m.Data, []byte(`"error"`)) {
		var seq uint64
		for _, c := range m.Data[i+len(seqField):] {
			if c < '0' || c > '9' {
				break
			}
			seq = seq*10 + uint64(c-'0')
		}
		if seq > 0 {
			return ack{seq: seq, dup: bytes.Contains(m.Data, []byte(`"duplicate":`))}
		}
	}
	var r struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil || r.Error == nil {
		return ack{err: fmt.Errorf("unexpected answer %.80q", m.Data)}
	}
	return ack{err: r.Error}
}

// pipelined publishes the messages without waiting in between and returns their acknowledgements. After an error some
// of them may be stored.
func (p *publisher) pipelined(msgs []*nats.Msg) ([]ack, error) {
	acks := make([]ack, 0, len(msgs))
	for len(msgs) > 0 {
		n, size := 0, 0
		for n < len(msgs) && n < windowMessages && (n == 0 || size+len(msgs[n].Data) <= windowBytes) {
			size += len(msgs[n].Data)
			n++
		}
		got, err := p.fly(msgs[:n])
		if err != nil {
			return nil, err
		}
		acks = append(acks, got...)
		msgs = msgs[n:]
	}
	return acks, nil
}

func (p *publisher) fly(msgs []*nats.Msg) ([]ack, error) {
	p.flights++
	f := &flight{reply: p.inbox + strconv.FormatUint(p.flights, 10), acks: make([]ack, len(msgs)), done: make(chan struct{})}
	p.mu.Lock()
	p.cur = f
	p.mu.Unlock()
	for _, m := range msgs {
		m.Reply = f.reply
		if err := p.nc.PublishMsg(m); err != nil {
			return nil, storeError(err)
		}
	}
	timeout := p.timeout
	if p.late {
		timeout /= 3
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-f.done:
		p.late = false
	case <-timer.C:
		p.late = true
	}
	p.mu.Lock()
	p.cur = nil
	p.mu.Unlock()
	if p.late {
		return nil, storeError(nats.ErrTimeout)
	}
	var last uint64
	for _, a := range f.acks {
		if a.err != nil {
			return nil, storeError(a.err)
		}
		if !a.dup && a.seq <= last {
			return nil, storeError(fmt.Errorf("message %d was acknowledged after %d", a.seq, last))
		}
		if !a.dup {
			last = a.seq
		}
	}
	return f.acks, nil
}

// errBatchDuplicate is JetStream's code for an atomic batch it refuses because one of its keys was seen.
const errBatchDuplicate jetstream.ErrorCode = 10201

// atomic publishes the messages in atomic batches. A batch with a repeat in it is published again one by one.
func (p *publisher) atomic(msgs []*nats.Msg) ([]ack, error) {
	acks := make([]ack, 0, len(msgs))
	for len(msgs) > 0 {
		n := min(len(msgs), maxBatch)
		got, err := p.batch(msgs[:n])
		if err != nil {
			return nil, err
		}
		acks = append(acks, got...)
		msgs = msgs[n:]
	}
	return acks, nil
}

func (p *publisher) batch(msgs []*nats.Msg) ([]ack, error) {
	if len(msgs) == 1 {
		return p.fly(msgs)
	}
	id := p.nc.NewInbox()
	id = id[len(id)-22:]
	for i, m := range msgs[:len(msgs)-1] {
		b := withBatch(m, id, i+1)
		if i > 0 {
			if err := p.nc.PublishMsg(b); err != nil {
				return nil, storeError(err)
			}
			continue
		}
		// The answer to the first tells whether the server takes the batch at all.
		r, err := p.nc.RequestMsg(b, p.timeout)
		if err != nil {
			return nil, storeError(err)
		}
		if len(r.Data) > 0 {
			return nil, storeError(parseAck(r).err)
		}
	}
	last := withBatch(msgs[len(msgs)-1], id, len(msgs))
	last.Header["Nats-Batch-Commit"] = []string{"1"}
	r, err := p.nc.RequestMsg(last, p.timeout)
	if err != nil {
		return nil, storeError(err)
	}
	a := parseAck(r)
	var api *jetstream.APIError
	if errors.As(a.err, &api) && api.ErrorCode == errBatchDuplicate {
		return p.oneByOne(msgs)
	}
	if a.err != nil {
		return nil, storeError(a.err)
	}
	acks := make([]ack, len(msgs))
	for i := range acks {
		acks[i].seq = a.seq - uint64(len(msgs)-1-i)
	}
	return acks, nil
}

func (p *publisher) oneByOne(msgs []*nats.Msg) ([]ack, error) {
	acks := make([]ack, 0, len(msgs))
	for i := range msgs {
		a, err := p.fly(msgs[i : i+1])
		if err != nil {
			return nil, err
		}
		acks = append(acks, a...)
	}
	return acks, nil
}

// withBatch returns a copy of the message with the headers of an atomic batch.
func withBatch(m *nats.Msg, id string, seq int) *nats.Msg {
	h := make(nats.Header, len(m.Header)+3)
	for k, v := range m.Header {
		h[k] = v
	}
	h["Nats-Batch-Id"] = []string{id}
	h["Nats-Batch-Sequence"] = []string{strconv.Itoa(seq)}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}

// storeError turns a failure of the store into one that tells the publisher where things stand.
func storeError(err error) error {
	if err == nil {
		err = errors.New("no reason given")
	}
	return tidings.Errorf(tidings.ErrUnavailable,
		"the journal's store failed, and events of this request may have been stored or not; to append them again with the same key is safe: %w", err)
}
