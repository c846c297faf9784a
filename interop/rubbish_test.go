//go:build interop && linux

package interop_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rubbish makes a few changes to seeds.
func rubbish(r *rand.Rand, seeds []string) string {
	var b []byte
	for range 1 + r.IntN(5) {
		b = append(b, seeds[r.IntN(len(seeds))]...)
	}
	for range r.IntN(8) {
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] = byte(r.IntN(256))
		case 1:
			b[i] ^= 1 << r.IntN(8)
		case 2:
			b = append(b[:i], b[min(len(b), i+1+r.IntN(20)):]...)
		case 3:
			b = append(b[:i], append([]byte{byte(r.IntN(256)), byte(r.IntN(256))}, b[i:]...)...)
		}
		if len(b) == 0 {
			b = []byte{byte(r.IntN(256))}
		}
	}
	return string(b)
}

// TestRubbishDatagrams: of 20,000 datagrams that are rubbish each is counted, and what is sent between them comes.
func TestRubbishDatagrams(t *testing.T) {
	s := newServer(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	st, err := connect(ctx, s.url+"/v2/stream/recentchange", "")
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	feed := newChanges(t, s)
	random := rand.New(rand.NewPCG(3, 4))
	seeds := []string{
		`{"id":900005,"type":"edit","namespace":0,"title":"Other","comment":"c","timestamp":1700000000,"user":"U","bot":false,"length":{"old":1,"new":2},"revision":{"old":1,"new":2},"server_url":"http://o.example","server_name":"o.example","wiki":"owiki"}`,
		`<rc wikiid="owiki" server="http://o.example" rcid="900006" type="edit" title="Other" user="U" timestamp="2026-01-31T12:00:00Z"><comment>c</comment></rc>`,
		"owiki\t\x0314[[\x0307Bed\x0314]]\x034 \x0310 \x0302http://o.example/w/index.php?diff=2&oldid=1\x03 \x035*\x03 \x0303U\x03 \x035*\x03 (+2) \x0310c\x03\n",
		`{"id":900007,"type":"log","log_type":"block","log_params":{"a":["b"]},"timestamp":1700000000,"server_name":"o.example","wiki":"owiki"}`, "x", "{", "<", "\x03", strings.Repeat("[", 500),
	}
	const total, batch = 20_000, 200
	for n := 0; n < total; n += batch {
		for range batch {
			b := rubbish(random, seeds)
			if _, err := feed.conn.Write([]byte(b[:min(len(b), 60_000)])); err != nil {
				t.Fatal(err)
			}
		}
		feed.send(t, 1)
		for { // what rubbish has become a change comes as well
			e, err := st.next()
			if err != nil {
				t.Fatalf("change %d: %v, %+v", feed.sent, err, s.status(t).UDP)
			}
			if n, err := number(e.Data); err == nil && n == feed.sent && strings.Contains(e.Data, `"wiki":"gardenwiki"`) {
				break
			}
		}
	}
	status := s.status(t).UDP
	dropped := 0
	for _, n := range status.Dropped {
		dropped += n
	}
	if want := total + total/batch; status.Received+status.KernelDrops != want || status.KernelDrops > 0 || status.Appended+status.Duplicates+dropped < want {
		t.Errorf("of %d datagrams: %+v", want, status)
	}
	if resp, err := http.Get(s.url + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("ready: %v, %v", resp, err)
	}
	t.Logf("%+v", status)
}
