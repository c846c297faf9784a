package dial

import (
	"time"

	"tidings/xmpp/delay"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Namespaces of what every client is asked.
const (
	nsPing    = "urn:xmpp:ping"     // XEP-0199
	nsVersion = "jabber:iq:version" // XEP-0092
	nsTime    = "urn:xmpp:time"     // XEP-0202
)

// Ping is the payload of a request that asks whether the other side is there (XEP-0199).
const Ping = "<ping xmlns='" + nsPing + "'/>"

// answer answers a request, so that everyone who asks gets an answer (RFC 6120 section 8.2.3).
func (c *Conn) answer(st *stanza.Stanza) error {
	if c.cfg.Handle != nil && c.cfg.Handle(c, st) {
		return nil
	}
	payload := st.Payload()
	var b xmlstream.Builder
	switch get := st.Type == stanza.TypeGet; {
	case get && payload.Is(nsPing, "ping"):
	case get && payload.Is(nsVersion, "query"):
		b.Open("query", "xmlns", nsVersion).TextElement("name", c.cfg.Software.Name).TextElement("version", c.cfg.Software.Version).Close()
	case get && payload.Is(nsTime, "time"):
		now := time.Now()
		b.Open("time", "xmlns", nsTime).TextElement("tzo", now.Format("-07:00")).TextElement("utc", delay.FormatTime(now)).Close()
	case get && payload.Is(disco.NSInfo, "query") && payload.Attr("node") == "":
		b.Raw((&disco.Info{
			Identities: []disco.Identity{c.cfg.Software.Identity},
			Features:   append([]string{disco.NSInfo, nsPing, nsVersion, nsTime}, c.cfg.Software.Features...),
		}).Append(nil))
	case get && payload.Is(disco.NSItems, "query") && payload.Attr("node") == "":
		b.Raw(disco.AppendItems(nil, "", nil, nil))
	case payload.Is(disco.NSInfo, "query") || payload.Is(disco.NSItems, "query"):
		return c.send(st.AppendError(nil, stanza.ItemNotFound()))
	default:
		return c.send(st.AppendError(nil, stanza.ServiceUnavailable()))
	}
	return c.send(st.AppendResult(nil, b.Bytes()))
}

// ping asks the server whether it is there: by stream management, or by a ping, whose answer is for nobody.
func (c *Conn) ping() error {
	if c.sm != nil {
		return c.write([]byte(stream.Request))
	}
	b := stanza.AppendStart(nil, stanza.IQ, stanza.TypeGet, pingID, jid.JID{}, c.cfg.JID.DomainJID())
	return c.send(stanza.AppendEnd(append(b, Ping...), stanza.IQ))
}

// pingID is the id of pings; no other request has one like it.
const pingID = "ping"
