// Package delay says when a stanza was sent first (XEP-0203), in the times of XMPP (XEP-0082).
package delay

import (
	"strings"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// NS is the namespace of delayed delivery.
const NS = "urn:xmpp:delay"

// layout is DateTime of XEP-0082 section 3.2 with milliseconds, which are left out when there are none.
const layout = "2006-01-02T15:04:05.999Z"

// AppendTime appends a DateTime in UTC (XEP-0082 section 3.2), exact to the millisecond.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, layout) }

// FormatTime returns what AppendTime appends.
func FormatTime(t time.Time) string { return string(AppendTime(nil, t)) }

// ParseTime reads a DateTime (XEP-0082 section 3.2): with a zone, and with a fraction of a second or not.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	return t.UTC(), err
}

// Append appends the element. from is who delayed the stanza and may be zero.
func Append(dst []byte, from jid.JID, stamp time.Time) []byte {
	dst = append(dst, "<delay xmlns='"+NS+"'"...)
	if !from.IsZero() {
		dst = append(dst, " from='"...)
		dst = xmlstream.AppendAttr(dst, from.String())
		dst = append(dst, '\'')
	}
	dst = append(dst, " stamp='"...)
	dst = AppendTime(dst, stamp)
	return append(dst, "'/>"...)
}

// Find returns when the stanza with that element was sent first, and who says so, which is zero where it is not said. ok is
// false if the element has no delay that can be read.
func Find(el xmlstream.Element) (stamp time.Time, from jid.JID, ok bool) {
	d := el.Child(NS, "delay")
	if d.IsZero() {
		return time.Time{}, jid.JID{}, false
	}
	stamp, err := ParseTime(d.Attr("stamp"))
	if err != nil {
		return time.Time{}, jid.JID{}, false
	}
	if s := d.Attr("from"); s != "" {
		if from, err = jid.Parse(s); err != nil {
			from = jid.JID{}
		}
	}
	return stamp, from, true
}
