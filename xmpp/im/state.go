package im

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
)

// account is what is stored of one account. The values are never changed in place: a change is a new one.
type account struct {
	roster  *roster
	blocked []jid.JID
	private map[string]string // XML by namespace, blank, name
	vcard   string            // XML
}

// Kinds of stored state, the first part of a key.
const (
	rosterKey  = "roster/"
	blockKey   = "block/"
	privateKey = "private/"
	vcardKey   = "vcard/"
)

// roster is the contacts of an account (RFC 6121 section 2).
type roster struct {
	V     int       `json:"v"`
	Ver   uint64    `json:"ver"` // the version as clients know it
	Items []contact `json:"items"`
}

// contact is an item of a roster, and the state of the subscriptions between the account and it (RFC 6121 appendix A).
type contact struct {
	JID     string   `json:"jid"` // bare
	Name    string   `json:"name,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	To      bool     `json:"to,omitempty"`     // the account sees the contact's presence
	From    bool     `json:"from,omitempty"`   // the contact sees the account's
	Ask     bool     `json:"ask,omitempty"`    // the account has asked to see it
	In      string   `json:"in,omitempty"`     // content of the contact's request that is not answered; "<>" where it has none
	Hidden  bool     `json:"hidden,omitempty"` // the account has not added it: it is here for In only
	address jid.JID
}

// noContent stands for a request without content, which is not the same as no request.
const noContent = "<>"

// find returns the place of the contact, or -1.
func (r *roster) find(j jid.JID) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(r.Items, func(c contact) bool { return c.address == j })
}

// get returns the contact; the zero contact is one that is not in the roster.
func (r *roster) get(j jid.JID) contact {
	if i := r.find(j); i >= 0 {
		return r.Items[i]
	}
	return contact{}
}

// subscription returns the value of the attribute.
func (c *contact) subscription() string {
	switch {
	case c.To && c.From:
		return "both"
	case c.To:
		return "to"
	case c.From:
		return "from"
	}
	return "none"
}

func (c *contact) equal(d *contact) bool {
	return c.Name == d.Name && slices.Equal(c.Groups, d.Groups) && c.To == d.To && c.From == d.From && c.Ask == d.Ask && c.Hidden == d.Hidden
}

// stored takes what the store has under a key, now or at the beginning; nil is nothing.
func (s *Service) stored(key string, value []byte) {
	kind, local, ok := strings.Cut(key, "/")
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[local]
	if a == nil {
		a = &account{}
		s.accounts[local] = a
	}
	var err error
	switch kind + "/" {
	case rosterKey:
		next := &roster{}
		if value != nil {
			err = next.read(value)
		}
		if err == nil {
			old := a.roster
			a.roster = next
			s.pushRoster(local, old, next)
		}
	case blockKey:
		var next []jid.JID
		if next, err = readBlocked(value); err == nil {
			old := a.blocked
			a.blocked = next
			s.pushBlocked(local, old, next)
		}
	case privateKey:
		a.private = nil
		if value != nil {
			err = json.Unmarshal(value, &a.private)
		}
	case vcardKey:
		a.vcard = string(value)
	}
	if err != nil {
		s.opt.Log.Error("xmpp: skipping stored state that cannot be read", "key", key, "error", err)
	}
	if (a.roster == nil || len(a.roster.Items) == 0 && value == nil) && len(a.blocked) == 0 && len(a.private) == 0 && a.vcard == "" {
		delete(s.accounts, local)
	}
}

func (r *roster) read(value []byte) error {
	if err := json.Unmarshal(value, r); err != nil {
		return err
	}
	for i := range r.Items {
		j, err := jid.Parse(r.Items[i].JID)
		if err != nil {
			return err
		}
		r.Items[i].address = j
	}
	return nil
}

func readBlocked(value []byte) (all []jid.JID, err error) {
	if value == nil {
		return nil, nil
	}
	var texts []string
	if err := json.Unmarshal(value, &texts); err != nil {
		return nil, err
	}
	for _, t := range texts {
		j, err := jid.Parse(t)
		if err != nil {
			return nil, err
		}
		all = append(all, j)
	}
	return all, nil
}

// of returns what is stored of an account, never nil. The caller holds mu.
func (s *Service) of(local string) *account {
	if a := s.accounts[local]; a != nil {
		return a
	}
	return &account{}
}

// changeRoster has f change a copy of an account's roster, and stores it unless f returns an error or changes nothing. When it
// returns, sessions have been told.
func (s *Service) changeRoster(ctx context.Context, local string, f func(r *roster) error) error {
	s.mu.Lock()
	next := roster{V: 1}
	if old := s.of(local).roster; old != nil {
		next.Ver, next.Items = old.Ver, slices.Clone(old.Items)
	}
	before := slices.Clone(next.Items)
	s.mu.Unlock()
	if err := f(&next); err != nil {
		return err
	}
	next.Items = slices.DeleteFunc(next.Items, func(c contact) bool { return c.Hidden && c.In == "" && !c.From })
	if slices.EqualFunc(before, next.Items, func(a, b contact) bool { return a.JID == b.JID && a.In == b.In && a.equal(&b) }) {
		return nil
	}
	if len(next.Items) > s.opt.MaxRoster {
		return stanza.ResourceConstraint(fmt.Sprintf("a roster may have %d contacts", s.opt.MaxRoster))
	}
	next.Ver++
	b, err := json.Marshal(&next)
	if err != nil {
		return err
	}
	return s.opt.Store.Put(ctx, rosterKey+local, b)
}

// contactFor returns the contact in the roster, adding one if it is not there.
func (r *roster) contactFor(j jid.JID) *contact {
	i := r.find(j)
	if i < 0 {
		i = len(r.Items)
		r.Items = append(r.Items, contact{JID: j.String(), address: j})
	}
	return &r.Items[i]
}

// changeBlocked has f change a copy of an account's block list.
func (s *Service) changeBlocked(ctx context.Context, local string, f func(all []jid.JID) []jid.JID) error {
	s.mu.Lock()
	all := slices.Clone(s.of(local).blocked)
	s.mu.Unlock()
	all = f(all)
	if len(all) == 0 {
		return s.opt.Store.Delete(ctx, blockKey+local)
	}
	if len(all) > s.opt.MaxRoster {
		return stanza.ResourceConstraint(fmt.Sprintf("a block list may have %d addresses", s.opt.MaxRoster))
	}
	texts := make([]string, len(all))
	for i, j := range all {
		texts[i] = j.String()
	}
	b, err := json.Marshal(texts)
	if err != nil {
		return err
	}
	return s.opt.Store.Put(ctx, blockKey+local, b)
}

// changePrivate stores private XML under its name.
func (s *Service) changePrivate(ctx context.Context, local, name, value string) error {
	s.mu.Lock()
	all := maps.Clone(s.of(local).private)
	s.mu.Unlock()
	if all == nil {
		all = map[string]string{}
	}
	all[name] = value
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(all); err != nil {
		return err
	}
	if b.Len() > s.opt.MaxStored {
		return stanza.ResourceConstraint(fmt.Sprintf("an account may keep %d bytes of private XML", s.opt.MaxStored))
	}
	return s.opt.Store.Put(ctx, privateKey+local, b.Bytes())
}

// Forget removes all that is stored of an account that is no more, and it from the rosters of others. It may block.
func (s *Service) Forget(ctx context.Context, local string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	gone, err := jid.New(local, s.domain.Domain(), "")
	if err != nil {
		return err
	}
	s.mu.Lock()
	var others []string
	for name, a := range s.accounts {
		if name != local && a.roster.find(gone) >= 0 {
			others = append(others, name)
		}
	}
	s.mu.Unlock()
	for _, name := range others {
		if err := s.changeRoster(ctx, name, func(r *roster) error {
			c := r.contactFor(gone)
			c.To, c.From, c.Ask, c.In = false, false, false, ""
			return nil
		}); err != nil {
			return err
		}
	}
	for _, key := range []string{rosterKey, blockKey, privateKey, vcardKey} {
		if err := s.opt.Store.Delete(ctx, key+local); err != nil {
			return err
		}
	}
	return nil
}
