package mam

import (
	"time"

	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Metadata is the first and the last message of an archive (XEP-0313 section 5). The ids are empty for an empty archive.
type Metadata struct {
	FirstID, LastID string
	First, Last     time.Time
}

// AppendMetadataQuery appends the payload of the IQ get that asks for the metadata.
func AppendMetadataQuery(dst []byte) []byte { return append(dst, "<metadata xmlns='"+NS+"'/>"...) }

// Append appends the element.
func (m Metadata) Append(dst []byte) []byte {
	if m.FirstID == "" {
		return AppendMetadataQuery(dst)
	}
	dst = append(dst, "<metadata xmlns='"+NS+"'><start"...)
	dst = xmlstream.AppendOptional(dst, "id", m.FirstID, "timestamp", delay.FormatTime(m.First))
	dst = append(dst, "/><end"...)
	dst = xmlstream.AppendOptional(dst, "id", m.LastID, "timestamp", delay.FormatTime(m.Last))
	return append(dst, "/></metadata>"...)
}

// ParseMetadata reads the element. The error is a *stanza.Error, bad-request, for another one and for times that are none.
func ParseMetadata(el xmlstream.Element) (m Metadata, err error) {
	if !el.Is(NS, "metadata") {
		return m, stanza.BadRequest("the metadata is missing")
	}
	start, end := el.Child(NS, "start"), el.Child(NS, "end")
	if start.IsZero() || end.IsZero() {
		return m, nil
	}
	m.FirstID, m.LastID = start.Attr("id"), end.Attr("id")
	if m.First, err = delay.ParseTime(start.Attr("timestamp")); err == nil {
		m.Last, err = delay.ParseTime(end.Attr("timestamp"))
	}
	if err != nil {
		return Metadata{}, stanza.BadRequest("the metadata has a time that is none")
	}
	return m, nil
}

// What an archive keeps where no list says otherwise (XEP-0441).
const (
	Always = "always"
	Never  = "never"
	Roster = "roster"
)

// Prefs are what an account wants its archive to keep (XEP-0441).
type Prefs struct {
	Default       string
	Always, Never []jid.JID
}

// ParsePrefs reads the element prefs of an IQ set. The error is a *stanza.Error: bad-request for an unknown default, jid-malformed.
func ParsePrefs(el xmlstream.Element) (p Prefs, err error) {
	switch p.Default = el.Attr("default"); p.Default {
	case Always, Never, Roster:
	default:
		return p, stanza.BadRequest("the default is always, never or roster")
	}
	if p.Always, err = addresses(el.Child(NS, "always")); err != nil {
		return p, err
	}
	p.Never, err = addresses(el.Child(NS, "never"))
	return p, err
}

func addresses(list xmlstream.Element) (js []jid.JID, err error) {
	if list.IsZero() {
		return nil, nil
	}
	for c := range list.Children() {
		if !c.Is(NS, "jid") {
			continue
		}
		j, err := jid.Parse(c.Text())
		if err != nil {
			return nil, stanza.JIDMalformed("an address in the preferences is none")
		}
		js = append(js, j)
	}
	return js, nil
}

// Append appends the element prefs.
func (p Prefs) Append(dst []byte) []byte {
	dst = append(dst, "<prefs xmlns='"+NS+"'"...)
	dst = xmlstream.AppendOptional(dst, "default", p.Default)
	dst = append(dst, "><always>"...)
	dst = appendAddresses(dst, p.Always)
	dst = append(dst, "</always><never>"...)
	dst = appendAddresses(dst, p.Never)
	return append(dst, "</never></prefs>"...)
}

func appendAddresses(dst []byte, js []jid.JID) []byte {
	for _, j := range js {
		dst = append(dst, "<jid>"...)
		dst = xmlstream.AppendText(dst, j.String())
		dst = append(dst, "</jid>"...)
	}
	return dst
}
