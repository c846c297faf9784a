package server

import (
	"context"
	"errors"

	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// negotiation is a stream from its header to the bound or resumed session (RFC 6120 sections 4 to 7): what one element after
// the other leads to, whatever transport they come by. Its methods may block. One goroutine at a time uses it.
type negotiation struct {
	srv     *Server
	framing stream.Framing
	conn    sasl.Conn
	offer   bool // STARTTLS may be offered

	sasl       *sasl.Negotiation
	who        sasl.Identity
	bare       jid.JID // of who; zero before authentication
	opened     bool    // our header has been sent
	expecting  bool    // a header is to come
	compressed bool
	x          *Session // what it led to

	out []byte // to be written, in the transport's framing
}

// outcome is what the transport does when it has written what there is.
type outcome uint8

const (
	proceed   outcome = iota
	startTLS          // the handshake follows, then a new stream
	restart           // a new stream follows
	compress          // zlib both ways, then a new stream
	connected         // x goes to the edge
	closed            // the client has closed the stream
)

func (s *Server) negotiate(f stream.Framing, c sasl.Conn) *negotiation {
	return &negotiation{srv: s, framing: f, conn: c, sasl: s.sasl.Negotiate(c), expecting: true}
}

// say queues an element.
func (n *negotiation) say(b []byte) {
	if n.framing == stream.WebSocket {
		n.out = appendText(n.out, b)
	} else {
		n.out = append(n.out, b...)
	}
}

// fail queues what ends the stream, with the header that has to come before it (RFC 6120 section 4.9.1.1).
func (n *negotiation) fail(e *stream.Error) {
	n.srv.count(reasonOf(e), "address", n.conn.Addr)
	n.goodbye(e)
}

func (n *negotiation) goodbye(e *stream.Error) {
	if !n.opened {
		n.open(stream.Header{})
	}
	n.out = appendGoodbye(n.out, n.framing, e)
}

// open queues our header.
func (n *negotiation) open(h stream.Header) {
	n.opened = true
	n.say(stream.Header{Framing: n.framing, Space: stanza.NSClient, From: n.srv.domain, To: h.From, ID: stream.NewID(), Lang: "en",
		Major: 1}.Append(nil))
}

// header takes the client's header and answers with ours and the features.
func (n *negotiation) header(el xmlstream.Element, ns *xmlstream.Context) *stream.Error {
	n.expecting, n.opened = false, false
	h, err := stream.ParseHeader(el, ns)
	if err != nil {
		return stream.AsError(err)
	}
	switch {
	case h.Framing != n.framing || h.Space != stanza.NSClient:
		return stream.NewError("invalid-namespace", "this is a server for clients")
	case h.To.IsZero():
		return stream.NewError("host-unknown", "the header has to say to which domain it goes")
	case h.To != n.srv.domain:
		return stream.NewError("host-unknown", "this server is "+n.srv.domain.String())
	case h.Major == 0:
		return stream.NewError("unsupported-version", "the stream needs version 1.0")
	}
	n.open(h)
	f := n.features()
	if n.bare.IsZero() && !f.StartTLS && len(f.Mechanisms) == 0 {
		return stream.NewError("policy-violation", "nobody can log in without TLS")
	}
	n.say(f.Append(nil, n.framing))
	return nil
}

func (n *negotiation) features() stream.Features {
	s := n.srv
	if n.bare.IsZero() {
		f := stream.Features{StartTLS: n.offer && !n.conn.TLS, StartTLSRequired: n.conn.NeedsTLS, Mechanisms: s.sasl.Mechanisms(n.conn)}
		if s.opt.Features != nil {
			f.Caps = s.opt.Features().Caps
		}
		return f
	}
	f := stream.Features{Bind: true, Session: true, SM: true, CSI: true}
	if n.mayCompress() {
		f.Compression = []string{"zlib"}
	}
	if s.opt.Features != nil {
		more := s.opt.Features()
		f.RosterVer, f.PreApproval, f.Caps = more.RosterVer, more.PreApproval, more.Caps
	}
	return f
}

func (n *negotiation) mayCompress() bool {
	return n.srv.opt.Compress && n.framing == stream.TCP && !n.compressed
}

// element takes an element after the header.
func (n *negotiation) element(ctx context.Context, el xmlstream.Element) (outcome, *stream.Error) {
	switch space := el.Space(); {
	case el.Is(stream.NSTLS, "starttls"):
		return n.startTLS()
	case space == sasl.NS && n.bare.IsZero():
		return n.authenticate(ctx, el)
	case space == stream.NSSM && !n.bare.IsZero():
		return n.manage(ctx, el)
	case space == stanza.NSClient:
		if st, err := stanza.Parse(el); err != stanza.ErrNotStanza {
			return n.stanza(ctx, &st, err)
		}
	}
	if ok, zlib := stream.ParseCompress(el); ok && !n.bare.IsZero() {
		return n.compress(zlib), nil
	}
	return proceed, stream.NewError("unsupported-stanza-type")
}

func (n *negotiation) startTLS() (outcome, *stream.Error) {
	if !n.offer || n.conn.TLS || !n.bare.IsZero() {
		n.say([]byte(stream.TLSFailure))
		return proceed, stream.NewError("policy-violation", "TLS was not offered")
	}
	n.say([]byte(stream.Proceed))
	n.conn.TLS = true
	n.sasl = n.srv.sasl.Negotiate(n.conn)
	n.expecting = true
	return startTLS, nil
}

// authenticate takes an element of RFC 6120 section 6.
func (n *negotiation) authenticate(ctx context.Context, el xmlstream.Element) (outcome, *stream.Error) {
	var challenge, data []byte
	var done bool
	var err error
	switch el.Name() {
	case "auth":
		if data, err = sasl.DecodeInitial(el.Text()); err == nil {
			challenge, done, err = n.sasl.Start(ctx, el.Attr("mechanism"), data)
		} else {
			err = n.sasl.Fail(err)
		}
	case "response":
		if data, err = sasl.Decode(el.Text()); err == nil {
			challenge, done, err = n.sasl.Next(ctx, data)
		} else {
			err = n.sasl.Fail(err)
		}
	case "abort":
		err = n.sasl.Abort()
	default:
		return proceed, stream.NewError("unsupported-stanza-type")
	}
	if err == nil && done {
		err = n.authenticated()
	}
	switch {
	case err != nil:
		n.say(sasl.AppendFailure(nil, err))
		if n.sasl.Failures() >= sasl.MaxAttempts {
			return proceed, stream.NewError("policy-violation", "too many failed attempts to log in")
		}
		return proceed, nil
	case !done:
		n.say(sasl.AppendChallenge(nil, challenge))
		return proceed, nil
	}
	n.say(sasl.AppendSuccess(nil, challenge))
	n.expecting = true
	return restart, nil
}

// authenticated gives who has authenticated an address; to nobody in particular one that nobody else has (XEP-0175).
func (n *negotiation) authenticated() error {
	n.who = n.sasl.Identity()
	local := n.who.Account
	if n.who.Anonymous() {
		local = stream.NewID()
	}
	bare, err := jid.New(local, n.srv.domain.Domain(), "")
	if err != nil {
		return n.sasl.Fail(err)
	}
	n.bare = bare
	return nil
}

// stanza takes a stanza before there is a session: only the request for a resource may come (RFC 6120 section 7).
func (n *negotiation) stanza(ctx context.Context, st *stanza.Stanza, err error) (outcome, *stream.Error) {
	if n.bare.IsZero() {
		return proceed, stream.NewError("not-authorized", "log in first")
	}
	resource, ok := stream.ParseBind(st.Payload())
	if !ok || st.Kind != stanza.IQ || st.Type != stanza.TypeSet {
		return proceed, stream.NewError("not-authorized", "bind a resource first")
	}
	if err == nil {
		n.x, err = n.srv.bind(ctx, n.who, n.bare, resource)
	}
	if err != nil {
		var e *stanza.Error
		if !errors.As(err, &e) {
			e = stanza.InternalServerError()
		}
		n.stanzaOut(st.AppendError(nil, e))
		return proceed, nil
	}
	n.stanzaOut(st.AppendResult(nil, stream.AppendBound(nil, n.x.jid)))
	return connected, nil
}

func (n *negotiation) stanzaOut(b []byte) {
	if n.framing == stream.WebSocket {
		n.out = appendClientText(n.out, b)
	} else {
		n.out = append(n.out, b...)
	}
}

// manage takes an element of XEP-0198 before there is a session: only a resumption makes sense.
func (n *negotiation) manage(ctx context.Context, el xmlstream.Element) (outcome, *stream.Error) {
	m, err := stream.ParseSM(el)
	if err != nil {
		return proceed, stream.AsError(err)
	}
	failed := stream.SM{Name: "failed", Condition: "unexpected-request"}
	if m.Name != "resume" {
		n.say(failed.Append(nil))
		return proceed, nil
	}
	x, h, known, err := n.srv.claim(ctx, n.who, m.ID)
	if err != nil {
		n.srv.refused.Add(1)
		failed.Condition, failed.H, failed.HasH = "item-not-found", h, known
		n.say(failed.Append(nil))
		return proceed, nil
	}
	if e := x.acknowledged(m.H); e != nil {
		// The session waits on: it may be an attempt that the client has given up, which another one has overtaken.
		n.srv.refused.Add(1)
		x.stopped()
		return proceed, e
	}
	n.srv.resumptions.Add(1)
	n.say(stream.SM{Name: "resumed", ID: m.ID, H: x.sm.in}.Append(nil))
	n.x = x
	return connected, nil
}

func (n *negotiation) compress(zlib bool) outcome {
	switch {
	case !n.mayCompress():
		n.say([]byte(stream.SetupFailed))
	case !zlib:
		n.say([]byte(stream.UnsupportedMethod))
	default:
		n.say([]byte(stream.Compressed))
		n.compressed, n.expecting = true, true
		return compress
	}
	return proceed
}
