package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"tidings"
	"tidings/xmpp/dataform"
	"tidings/xmpp/delay"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// publisher is the session that Publish uses over XMPP.
type publisher struct {
	mu      sync.Mutex // held while it is made
	conn    *dial.Conn // nil if there is none
	service jid.JID
}

// Close ends the connection that Publish has kept over XMPP, if there is one. The client can be used again; over HTTP there is
// nothing to close.
func (c *Client) Close() error {
	c.publisher.mu.Lock()
	defer c.publisher.mu.Unlock()
	conn := c.publisher.conn
	c.publisher.conn = nil
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// publishing returns the session, which is made if there is none that works.
func (c *Client) publishing(ctx context.Context) (*dial.Conn, jid.JID, error) {
	p := &c.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil && p.conn.Err() == nil {
		return p.conn, p.service, nil
	}
	p.conn = nil
	conn, err := dial.Dial(ctx, c.dialConfig())
	if err != nil {
		return nil, jid.JID{}, err
	}
	service, err := c.service(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, jid.JID{}, err
	}
	p.conn, p.service = conn, service
	return conn, service, nil
}

// publishXMPP publishes an item (XEP-0060 section 7.1).
func (c *Client) publishXMPP(ctx context.Context, topic tidings.Topic, p Publication) (Receipt, error) {
	node := c.xmpp.node
	if topic != "" {
		if _, err := tidings.ParseTopic(string(topic)); err != nil {
			return Receipt{}, err
		}
		node = topic.Node()
	}
	if node == "" {
		return Receipt{}, tidings.Errorf(tidings.ErrInvalid, "client: no topic is given, and the address names no node: want one such as xmpp://ann@example.org/pubsub.example.org?;node=/news/local")
	}
	var err error
	if topic, err = tidings.TopicOfNode(node); err != nil {
		return Receipt{}, err
	}
	if p.ContentType == "" && p.Payload != nil {
		p.ContentType = typeJSON
	}
	if p.ID = cmp.Or(p.ID, p.Key); p.ID == "" {
		p.ID = rand.Text()
	}
	now := time.Now()
	if _, err := appendPayload(nil, &p, jid.JID{}, node, now); err != nil {
		return Receipt{}, err
	}
	r := Receipt{ID: p.ID, Topic: topic}
	sent := false
	err = c.attempt(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		conn, service, err := c.publishing(ctx)
		if err != nil {
			return publishError(err)
		}
		payload, err := appendPayload(nil, &p, service, node, now)
		if err != nil {
			return err
		}
		if sent {
			switch has, err := hasItem(ctx, conn, service, node, p.ID, payload); {
			case err != nil:
				return publishError(err)
			case has:
				return nil
			}
		}
		sent = true
		ans, err := conn.Request(ctx, stanza.TypeSet, service, publishRequest(node, &p, payload))
		if e, ok := errors.AsType[*xmppstream.Error](err); ok && e.Condition == "policy-violation" && len(payload) > smallStanza {
			return tidings.Errorf(tidings.ErrTooLarge, "client: an item of %d bytes is too large for %s: %w", len(payload), service.Domain(), err)
		}
		if err != nil {
			return publishError(err)
		}
		r.ID = cmp.Or(ans.Payload().Child(nsPubSub, "publish").Child(nsPubSub, "item").Attr("id"), r.ID)
		return nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return r, nil
}

// smallStanza is the size in bytes of stanzas that every server takes (RFC 6120 section 13.12).
const smallStanza = 10_000

// publishError gives an error of a session its kind. Time that ran out is no reason to give up.
func publishError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return tidings.Errorf(tidings.ErrUnavailable, "client: the service has not answered in time: %w", err)
	}
	return xmppError(err)
}

// publishRequest returns the payload of the request.
func publishRequest(node string, p *Publication, payload []byte) []byte {
	var b xmlstream.Builder
	b.Open("pubsub", "xmlns", nsPubSub).Open("publish", "node", node).Open("item", "id", p.ID).Raw(payload).Close().Close()
	if len(p.Options) > 0 {
		f := dataform.New(dataform.TypeSubmit, nsPubSub+"#publish-options")
		for _, name := range slices.Sorted(maps.Keys(p.Options)) {
			f.Add("pubsub#"+strings.TrimPrefix(name, "pubsub#"), "", p.Options[name])
		}
		b.Open("publish-options").Raw(f.Append(nil)).Close()
	}
	return b.Close().Bytes()
}

