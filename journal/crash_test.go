package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

// child runs the process that TestKilled kills, if this is one: it appends to the journal in the directory that the
// environment names, and prints a line for every acknowledged call: the writer, the number of its last event and its
// offset. It never ends on its own.
func child() bool {
	dir := os.Getenv("TIDINGS_JOURNAL_CHILD")
	if dir == "" {
		return false
	}
	ctx := context.Background()
	j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, TrimInterval: -1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex // of stdout
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			publisher := fmt.Sprint("w", w)
			mark, err := j.Mark(ctx, publisher)
			next, _ := strconv.Atoi(mark)
			for ; err == nil; next++ {
				var evs []tidings.Event
				for range 1 + next%5 {
					n := next + 1
					evs = append(evs, tidings.Event{Topic: tidings.Topic("/w/" + publisher), Key: fmt.Sprint(publisher, ":", n),
						Payload: []byte(strconv.Itoa(n)), Publisher: publisher, Mark: strconv.Itoa(n)})
					next = n
				}
				next--
				var got []tidings.Appended
				if got, err = j.Append(ctx, evs...); err == nil {
					mu.Lock()
					fmt.Println(w, next+1, got[len(got)-1].Position.Offset)
					mu.Unlock()
				}
			}
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		})
	}
	wg.Wait()
	return true
}

// TestKilled kills a process that appends, again and again, and checks that nothing it said it had stored is gone.
func TestKilled(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	acked := map[int]int{} // by writer, its last acknowledged event
	var epoch uint32
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "TIDINGS_JOURNAL_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for lines := 0; in.Scan(); lines++ {
			if lines == 20+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			var w, n, offset int
			// The last line may be cut short by the kill.
			if f := strings.Fields(in.Text()); len(f) == 3 {
				w, _ = strconv.Atoi(f[0])
				n, _ = strconv.Atoi(f[1])
				offset, _ = strconv.Atoi(f[2])
			}
			if offset > 0 {
				acked[w] = max(acked[w], n)
			}
		}
		cmd.Wait()
		j := open(t, journal.Options{Dir: dir, TrimInterval: -1})
		head := j.Head()
		if epoch != 0 && head.Epoch != epoch {
			t.Fatalf("round %d: the epoch was %08x and is %08x", round, epoch, head.Epoch)
		}
		epoch = head.Epoch
		have := map[string]int{}
		var evs []tidings.Event
		for at := (tidings.Position{Epoch: epoch}); at != head; {
			if evs, at, err = j.Read(t.Context(), at, nil, 1000); err != nil {
				t.Fatal(err)
			}
			for _, e := range evs {
				n, err := strconv.Atoi(string(e.Payload))
				if err != nil || n != have[e.Publisher]+1 {
					t.Fatalf("round %d: at %s event %q of %s follows %d", round, e.Position, e.Payload, e.Publisher, have[e.Publisher])
				}
				have[e.Publisher] = n
			}
		}
		for w, n := range acked {
			p := fmt.Sprint("w", w)
			if have[p] < n {
				t.Errorf("round %d: %s has %d events, %d were acknowledged", round, p, have[p], n)
			}
			mark, err := j.Mark(t.Context(), p)
			if m, _ := strconv.Atoi(mark); err != nil || m < n || m > have[p] {
				t.Errorf("round %d: the mark of %s is %q, %v, acknowledged are %d, stored %d", round, p, mark, err, n, have[p])
			}
		}
		j.Close()
	}
	if len(acked) < 4 {
		t.Errorf("only %d writers were acknowledged anything", len(acked))
	}
}

// TestReady opens a journal in an empty directory.
func TestReady(t *testing.T) {
	began := time.Now()
	j := open(t, journal.Options{Dir: t.TempDir()})
	if took := time.Since(began); took > 10*300*time.Millisecond { // ten times the aim, for a loaded machine
		t.Errorf("ready after %s", took)
	} else {
		t.Logf("ready after %s", took)
	}
	j.Close()
}
