package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	limitFiles()
	j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, TrimInterval: -1, Log: silent, Timeout: 2 * time.Second})
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
		collect(out, acked, func(lines int) {
			if lines == 20+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		})
		cmd.Wait()
		epoch = checkKept(t, dir, epoch, acked)
	}
	if len(acked) < 4 {
		t.Errorf("only %d writers were acknowledged anything", len(acked))
	}
}

// collect notes what a child says was acknowledged, until it ends. It calls each with the number of lines so far.
func collect(out io.Reader, acked map[int]int, each func(lines int)) {
	in := bufio.NewScanner(out)
	for lines := 0; in.Scan(); lines++ {
		each(lines)
		// The last line may be cut short by a kill.
		f := strings.Fields(in.Text())
		if len(f) != 3 {
			continue
		}
		w, err1 := strconv.Atoi(f[0])
		n, err2 := strconv.Atoi(f[1])
		if err1 == nil && err2 == nil {
			acked[w] = max(acked[w], n)
		}
	}
}

// checkKept opens the journal and checks that all that was acknowledged is there, in order, and the marks. It returns
// the epoch, which has to be the one given unless that is 0.
func checkKept(t *testing.T, dir string, epoch uint32, acked map[int]int) uint32 {
	t.Helper()
	j := open(t, journal.Options{Dir: dir, TrimInterval: -1, Log: silent})
	defer j.Close()
	head := j.Head()
	if epoch != 0 && head.Epoch != epoch {
		t.Fatalf("the epoch was %08x and is %08x", epoch, head.Epoch)
	}
	have := map[string]int{}
	for at := (tidings.Position{Epoch: head.Epoch}); at != head; {
		evs, upTo, err := j.Read(t.Context(), at, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		at = upTo
		for _, e := range evs {
			n, err := strconv.Atoi(string(e.Payload))
			if err != nil || n != have[e.Publisher]+1 {
				t.Fatalf("at %s event %q of %s follows %d", e.Position, e.Payload, e.Publisher, have[e.Publisher])
			}
			have[e.Publisher] = n
		}
	}
	for w, n := range acked {
		p := fmt.Sprint("w", w)
		if have[p] < n {
			t.Errorf("%s has %d events, %d were acknowledged", p, have[p], n)
		}
		mark, err := j.Mark(t.Context(), p)
		if m, _ := strconv.Atoi(mark); err != nil || m < n || m > have[p] {
			t.Errorf("the mark of %s is %q, %v, acknowledged are %d, stored %d", p, mark, err, n, have[p])
		}
	}
	return head.Epoch
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
