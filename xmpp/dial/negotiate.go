package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// negotiation is a stream from its header to the session (RFC 6120 sections 4 to 7).
type negotiation struct {
	*Conn
	secure bool
	h      held
}

// run negotiates. While it runs nobody else uses the connection.
func (n *negotiation) run(ctx context.Context) error {
	f, err := n.open(ctx)
	if err != nil {
		return err
	}
	if !n.secure && f.StartTLS && (f.StartTLSRequired || n.cfg.TLS != nil || !loopback(n.nc)) {
		if err := n.startTLS(ctx); err != nil {
			return err
		}
		if f, err = n.open(ctx); err != nil {
			return err
		}
	}
	if !n.secure && !n.cfg.Plaintext && !loopback(n.nc) {
		return ErrTLSRequired
	}
	if err := n.authenticate(ctx, f.Mechanisms); err != nil {
		return err
	}
	n.scan.Restart()
	if f, err = n.open(ctx); err != nil {
		return err
	}
	n.features = f
	if s := n.cfg.Resume; s != nil && f.SM {
		if resumed, err := n.resume(ctx, s); resumed || err != nil {
			return err
		}
	}
	if err := n.bind(ctx, f); err != nil {
		return err
	}
	if n.cfg.Manage && f.SM {
		return n.manage(ctx)
	}
	return nil
}

// open sends our header and reads the server's, with the features.
func (n *negotiation) open(ctx context.Context) (stream.Features, error) {
	h := stream.Header{Space: stanza.NSClient, To: n.cfg.JID.DomainJID(), Lang: "en", Major: 1}
	if n.secure && n.cfg.JID.Local() != "" { // RFC 6120 section 4.7.1: not in the clear
		h.From = n.cfg.JID.Bare()
	}
	if err := n.write(h.Append(nil)); err != nil {
		return stream.Features{}, err
	}
	for {
		kind, b, err := n.scan.Next()
		switch {
		case err != nil:
			return stream.Features{}, err
		case kind == xmlstream.None:
			if err := n.fill(ctx); err != nil {
				return stream.Features{}, err
			}
			continue
		case kind != xmlstream.Open:
			return stream.Features{}, stream.NewError("bad-format", "the stream does not begin with its header")
		}
		el, ns, err := n.h.doc.ParseHeader(b)
		if err != nil {
			return stream.Features{}, err
		}
		head, err := stream.ParseHeader(el, ns)
		if err != nil {
			return stream.Features{}, err
		}
		n.ns = ns
		if head.Space != stanza.NSClient {
			return stream.Features{}, stream.NewError("invalid-namespace", "the server is not one for clients")
		}
		break
	}
	el, err := n.element(ctx, &n.h)
	if err != nil {
		return stream.Features{}, err
	}
	if !stream.IsFeatures(el) {
		return stream.Features{}, stream.NewError("unsupported-stanza-type", "the server's header is not followed by features")
	}
	return stream.ParseFeatures(el), nil
}

// startTLS begins TLS (RFC 6120 section 5.4).
func (n *negotiation) startTLS(ctx context.Context) error {
	if err := n.write([]byte(stream.StartTLS)); err != nil {
		return err
	}
	el, err := n.element(ctx, &n.h)
	switch {
	case err != nil:
		return err
	case !el.Is(stream.NSTLS, "proceed"):
		return errors.New("the server does not begin the TLS that it offers")
	case len(n.scan.Rest()) > 0:
		return stream.NewError("policy-violation", "something came before TLS began that nothing protects")
	}
	tc := tls.Client(n.nc, n.cfg.tls())
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	n.setTransport(tc)
	n.scan.Reset()
	n.limit()
	n.secure = true
	return nil
}

// setTransport replaces the connection; whoever closes it closes the new one.
func (c *Conn) setTransport(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
}

// authenticate logs in with the best mechanism (RFC 6120 section 6.4).
func (n *negotiation) authenticate(ctx context.Context, offered []string) error {
	cred := sasl.Credentials{Username: n.cfg.JID.Local(), Password: n.cfg.Password}
	mechanism := cred.Choose(offered, n.secure)
	if mechanism == "" {
		return fmt.Errorf("%w: it offers %.200q", ErrNoMechanism, offered)
	}
	client, err := sasl.NewClient(mechanism, cred)
	if err != nil {
		return err
	}
	out := sasl.AppendAuth(nil, mechanism, client.Initial())
	for {
		if err := n.write(out); err != nil {
			return err
		}
		el, err := n.element(ctx, &n.h)
		if err != nil {
			return err
		}
		if el.Space() != sasl.NS {
			return stream.NewError("unsupported-stanza-type", "the server does not go on with the login")
		}
		switch el.Name() {
		case "challenge":
			data, err := sasl.Decode(el.Text())
			if err == nil {
				data, err = client.Next(data)
			}
			if err != nil {
				_ = n.write(sasl.AppendAbort(nil)) // the reason is told anyhow
				return err
			}
			out = sasl.AppendResponse(nil, data)
		case "success":
			data, err := sasl.DecodeInitial(el.Text())
			if err != nil {
				return err
			}
			return client.Success(data)
		case "failure":
			return failure(el)
		default:
			return stream.NewError("unsupported-stanza-type", "the server does not go on with the login")
		}
	}
}

