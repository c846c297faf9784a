//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Targets of the filter expressions.
const maxFilterCores = 1.0

// The load: each change passes one of the expressions, so that it is evaluating them that counts and not delivering.
const (
	filterSharing = 10  // subscribers with the same expression
	filterRate    = 100 // changes a second
	filterSeconds = 20
)

// expressions are shapes of filters: {n} is the number of the wiki whose changes pass.
var expressions = []struct{ what, text string }{
	{"equality", `wiki == "w{n}wiki"`},
	{"several fields, a regular expression", `type == "edit" && ns == 0 && length.new - length.old < 500 && ` +
		`!user.matches("^[A-Z][a-z]+Bot[0-9]*$") && title.startsWith("Page ") && server_name == "w{n}.bench.example"`},
	{"JSON payload", `data.type == "edit" && data.wiki == "w{n}wiki"`},
}

// expressionPath returns the path of a subscription to the changes of all wikis through an expression.
func expressionPath(text string) string {
	return "/topics/recentchange/*?format=sse&filter=" + strings.ReplaceAll(url.QueryEscape(text), url.QueryEscape("{n}"), "{n}")
}

// filters: every subscriber reads the changes of all wikis through its expression.
func filters(ctx context.Context, b *bench) error {
	subscribers := b.large * 2 / 3 // 10,000 of 15,000
	different := subscribers / filterSharing
	subscribers = different * filterSharing
	seconds := filterSeconds
	if b.quick {
		seconds = 1
	}
	for _, e := range expressions {
		t, err := b.own(ctx)
		if err != nil {
			return err
		}
		r, err := b.load(ctx, t, "-proto", "sse", "-addr", t.addr(), "-path", expressionPath(e.text), "-await", ":ok\n\n", "-pub", "udp", "-pubto", t.udp,
			"-conns", strconv.Itoa(subscribers), "-topics", strconv.Itoa(different), "-rate", strconv.Itoa(filterRate),
			"-events", strconv.Itoa(filterRate*seconds), "-size", strconv.Itoa(bytesOfChange), "-samplepss")
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		row := row{what: fmt.Sprintf("%d subscribers, %d times %s", subscribers, different, e.what), server: "tidings",
			figure: fmt.Sprintf("%.2f cores", r.CPUShare), ratio: fmt.Sprintf("%.0f µs a change", r.CPUEvent),
			more: fmt.Sprintf("%d of %d deliveries, p50 %.1f ms, p99 %.1f ms, peak PSS %s, connected in %.1f s", r.Delivered, r.Expected, r.P50,
				r.P99, size(float64(r.PSSPeak)), r.ConnectS)}
		if !b.quick {
			row.target, row.met = fmt.Sprintf("≤ %.0f core", maxFilterCores), r.CPUShare <= maxFilterCores
		}
		b.add(row)
	}
	return nil
}
