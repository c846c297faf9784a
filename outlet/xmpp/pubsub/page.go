package pubsub

import (
	"slices"

	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// maxList bounds the entries of one answer that is a list: of nodes, of the names of items, of subscriptions or of affiliations.
// What is more is had in pages (XEP-0059).
const maxList = 500

// pageIn returns the page that a request asks for, nil for none.
func pageIn(parent xmlstream.Element) (*rsm.Request, error) {
	set := rsm.Find(parent)
	if set.IsZero() {
		return nil, nil
	}
	page, err := rsm.Parse(set)
	return &page, err
}

// window returns the elements of those of a list that a page asks for, as far as an answer may hold them, and the element set
// that says where they lie: none for a list that is whole, where no page was asked for.
func window[T any](all []T, id func(*T) string, page *rsm.Request, element func(*xmlstream.Builder, *T)) (elements, set []byte, err error) {
	ask := rsm.Page
	if page != nil {
		ask = *page
	}
	from, to, err := cut(len(all), ask, func(name string) int {
		return slices.IndexFunc(all, func(x T) bool { return id(&x) == name })
	})
	if err != nil {
		return nil, nil, err
	}
	parts := make([][]byte, 0, to-from)
	size := 0
	for i := range to - from {
		at := from + i
		if ask.Backward {
			at = to - 1 - i
		}
		var b xmlstream.Builder
		element(&b, &all[at])
		if size += len(b.Bytes()); size > maxAnswer && i > 0 {
			break
		}
		parts = append(parts, b.Bytes())
	}
	if ask.Backward {
		slices.Reverse(parts)
		from = to - len(parts)
	}
	to = from + len(parts)
	if page == nil && len(parts) == len(all) {
		return slices.Concat(parts...), nil, nil
	}
	res := rsm.Result{Index: from, Count: len(all)}
	if from < to {
		res.First, res.Last = id(&all[from]), id(&all[to-1])
	}
	return slices.Concat(parts...), res.Append(nil), nil
}

// cut returns the bounds of a page of n entries. find returns the place of the one with an id, -1 if there is none.
func cut(n int, page rsm.Request, find func(id string) int) (from, to int, err error) {
	at := func(id string) (int, error) {
		if i := find(id); i >= 0 {
			return i, nil
		}
		return 0, stanza.ItemNotFound("the list has nothing of this id")
	}
	most, to := maxList, n
	if page.Max >= 0 {
		most = min(most, page.Max)
	}
	if page.After != "" {
		if from, err = at(page.After); err != nil {
			return 0, 0, err
		}
		from++
	}
	if page.Index >= 0 {
		from = min(page.Index, n)
	}
	if page.Backward {
		if page.Before != "" {
			if to, err = at(page.Before); err != nil {
				return 0, 0, err
			}
		}
		from = max(from, to-most)
	}
	return from, max(from, min(to, from+most)), nil
}