// hasItem reports whether a node has an item with a payload (section 6.5.8). A service that does not tell has not.
func hasItem(ctx context.Context, conn *dial.Conn, service jid.JID, node, id string, payload []byte) (bool, error) {
	var b xmlstream.Builder
	b.Open("pubsub", "xmlns", nsPubSub).Open("items", "node", node).Empty("item", "id", id).Close().Close()
	ans, err := conn.Request(ctx, stanza.TypeGet, service, b.Bytes())
	if e, ok := errors.AsType[*stanza.Error](err); ok && e.Type != stanza.Wait {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for c := range ans.Payload().Child(nsPubSub, "items").Children() {
		if c.Is(nsPubSub, "item") && c.Attr("id") == id {
			if c.First().IsZero() {
				return len(payload) == 0, nil
			}
			var d xmlstream.Document
			want, err := d.Parse(payload, xmlstream.NewContext(nsPubSub))
			return err == nil && sameElement(want, c.First()), nil
		}
	}
	return false, nil
}

// sameElement reports whether two elements say the same.
func sameElement(a, b xmlstream.Element) bool {
	if !a.Is(b.Space(), b.Name()) || a.Text() != b.Text() {
		return false
	}
	attrs := map[xmlstream.Attr]bool{}
	for at := range a.Attrs() {
		attrs[at] = true
	}
	for at := range b.Attrs() {
		if !attrs[at] {
			return false
		}
		delete(attrs, at)
	}
	x, y := a.First(), b.First()
	for !x.IsZero() && !y.IsZero() && sameElement(x, y) {
		x, y = x.Next(), y.Next()
	}
	return len(attrs) == 0 && x.IsZero() && y.IsZero()
}

// appendPayload appends what an item carries. Errors are of kind tidings.ErrInvalid: what is no JSON, or no XML that a stream
// can hold.
func appendPayload(dst []byte, p *Publication, service jid.JID, node string, now time.Time) ([]byte, error) {
	media, _, err := mime.ParseMediaType(p.ContentType)
	switch {
	case p.ContentType == "" && len(p.Payload) == 0:
		return dst, nil
	case err != nil:
		return nil, tidings.Errorf(tidings.ErrInvalid, "client: the content type %q: %w", p.ContentType, err)
	case isJSON(p.ContentType) || media == "text/json":
		if !json.Valid(p.Payload) {
			return nil, tidings.Errorf(tidings.ErrInvalid, "client: the payload is no JSON, as %s is", p.ContentType)
		}
		dst = xmlstream.AppendText(append(dst, "<json xmlns='"+nsJSON+"'>"...), p.Payload)
		return append(dst, "</json>"...), nil
	case media == "text/xml" || media == "application/xml" || strings.HasSuffix(media, "+xml"):
		var d xmlstream.Document
		el, err := d.Parse(bareXML(p.Payload), nil)
		if err != nil {
			return nil, tidings.Errorf(tidings.ErrInvalid, "client: the payload is no XML that a stream can hold, without comments, processing instructions and a DTD: %w", err)
		}
		return el.AppendXML(dst, nsPubSub), nil
	}
	dst = xmlstream.AppendText(append(dst, "<entry xmlns='"+nsAtom+"'><id>"...), itemURI(service, node, p.ID))
	dst = xmlstream.AppendText(append(dst, "</id><title>"...), p.ID)
	dst = delay.AppendTime(append(dst, "</title><updated>"...), now)
	dst = append(dst, "</updated><content"...)
	if strings.HasPrefix(media, "text/") && media != "text/html" && isText(p.Payload) {
		dst = xmlstream.AppendText(append(dst, '>'), p.Payload)
	} else {
		dst = append(xmlstream.AppendAttr(append(dst, " type='"...), media), "'>"...)
		dst = base64.StdEncoding.AppendEncode(dst, p.Payload)
	}
	return append(dst, "</content></entry>"...), nil
}

// isText reports whether XML has all of the characters (XML 1.0 section 2.2).
func isText(p []byte) bool {
	return utf8.Valid(p) && bytes.IndexFunc(p, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
	}) < 0
}

// bareXML returns XML without a byte order mark and the XML declaration.
func bareXML(p []byte) []byte {
	p = bytes.TrimSpace(bytes.TrimPrefix(p, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(p, []byte("<?xml")) {
		if _, rest, ok := bytes.Cut(p, []byte("?>")); ok {
			p = bytes.TrimSpace(rest)
		}
	}
	return p
}
