package httpsource

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"tidings"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
)

// receipt tells the publisher of an event what became of it.
type receipt struct {
	Position  tidings.Position `json:"position"`
	ID        string           `json:"id"`
	Topic     tidings.Topic    `json:"topic"`
	Duplicate bool             `json:"duplicate,omitempty"`
	// Conflict says of a duplicate that the first one is another event. A single event is answered with 409 instead.
	Conflict bool `json:"conflict,omitempty"`
}

// append appends the events and answers the request, with the receipt of the one event if single, else with a list. It
// returns the status.
func (s *Server) append(w http.ResponseWriter, r *http.Request, events []tidings.Event, single bool) int {
	receipts := make([]receipt, len(events))
	var done []tidings.Appended
	if len(events) > 0 { // a batch may be empty
		var err error
		if done, err = s.Append(r.Context(), events...); err != nil {
			return s.fail(w, r, err)
		}
	}
	fresh, conflicts := 0, 0
	for i := range done {
		events[i].Position, receipts[i].Duplicate = done[i].Position, done[i].Duplicate
		if err := s.fill(r.Context(), &receipts[i], &events[i]); err != nil {
			return s.fail(w, r, err)
		}
		if receipts[i].Conflict {
			conflicts++
		}
		if !receipts[i].Duplicate {
			fresh++
		}
	}
	s.count(events, receipts)
	if conflicts > 0 && fresh == 0 {
		return s.fail(w, r, tidings.Errorf(tidings.ErrConflict, "the Idempotency-Key was used before, for something else: that is at position %s", receipts[0].Position))
	}
	status := http.StatusOK
	if fresh > 0 && (!single || events[0].Kind == tidings.Publish) {
		status = http.StatusCreated
	}
	if len(receipts) > 0 {
		w.Header().Set("Position", receipts[len(receipts)-1].Position.String())
	}
	if !single {
		return writeJSON(w, status, map[string][]receipt{"events": receipts})
	}
	if events[0].Kind == tidings.Publish {
		w.Header().Set("Location", topicurl.Item(receipts[0].Topic, receipts[0].ID))
	}
	return writeJSON(w, status, receipts[0])
}

// fill completes the receipt of an event that has its position.
func (s *Server) fill(ctx context.Context, rec *receipt, e *tidings.Event) error {
	rec.Position, rec.ID, rec.Topic = e.Position, e.ItemID(), e.Topic
	if !rec.Duplicate {
		return nil
	}
	first, ok, err := s.at(ctx, e.Topic, e.Position)
	if err != nil || !ok {
		return err
	}
	rec.ID = first.ItemID()
	rec.Conflict = first.Kind != e.Kind || first.ContentType != e.ContentType || e.ID != "" && rec.ID != e.ID || !bytes.Equal(first.Payload, e.Payload)
	return nil
}

// at returns the event of the topic at the position, and false if it cannot be had: it is not kept any more, or there is
// nothing to read with.
func (s *Server) at(ctx context.Context, t tidings.Topic, p tidings.Position) (tidings.Event, bool, error) {
	if s.Read == nil || p.Offset == 0 {
		return tidings.Event{}, false, nil
	}
	before := tidings.Position{Epoch: p.Epoch, Offset: p.Offset - 1}
	events, _, err := s.Read(ctx, before, []tidings.Pattern{tidings.PatternOf(t)}, 1)
	if errors.Is(err, tidings.ErrGap) {
		return tidings.Event{}, false, nil
	}
	if err != nil || len(events) == 0 || events[0].Position != p {
		return tidings.Event{}, false, err
	}
	return events[0], true, nil
}

func (s *Server) count(events []tidings.Event, receipts []receipt) {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	for i, rec := range receipts {
		switch {
		case rec.Duplicate:
			s.counts.Duplicates++
		case events[i].Kind == tidings.Retract:
			s.counts.Retracted++
		default:
			s.counts.Published++
		}
	}
}

// fail answers with the problem that err is, logs what is not the client's doing and returns the status.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) int {
	status := problem.Write(w, r, err)
	if status >= 500 && r.Context().Err() == nil {
		cmp.Or(s.Log, slog.Default()).Error("http: publishing failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	return status
}

func writeJSON(w http.ResponseWriter, status int, v any) int {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	// The status is on its way; an error here means that the client has gone.
	_ = enc.Encode(v)
	return status
}
