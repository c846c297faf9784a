// Package rsm reads and writes the pages of result sets (XEP-0059).
package rsm

import (
	"strconv"

	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// NS is the namespace of result set management.
const NS = "http://jabber.org/protocol/rsm"

// Request asks for one page.
type Request struct {
	Max      int    // items; -1 where the requester leaves it open; 0 asks for the count only
	After    string // the page that follows this item; "" from the beginning
	Before   string // the page that ends before this item
	Backward bool   // before was given: the page is the last one of what lies before Before, which may be empty for the end
	Index    int    // the page that begins at this item, counted from 0; -1 if it was not given
}

// Page asks for a page of the service's choice from the beginning: what a request without a set means.
var Page = Request{Max: -1, Index: -1}

// Find returns the set that an element has as its child; the zero Element if it has none.
func Find(parent xmlstream.Element) xmlstream.Element { return parent.Child(NS, "set") }

// Parse reads a request; that of the zero Element is Page. The error is a *stanza.Error, bad-request: for numbers that are
// none or negative, and for after, before and index that contradict each other.
func Parse(set xmlstream.Element) (Request, error) {
	r := Page
	if set.IsZero() {
		return r, nil
	}
	var err error
	if el := set.Child(NS, "max"); !el.IsZero() {
		if r.Max, err = number(el.Text()); err != nil {
			return Page, err
		}
	}
	if el := set.Child(NS, "index"); !el.IsZero() {
		if r.Index, err = number(el.Text()); err != nil {
			return Page, err
		}
	}
	r.After = set.Child(NS, "after").Text()
	if el := set.Child(NS, "before"); !el.IsZero() {
		r.Backward, r.Before = true, el.Text()
	}
	if r.Index >= 0 && (r.Backward || r.After != "") {
		return Page, stanza.BadRequest("a page has either an index or a neighbour")
	}
	return r, nil
}

func number(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, stanza.BadRequest("max or index is not a number of items")
	}
	return int(n), nil
}

// Append appends the request as a set.
func (r Request) Append(dst []byte) []byte {
	dst = append(dst, "<set xmlns='"+NS+"'>"...)
	if r.Max >= 0 {
		dst = appendNumber(dst, "max", r.Max)
	}
	if r.Index >= 0 {
		dst = appendNumber(dst, "index", r.Index)
	}
	if r.After != "" {
		dst = appendText(dst, "after", r.After)
	}
	if r.Backward {
		dst = appendText(dst, "before", r.Before)
	}
	return append(dst, "</set>"...)
}

// Result says where a page lies in the whole.
type Result struct {
	First, Last string // items of the page; "" for an empty page
	Index       int    // of First in the whole, counted from 0; -1 where it is not known
	Count       int    // items in the whole; -1 where it is not known
}

// Append appends the result as a set.
func (r Result) Append(dst []byte) []byte {
	dst = append(dst, "<set xmlns='"+NS+"'>"...)
	if r.First != "" {
		dst = append(dst, "<first"...)
		if r.Index >= 0 {
			dst = append(dst, " index='"...)
			dst = strconv.AppendInt(dst, int64(r.Index), 10)
			dst = append(dst, '\'')
		}
		dst = append(dst, '>')
		dst = xmlstream.AppendText(dst, r.First)
		dst = append(dst, "</first>"...)
		dst = appendText(dst, "last", r.Last)
	}
	if r.Count >= 0 {
		dst = appendNumber(dst, "count", r.Count)
	}
	return append(dst, "</set>"...)
}

// ParseResult reads the set of an answer. Numbers that are none count as not known.
func ParseResult(set xmlstream.Element) Result {
	r := Result{Index: -1, Count: -1}
	if set.IsZero() {
		return r
	}
	first := set.Child(NS, "first")
	r.First, r.Last = first.Text(), set.Child(NS, "last").Text()
	if n, err := number(first.Attr("index")); err == nil {
		r.Index = n
	}
	if n, err := number(set.Child(NS, "count").Text()); err == nil {
		r.Count = n
	}
	return r
}

func appendText(dst []byte, name, s string) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	dst = xmlstream.AppendText(dst, s)
	return append(append(append(dst, "</"...), name...), '>')
}

func appendNumber(dst []byte, name string, n int) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(append(append(dst, "</"...), name...), '>')
}
