package dial

import (
	"bytes"
	"context"
	"fmt"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Next returns the next stanza that is for the caller: everything but answers to Request and requests that are answered
// inside. It is valid until the next call of Next. When ctx ends the connection goes on; any other error is final and is
// returned again.
func (c *Conn) Next(ctx context.Context) (stanza.Stanza, error) {
	for {
		if raw := c.kept(); raw != nil {
			c.held.raw = raw
			el, err := c.parse(&c.held)
			if err != nil { // it was parsed before
				return stanza.Stanza{}, c.fail(err)
			}
			if st, err := stanza.Parse(el); err == nil {
				return st, nil
			}
			c.refused.Add(1)
			continue
		}
		select {
		case <-c.arrived:
			continue
		case <-ctx.Done():
			return stanza.Stanza{}, context.Cause(ctx)
		case c.reading <- struct{}{}:
		}
		var st stanza.Stanza
		var err error
		found := c.idle()
		if found {
			st, err = c.take(ctx, &c.held, nil)
		}
		<-c.reading
		if found {
			return st, err
		}
	}
}

// idle reports whether nothing is in the backlog.
func (c *Conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.backlog) == 0
}

// take reads until there is a stanza for Next, or until the answer that the one who reads waits for has come; then the stanza
// has no Element. All else is answered or handed over.
func (c *Conn) take(ctx context.Context, h *held, until *asked) (stanza.Stanza, error) {
	for {
		if err := c.Err(); err != nil {
			return stanza.Stanza{}, err
		}
		el, err := c.element(ctx, h)
		if err != nil {
			return stanza.Stanza{}, err
		}
		if el.Space() == stream.NSSM {
			if err := c.managed(el); err != nil {
				return stanza.Stanza{}, err
			}
			continue
		}
		st, err := stanza.Parse(el)
		if err == stanza.ErrNotStanza {
			return st, c.reject(stream.NewError("unsupported-stanza-type"))
		}
		if c.sm != nil {
			c.sm.in.Add(1)
		}
		if err != nil {
			c.refused.Add(1)
			if e, ok := err.(*stanza.Error); ok && st.Request() && st.ID != "" {
				if err := c.send(st.AppendError(nil, e)); err != nil {
					return st, err
				}
			}
			continue
		}
		switch {
		case st.Request():
			if err := c.answer(&st); err != nil {
				return st, err
			}
		case st.Kind == stanza.IQ && st.ID == pingID && c.from(st.From, c.cfg.JID.DomainJID()): // which says enough
		case st.Kind == stanza.IQ && c.deliver(&st, h):
			if until != nil && len(until.answer) > 0 {
				return stanza.Stanza{}, nil
			}
		default:
			return st, nil
		}
	}
}

// managed takes an element of XEP-0198.
func (c *Conn) managed(el xmlstream.Element) error {
	m, err := stream.ParseSM(el)
	if err != nil {
		return c.reject(err)
	}
	switch {
	case c.sm == nil:
		return c.reject(stream.NewError("unsupported-stanza-type", "stream management has not begun"))
	case m.Name == "r":
		return c.write(stream.AppendAnswer(nil, c.sm.in.Load()))
	case m.Name == "a":
		c.writing.Lock()
		err := c.sm.out.Ack(m.H)
		c.writing.Unlock()
		if err != nil {
			return c.reject(err)
		}
	}
	return nil
}

// Answer is the result of a request. It stays valid.
type Answer struct {
	stanza.Stanza
	held held
}

// Request sends a request, an IQ of type get or set with the payload, and waits for the answer: a result, or a *stanza.Error.
// to is zero for the account's own server. Other stanzas that come meanwhile wait for Next; where too many do, and nobody
// calls that, the error is ErrBacklog.
func (c *Conn) Request(ctx context.Context, typ string, to jid.JID, payload []byte) (*Answer, error) {
	id := stream.NewID()
	a := &asked{to: to, answer: make(chan *Answer, 1)}
	c.mu.Lock()
	c.waiting[id] = a
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	b := stanza.AppendStart(nil, stanza.IQ, typ, id, jid.JID{}, to)
	if err := c.send(stanza.AppendEnd(append(b, payload...), stanza.IQ)); err != nil {
		return nil, err
	}
	for h := new(held); ; {
		select {
		case ans := <-a.answer:
			if ans.Type == stanza.TypeError {
				return nil, ans.Err()
			}
			return ans, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case c.reading <- struct{}{}:
		}
		var err error
		if len(a.answer) == 0 {
			err = c.listen(ctx, h, a)
		}
		<-c.reading
		if err != nil {
			return nil, err
		}
	}
}

// listen reads for Next until the answer has come.
func (c *Conn) listen(ctx context.Context, h *held, a *asked) error {
	for {
		st, err := c.take(ctx, h, a)
		if err != nil || st.Element.IsZero() {
			return err
		}
		if err := c.keep(h.raw); err != nil {
			return fmt.Errorf("waiting for the answer to a request: %w", err)
		}
	}
}

// deliver gives an answer to the request that it is for, and reports whether there is one. An answer has to come from where
// the request went (RFC 6120 section 8.2.3): others could guess the id.
func (c *Conn) deliver(st *stanza.Stanza, h *held) bool {
	c.mu.Lock()
	a := c.waiting[st.ID]
	if a == nil || !c.from(st.From, a.to) {
		c.mu.Unlock()
		return false
	}
	delete(c.waiting, st.ID)
	c.mu.Unlock()
	ans := &Answer{held: held{raw: bytes.Clone(h.raw)}}
	el, err := c.parse(&ans.held) // as it was parsed before
	if err == nil {
		ans.Stanza, err = stanza.Parse(el)
	}
	if err != nil {
		return false
	}
	a.answer <- ans
	return true
}

// from reports whether an answer from an address is one to a request to another. What was sent to nobody, or to the account
// or its server, any of those may answer, or nobody.
func (c *Conn) from(from, to jid.JID) bool {
	if from == to {
		return true
	}
	own := func(j jid.JID) bool { return j.IsZero() || j == c.jid || j == c.jid.Bare() || j == c.jid.DomainJID() }
	return own(to) && own(from)
}
