package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/config"
	"tidings/outlet"
	"tidings/recentchange"
	"tidings/source/mediawiki/eventstreams"
)

// fakeAPI is the API of the wiki xwiki, whose list of changes grows.
type fakeAPI struct {
	mu    sync.Mutex
	rows  []string
	polls chan int // the number of rows that a poll was shown
}

func (f *fakeAPI) add(rcid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = append(f.rows, fmt.Sprintf(`{"type":"edit","ns":0,"title":"Page %d","pageid":1,"revid":%d,"old_revid":1,"rcid":%d,"user":"U","userid":2,"bot":false,"new":false,"minor":false,"oldlen":1,"newlen":2,"timestamp":"%s","comment":"c","redirect":false,"tags":["t"]}`,
		rcid, rcid, rcid, time.Now().UTC().Format(time.RFC3339)))
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	rows := strings.Join(f.rows, ",")
	n := len(f.rows)
	f.mu.Unlock()
	now := time.Now().UTC().Format(time.RFC3339)
	if r.URL.Query().Get("meta") == "siteinfo" {
		fmt.Fprintf(w, `{"query":{"general":{"base":"https://x.example/wiki/Main","generator":"MediaWiki 1.39","wikiid":"xwiki","server":"//x.example","scriptpath":"/w","articlepath":"/wiki/$1","time":"%s"}}}`, now)
		return
	}
	fmt.Fprintf(w, `{"curtimestamp":"%s","query":{"recentchanges":[%s]}}`, now, rows)
	select {
	case f.polls <- n:
	default:
	}
}

// feedJSON is the change as a feed of the same wiki announces it.
func feedJSON(rcid int) string {
	return fmt.Sprintf(`{"id":%d,"type":"edit","namespace":0,"title":"Page %d","comment":"c","timestamp":%d,"user":"U","bot":false,"minor":false,"length":{"old":1,"new":2},"revision":{"old":1,"new":%d},"server_url":"https://x.example","server_name":"x.example","server_script_path":"/w","wiki":"xwiki"}`,
		rcid, rcid, time.Now().Unix(), rcid)
}

