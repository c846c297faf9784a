package component

import (
	"bytes"
	"time"

	"tidings/edge"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// input takes what the server has sent.
func (w *wire) input(c *edge.Conn, p []byte) error {
	w.begin(c)
	if !w.deaf && !w.closed {
		w.l.heard = time.Now()
		w.scan.Feed(p)
		w.process()
	}
	return nil
}

// process takes the elements that are complete.
func (w *wire) process() {
	for !w.deaf && !w.closed {
		kind, raw, err := w.scan.Next()
		switch {
		case err != nil:
			w.refuse(err)
		case kind == xmlstream.None:
			return
		case kind == xmlstream.End:
			w.leave(ErrClosed, nil)
		case kind == xmlstream.Open:
			w.refuse(stream.NewError("bad-format", "a second stream header"))
		default:
			w.take(raw)
		}
	}
}

// refuse ends the stream because of what the server has sent.
func (w *wire) refuse(err error) {
	e := stream.AsError(err)
	w.leave(&Error{e}, e)
}

// What is in the namespace of a component's stream is what is in jabber:client elsewhere (XEP-0114 section 5). Stanzas are read
// as if they were there, so that services, and what they move to other streams, need not tell them apart.
var (
	componentNS = []byte(stanza.NSComponent)
	clientNS    = []byte(stanza.NSClient)
)

// take takes an element.
func (w *wire) take(raw []byte) {
	w.doc.Limits = w.l.opt.Limits
	el, err := w.doc.Parse(raw, w.ns)
	if err == nil && el.Space() == stanza.NSComponent {
		// The stanza declares it once more.
		tag := bytes.IndexByte(raw, '>')
		head := bytes.ReplaceAll(raw[:tag], componentNS, clientNS)
		el, err = w.doc.Parse(append(head, raw[tag:]...), w.ns)
	}
	if err != nil {
		w.refuse(err)
		return
	}
	if stream.IsError(el) {
		w.leave(&Error{stream.ParseError(el)}, nil)
		return
	}
	w.l.stanza(el)
}

// stanza gives a stanza to the service of its domain. Every request gets an answer.
func (l *Link) stanza(el xmlstream.Element) {
	l.stanzasIn.Add(1)
	st, err := stanza.Parse(el)
	if err == stanza.ErrNotStanza {
		l.drop(ReasonUnsupported, 1, nil, "element", el.Name())
		return
	}
	if st.From.IsZero() || st.To.IsZero() {
		l.drop(ReasonAddress, 1, nil)
		return
	}
	if st.Kind == stanza.IQ && (st.Type == stanza.TypeResult || st.Type == stanza.TypeError) && l.answered(&st) {
		return
	}
	if err != nil {
		if b := st.AppendError(nil, err.(*stanza.Error)); st.Kind == stanza.IQ && st.ID != "" && len(b) > 0 {
			l.reply(b)
		} else {
			l.drop(ReasonInvalid, 1, nil, "from", st.From)
		}
		return
	}
	p, svc := l.heardFrom(st.From, st.To.Domain())
	switch {
	case p != nil:
		svc.Stanza(p, &st)
	case svc != nil && st.Request():
		l.reply(st.AppendError(nil, stanza.ResourceConstraint("too many addresses write to this service")))
	case svc != nil:
		l.drop(ReasonPeers, 1, nil, "from", st.From)
	case st.Request():
		l.reply(st.AppendError(nil, stanza.ItemNotFound("nothing is served at this domain")))
	case st.Kind == stanza.IQ:
		l.drop(ReasonLateAnswer, 1, nil, "from", st.From)
	default:
		l.drop(ReasonDomain, 1, nil, "to", st.To)
	}
}
