package client

import (
	"crypto/sha256"
	"fmt"

	"tidings"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// list is what is known of the items of a node whose service keeps no archive. It takes the place of one as far as it can: what
// is in the node after an interruption and was not before is told, in the order in which the service has it. What was replaced
// or retracted meanwhile cannot be known. Where none of the items is left that were there, others may have come and gone, and
// that is a gap.
type list struct {
	reading bool
	useless bool // the service does not tell the items, or there are too many
	page    []saying

	items map[string]*listed // by id: what the node has, as far as is known
	order []*listed          // from the one that came first; those that others have replaced are among them
	// told has the items that were read from the service and whose notification may still come, or is held.
	told map[string]bool
}

// listed is an item.
type listed struct {
	id     string
	digest [sha256.Size]byte
	gone   bool
}

// maxListed bounds the items that are remembered.
const maxListed = 10_000

func digestOf(e *Event) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(e.ContentType+"\x00"), e.Payload...))
}

func (l *list) clear() { l.items, l.order = map[string]*listed{}, nil }

// put remembers an item, and reports whether it was not known like that.
func (l *list) put(e *Event) bool {
	it := &listed{id: e.ID, digest: digestOf(e)}
	was := l.items[it.id]
	l.drop(it.id)
	l.items[it.id] = it
	l.order = append(l.order, it)
	for len(l.order) > 2*maxListed || len(l.items) > maxListed {
		first := l.order[0]
		l.order[0] = nil
		if l.order = l.order[1:]; !first.gone {
			delete(l.items, first.id)
		}
	}
	return was == nil || was.digest != it.digest
}

func (l *list) drop(id string) {
	if was := l.items[id]; was != nil {
		was.gone = true
		delete(l.items, id)
	}
}

// fresh takes what has been notified, and reports whether it has not been told.
func (l *list) fresh(m *saying) bool {
	e := &m.event
	if l.useless {
		return true
	}
	if e.Kind == tidings.Retract {
		l.drop(e.ID)
		return true
	}
	changed := l.put(e)
	read := l.told[e.ID]
	if !m.old { // else it is the last item, which some services send to who subscribes
		delete(l.told, e.ID)
	}
	return changed || !read
}

// readList begins where there is no archive (section 6.5).
func (n *node) readList() error {
	if n.list == nil {
		n.list = &list{}
		n.list.clear()
	}
	if !n.known && !n.s.from.time.IsZero() {
		return tidings.Errorf(tidings.ErrInvalid, "client: %s keeps no archive (XEP-0442), so that nothing can be read from a time on", n.name)
	}
	if n.list.useless {
		return n.unlisted()
	}
	n.list.page, n.list.told = nil, nil
	return n.askList("")
}

// askList asks for a page of the items behind one. A service that has no pages answers with all of them.
func (n *node) askList(after string) error {
	n.state, n.list.reading = asking, true
	n.query = xmppstream.NewID()
	var b xmlstream.Builder
	b.Open("pubsub", "xmlns", nsPubSub).Empty("items", "node", n.node)
	b.Raw(rsm.Request{Max: pageSize, Index: -1, After: after}.Append(nil)).Close()
	return n.send(stanza.IQ, stanza.TypeGet, n.query, n.jid, b.Bytes())
}

// listed takes a page of items.
func (n *node) listed(st *stanza.Stanza) error {
	l := n.list
	n.query, l.reading = "", false
	if st.Type == stanza.TypeError {
		e := st.Err()
		if e.Type == stanza.Wait {
			return fmt.Errorf("the items of %s: %w", n.name, e)
		}
		l.useless = true
		return n.unlisted()
	}
	items, count := st.Payload().Child(nsPubSub, "items"), 0
	for c := range items.Children() {
		if !c.Is(nsPubSub, "item") {
			continue
		}
		e := itemOf(c, n.jid, n.node)
		e.Topic, _ = tidings.TopicOfNode(n.node)
		l.page = append(l.page, saying{event: e})
		count++
	}
	page := rsm.ParseResult(rsm.Find(st.Payload()))
	more := count > 0 && page.Last != "" && (page.Index < 0 || page.Count < 0 || page.Index+count < page.Count)
	switch {
	case len(l.page) > maxListed:
		l.useless = true
		return n.unlisted()
	case more:
		return n.askList(page.Last)
	}
	return n.compare()
}

// compare tells what is in the node and was not.
func (n *node) compare() error {
	l := n.list
	page := l.page
	l.page, l.told = nil, map[string]bool{}
	for i := range page {
		l.told[page[i].event.ID] = true
	}
	was := l.items
	l.clear()
	tell := 0 // from there on
	switch {
	case n.known:
		kept := len(was) == 0 && len(page) == 0
		for i := range page {
			old := was[page[i].event.ID]
			if kept = kept || old != nil && old.digest == digestOf(&page[i].event); kept {
				break
			}
		}
		if !kept {
			if err := n.s.emit(Event{}, &tidings.GapError{}); err != nil {
				return err
			}
		}
	case n.s.from.id == "":
		tell = len(page)
	default:
		found := false
		for i := range page {
			if page[i].event.ID == n.s.from.id {
				tell, found = i+1, true
			}
		}
		if !found {
			if err := n.s.emit(Event{}, &tidings.GapError{}); err != nil {
				return err
			}
		}
	}
	n.known = true
	var late []string // whose notification may come behind those that are held
	for i := range page {
		e := &page[i].event
		l.put(e)
		if old := was[e.ID]; i < tell || old != nil && old.digest == digestOf(e) {
			continue
		}
		late = append(late, e.ID)
		if err := n.s.emit(*e, nil); err != nil {
			return err
		}
	}
	if n.dropped { // more was said meanwhile than is held
		n.dropped = false
		return n.readList()
	}
	if err := n.begin(); err != nil {
		return err
	}
	held := l.told
	l.told = map[string]bool{}
	for _, id := range late {
		if held[id] {
			l.told[id] = true
		}
	}
	return nil
}

// unlisted begins where the items cannot be read either: what is said while nobody listens is lost.
func (n *node) unlisted() error {
	switch {
	case !n.known && n.s.from.id != "":
		return tidings.Errorf(tidings.ErrInvalid, "client: %s keeps no archive (XEP-0442), and its items cannot be read: there is nothing to go on from", n.name)
	case n.known || n.dropped:
		if err := n.s.emit(Event{}, &tidings.GapError{}); err != nil {
			return err
		}
	default: // the last item, which some services send to who subscribes, is not new
		held := n.held[:0]
		for _, m := range n.held {
			if !m.old {
				held = append(held, m)
			}
		}
		n.held = held
	}
	n.known, n.dropped = true, false
	return n.begin()
}
