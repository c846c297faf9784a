package v4

import (
	"sync"

	"tidings"
	"tidings/hub"
	"tidings/internal/cloudevents"
	"tidings/internal/problem"
	"tidings/outlet"
	"tidings/recentchange"
	"tidings/websocket"
)

// words are what the kinds of error are called on the wire; 0 stands for an error of no kind.
var words = map[tidings.ErrorKind]string{
	0:                          "internal",
	tidings.ErrInvalid:         "invalid",
	tidings.ErrUnauthenticated: "unauthenticated",
	tidings.ErrForbidden:       "forbidden",
	tidings.ErrNotFound:        "not-found",
	tidings.ErrConflict:        "conflict",
	tidings.ErrTooLarge:        "too-large",
	tidings.ErrRateLimited:     "rate-limited",
	tidings.ErrGap:             "gap",
	tidings.ErrUnavailable:     "unavailable",
}

// failure is an error as clients are told it. What an error of no kind says is not theirs to know.
type failure struct {
	Request string `json:"request,omitempty"` // the event that failed
	Code    string `json:"code"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
}

func failureOf(request string, err error) failure {
	kind := tidings.KindOf(err)
	f := failure{Request: request, Code: words[kind], Status: problem.Status(kind)}
	if kind != 0 {
		f.Detail = err.Error()
	}
	return f
}

// transport is what carries a session's packets.
type transport uint8

const (
	polling transport = iota
	socket
)

// form writes events as packets of one namespace.
type form struct {
	transport transport
	namespace string
	query     string // what a position is followed by in an offset, escaped for JSON
}

// maxOffset bounds what is added to each event so that the subscription can be recovered from it, in bytes.
const maxOffset = 512

func newForm(t transport, namespace, query string) *form {
	f := &form{transport: t, namespace: namespace}
	switch {
	case query == "":
	case len(query) > maxOffset:
		f.query = "?" // there is a subscription, and it cannot be recovered
	default:
		b := encode("?" + query)
		f.query = string(b[1 : len(b)-1])
	}
	return f
}

func (f *form) Key() string {
	return "socket.io-4 " + string('0'+rune(f.transport)) + f.namespace + " " + f.query
}

// buffers are for a packet, whose length has to be known before it is written.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// frame appends the packet that add appends as the transport needs it.
func (f *form) frame(dst []byte, add func(dst []byte) []byte) []byte {
	if f.transport == polling {
		return add(append(dst, separator))
	}
	b := buffers.Get().(*[]byte)
	*b = add((*b)[:0])
	dst = websocket.AppendText(dst, *b)
	if cap(*b) <= 64<<10 {
		buffers.Put(b)
	}
	return dst
}

// event appends an event with its argument and the offset behind it.
func (f *form) event(dst []byte, name string, p tidings.Position, argument func(dst []byte) []byte) []byte {
	return f.frame(dst, func(dst []byte) []byte {
		dst = appendHead(dst, typeEvent, f.namespace, "")
		dst = append(append(append(dst, `["`...), name...), `",`...)
		dst = argument(dst)
		return append(f.appendOffset(append(dst, ','), p), ']')
	})
}

// appendOffset appends an offset as a JSON string.
func (f *form) appendOffset(dst []byte, p tidings.Position) []byte {
	dst = p.AppendText(append(dst, '"'))
	return append(append(dst, f.query...), '"')
}

func (f *form) Append(dst []byte, it *hub.Item) []byte {
	if f.namespace == rcNamespace {
		rc, ok := it.Value().(*recentchange.RecentChange)
		if !ok || rc == nil || it.Kind != tidings.Publish {
			return dst
		}
		return f.event(dst, "change", it.Position, func(dst []byte) []byte { return outlet.AppendRecentChange(dst, it.Event, rc) })
	}
	typ, data := outlet.Payload(nil, it)
	return f.event(dst, "event", it.Position, func(dst []byte) []byte { return cloudevents.Append(dst, it.Event, typ, data) })
}

func (f *form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return f.event(dst, "gap", g.Oldest, func(dst []byte) []byte { return append(dst, encode(gapOf(g))...) })
}

// gap is the argument of the event gap.
type gap struct {
	Asked  tidings.Position `json:"asked"`
	Oldest tidings.Position `json:"oldest"`
}

func gapOf(g *tidings.GapError) gap { return gap{g.Asked, g.Oldest} }

// AppendEnd tells why, and that the namespace is left: a client does not come back by itself then.
func (f *form) AppendEnd(dst []byte, err error) []byte {
	dst = f.frame(dst, func(dst []byte) []byte {
		return append(dst, message(typeEvent, f.namespace, "", []any{"error", failureOf("", err)})...)
	})
	dst = f.frame(dst, func(dst []byte) []byte { return appendHead(dst, typeDisconnect, f.namespace, "") })
	if f.transport == polling {
		return append(dst, separator, engineClose)
	}
	return websocket.AppendClose(dst, websocket.PolicyViolation, "")
}

// AppendGoodbye leaves it to the transport, so that clients come back.
func (f *form) AppendGoodbye(dst []byte) []byte { return dst }