// failure reads why a login failed; a condition that RFC 6120 does not have is kept as it is.
func failure(el xmlstream.Element) *sasl.Error {
	e := &sasl.Error{Condition: sasl.NotAuthorized, Text: el.Child(sasl.NS, "text").Text()}
	for c := range el.Children() {
		if c.Is(sasl.NS, c.Name()) && c.Name() != "text" {
			e.Condition = sasl.Condition(c.Name())
			break
		}
	}
	return e
}

// call sends a request of the negotiation and returns the answer, or the *stanza.Error in it.
func (n *negotiation) call(ctx context.Context, payload []byte) (stanza.Stanza, error) {
	id := stream.NewID()
	b := stanza.AppendStart(nil, stanza.IQ, stanza.TypeSet, id, jid.JID{}, jid.JID{})
	b = stanza.AppendEnd(append(b, payload...), stanza.IQ)
	if err := n.write(b); err != nil {
		return stanza.Stanza{}, err
	}
	for {
		el, err := n.element(ctx, &n.h)
		if err != nil {
			return stanza.Stanza{}, err
		}
		st, err := stanza.Parse(el)
		switch {
		case err == stanza.ErrNotStanza:
			return st, stream.NewError("unsupported-stanza-type")
		case st.Kind != stanza.IQ || st.ID != id:
			if err := n.keep(n.h.raw); err != nil {
				return st, err
			}
		case st.Type == stanza.TypeError:
			return st, st.Err()
		case err != nil:
			return st, err
		case st.Type == stanza.TypeResult:
			return st, nil
		}
	}
}

// bind asks for the resource (RFC 6120 section 7).
func (n *negotiation) bind(ctx context.Context, f stream.Features) error {
	st, err := n.call(ctx, stream.AppendBind(nil, n.cfg.JID.Resource()))
	if err != nil {
		return fmt.Errorf("binding a resource: %w", err)
	}
	if n.jid, err = stream.ParseBound(st.Payload()); err != nil || n.jid.IsBare() {
		return stream.NewError("bad-format", "the server has bound no address")
	}
	if f.SessionRequired {
		if _, err := n.call(ctx, []byte("<session xmlns='"+stream.NSSession+"'/>")); err != nil {
			return fmt.Errorf("establishing a session: %w", err)
		}
	}
	return nil
}

// managed sends an element of XEP-0198 and returns the one that answers it.
func (n *negotiation) managed(ctx context.Context, m stream.SM) (stream.SM, error) {
	if err := n.write(m.Append(nil)); err != nil {
		return m, err
	}
	for {
		el, err := n.element(ctx, &n.h)
		switch {
		case err != nil:
			return m, err
		case el.Space() == stream.NSSM:
			return stream.ParseSM(el)
		}
		if err := n.keep(n.h.raw); err != nil { // a stanza that came first
			return m, err
		}
	}
}

// manage begins stream management (XEP-0198 section 3). A server that offers it and refuses it is as one without.
func (n *negotiation) manage(ctx context.Context) error {
	m, err := n.managed(ctx, stream.SM{Name: "enable", Resume: true})
	if err != nil || m.Name != "enabled" {
		return err
	}
	n.sm = &management{location: m.Location}
	if m.Resume {
		n.sm.id = m.ID
	}
	return nil
}

// resume goes on with a session (XEP-0198 section 5). If the server does not have it, that is no error.
func (n *negotiation) resume(ctx context.Context, s *Session) (resumed bool, err error) {
	m, err := n.managed(ctx, stream.SM{Name: "resume", ID: s.sm.id, H: s.sm.in.Load()})
	if err != nil || m.Name != "resumed" {
		return false, err
	}
	if err := s.sm.out.Ack(m.H); err != nil {
		return false, err
	}
	n.jid, n.features, n.resumed = s.jid, s.features, true
	n.sm = s.sm
	n.backlog, n.backlogBytes = s.backlog, s.backlogBytes
	var again []byte
	for _, run := range n.sm.out.Take() {
		n.sm.out.Stanza(run.Stanza)
		again = append(again, run.Stanza...)
	}
	return true, n.write(again)
}

// giveUp ends the stream for a reason that is the server's, if it does not come from there.
func (n *negotiation) giveUp(err error) {
	_, ours := errors.AsType[*stream.Error](err)
	if _, broken := errors.AsType[*xmlstream.Error](err); ours || broken {
		n.reject(err)
		return
	}
	_ = n.end(nil) // it is over anyhow
	n.fail(err)
}
