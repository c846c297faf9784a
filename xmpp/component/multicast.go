package component

import (
	"bytes"

	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// The namespace of addresses (XEP-0033), and the feature of a server that distributes messages as Options.Multicast needs it, which
// XEP-0033 does not promise.
const (
	nsAddress    = "http://jabber.org/protocol/address"
	nsDistribute = "urn:tidings:multicast"
)

const (
	maxAddresses    = 64       // of one stanza; the server takes 100
	maxAddressBytes = 16 << 10 // of the addresses of one stanza, but for the last of them
	maxShared       = 16 << 10 // bytes of a message with addresses: the server's limit shall not be met because of those

	addressesBegin = "<addresses xmlns='" + nsAddress + "'>"
	addressBegin   = "<address type='bcc' jid="
	addressEnd     = "/>"
	addressesEnd   = "</addresses>"

	messageBegin = "<message to=" // of a member's head, before the quoted address
	messageEnd   = "</message>"
)

// multicast is what the link knows of the server's distributing messages for many addresses (Options.Multicast).
type multicast struct {
	to      jid.JID // where such messages go: a resource of the server that nobody else knows, so that its errors are told from all others
	head    string  // as a member's
	asked   string  // id of the question whether the server does; empty if none is open
	on      bool    // it does
	refused bool    // it said so and did not: the next connection goes without
	list    []byte  // the addresses of one message
}

func newMulticast(host jid.JID) (multicast, error) {
	to, err := host.WithResource("multicast-" + stream.NewID())
	return multicast{to: to, head: headFor(to)}, err
}

// ask asks the server whether it distributes messages, before any is sent that way.
func (m *multicast) ask(l *Link) {
	m.on, m.asked = false, ""
	l.distributes.Store(false)
	if l.opt.Multicast && !m.refused {
		m.asked = l.pingID + "-addresses"
		b := stanza.AppendStart(nil, stanza.IQ, stanza.TypeGet, m.asked, l.domain, l.host)
		l.reply(stanza.AppendEnd(disco.AppendInfoQuery(b, ""), stanza.IQ))
	}
	m.refused = false
}

// answered takes the answer, if the stanza is it.
func (m *multicast) answered(l *Link, st *stanza.Stanza) bool {
	if m.asked == "" || st.ID != m.asked {
		return false
	}
	m.asked = ""
	if st.Type == stanza.TypeResult {
		info, err := disco.ParseInfo(st.Payload())
		m.on = err == nil && info.Has(nsDistribute)
	}
	if l.distributes.Store(m.on); !m.on {
		l.note("each address has a stanza of its own", ErrMulticast, "hint", "load mod_multicast in Prosody, or leave out multicast")
	}
	return true
}

// refuses reports whether a stanza says that the server has not distributed a message.
func (m *multicast) refuses(st *stanza.Stanza) bool {
	if !m.on || st.Kind != stanza.Message || st.Type != stanza.TypeError || st.From != m.to {
		return false
	}
	m.refused = true
	return true
}

// takes reports whether a message may be sent that way. The addresses have their place behind all else in it.
func (m *multicast) takes(message []byte) bool {
	return m.on && len(message) <= maxShared && bytes.HasSuffix(message, []byte(messageEnd))
}

// give appends the strand's round for the first of these members, each message once. It returns for how many.
func (m *multicast) give(b []byte, s *strand, members []member) ([]byte, int) {
	n := 0
	list := append(m.list[:0], addressesBegin...)
	for n < len(members) && n < maxAddresses && len(list) < maxAddressBytes {
		list = append(append(append(list, addressBegin...), members[n].head[len(messageBegin):]...), addressEnd...)
		n++
	}
	m.list = append(append(list, addressesEnd...), messageEnd...)
	at := 0
	for _, end := range s.ends {
		b = append(append(b, m.head...), s.round[at+1:end-len(messageEnd)]...)
		b = append(b, m.list...)
		at = end
	}
	return b, n
}

// copies returns how many stanzas a message for so many is.
func (m *multicast) copies(members int) int { return (members + maxAddresses - 1) / maxAddresses }
