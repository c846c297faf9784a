package component

import (
	"bytes"
	"time"

	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// input takes what the server has sent.
func (n *line) input(p []byte) {
	if w := n.w; !w.deaf && !w.closed {
		w.l.heard = time.Now()
		n.scan.Feed(p)
		n.process()
	}
}

// process takes the elements that are complete.
func (n *line) process() {
	for !n.w.deaf && !n.w.closed {
		kind, raw, err := n.scan.Next()
		switch {
		case err != nil:
			n.refuse(err)
		case kind == xmlstream.None:
			return
		case kind == xmlstream.End:
			n.leave(ErrClosed, nil)
		case kind == xmlstream.Open:
			n.refuse(stream.NewError("bad-format", "a second stream header"))
		default:
			n.take(raw)
		}
	}
}

// refuse ends the stream because of what the server has sent.
func (n *line) refuse(err error) {
	e := stream.AsError(err)
	n.leave(&Error{e}, e)
}

// What is in the namespace of a component's stream is what is in jabber:client elsewhere (XEP-0114 section 5). Stanzas are read
// as if they were there, so that services, and what they move to other streams, need not tell them apart.
var (
	componentNS = []byte(stanza.NSComponent)
	clientNS    = []byte(stanza.NSClient)
)

// take takes an element.
func (n *line) take(raw []byte) {
	n.doc.Limits = n.w.l.opt.Limits
	el, err := n.doc.Parse(raw, n.ns)
	if err == nil && el.Space() == stanza.NSComponent {
		// The stanza declares it once more.
		tag := bytes.IndexByte(raw, '>')
		head := bytes.ReplaceAll(raw[:tag], componentNS, clientNS)
		el, err = n.doc.Parse(append(head, raw[tag:]...), n.ns)
	}
	if err != nil {
		n.refuse(err)
		return
	}
	if stream.IsError(el) {
		n.leave(&Error{stream.ParseError(el)}, nil)
		return
	}
	n.w.l.stanza(el)
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
	if st.Kind == stanza.IQ && (st.Type == stanza.TypeResult || st.Type == stanza.TypeError) && (l.answered(&st) || l.multicast.answered(l, &st)) {
		return
	}
	if l.multicast.refuses(&st) { // what it was for has to come again
		l.wire.lines[0].leave(ErrMulticast, nil)
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
