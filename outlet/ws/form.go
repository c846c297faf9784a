package ws

import (
	"encoding/json"
	"sync"

	"tidings"
	"tidings/hub"
	"tidings/internal/cloudevents"
	"tidings/internal/problem"
	"tidings/outlet"
	"tidings/websocket"
)

// code is what a kind of error becomes: the word in an error message, and the code of the close frame if it ends the
// connection.
type code struct {
	word  string
	close int
}

// codes has a row for every tidings.ErrorKind; 0 stands for an error of no kind.
var codes = map[tidings.ErrorKind]code{
	0:                          {"internal", websocket.InternalError},
	tidings.ErrInvalid:         {"invalid", websocket.PolicyViolation},
	tidings.ErrUnauthenticated: {"unauthenticated", websocket.PolicyViolation},
	tidings.ErrForbidden:       {"forbidden", websocket.PolicyViolation},
	tidings.ErrNotFound:        {"not-found", websocket.PolicyViolation},
	tidings.ErrConflict:        {"conflict", websocket.PolicyViolation},
	tidings.ErrTooLarge:        {"too-large", websocket.MessageTooBig},
	tidings.ErrRateLimited:     {"rate-limited", websocket.TryAgainLater},
	tidings.ErrGap:             {"gap", websocket.PolicyViolation},
	tidings.ErrUnavailable:     {"unavailable", websocket.TryAgainLater},
}

// failed returns the message that a request failed, or with a nil request that the connection ends. What an error of no
// kind says is not the client's to know.
func failed(r *request, err error) []byte {
	kind := tidings.KindOf(err)
	m := struct {
		Type    string  `json:"type"`
		Request string  `json:"request,omitempty"`
		ID      *string `json:"id,omitempty"`
		Code    string  `json:"code"`
		Status  int     `json:"status"`
		Detail  string  `json:"detail,omitempty"`
	}{Type: "error", Code: codes[kind].word, Status: problem.Status(kind)}
	if r != nil {
		m.Request, m.ID = r.Type, &r.ID
	}
	if kind != 0 {
		m.Detail = err.Error()
	}
	return encode(m)
}

func subscribed(id string, q hub.Query, after tidings.Position) []byte {
	topics := make([]string, len(q.Patterns))
	for i, p := range q.Patterns {
		topics[i] = p.String()
	}
	return encode(struct {
		Type     string           `json:"type"`
		ID       string           `json:"id"`
		Topics   []string         `json:"topics"`
		Position tidings.Position `json:"position"`
	}{"subscribed", id, topics, after})
}

// object returns a message of a type and members that are texts, given in pairs.
func object(typ string, members ...string) []byte {
	b := append([]byte(`{"type":`), encode(typ)...)
	for i := 0; i < len(members); i += 2 {
		b = append(append(append(append(b, ','), encode(members[i])...), ':'), encode(members[i+1])...)
	}
	return append(b, '}')
}

func encode(v any) []byte {
	b, _ := json.Marshal(v) // of texts and numbers only
	return b
}

// form writes each event as a CloudEvent in a message of its own, compressed if all readers of the form take that.
type form struct{ deflate bool }

func (f form) Key() string {
	if f.deflate {
		return "ws-deflate"
	}
	return "ws"
}

// scratch are buffers for a payload, whose length has to be known before it is written.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func (f form) Append(dst []byte, it *hub.Item) []byte {
	b := scratch.Get().(*[]byte)
	typ, data := outlet.Payload(nil, it)
	*b = cloudevents.Append((*b)[:0], it.Event, typ, data)
	if f.deflate {
		dst = websocket.AppendDeflated(dst, *b)
	} else {
		dst = websocket.AppendText(dst, *b)
	}
	if cap(*b) <= 64<<10 {
		scratch.Put(b)
	}
	return dst
}

func (f form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return websocket.AppendText(dst, object("gap", "asked", g.Asked.String(), "oldest", g.Oldest.String(), "position", g.Oldest.String()))
}

func (f form) AppendEnd(dst []byte, err error) []byte {
	dst = websocket.AppendText(dst, failed(nil, err))
	return websocket.AppendClose(dst, codes[tidings.KindOf(err)].close, err.Error())
}

// AppendGoodbye leaves it to the close frame.
func (f form) AppendGoodbye(dst []byte) []byte { return dst }
