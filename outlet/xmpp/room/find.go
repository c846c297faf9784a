package room

import (
	"context"
	"slices"
	"strings"

	"tidings"
	"tidings/xmpp/stanza"
)

// enter returns the room that an occupant is in from now on: r, or another that came to stand for the same meanwhile. leave
// has to be called for it.
func (s *Server) enter(r *room) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.rooms[r.local]; there != nil {
		r = there
	} else {
		s.rooms[r.local] = r
	}
	r.occupants++
	return r
}

func (s *Server) leave(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.occupants--; r.occupants == 0 {
		delete(s.rooms, r.local)
	}
}

// occupantsOf returns how many are in a room, the bot included.
func (s *Server) occupantsOf(local string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[local]; r != nil {
		return r.occupants + 1
	}
	return 1
}

// lookup finds a room without waiting: sure is set if it exists, because somebody is in it or by configuration. If it is
// not, find has to be asked. The error says that no room can have that name, or that the reader may not read it.
func (s *Server) lookup(a tidings.Actor, local string) (t target, sure bool, err error) {
	s.mu.Lock()
	if r := s.rooms[local]; r != nil {
		t, sure = r.target, true
	}
	s.mu.Unlock()
	if sure {
		return t, true, s.may(a, t)
	}
	ts, sure := s.names.candidates(local)
	if len(ts) == 0 && strings.HasPrefix(local, `\2f`) {
		return t, false, stanza.JIDMalformed("the escaped name is neither a topic nor a pattern")
	}
	if sure {
		return ts[0], true, s.may(a, ts[0])
	}
	return t, false, nil
}

func noRoom(local string) error {
	return tidings.Errorf(tidings.ErrNotFound, "there is no room %s: no topic of that name has an event yet", local)
}

// may judges whether the reader may read the topic of a room. Of a room that is a pattern everybody reads what they may.
func (s *Server) may(a tidings.Actor, t target) error {
	if t.topic == "" {
		return nil
	}
	return s.opt.May(a, tidings.ReadAction, t.topic)
}

// find returns what the room stands for: the first that exists and may be read. It asks the journal where that is not known.
func (s *Server) find(ctx context.Context, a tidings.Actor, local string) (target, error) {
	t, sure, err := s.lookup(a, local)
	if sure || err != nil {
		return t, err
	}
	ts, _ := s.names.candidates(local)
	denied := noRoom(local)
	for _, t := range ts {
		// First, so that nobody learns what there is behind a private name.
		if err := s.may(a, t); err != nil {
			denied = err
			continue
		}
		found, err := s.opt.Topics(ctx, tidings.PatternOf(t.topic))
		if err != nil {
			return target{}, err
		}
		if len(found) > 0 {
			return t, nil
		}
	}
	topic, ok, err := s.wiki(ctx, local)
	if err != nil {
		return target{}, err
	}
	if ok {
		t := topicTarget(local, topic)
		return t, s.may(a, t)
	}
	return target{}, denied
}

// wiki returns the topic of the wiki with that id.
func (s *Server) wiki(ctx context.Context, id string) (t tidings.Topic, ok bool, err error) {
	if s.opt.WikiOf == nil || strings.HasPrefix(id, `\`) {
		return "", false, nil
	}
	s.mu.Lock()
	t, ok = s.byWiki[id]
	s.mu.Unlock()
	if ok {
		return t, true, nil
	}
	topics, err := s.opt.Topics(ctx, tidings.MustPattern(wikiTopics+"*"))
	if err != nil {
		return "", false, err
	}
	if err := s.learn(ctx, topics); err != nil {
		return "", false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok = s.byWiki[id]
	return t, ok, nil
}

// learn asks for the wikis of those of the topics whose wiki is not known. It is in their changes: nothing else need be
// configured for enwiki@conference.localhost to be the room of en.wikipedia.org.
func (s *Server) learn(ctx context.Context, topics []tidings.Topic) error {
	if s.opt.WikiOf == nil {
		return nil
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	for _, t := range topics {
		s.mu.Lock()
		_, known := s.learnt[t]
		s.mu.Unlock()
		if _, configured := s.names.wikis[t]; known || configured {
			continue
		}
		id, err := s.opt.WikiOf(ctx, t)
		if err != nil {
			return err
		}
		local, err := s.names.local(id)
		if id == "" || err != nil || local != id {
			continue // another change of it may tell more
		}
		if _, taken := s.names.configured[id]; taken {
			continue
		}
		s.mu.Lock()
		if _, taken := s.byWiki[id]; !taken {
			s.learnt[t], s.byWiki[id] = id, t
		}
		s.mu.Unlock()
	}
	return nil
}

// list returns the rooms that exist and that the actor may read, sorted by their names, with their titles.
func (s *Server) list(ctx context.Context, a tidings.Actor) ([]target, error) {
	byLocal := map[string]target{}
	for local, t := range s.names.configured {
		if s.may(a, t) == nil {
			byLocal[local] = t
		}
	}
	topics, err := s.opt.Topics(ctx, tidings.MustPattern("/**"))
	if err != nil {
		return nil, err
	}
	var wikis []tidings.Topic
	for _, t := range topics {
		if strings.HasPrefix(string(t), wikiTopics) && strings.Count(string(t), "/") == 2 {
			wikis = append(wikis, t)
		}
	}
	if err := s.learn(ctx, wikis); err != nil {
		return nil, err
	}
	for _, topic := range topics {
		local := s.localOf(topic)
		t := topicTarget(local, topic)
		if _, ok := byLocal[local]; ok || local == "" || s.may(a, t) != nil {
			continue
		}
		byLocal[local] = t
	}
	ts := make([]target, 0, len(byLocal))
	for _, t := range byLocal {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, func(a, b target) int { return strings.Compare(a.local, b.local) })
	return ts, nil
}

// localOf returns the localpart of the room under which a topic is listed, "" if it has none.
func (s *Server) localOf(t tidings.Topic) string {
	s.mu.Lock()
	id, ok := s.learnt[t]
	s.mu.Unlock()
	if ok {
		return id
	}
	return s.names.localOf(t)
}
