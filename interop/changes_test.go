//go:build interop && linux

package interop_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
)

// changes sends numbered changes in the form of MediaWiki's JSON feed: their rcids are 1, 2, 3 and so on.
type changes struct {
	conn net.Conn
	sent int
}

func newChanges(t *testing.T, s *server) *changes {
	t.Helper()
	conn, err := net.Dial("udp", s.udp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &changes{conn: conn}
}

// send sends the next n changes, of 350 to 900 bytes.
func (c *changes) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		c.sent++
		if err := c.again(); err != nil {
			t.Fatal(err)
		}
	}
}

// again sends the last change once more.
func (c *changes) again() error {
	i := c.sent
	d := fmt.Sprintf(`{"id":%d,"type":"edit","namespace":0,"title":"Bed %d","comment":"%s","timestamp":%d,`+
		`"user":"Gardener","bot":%v,"minor":false,"patrolled":true,"length":{"old":%d,"new":%d},`+
		`"revision":{"old":%d,"new":%d},"server_url":"http://garden.example.org","server_name":"garden.example.org",`+
		`"server_script_path":"/w","wiki":"gardenwiki"}`,
		i, i%500, strings.Repeat("weeding ", i%70), 1700000000+i/10, i%7 == 0, i%999, i%998, i, i+1)
	if _, err := c.conn.Write([]byte(d)); err != nil {
		return fmt.Errorf("sending change %d: %w", i, err)
	}
	return nil
}

// number returns the rcid of a change as EventStreams serves it.
func number(data string) (int, error) {
	var change struct {
		ID int `json:"id"`
	}
	if err := json.Unmarshal([]byte(data), &change); err != nil {
		return 0, fmt.Errorf("%w in %.200q", err, data)
	}
	return change.ID, nil
}
