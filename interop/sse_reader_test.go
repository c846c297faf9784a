//go:build interop && linux

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// The reader that judges the server is itself tried on a server that sends what the test says and then hangs up.
func TestReader(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       []event
		lastID     string
		retry      time.Duration
		comments   int
	}{
		{
			name:     "head and one event",
			body:     ":ok\n\nretry: 2000\n\nevent: message\nid: [{\"offset\":2}]\ndata: {\"a\":1}\n\n",
			want:     []event{{"message", `[{"offset":2}]`, `{"a":1}`}},
			lastID:   `[{"offset":2}]`,
			retry:    2 * time.Second,
			comments: 1,
		},
		{
			name: "data of two lines, other types, no blank behind the colon",
			body: "event:retract\nid:7\ndata:a\ndata: b\n\ndata: c\n\n",
			want: []event{{"retract", "7", "a\nb"}, {"message", "7", "c"}}, lastID: "7",
		},
		{
			name: "an event that is cut off does not move the last id",
			body: "id: 1\ndata: a\n\nid: 2\ndata: b\n",
			want: []event{{"message", "1", "a"}}, lastID: "1",
		},
		{
			name: "an id without data moves it and is no event",
			body: "event: x\nid: 3\n\n:\n\ndata: a\n\n",
			want: []event{{"message", "3", "a"}}, lastID: "3", comments: 1,
		},
		{name: "nothing but keepalives", body: ":ok\n\n:\n\n:\n\n", comments: 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				io.WriteString(w, tc.body)
			}))
			defer fake.Close()
			s, err := connect(t.Context(), fake.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			var got []event
			for {
				e, err := s.next()
				if err != nil {
					break
				}
				got = append(got, e)
			}
			if !slices.Equal(got, tc.want) || s.lastID != tc.lastID || s.retry != tc.retry || s.comments != tc.comments {
				t.Errorf("got %q, last id %q, retry %v, %d comments", got, s.lastID, s.retry, s.comments)
			}
		})
	}
}

// A server that hangs up in the middle of its third event is asked again from behind the second.
func TestFollow(t *testing.T) {
	var asked []string
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		from := 0
		fmt.Sscan(r.Header.Get("Last-Event-ID"), &from)
		for i := from + 1; i <= from+2; i++ {
			fmt.Fprintf(w, "id: %d\ndata: %d\n\n", i, i)
		}
		fmt.Fprintf(w, "id: %d\ndata: cut", from+3)
	}))
	defer fake.Close()
	s := &server{url: fake.URL, up: make(chan struct{})}
	close(s.up)
	var got []string
	enough := errors.New("enough")
	err := follow(context.Background(), s, "/", "", func(e event) error {
		if got = append(got, e.Data); len(got) == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if want := []string{"1", "2", "3", "4", "5"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if want := []string{"", "2", "4"}; !slices.Equal(asked, want) {
		t.Errorf("asked after %q", asked)
	}
}

func TestConnectRefusesWhatIsNoStream(t *testing.T) {
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such stream", http.StatusBadRequest)
	}))
	defer fake.Close()
	var status *statusError
	if _, err := connect(t.Context(), fake.URL, ""); !errors.As(err, &status) || status.status != http.StatusBadRequest {
		t.Errorf("got %v", err)
	}
}
