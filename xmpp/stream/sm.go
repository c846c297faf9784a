package stream

import (
	"strconv"

	"tidings/xmpp/xmlstream"
)

// NSSM is the namespace of stream management (XEP-0198).
const NSSM = "urn:xmpp:sm:3"

// SM is an element of stream management, as it was received. The fields that its Name does not use are zero.
type SM struct {
	Name      string // enable, enabled, resume, resumed, r, a or failed
	ID        string // of enabled; previd of resume and resumed
	Resume    bool   // of enable and enabled
	Max       uint32 // seconds, of enable and enabled; 0 where the peer leaves it open
	Location  string // of enabled: where to connect for resumption
	H         uint32 // of resume, resumed, a, and of failed if HasH
	HasH      bool
	Condition string // of failed: a condition of stanza errors, such as item-not-found
}

// ParseSM reads an element in the namespace NSSM. The error is an *Error for the stream: bad-format for a count or an id that
// is missing or none, unsupported-stanza-type for an element that is not one of XEP-0198.
func ParseSM(el xmlstream.Element) (SM, error) {
	s := SM{Name: el.Name()}
	if el.Space() != NSSM {
		return s, NewError("unsupported-stanza-type")
	}
	if el.HasAttr("h") {
		h, err := strconv.ParseUint(el.Attr("h"), 10, 32)
		if err != nil {
			return s, NewError("bad-format", "h is not a count")
		}
		s.H, s.HasH = uint32(h), true
	}
	switch s.Name {
	case "r":
	case "a":
		if !s.HasH {
			return s, NewError("bad-format", "an acknowledgement needs h")
		}
	case "enable", "enabled":
		switch el.Attr("resume") {
		case "true", "1":
			s.Resume = true
		}
		if v := el.Attr("max"); v != "" {
			secs, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return s, NewError("bad-format", "max is not a number of seconds")
			}
			s.Max = uint32(secs)
		}
		if s.Name == "enabled" {
			s.ID, s.Location = el.Attr("id"), el.Attr("location")
		}
	case "resume", "resumed":
		s.ID = el.Attr("previd")
		if s.ID == "" || !s.HasH {
			return s, NewError("bad-format", s.Name+" needs previd and h")
		}
	case "failed":
		s.Condition = "undefined-condition"
		for c := range el.Children() {
			if c.Space() == nsStanzas && c.Name() != "text" {
				s.Condition = c.Name()
				break
			}
		}
	default:
		return s, NewError("unsupported-stanza-type")
	}
	return s, nil
}

// nsStanzas is the namespace of the conditions that failed holds.
const nsStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

// Append appends the element.
func (s SM) Append(dst []byte) []byte {
	dst = xmlstream.AppendTag(dst, s.Name, "xmlns", NSSM)
	h := s.HasH
	switch s.Name {
	case "enable", "enabled":
		dst = xmlstream.AppendOptional(dst, "id", s.ID, "location", s.Location)
		if s.Max > 0 {
			dst = xmlstream.AppendPairs(dst, "max", strconv.FormatUint(uint64(s.Max), 10))
		}
		if s.Resume {
			dst = xmlstream.AppendPairs(dst, "resume", "true")
		}
	case "resume", "resumed":
		h = true
		dst = xmlstream.AppendPairs(dst, "previd", s.ID)
	case "a":
		h = true
	}
	if h {
		dst = append(dst, " h='"...)
		dst = strconv.AppendUint(dst, uint64(s.H), 10)
		dst = append(dst, '\'')
	}
	if s.Name == "failed" && s.Condition != "" {
		dst = xmlstream.AppendTag(append(dst, '>'), s.Condition, "xmlns", nsStanzas)
		return append(dst, "/></failed>"...)
	}
	return append(dst, "/>"...)
}

// Request is the element that asks for an acknowledgement, as it is written over TCP and WebSocket alike.
const Request = "<r xmlns='" + NSSM + "'/>"

// AppendAnswer appends an acknowledgement of h stanzas, mod 2^32.
func AppendAnswer(dst []byte, h uint32) []byte {
	dst = append(dst, "<a xmlns='"+NSSM+"' h='"...)
	dst = strconv.AppendUint(dst, uint64(h), 10)
	return append(dst, "'/>"...)
}
