//go:build linux

package main

import (
	"math/bits"
	"time"
)

// subBuckets is the number of buckets for each power of two: a quantile is at most 1/subBuckets above the true one.
const subBuckets = 64

// A histogram counts durations of any length in constant memory.
type histogram struct {
	counts [(64 - 6) * subBuckets]int64
	n      int64
	max    int64
}

// bucketOf returns v itself below 2*subBuckets; above, the power of two and the six bits after the leading one.
func bucketOf(v int64) int {
	shift := max(0, bits.Len64(uint64(v))-7)
	return shift*subBuckets + int(v>>shift)
}

// topOf returns the largest value in a bucket.
func topOf(bucket int) int64 {
	if bucket < 2*subBuckets {
		return int64(bucket)
	}
	shift := bucket/subBuckets - 1
	return (int64(bucket-shift*subBuckets)+1)<<shift - 1
}

// add counts one duration; a negative one, as a step of the clock may give, counts as zero.
func (h *histogram) add(d time.Duration) {
	v := max(0, int64(d))
	h.counts[bucketOf(v)]++
	h.n++
	h.max = max(h.max, v)
}

// merge adds what other has counted.
func (h *histogram) merge(other *histogram) {
	for i, c := range other.counts {
		h.counts[i] += c
	}
	h.n += other.n
	h.max = max(h.max, other.max)
}

// quantile returns the smallest bucket's top that at least the share q of all durations is not above; 0 when empty.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.n)+0.999999))
	var seen int64
	for i, c := range h.counts {
		if seen += c; c > 0 && seen >= rank {
			return time.Duration(min(topOf(i), h.max))
		}
	}
	return time.Duration(h.max)
}
