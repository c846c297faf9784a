//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// bytesOfChange is the size of one datagram of the ingest.
const bytesOfChange = 1024

// ingest: MediaWiki changes over UDP at a steady rate. Each has to be in the journal, or in a counter that says why not.
func ingest(ctx context.Context, b *bench) error {
	t, err := b.own(ctx)
	if err != nil {
		return err
	}
	return errors.Join(b.ingest(ctx, t), t.stop())
}

func (b *bench) ingest(ctx context.Context, t *target) error {
	before, err := t.stored(ctx, "/recentchange/**")
	if err != nil {
		return err
	}
	events := int(float64(b.rate) * b.ingestFor.Seconds())
	r, err := b.load(ctx, t, append(append([]string(nil), t.subscribe...), "-pub", "udp", "-pubto", t.udp, "-conns", "0",
		"-topics", "12", "-events", strconv.Itoa(events), "-rate", strconv.Itoa(b.rate), "-size", strconv.Itoa(bytesOfChange))...)
	if err != nil {
		return err
	}
	appended, dropped, reasons, err := b.balance(ctx, t, before, int64(r.Events)-r.UDPDrops)
	if err != nil {
		return err
	}
	lost := int64(r.Events) - appended - r.UDPDrops - dropped
	row := row{what: fmt.Sprintf("%d changes/s of %d bytes for %v", b.rate, bytesOfChange, b.ingestFor), server: "tidings",
		figure: fmt.Sprintf("%d of %d appended", appended, r.Events), ratio: fmt.Sprintf("%d kernel drops", r.UDPDrops),
		target: "all, or counted", met: lost == 0,
		more: fmt.Sprintf("sent at %s/s, server used %.2f cores%s", count(r.AckPerS), r.CPUShare, reasons)}
	b.add(row)
	if lost != 0 {
		return fmt.Errorf("ingest: of %d changes %d are appended, %d dropped by the kernel and %d by the server: %d are unaccounted for",
			r.Events, appended, r.UDPDrops, dropped, lost)
	}
	return nil
}

// balance waits until as many changes are stored or counted as dropped as have reached the server, or until the numbers
// have not moved for five seconds.
func (b *bench) balance(ctx context.Context, t *target, before, arrived int64) (appended, dropped int64, reasons string, err error) {
	last, still := int64(-1), time.Now()
	for {
		now, err := t.stored(ctx, "/recentchange/**")
		if err != nil {
			return 0, 0, "", err
		}
		appended = now - before
		if dropped, reasons, err = t.drops(ctx); err != nil {
			return 0, 0, "", err
		}
		if sum := appended + dropped; sum == arrived || sum == last && time.Since(still) > 5*time.Second {
			return appended, dropped, reasons, nil
		} else if sum != last {
			last, still = sum, time.Now()
		}
		select {
		case <-ctx.Done():
			return 0, 0, "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// get returns the body of an answer of the server.
func (t *target) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %.300s", path, resp.Status, body)
	}
	return body, nil
}

// stored returns how many events the topics that match pattern hold.
func (t *target) stored(ctx context.Context, pattern string) (int64, error) {
	body, err := t.get(ctx, "/topics?match="+url.QueryEscape(pattern))
	if err != nil {
		return 0, err
	}
	return sumEvents(body)
}

// sumEvents reads the answer of /topics.
func sumEvents(body []byte) (int64, error) {
	var list struct {
		Topics []struct {
			Events int64 `json:"events"`
		} `json:"topics"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return 0, fmt.Errorf("list of topics: %w", err)
	}
	var sum int64
	for _, topic := range list.Topics {
		sum += topic.Events
	}
	return sum, nil
}

// drops returns what the server says it has dropped of the changes it received: the sum, and the reasons for the table.
func (t *target) drops(ctx context.Context) (int64, string, error) {
	body, err := t.get(ctx, "/metrics")
	if err != nil {
		return 0, "", err
	}
	return sumDrops(string(body))
}

// sumDrops sums the counters of drops in Prometheus's text format, tidings_…drop…{…reason="…"…}, but for those whose
// reason is the kernel's buffer, which loadgen has from the system itself.
func sumDrops(metrics string) (int64, string, error) {
	var sum int64
	var reasons strings.Builder
	for line := range strings.Lines(metrics) {
		line = strings.TrimSpace(line)
		name, rest, ok := strings.Cut(line, "{")
		if !ok || !strings.HasPrefix(name, "tidings_") || !strings.Contains(name, "drop") || !strings.Contains(rest, "reason=") {
			continue
		}
		labels, value, ok := strings.Cut(rest, "} ")
		if !ok {
			return 0, "", fmt.Errorf("metrics: cannot read %q", line)
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, "", fmt.Errorf("metrics: %w", err)
		}
		if n == 0 || strings.Contains(labels, "kernel") {
			continue
		}
		sum += int64(n)
		fmt.Fprintf(&reasons, ", dropped %s %.0f", strings.ReplaceAll(labels, "|", "\\|"), n)
	}
	return sum, reasons.String(), nil
}
