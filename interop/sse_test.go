//go:build interop && linux

package interop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// event is one event of an event stream (HTML standard, section 9.2).
type event struct {
	Type string // "message" where the stream names none
	ID   string // the last event ID: the event's own or the one before it
	Data string
}

// stream is one connection to an event stream.
type stream struct {
	response *http.Response
	lines    *bufio.Reader
	lastID   string
	retry    time.Duration // 0 until the stream gives one
	comments int
}

// statusError is an answer that is no stream.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %.300s", e.status, e.body) }

// visitor makes a connection of its own for each request, as readers from different places do.
var visitor = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// connect opens a stream, after the event with lastID if that is not empty. The stream ends with ctx.
func connect(ctx context.Context, url, lastID string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := visitor.Do(req)
	if err != nil {
		return nil, err
	}
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(ct, "text/event-stream") {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		resp.Body.Close()
		return nil, &statusError{resp.StatusCode, ct + ": " + string(body)}
	}
	return &stream{response: resp, lines: bufio.NewReader(resp.Body), lastID: lastID}, nil
}

func (s *stream) close() { s.response.Body.Close() }

// next returns the next complete event; one that the connection cuts off is never returned.
func (s *stream) next() (event, error) {
	e := event{Type: "message"}
	var data []string
	id, given := "", false
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return event{}, err
		}
		line = strings.TrimSuffix(line[:len(line)-1], "\r")
		if line == "" {
			if given {
				s.lastID = id
			}
			if data == nil {
				e.Type = "message"
				continue
			}
			e.ID, e.Data = s.lastID, strings.Join(data, "\n")
			return e, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			s.comments++
		case "event":
			e.Type = value
		case "id":
			id, given = value, true
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				s.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// follow reads a server's stream until ctx ends or f returns an error, and goes on after the last event it has seen
// whenever the connection is lost. While the server is down it waits. It returns f's error or ctx's.
func follow(ctx context.Context, s *server, path, lastID string, f func(event) error) error {
	for failures := 0; ; {
		if err := s.await(ctx); err != nil {
			return err
		}
		st, err := connect(ctx, s.url+path, lastID)
		if err != nil {
			var status *statusError
			if errors.As(err, &status) {
				return err
			}
			// The server may have gone down meanwhile; one that is up does not refuse for long.
			if failures++; failures > 100 {
				return fmt.Errorf("the server is up and cannot be read: %w", err)
			}
			continue
		}
		for {
			e, err := st.next()
			if err != nil {
				break
			}
			failures = 0
			lastID = e.ID
			if err := f(e); err != nil {
				st.close()
				return err
			}
		}
		st.close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
