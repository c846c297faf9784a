package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tidings"
)

// record is what is stored of a flow, as JSON: up to where everything is acknowledged, and for a room that a template has made
// what it was made of. The record of a template itself has its address as the room: up to there its rooms are known.
type record struct {
	Room     string           `json:"room"`
	Template string           `json:"template,omitempty"`
	Topic    tidings.Topic    `json:"topic,omitempty"`
	Wiki     string           `json:"wiki,omitempty"`
	Position tidings.Position `json:"position"`
}

// key returns the key of a record: the bridge, a blank and a hash of what tells its flows apart, since keys are short.
func (b *Bridge) key(r record) string {
	from := r.Room
	if r.Template != "" {
		from = r.Template
	}
	h := sha256.Sum256([]byte(from + "\n" + string(r.Topic) + "\n" + r.Wiki))
	return b.opt.Name + " " + hex.EncodeToString(h[:16])
}

// stored returns the bridge's records.
func (b *Bridge) stored(ctx context.Context) (map[string]record, error) {
	records := map[string]record{}
	var bad error
	watch, stop := context.WithCancel(ctx)
	defer stop()
	err := b.opt.Store.Watch(watch, func(key string, value []byte) {
		i := strings.LastIndexByte(key, ' ')
		if i < 0 || key[:i] != b.opt.Name || value == nil || watch.Err() != nil {
			return
		}
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			bad = fmt.Errorf("bridge %s: the position stored under %q: %w", b.opt.Name, key, err)
			return
		}
		records[key] = r
	})
	if err == nil {
		err = bad
	}
	return records, err
}

// Times of the saver.
const (
	saveEvery   = 100 * time.Millisecond // between two rounds while positions move
	saveRetry   = time.Second
	saveTimeout = 5 * time.Second // of the last round
)

// saver stores records at a bounded rate. The last one of a key counts.
type saver struct {
	store Store
	log   *slog.Logger
	done  chan struct{}
	bell  chan struct{} // of one
	end   chan struct{}

	saving sync.Mutex // held while records are stored

	mu      sync.Mutex
	waiting map[string]record
	last    map[string]record // those of templates, stored behind the others: a room they have found is known before that
}

func newSaver(store Store, log *slog.Logger) *saver {
	s := &saver{store: store, log: log, done: make(chan struct{}), bell: make(chan struct{}, 1), end: make(chan struct{}),
		waiting: map[string]record{}, last: map[string]record{}}
	go s.run()
	return s
}

func (s *saver) put(key string, r record, template bool) {
	s.mu.Lock()
	if template {
		s.last[key] = r
	} else {
		s.waiting[key] = r
	}
	s.mu.Unlock()
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func (s *saver) run() {
	defer close(s.done)
	pause := time.NewTimer(0)
	<-pause.C
	for {
		select {
		case <-s.end:
			return
		case <-s.bell:
		}
		wait := saveEvery
		if err := s.flush(context.Background()); err != nil {
			s.log.Error("positions are not stored; what is said now may be said again after a restart", "err", err)
			wait = saveRetry
		}
		pause.Reset(wait)
		select {
		case <-s.end:
			return
		case <-pause.C:
		}
	}
}

// flush stores what waits. What cannot be stored waits on.
func (s *saver) flush(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	rooms, templates := s.waiting, s.last
	s.waiting, s.last = map[string]record{}, map[string]record{}
	s.mu.Unlock()
	var failed error
	for i, records := range []map[string]record{rooms, templates} {
		for key, r := range records {
			if failed == nil {
				value, err := json.Marshal(r)
				if err == nil {
					err = s.store.Put(ctx, key, value)
				}
				if err == nil {
					continue
				}
				failed = err
			}
			s.again(key, r, i == 1)
		}
	}
	return failed
}

// again lets a record wait that was not stored, unless a newer one does.
func (s *saver) again(key string, r record, template bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.waiting
	if template {
		m = s.last
	}
	if _, newer := m[key]; !newer {
		m[key] = r
	}
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// close stores what waits and ends the saver.
func (s *saver) close() {
	close(s.end)
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	if err := s.flush(ctx); err != nil {
		s.log.Error("positions are not stored; what was said last is said again after the next start", "err", err)
	}
}
