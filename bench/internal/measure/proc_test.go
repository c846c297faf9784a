//go:build linux

package measure

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, line string
		want       stat
		bad        bool
	}{
		{"plain", "42 (tidings) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 8 0 1 2 3", stat{42, 7, 2 * time.Second}, false},
		{"command with blanks and parentheses", "43 (a (b) c) R 42 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1", stat{43, 42, 10 * time.Millisecond}, false},
		{"no command", "44 tidings S 1", stat{}, true},
		{"cut", "45 (x) S 1 1", stat{}, true},
		{"not a number", "46 (x) S 1 1 1 0 -1 0 0 0 0 0 one 0 0", stat{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.line))
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("got %+v, %v; want %+v, error %v", got, err, tt.want, tt.bad)
			}
		})
	}
}

func TestParsePSS(t *testing.T) {
	got, err := parsePSS([]byte("55d0-7ff0 ---p 00000000 00:00 0 [rollup]\nRss:                2048 kB\nPss:                1500 kB\nPss_Dirty: 1 kB\n"))
	if err != nil || got != 1500<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := parsePSS([]byte("Rss: 1 kB\n")); err == nil {
		t.Error("a file without a Pss line gave no error")
	}
}

func TestParseDrops(t *testing.T) {
	const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  10: 0100007F:1167 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 111 2 0000000000000000 17
  11: 0100007F:1167 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 112 2 0000000000000000 3
  12: 0200007F:1167 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 113 2 0000000000000000 900
`
	got, err := parseDrops([]byte(table), netip.MustParseAddrPort("127.0.0.1:4455"))
	if err != nil || got != 20 {
		t.Errorf("got %d, %v; want 20", got, err)
	}
	if _, err := parseDrops([]byte(table), netip.MustParseAddrPort("127.0.0.1:4456")); err == nil {
		t.Error("an address that nobody is bound to gave no error")
	}
}

func TestOwnProcess(t *testing.T) {
	self := []int{os.Getpid()}
	if tree := Tree(self); !slices.Contains(tree, os.Getpid()) {
		t.Errorf("the tree %v lacks this process", tree)
	}
	if pss := PSS(self); pss < 1<<20 || pss > 8<<30 {
		t.Errorf("this process has a PSS of %d bytes", pss)
	}
	// Work until the clock has moved by two ticks: a clock that stands still never gets there.
	for before, deadline := CPU(self), time.Now().Add(30*time.Second); CPU(self) < before+2*tick; {
		if time.Now().After(deadline) {
			t.Fatal("CPU time stands still while this test works")
		}
	}
}

func TestComplete(t *testing.T) {
	whole := Result{Expected: 10, Delivered: 10}
	tests := []struct {
		name string
		edit func(*Result)
		want bool
	}{
		{"whole", func(*Result) {}, true},
		{"missing", func(r *Result) { r.Delivered-- }, false},
		{"repeated", func(r *Result) { r.Repeated++ }, false},
		{"publish failed", func(r *Result) { r.PubErrors++ }, false},
		{"connection closed", func(r *Result) { r.Closed++ }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := whole
			tt.edit(&r)
			if r.Complete() != tt.want {
				t.Errorf("Complete() = %v", !tt.want)
			}
		})
	}
}