func openTest(t *testing.T, cfg config.Config) *server {
	t.Helper()
	s, err := open(t.Context(), cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// events waits until the topic has so many events and returns them.
func events(t *testing.T, s *server, pattern string, n int) []tidings.Event {
	t.Helper()
	p, err := tidings.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan struct{}, 1)
	defer s.journal.Notify(moved)()
	deadline := time.After(20 * time.Second)
	for {
		all, _, err := s.journal.Read(t.Context(), s.journal.Oldest(), []tidings.Pattern{p}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-moved:
		case <-deadline:
			t.Fatalf("%d events of %d on %s: %+v", len(all), n, pattern, s.report())
		}
	}
}

// TestSources wires all sources, lets each tell the same changes, and asks for every change once; then for the figures,
// and for the same after a restart.
func TestSources(t *testing.T) {
	api := &fakeAPI{polls: make(chan int, 100)}
	apiServer := httptest.NewServer(api)
	defer apiServer.Close()

	connected := make(chan *http.Request, 10)
	say := make(chan string, 10)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, ":ok\n\n")
		w.(http.Flusher).Flush()
		connected <- r
		for {
			select {
			case text := <-say:
				io.WriteString(w, text)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer upstream.Close()
	defer upstream.CloseClientConnections()

	redis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	subscribed := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := redis.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			for range 5 { // *2 $10 PSUBSCRIBE $4 rc.*
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
			}
			io.WriteString(c, "*3\r\n$10\r\npsubscribe\r\n$4\r\nrc.*\r\n:1\r\n")
			go io.Copy(io.Discard, r)
			subscribed <- c
		}
	}()

	dir := filepath.Join(t.TempDir(), "data")
	text := fmt.Sprintf("data = %q\n[http]\naddr='off'\n[udp]\naddr='127.0.0.1:0'\n[irc]\naddr='off'\n[xmpp]\naddr='off'\n[[poll]]\napi_url=%q\ninterval='1s'\n[[eventstreams]]\nurl=%q\n[[redis]]\nurl=%q\n",
		dir, apiServer.URL+"/w/api.php", upstream.URL+"/v2/stream/recentchange", "redis://"+redis.Addr().String())
	cfg, err := config.Parse("test.toml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, cfg)
	conn := <-subscribed
	first := <-connected
	if first.URL.Query().Get("since") == "" || !strings.HasPrefix(first.Header.Get("User-Agent"), "tidings/") {
		t.Errorf("%s %v", first.URL, first.Header)
	}
	<-api.polls

	// Change 1 comes by all four ways, 2 to 5 by one each.
	stream := func(rcid int) string {
		return fmt.Sprintf("id: [{\"topic\":\"eqiad.mediawiki.recentchange\",\"partition\":0,\"timestamp\":5}]\ndata: {\"$schema\":\"/mediawiki/recentchange/1.0.0\",\"meta\":{\"topic\":\"eqiad.mediawiki.recentchange\",\"partition\":0,\"offset\":%d,\"domain\":\"x.example\"},%s\n\n", 100+rcid, feedJSON(rcid)[1:])
	}
	publish := func(rcid int) string {
		b := feedJSON(rcid)
		return fmt.Sprintf("*4\r\n$8\r\npmessage\r\n$4\r\nrc.*\r\n$8\r\nrc.xwiki\r\n$%d\r\n%s\r\n", len(b), b)
	}
	udp, err := net.Dial("udp", s.udp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	api.add(1)
	events(t, s, "/recentchange/*", 1)
	for _, rcid := range []int{1, 2} {
		io.WriteString(udp, feedJSON(rcid))
	}
	for _, rcid := range []int{1, 3} {
		say <- stream(rcid)
	}
	for _, rcid := range []int{1, 4} {
		io.WriteString(conn, publish(rcid))
	}
	api.add(5)
	all := events(t, s, "/recentchange/x.example", 5)
	want := map[string]string{"rc/xwiki/1": recentchange.TypeAPI, "rc/xwiki/2": recentchange.TypeJSON, "rc/xwiki/3": recentchange.TypeEventStreams,
		"rc/xwiki/4": recentchange.TypeJSON, "rc/xwiki/5": recentchange.TypeAPI}
	for _, e := range all {
		if typ := want[e.Key]; typ == "" || !strings.HasPrefix(e.ContentType, typ) {
			t.Errorf("%s came as %s", e.Key, e.ContentType)
		}
		delete(want, e.Key)
		if rc, ok := outlet.Decoder(nil)(&e).(*recentchange.RecentChange); !ok || rc.Key() != e.Key {
			t.Errorf("%s does not decode", e.Key)
		}
	}
	say <- "event: gap\nid: [{\"topic\":\"eqiad.mediawiki.recentchange\",\"partition\":0,\"offset\":500}]\ndata: {\"asked\":\"00000001-5\",\"oldest\":\"00000001-9\"}\n\n"
	if gap := events(t, s, string(eventstreams.GapTopic), 1)[0]; !strings.Contains(string(gap.Payload), "00000001-9") {
		t.Errorf("%s", gap.Payload)
	}

	r := s.report()
	if len(r.Poll) != 1 || len(r.EventStreams) != 1 || len(r.Redis) != 1 {
		t.Fatalf("%+v", r)
	}
	// A source counts when the journal has answered, which may be after the event could be read.
	for deadline := time.Now().Add(time.Minute); r.EventStreams[0].Appended < 2 && time.Now().Before(deadline); r = s.report() {
		runtime.Gosched()
	}
	if p := r.Poll[0]; p.Appended != 2 || p.Wiki != "xwiki" || p.Source != "mediawiki-poll:"+strings.TrimPrefix(apiServer.URL, "http://")+"/w/api.php" {
		t.Errorf("%+v", p)
	}
	if e := r.EventStreams[0]; e.Appended != 2 || e.Duplicates != 1 || e.Gaps != 1 || e.LastGap == nil || !e.Connected {
		t.Errorf("%+v", e)
	}
	if d := r.Redis[0]; d.Appended != 1 || d.Duplicates != 1 || !d.Connected {
		t.Errorf("%+v", d)
	}
	w := httptest.NewRecorder()
	s.metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`tidings_source_up{source="` + r.Redis[0].Source + `"} 1`, `tidings_source_appended_total{source="` + r.Poll[0].Source + `"} 2`,
		`tidings_eventstreams_gaps_total{source="` + r.EventStreams[0].Source + `"} 1`, `tidings_poll_requests_total{`, `tidings_source_newest_timestamp_seconds{`,
	} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}

	// What happened in between comes, and nothing again.
	api.add(6)
	for range len(api.polls) {
		<-api.polls
	}
	s = openTest(t, cfg)
	if id := (<-connected).Header.Get("Last-Event-ID"); id != `[{"topic":"eqiad.mediawiki.recentchange","partition":0,"offset":104}]` {
		t.Errorf("the stream goes on from %s", id)
	}
	if all := events(t, s, "/recentchange/*", 6); len(all) != 6 || all[5].Key != "rc/xwiki/6" {
		t.Errorf("%d events", len(all))
	}
	for range 2 {
		<-api.polls
	}
	if p := s.report().Poll[0]; p.Appended != 1 || p.Duplicates != 0 {
		t.Errorf("%+v", p)
	}
	upstream.CloseClientConnections()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// TestLaterThanAnother: what UDP has brought does not come again from a poll that could not be made for longer than the
// journal remembers keys.
func TestLaterThanAnother(t *testing.T) {
	api := &fakeAPI{polls: make(chan int, 100)}
	apiServer := httptest.NewServer(api)
	defer apiServer.Close()
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = filepath.Join(t.TempDir(), "data"), config.Off, "127.0.0.1:0", config.Off, config.Off
	cfg.DedupeWindow = config.Duration(100 * time.Millisecond)
	s := openTest(t, cfg)
	udp, err := net.Dial("udp", s.udp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for rcid := range 3 {
		io.WriteString(udp, feedJSON(rcid+1))
		api.add(rcid + 1)
	}
	events(t, s, "/recentchange/*", 3)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	api.add(4)
	cfg.Poll = []config.Poll{{APIURL: apiServer.URL + "/api.php", Interval: config.Duration(time.Second), Overlap: config.Duration(time.Minute), Late: config.Duration(time.Minute), Begin: config.Duration(time.Hour)}}
	s = openTest(t, cfg)
	all := events(t, s, "/recentchange/*", 4)
	for range 2 {
		<-api.polls
	}
	if r := s.report().Poll[0]; len(all) != 4 || all[3].Key != "rc/xwiki/4" || r.Appended != 1 || r.Stored != 3 {
		t.Errorf("%d events, %+v", len(all), r)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// TestBegins: a source that has stored nothing yet begins at its first start, however often it is started.
func TestBegins(t *testing.T) {
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = filepath.Join(t.TempDir(), "data"), config.Off, config.Off, config.Off, config.Off
	var first time.Time
	for i := range 3 {
		s := openTest(t, cfg)
		b, err := openBegins(t.Context(), s.journal)
		if err != nil {
			t.Fatal(err)
		}
		mark, begin, err := b.of(t.Context(), "poll:a", time.Hour)
		if err != nil || mark != "" {
			t.Fatal(mark, err)
		}
		if i == 0 {
			first = begin.Truncate(time.Second)
			if d := time.Since(first); d < time.Hour || d > time.Hour+10*time.Second {
				t.Errorf("it begins %v ago", d)
			}
		} else if !begin.Equal(first) {
			t.Errorf("start %d begins at %v, the first at %v", i, begin, first)
		}
		if i == 2 {
			e := tidings.Event{Topic: "/a", Publisher: "poll:a", Mark: "m", Key: "k"}
			if _, err := s.journal.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if mark, _, err := b.of(t.Context(), "poll:a", time.Hour); err != nil || mark != "m" {
				t.Error(mark, err)
			}
			keys, err := openKeys(t.Context(), s.journal, time.Minute)
			if err != nil || !keys.old("k") || keys.old("other") {
				t.Error("the last keys", err)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keys{young: time.Minute, at: map[string]time.Time{}}
		add := func(from, to int) {
			for i := from; i < to; i++ {
				k.add(time.Now(), []tidings.Event{{Key: fmt.Sprint(i)}, {}})
			}
		}
		add(0, 10)
		time.Sleep(59 * time.Second)
		add(5, 6) // a repeat is no younger for that
		if k.old("5") {
			t.Error("a young key is called old")
		}
		time.Sleep(time.Second)
		if !k.old("5") || !k.old("9") || k.old("10") || k.old("") {
			t.Error("old keys are not known")
		}
		add(10, 10+keptKeys)
		time.Sleep(time.Minute)
		if len(k.at) != keptKeys || len(k.ring) != keptKeys || k.old("9") || !k.old("10") {
			t.Errorf("%d keys", len(k.at))
		}
	})
}

func TestPublisherName(t *testing.T) {
	for address, want := range map[string]string{
		"https://en.wikipedia.org/w/api.php":                       "x:en.wikipedia.org/w/api.php",
		"redis://me:secret@r.example:6379":                         "x:r.example:6379",
		"https://s.example/v2/stream/recentchange?wiki=a&type=new": "x:s.example/v2/stream/recentchange?wiki=a&type=new",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := publisherName("x", u); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
	long := func(end string) string {
		u, _ := url.Parse("https://w.example/" + strings.Repeat("x", 300) + end)
		return publisherName("x", u)
	}
	if a, b := long("a"), long("b"); a == b || len(a) > tidings.MaxPublisherBytes {
		t.Errorf("%s %s", a, b)
	}
}

// TestPoll runs the command: the elements it sends, and its state over a restart.
func TestPoll(t *testing.T) {
	api := &fakeAPI{polls: make(chan int, 100)}
	apiServer := httptest.NewServer(api)
	defer apiServer.Close()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := filepath.Join(t.TempDir(), "position")
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, []string{"poll", apiServer.URL + "/w/api.php", "--to", "udp://" + conn.LocalAddr().String(), "--interval", "1s", "--since", "1m", "--state", state}, nil, io.Discard, io.Discard)
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	receive := func() string {
		b := make([]byte, 64<<10)
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	api.add(1)
	stop := start()
	if got := receive(); !strings.HasPrefix(got, `<rc type="edit" ns="0" title="Page 1" rcid="1" pageid="1" revid="1" old_revid="1" user="U" userid="2" oldlen="1" newlen="2" timestamp="`) ||
		!strings.Contains(got, ` comment="c" wikiid="xwiki">`) || !strings.Contains(got, "<tag>t</tag>") {
		t.Errorf("got %s", got)
	}
	api.add(2)
	if got := receive(); !strings.Contains(got, ` rcid="2" `) {
		t.Errorf("got %s", got)
	}
	stop()
	api.add(3)
	stop = start()
	defer stop()
	if got := receive(); !strings.Contains(got, ` rcid="3" `) {
		t.Errorf("after the restart came %s", got)
	}
	if mark, err := readState(state); err != nil || !strings.HasPrefix(mark, "1 xwiki ") {
		t.Errorf("%q, %v", mark, err)
	}
	for _, bad := range [][]string{{"poll"}, {"poll", "https://w.example/api.php"}, {"poll", "https://w.example/api.php", "--to", "tcp://a:1"},
		{"poll", "https://w.example/api.php", "--to", "udp://a"}, {"poll", "ftp://w.example", "--to", "udp://127.0.0.1:1"},
		{"poll", "http://127.0.0.1/api.php", "--to", "udp://127.0.0.1:1", "--interval", "1ms"}} {
		if code := exitCode(run(t.Context(), bad, nil, io.Discard, io.Discard), io.Discard); code != 2 {
			t.Errorf("%q ends with %d", bad, code)
		}
	}
}
