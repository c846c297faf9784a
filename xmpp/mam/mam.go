// Package mam reads and writes queries of message archives (XEP-0313, with the nodes of XEP-0442).
package mam

import (
	"time"

	"tidings/xmpp/dataform"
	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Namespaces.
const (
	NS         = "urn:xmpp:mam:2"
	NSExtended = NS + "#extended" // before-id, after-id, ids, flip-page and metadata
	NSForward  = "urn:xmpp:forward:0"
)

// Query asks for a page of an archive.
type Query struct {
	ID         string // queryid, which each result repeats; may be empty
	Node       string // of a PubSub service (XEP-0442)
	Start, End time.Time
	With       jid.JID
	AfterID    string // messages between two ids, exclusively
	BeforeID   string
	IDs        []string // these messages, in the archive's order
	FlipPage   bool     // the page's messages come in reverse order
	Page       rsm.Request
}

// ParseQuery reads the query element of an IQ set. The error is a *stanza.Error: bad-request for values that are none,
// feature-not-implemented for a field that no filter here has, so that nobody takes what is not filtered for filtered
// (XEP-0313 section 4.1).
func ParseQuery(el xmlstream.Element) (Query, error) {
	q := Query{ID: el.Attr("queryid"), Node: el.Attr("node"), FlipPage: !el.Child(NS, "flip-page").IsZero()}
	var err error
	if q.Page, err = rsm.Parse(rsm.Find(el)); err != nil {
		return q, err
	}
	x := dataform.Find(el)
	if x.IsZero() {
		return q, nil
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return q, err
	}
	if f.Type != dataform.TypeSubmit || f.FormType() != NS {
		return q, stanza.BadRequest("the filter is a form of type submit with the form type " + NS)
	}
	for i := range f.Fields {
		fd := &f.Fields[i]
		v := fd.Value()
		switch fd.Var {
		case dataform.FormType:
		case "start":
			q.Start, err = delay.ParseTime(v)
		case "end":
			q.End, err = delay.ParseTime(v)
		case "with":
			q.With, err = jid.Parse(v)
		case "after-id":
			q.AfterID = v
		case "before-id":
			q.BeforeID = v
		case "ids":
			q.IDs = fd.Values
		default:
			return q, stanza.FeatureNotImplemented("the archive has no filter by that field")
		}
		if err != nil {
			return q, stanza.BadRequest("the value of " + fd.Var + " cannot be read")
		}
	}
	return q, nil
}

// Append appends the query element.
func (q Query) Append(dst []byte) []byte {
	dst = append(dst, "<query xmlns='"+NS+"'"...)
	dst = xmlstream.AppendOptional(dst, "queryid", q.ID, "node", q.Node)
	dst = append(dst, '>')
	f := dataform.New(dataform.TypeSubmit, NS)
	if !q.Start.IsZero() {
		f.Add("start", "", delay.FormatTime(q.Start))
	}
	if !q.End.IsZero() {
		f.Add("end", "", delay.FormatTime(q.End))
	}
	if !q.With.IsZero() {
		f.Add("with", "", q.With.String())
	}
	if q.AfterID != "" {
		f.Add("after-id", "", q.AfterID)
	}
	if q.BeforeID != "" {
		f.Add("before-id", "", q.BeforeID)
	}
	if len(q.IDs) > 0 {
		f.Add("ids", "", q.IDs...)
	}
	if len(f.Fields) > 1 {
		dst = f.Append(dst)
	}
	if q.Page != rsm.Page {
		dst = q.Page.Append(dst)
	}
	if q.FlipPage {
		dst = append(dst, "<flip-page/>"...)
	}
	return append(dst, "</query>"...)
}

// Form returns the form that says which fields a query may have (XEP-0313 section 4.1.5).
func Form() *dataform.Form {
	f := dataform.New(dataform.TypeForm, NS)
	f.Add("with", dataform.JIDSingle)
	f.Add("start", dataform.TextSingle)
	f.Add("end", dataform.TextSingle)
	f.Add("before-id", dataform.TextSingle)
	f.Add("after-id", dataform.TextSingle)
	f.Add("ids", dataform.ListMulti)
	return f
}

// AppendFields appends the query element that answers an IQ get: the form of Form.
func AppendFields(dst []byte) []byte {
	dst = append(dst, "<query xmlns='"+NS+"'>"...)
	return append(Form().Append(dst), "</query>"...)
}

// AppendResult appends what a message with a result holds (XEP-0313 section 4.2): the archived message, which has to declare
// its namespace, with its id in the archive and the time it came there.
func AppendResult(dst []byte, queryID, id string, stamp time.Time, message []byte) []byte {
	dst = append(dst, "<result xmlns='"+NS+"'"...)
	dst = xmlstream.AppendOptional(dst, "queryid", queryID, "id", id)
	dst = append(dst, "><forwarded xmlns='"+NSForward+"'>"...)
	dst = delay.Append(dst, jid.JID{}, stamp)
	dst = append(dst, message...)
	return append(dst, "</forwarded></result>"...)
}

// Result is one archived message as a client receives it.
type Result struct {
	QueryID string
	ID      string
	Stamp   time.Time // zero if it cannot be read
	Message xmlstream.Element
}

// FindResult returns the result in a message; ok is false if it has none or that forwards nothing.
func FindResult(message xmlstream.Element) (r Result, ok bool) {
	el := message.Child(NS, "result")
	fwd := el.Child(NSForward, "forwarded")
	if el.IsZero() || fwd.IsZero() {
		return r, false
	}
	r = Result{QueryID: el.Attr("queryid"), ID: el.Attr("id")}
	r.Stamp, _, _ = delay.Find(fwd)
	for c := range fwd.Children() {
		if c.Name() == "message" {
			r.Message = c
			return r, true
		}
	}
	return r, false
}

// Fin is the end of a page (XEP-0313 section 4.3): the payload of the IQ result.
type Fin struct {
	Complete bool // nothing follows in the direction of paging
	Unstable bool // what was sent may change
	Page     rsm.Result
}

// Append appends the element.
func (f Fin) Append(dst []byte) []byte {
	dst = append(dst, "<fin xmlns='"+NS+"'"...)
	if f.Complete {
		dst = append(dst, " complete='true'"...)
	}
	if f.Unstable {
		dst = append(dst, " stable='false'"...)
	}
	dst = append(dst, '>')
	return append(f.Page.Append(dst), "</fin>"...)
}

// ParseFin reads the element. The error is a *stanza.Error, bad-request, for another one.
func ParseFin(el xmlstream.Element) (Fin, error) {
	if !el.Is(NS, "fin") {
		return Fin{}, stanza.BadRequest("the end of the page is missing")
	}
	complete, _ := dataform.ParseBool(el.Attr("complete"))
	stable, ok := dataform.ParseBool(el.Attr("stable"))
	return Fin{Complete: complete, Unstable: ok && !stable, Page: rsm.ParseResult(rsm.Find(el))}, nil
}
