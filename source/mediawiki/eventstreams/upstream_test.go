package eventstreams

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// message is one of a topic of the fake upstream. Several may have the same time.
type message struct {
	topic  string
	offset int64
	ms     int64
	data   string
}

// upstream serves what KafkaSSE does with two topics, as a transport: it goes on by offset or by timestamp, and its
// ids name timestamps. Its connections end when cut is called, or by themselves at random.
type upstream struct {
	random *rand.Rand // guarded by mu; nil: connections last
	head   string     // what each connection begins with

	mu       sync.Mutex
	log      []message
	next     map[string]int64 // offset by topic
	changed  chan struct{}
	requests []*http.Request
	times    []time.Time
	// refuse may answer a request in place of the stream.
	refuse func(*http.Request) *http.Response
}

const eqiad, codfw = "eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"

func newUpstream() *upstream {
	return &upstream{next: map[string]int64{}, changed: make(chan struct{}), head: ":ok\n\n"}
}

// add appends a message; %s in data is its meta.
func (u *upstream) add(topic, data string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := message{topic: topic, offset: u.next[topic], ms: time.Now().UnixMilli()}
	u.next[topic]++
	domain := "x.example"
	if strings.Contains(data, "CANARY") {
		data, domain = `{"$schema":"/mediawiki/recentchange/1.0.1","meta":%s}`, "canary"
	}
	m.data = strings.Replace(data, "%s", fmt.Sprintf(`{"dt":"%s","domain":"%s","stream":"mediawiki.recentchange","topic":"%s","partition":0,"offset":%d}`,
		time.UnixMilli(m.ms).UTC().Format(time.RFC3339Nano), domain, topic, m.offset), 1)
	u.log = append(u.log, m)
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *upstream) change(topic string, rcid int) {
	u.add(topic, fmt.Sprintf(`{"$schema":"/mediawiki/recentchange/1.0.0","meta":%%s,"id":%d,"type":"edit","title":"P","timestamp":%d,"user":"U","bot":false,"server_name":"x.example","wiki":"xwiki"}`,
		rcid, time.Now().Unix()))
}

func (u *upstream) chance(n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.random != nil && u.random.IntN(n) == 0
}

func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	u.mu.Lock()
	u.requests = append(u.requests, r)
	u.times = append(u.times, time.Now())
	refuse := u.refuse
	u.mu.Unlock()
	if refuse != nil {
		if resp := refuse(r); resp != nil {
			return resp, nil
		}
	}
	if u.chance(8) {
		return nil, io.ErrUnexpectedEOF
	}
	from, err := u.from(r)
	if err != nil {
		return answer(400, err.Error()), nil
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(u.serve(r, pw, from)) }()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, Body: pr}, nil
}

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// start is where a connection begins in each topic: an offset, or a time if that is set.
type start struct {
	offset map[string]int64
	ms     map[string]int64
}

func (u *upstream) from(r *http.Request) (start, error) {
	s := start{map[string]int64{}, map[string]int64{}}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range []string{eqiad, codfw} {
		s.offset[t] = u.next[t]
		if since := r.URL.Query().Get("since"); since != "" {
			ms, err := strconv.ParseInt(since, 10, 64)
			if err != nil {
				return s, err
			}
			s.offset[t], s.ms[t] = 0, ms
		}
	}
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return s, nil
	}
	var list []assignment
	if err := json.Unmarshal([]byte(id), &list); err != nil {
		return s, err
	}
	for _, a := range list {
		switch {
		case a.Offset != nil && *a.Offset >= 0:
			s.offset[a.Topic], s.ms[a.Topic] = *a.Offset, 0
		case a.Offset != nil:
			s.offset[a.Topic], s.ms[a.Topic] = u.next[a.Topic], 0
		case a.Timestamp != nil:
			s.offset[a.Topic], s.ms[a.Topic] = 0, *a.Timestamp
		}
	}
	return s, nil
}

// serve writes until the request ends, the reader goes, or chance cuts the connection, which may be within a message.
func (u *upstream) serve(r *http.Request, w io.Writer, from start) error {
	if _, err := io.WriteString(w, u.head); err != nil {
		return err
	}
	at := map[string]string{}
	for _, t := range []string{eqiad, codfw} {
		at[t] = `"offset":-1`
	}
	for i := 0; ; i++ {
		u.mu.Lock()
		for i == len(u.log) {
			changed := u.changed
			u.mu.Unlock()
			select {
			case <-changed:
			case <-r.Context().Done():
				return r.Context().Err()
			}
			u.mu.Lock()
		}
		m := u.log[i]
		u.mu.Unlock()
		if m.offset < from.offset[m.topic] || m.ms < from.ms[m.topic] {
			continue
		}
		at[m.topic] = fmt.Sprintf(`"timestamp":%d`, m.ms+1)
		text := fmt.Sprintf("event: message\nid: [{\"topic\":\"%s\",\"partition\":0,%s},{\"topic\":\"%s\",\"partition\":0,%s}]\ndata: %s\n\n", eqiad, at[eqiad], codfw, at[codfw], m.data)
		if u.chance(40) {
			u.mu.Lock()
			text = text[:u.random.IntN(len(text))]
			u.mu.Unlock()
			io.WriteString(w, text)
			return io.EOF
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
}
