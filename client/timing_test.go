package client_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings/client"
)

// tripper answers requests in the test's own time: no socket is made, so the bubble's clock moves.
type tripper struct {
	t     *testing.T
	steps []func(w *io.PipeWriter, r *http.Request) *http.Response
	at    []time.Time // of the requests
}

func (tr *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	tr.at = append(tr.at, time.Now())
	if len(tr.at) > len(tr.steps) {
		tr.t.Errorf("request %d was not expected", len(tr.at))
		return nil, io.ErrUnexpectedEOF
	}
	body, w := io.Pipe()
	context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
	resp := tr.steps[len(tr.at)-1](w, r)
	resp.Body, resp.Request = body, r
	return resp, nil
}

// stream answers with a stream that f writes; the context ends with the connection.
func stream(f func(ctx context.Context, w io.Writer)) func(*io.PipeWriter, *http.Request) *http.Response {
	return func(w *io.PipeWriter, r *http.Request) *http.Response {
		go func() {
			f(r.Context(), w)
			w.Close()
		}()
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}}
	}
}

func refusal(status int, header http.Header) func(*io.PipeWriter, *http.Request) *http.Response {
	return func(w *io.PipeWriter, r *http.Request) *http.Response {
		w.Close()
		return &http.Response{StatusCode: status, Header: header}
	}
}

// pause waits in the bubble's time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// hang keeps a stream open until the client leaves.
func hang(ctx context.Context, w io.Writer) {
	for ctx.Err() == nil {
		pause(ctx, 10*time.Second)
		io.WriteString(w, ":\n\n")
	}
}

func timed(t *testing.T, tr *tripper, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New("http://tidings.invalid", append([]client.Option{client.WithHTTPClient(&http.Client{Transport: tr})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost error
		tr := &tripper{t: t}
		tr.steps = append(tr.steps,
			stream(func(ctx context.Context, w io.Writer) {
				for range 100 { // keepalives alone keep it open
					pause(ctx, 15*time.Second)
					io.WriteString(w, ":\n\n")
				}
				io.WriteString(w, event(1))
				pause(ctx, time.Hour) // and then nothing: the machine is gone
			}),
			stream(func(ctx context.Context, w io.Writer) {
				io.WriteString(w, event(2))
				hang(ctx, w)
			}))
		c := timed(t, tr, client.WithNotify(func(n client.Notice) {
			if n.Err != nil {
				lost = n.Err
			}
		}))
		began := time.Now()
		equal(t, read(t.Context(), c, client.Live, 2), "1", "2")
		took := time.Since(began)
		const alive = 100 * 15 * time.Second
		if took < alive+45*time.Second+client.DefaultRetry || took > alive+45*time.Second+2*client.DefaultRetry {
			t.Errorf("it took %v to notice the silence and come back", took-alive)
		}
		if lost == nil || !strings.Contains(lost.Error(), "nothing came") {
			t.Errorf("the reason: %v", lost)
		}
	})
}

func TestSilentFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &tripper{t: t}
		tr.steps = append(tr.steps,
			stream(func(ctx context.Context, w io.Writer) { pause(ctx, time.Hour) }),
			stream(func(ctx context.Context, w io.Writer) { io.WriteString(w, event(1)); hang(ctx, w) }))
		c := timed(t, tr, client.WithKeepalive(time.Second))
		equal(t, read(t.Context(), c, client.Live, 1), "1")
		if d := tr.at[1].Sub(tr.at[0]); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("the second attempt came after %v", d)
		}
	})
}

// A program that takes its time over an event is not a server that is silent.
func TestSlowReaderIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &tripper{t: t}
		tr.steps = append(tr.steps, stream(func(ctx context.Context, w io.Writer) {
			io.WriteString(w, event(1)+event(2))
			io.WriteString(w, event(3))
			hang(ctx, w)
		}))
		n := 0
		for _, err := range timed(t, tr).Events(t.Context(), all, client.Live) {
			if err != nil {
				t.Fatal(err)
			}
			pause(t.Context(), time.Hour)
			if n++; n == 3 {
				break
			}
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := func(text string) func(*io.PipeWriter, *http.Request) *http.Response {
			return stream(func(ctx context.Context, w io.Writer) { io.WriteString(w, text) })
		}
		tr := &tripper{t: t}
		tr.steps = append(tr.steps,
			ends(":ok\n\nretry: 5000\n\n"), // then at least 5 s, each time
			ends(""), ends(""), ends(""), ends(""), ends(""),
			refusal(503, http.Header{"Retry-After": {"300"}}),
			refusal(429, nil),
			ends(event(1)), // which begins anew
			ends("retry: 100\n\n"+event(2)),
			refusal(401, nil))
		c := timed(t, tr, client.WithBackoff(time.Second, 20*time.Second))
		equal(t, read(t.Context(), c, client.Live, 9), "1", "2", "401 Unauthorized")
		const s = time.Second
		for i, want := range []struct{ least, most time.Duration }{
			{5 * s, 10 * s}, {5 * s, 15 * s}, {5 * s, 25 * s}, {5 * s, 25 * s}, {5 * s, 25 * s}, {5 * s, 25 * s},
			{300 * s, 320 * s}, {5 * s, 25 * s},
			{5 * s, 10 * s}, {s / 10, s / 5},
		} {
			if d := tr.at[i+1].Sub(tr.at[i]); d < want.least || d > want.most {
				t.Errorf("wait %d: %v, want %v to %v", i+1, d, want.least, want.most)
			}
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tr := &tripper{t: t}
		tr.steps = append(tr.steps, refusal(503, http.Header{"Retry-After": {"3000"}}))
		began := time.Now()
		equal(t, read(ctx, timed(t, tr), client.Live, 9), "deadline exceeded")
		if d := time.Since(began); d != time.Minute {
			t.Errorf("it ended after %v", d)
		}
	})
}

func TestPublishWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &tripper{t: t}
		tr.steps = append(tr.steps,
			refusal(429, http.Header{"Retry-After": {"60"}}),
			func(w *io.PipeWriter, r *http.Request) *http.Response { // never answers
				return &http.Response{StatusCode: 201, Header: http.Header{}}
			},
			func(w *io.PipeWriter, r *http.Request) *http.Response {
				go func() {
					io.WriteString(w, `{"position":"5f3a9c01-7","id":"x","topic":"/a"}`)
					w.Close()
				}()
				return &http.Response{StatusCode: 201, Header: http.Header{}}
			})
		r, err := timed(t, tr, client.WithTimeout(10*time.Second)).Publish(t.Context(), "/a", client.Publication{Payload: []byte("{}")})
		if err != nil || r.Position != pos(7) {
			t.Fatalf("%+v, %v", r, err)
		}
		if d := tr.at[1].Sub(tr.at[0]); d < time.Minute || d > time.Minute+time.Second*61 {
			t.Errorf("the first wait: %v", d)
		}
		if d := tr.at[2].Sub(tr.at[1]); d < 10*time.Second || d > 12*time.Second {
			t.Errorf("the time limit and the second wait: %v", d)
		}
	})
}
