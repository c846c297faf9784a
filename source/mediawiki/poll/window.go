package poll

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tidings"
)

// place orders rows as the API does.
type place struct{ time, id int64 } // seconds since 1970; rcid

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.time, q.time), cmp.Compare(p.id, q.id))
}

// second is before all rows of that second.
func second(t int64) place { return place{t, math.MinInt64} }

// maxSeen bounds the rows that a window remembers. At more than that within Config.Late it forgets the oldest, so that
// rows that become visible late are lost sooner; nothing is told twice.
const maxSeen = 200_000

// window is what a poller knows of the wiki's list: everything before floor is dealt with, and of what comes after,
// the rows in seen. high is the latest time seen; it only grows.
type window struct {
	floor place
	high  int64
	seen  map[int64]int64 // rcid to time; for a row without an rcid a negative number made of its bytes
	z     *flate.Writer   // of mark; it is large
}

// known reports whether the row is dealt with.
func (w *window) known(p place) bool {
	_, ok := w.seen[p.id]
	return ok || p.compare(w.floor) < 0
}

// add remembers a row. Times after now, the wiki's, are a mistake of a clock and do not move high.
func (w *window) add(p place, now int64) {
	w.seen[p.id] = p.time
	w.high = max(w.high, min(p.time, now))
}

// prune forgets the rows before the time and reports whether it had to forget more than that.
func (w *window) prune(before int64) (shortened bool) {
	if before > w.floor.time {
		w.floor = second(before)
	}
	for id, t := range w.seen {
		if t < w.floor.time {
			delete(w.seen, id)
		}
	}
	if len(w.seen) <= maxSeen {
		return false
	}
	w.floor = w.cut(w.sorted(), maxSeen/2)
	for id, t := range w.seen {
		if (place{t, id}).compare(w.floor) < 0 {
			delete(w.seen, id)
		}
	}
	return true
}

// sorted returns the rows seen in the API's order.
func (w *window) sorted() []place {
	rows := make([]place, 0, len(w.seen))
	for id, t := range w.seen {
		rows = append(rows, place{t, id})
	}
	slices.SortFunc(rows, place.compare)
	return rows
}

// cut returns the floor above which the last n of the rows lie.
func (w *window) cut(rows []place, n int) place {
	if len(rows) <= n {
		return w.floor
	}
	if n == 0 {
		last := rows[len(rows)-1]
		return place{last.time, last.id + 1}
	}
	if p := rows[len(rows)-n]; p.compare(w.floor) > 0 {
		return p
	}
	return w.floor
}

// markVersion begins a mark.
const markVersion = "1"

// mark returns the window as text, for an event's Mark:
//
//	1 WIKI HIGH FLOOR-TIME FLOOR-RCID SEEN
//
// SEEN is the rcids above the floor in ascending order, each as its distance from the one before it, less one, in
// unsigned varints (encoding/binary), deflated (RFC 1951), in base64url without padding, or - for none. Where that would be more
// than an event holds, the oldest rows are left out and the floor is raised above them.
func (w *window) mark(wiki string) string {
	rows := w.sorted()
	for n := len(rows); ; n /= 2 {
		floor := w.cut(rows, n)
		m := fmt.Sprintf("%s %s %d %d %d %s", markVersion, url.QueryEscape(wiki), w.high, floor.time, floor.id, w.packed(rows[len(rows)-n:]))
		if len(m) <= tidings.MaxMarkBytes || n == 0 {
			return m
		}
	}
}

func (w *window) packed(rows []place) string {
	var ids []int64
	for _, r := range rows {
		if r.id > 0 {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return "-"
	}
	slices.Sort(ids)
	var raw []byte
	last := int64(0)
	for _, id := range ids {
		raw = binary.AppendUvarint(raw, uint64(id-last-1))
		last = id
	}
	var b bytes.Buffer
	if w.z == nil {
		w.z, _ = flate.NewWriter(nil, flate.BestCompression) // a valid level
	}
	w.z.Reset(&b)
	w.z.Write(raw) // a bytes.Buffer takes everything
	w.z.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// maxPacked bounds what the rcids of a mark are inflated to: of a mark in this form, maxSeen rows of ten bytes.
const maxPacked = 10 * maxSeen

// parseMark returns the wiki and the window of a mark. The time of each row is taken to be high, so that none is
// forgotten too early.
func parseMark(s string) (wiki string, w *window, err error) {
	bad := func(what string) (string, *window, error) {
		return "", nil, tidings.Errorf(tidings.ErrInvalid, "poll: the mark %.60q has %s", s, what)
	}
	f := strings.Split(s, " ")
	if len(f) != 6 || f[0] != markVersion || f[1] == "" {
		return bad("another form than this version reads")
	}
	if wiki, err = url.QueryUnescape(f[1]); err != nil {
		return bad("a wiki that cannot be read")
	}
	w = &window{seen: map[int64]int64{}}
	for i, to := range []*int64{&w.high, &w.floor.time, &w.floor.id} {
		if *to, err = strconv.ParseInt(f[2+i], 10, 64); err != nil {
			return bad("a number that is none")
		}
	}
	if f[5] == "-" {
		return wiki, w, nil
	}
	z, err := base64.RawURLEncoding.DecodeString(f[5])
	if err != nil {
		return bad("rows that are not in base64")
	}
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(z)), maxPacked+1))
	if err != nil || len(raw) > maxPacked {
		return bad("rows that cannot be inflated")
	}
	for last := int64(0); len(raw) > 0; {
		d, n := binary.Uvarint(raw)
		if n <= 0 || d > 1<<62 || last+int64(d)+1 < last {
			return bad("rows that are no numbers")
		}
		raw = raw[n:]
		last += int64(d) + 1
		w.seen[last] = w.high
	}
	return wiki, w, nil
}
